"""A classifier with its label space and its pixel settings, to begin a training with. Safetensors only, no remote code.

Which parameters make up a model's head is not guessed by name: they are those whose shape depends on
the number of classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageClassification, ViTConfig
from transformers.utils import logging as transformers_logging

from frame_vit.config.schema import ModelConfig
from frame_vit.errors import FrameVitError, ModelError, UsageError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier, head_parameters
from frame_vit.model.metadata import ModelMetadata
from frame_vit.system.hub import check_hub
from frame_vit.system.progress import log


def create(model: ModelConfig, labels: LabelSpace, preprocessing: Preprocessing, processor: Any) -> Classifier:
    """An untrained ViT of the configured sizes."""
    sizes = model.scratch
    config = ViTConfig(
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.hidden_size * sizes.mlp_ratio,
        hidden_dropout_prob=sizes.dropout,
        **_label_maps(labels),
    )
    return Classifier(
        AutoModelForImageClassification.from_config(config), ModelMetadata(labels, preprocessing), processor
    )


def load_pretrained(model: ModelConfig, labels: LabelSpace, preprocessing: Preprocessing, processor: Any) -> Classifier:
    """The named model with a head for these classes: its own, re-ordered by name, where it knows the same names."""
    config, revision = from_hub(AutoConfig, model.name)
    known = [config.id2label[i] for i in range(config.num_labels)]
    same = sorted(known) == sorted(labels.names)
    options: dict[str, Any] = {} if same else {**_label_maps(labels), "ignore_mismatched_sizes": True}
    (module, info), _ = from_hub(
        AutoModelForImageClassification,
        model.name,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    head = head_parameters(module)
    fresh = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])} - {*head})
    if fresh:
        log.warning("%s has no weights for %s; they start anew", model.name, ", ".join(fresh))
    if same and not {*head} & {*info["missing_keys"]}:
        _reorder(module, head, [known.index(name) for name in labels.names])
        _set_labels(module, labels)
        log.info(
            "%s knows these classes: its head is kept%s",
            model.name,
            "" if known == [*labels.names] else ", re-ordered by name",
        )
    else:
        _renew(module, head)
        log.info("%s: a new head for %d classes (%s)", model.name, len(labels), _why_new(known, labels))
    return Classifier(module, ModelMetadata(labels, preprocessing), processor, revision)


def quiet() -> None:
    """Keeps transformers' own bars and advice off the terminal; what matters of them is said by framevit."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def from_hub(kind: Any, place: str, **options: Any) -> tuple[Any, str]:
    """`from_pretrained` with errors a person can use; the result and the hub's commit, where there is one."""
    name, _, revision = (place, "", "") if Path(place).is_dir() else place.partition("@")
    if not Path(place).is_dir():
        check_hub()
    quiet()
    # Without this a repository of pickled weights is sent to a conversion service on the hub before it is refused.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        found = kind.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise _explained(place, error) from None
    return found, "" if Path(place).is_dir() else _commit(name, revision or "main")


def _commit(name: str, revision: str) -> str:
    """The hub's commit that a model came from: the cache keeps its files in a folder of that name."""
    path = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else ""


def _explained(place: str, error: Exception) -> FrameVitError:
    text = " ".join(str(error).split())
    if Path(place).is_dir():
        return ModelError(f"{place}: not a usable model folder: {text[:300]}")
    if "is not a valid model identifier" in text or "Repository Not Found" in text or "Incorrect path" in text:
        return UsageError(
            f"model {place} is neither a folder here nor found on the hub",
            "Check the spelling; for a private model log in with `hf auth login`",
        )
    if "safetensors" in text:
        return ModelError(
            f"model {place} has no safetensors weights, and pickled ones are not loaded",
            "Convert it once where it is trusted: from_pretrained(...).save_pretrained(folder)",
        )
    return ModelError(f"model {place} cannot be loaded: {text[:300]}", "Without a network, name a local model folder")


def _label_maps(labels: LabelSpace) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels.names)), "label2id": {name: i for i, name in enumerate(labels.names)}}


def _set_labels(module: Any, labels: LabelSpace) -> None:
    for key, value in _label_maps(labels).items():
        setattr(module.config, key, value)


def _reorder(module: Any, head: Sequence[str], order: list[int]) -> None:
    with torch.no_grad():
        for name in head:
            parameter = module.get_parameter(name)
            parameter.copy_(parameter[order].clone())


def _renew(module: Any, head: Sequence[str]) -> None:
    """ViT's own start for a head, also where old weights of the same shape were loaded for other classes."""
    with torch.no_grad():
        for name in head:
            parameter = module.get_parameter(name)
            if parameter.ndim > 1:
                torch.nn.init.trunc_normal_(parameter, std=0.02)
            else:
                parameter.zero_()


def _why_new(known: list[str], labels: LabelSpace) -> str:
    if len(known) != len(labels):
        return f"the old one has {len(known)}"
    return "the old one has others: " + ", ".join(name for name in known if name not in labels.names)
