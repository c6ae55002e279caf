"""`from_pretrained` of transformers, for hub names and folders: safetensors only, no remote code, errors for people.

Also keeps transformers' own progress bars and advice off the terminal. Knows nothing of labels or heads.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
from transformers.utils import logging as transformers_logging

from frame_vit.errors import DamagedModelError, FrameVitError, ModelError, UsageError
from frame_vit.system.hub import HubName, asking_hub


class Loaded(NamedTuple):
    """What `from_pretrained` returned, and the commit on the hub that it came from ("" for a folder)."""

    value: Any
    revision: str


def silence_transformers() -> None:
    """Keeps transformers' progress bars and advice off the terminal; framevit reports what matters of them itself."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def from_hub(kind: Any, place: str, **options: Any) -> Loaded:
    """`kind.from_pretrained` of a folder or of a hub name, `owner/name` or `owner/name@revision`.

    Raises `UsageError` for a name that does not exist, `ModelError` for a model that cannot be loaded.
    """
    is_folder = Path(place).is_dir()
    name, revision = HubName(place, None) if is_folder else HubName.of(place)
    silence_transformers()
    # Without this, a repository of pickled weights is sent to a conversion service on the hub before it is refused.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        with nullcontext() if is_folder else asking_hub(huggingface_hub, f"model {place}"):
            value = kind.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **options)
    except FrameVitError:  # an interruption, or what the hub said
        raise
    except Exception as error:  # transformers trusts the files of a model, so damaged ones raise anything
        raise _explained(place, error) from None
    return Loaded(value, "" if is_folder else _commit(name, revision or "main"))


def _commit(name: str, revision: str) -> str:
    """The commit on the hub that a model came from: its files are cached in a folder of that name."""
    path = huggingface_hub.try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else ""


def _explained(place: str, error: Exception) -> FrameVitError:
    text = " ".join(str(error).split())
    if "above report" in text:  # transformers has printed a table, which was kept off the terminal
        return ModelError(
            f"{place}: the weights do not fit config.json: another number of classes, or other sizes",
            "Without id2label, config.json stands for two classes; it must name as many as the head has rows",
        )
    if "timm" in text.lower() and find_spec("timm") is None:
        return ModelError(f"{place} is a model of timm, which is not installed", "Install it: pip install timm")
    if Path(place).is_dir():
        return ModelError(f"{place}: not a usable model folder: {text[:300]}")
    if "is not a valid model identifier" in text or "Repository Not Found" in text or "Incorrect path" in text:
        return UsageError(
            f"model {place} is neither a local folder nor on the hub",
            "Check the spelling; for a private model log in with `hf auth login`",
        )
    if "safetensors" in text:
        return ModelError(
            f"model {place} has no safetensors weights, and pickled weights are not loaded",
            "Convert it once on a machine that may trust it: from_pretrained(...).save_pretrained(folder)",
        )
    return ModelError(f"model {place} cannot be loaded: {text[:300]}", "Without a network, name a local model folder")


def class_names(config: Any, place: str) -> list[str]:
    """The names of a model's classes in the order of their ids, from `id2label` in its config.json.

    Raises `DamagedModelError` where the ids do not count from 0 without a gap: which row of the head is which class is
    then not known.
    """
    names: dict[int, Any] = config.id2label
    if sorted(names) != [*range(len(names))] or not all(isinstance(name, str) for name in names.values()):
        ids = ", ".join(map(str, [*names][:20]))
        raise DamagedModelError(
            f"{place}: id2label in config.json must name the classes 0 to {len(names) - 1}, but its ids are {ids}",
            "Correct id2label in config.json: row i of the head is the class with the id i",
        )
    return [names[i] for i in range(len(names))]


def check_kind(place: str) -> None:
    """Raises `ModelError` for models that transformers has no classifier of, or none that takes whole pictures."""
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, AutoConfig

    config = from_hub(AutoConfig, place).value
    kind = config.model_type
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        same = (
            "; timm has DINOv3 as classifiers (timm/vit_small_patch16_dinov3...)" if kind.startswith("dinov3") else ""
        )
        raise ModelError(
            f"{place}: transformers has no image classifier for {kind}",
            f"`framevit help models` lists what works{same}",
        )
    if kind == "siglip2":
        raise ModelError(
            f"{place}: this SigLIP 2 (NaFlex) takes lists of patches, not pictures",
            "Use a SigLIP 2 of a fixed size, such as google/siglip2-base-patch16-224",
        )
