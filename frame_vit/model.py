"""A classifier with its label space and its pixel settings, to begin a training with. Safetensors only, no remote code.

Which parameters make up a model's head is not guessed by name: they are those whose shape depends on
the number of classes.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageClassification, ViTConfig
from transformers.utils import logging as transformers_logging

from frame_vit.decision import Operating
from frame_vit.errors import FrameVitError, ModelError, UsageError
from frame_vit.hub import check_hub
from frame_vit.images import Pixels, normalise, resize
from frame_vit.labels import LabelSpace
from frame_vit.progress import log
from frame_vit.schema import Model
from frame_vit.settings import Settings
from frame_vit.unlike import Usual


@dataclass(frozen=True)
class Classifier:
    """A model (`module(pixel_values=(N, 3, H, W) float32).logits` is (N, C)), what its classes mean, what it is fed.

    `point`, `temperature` and `usual` are those of `Settings`.
    """

    module: Any
    labels: LabelSpace
    pixels: Pixels
    processor: Any = None
    revision: str = ""
    point: Operating | None = None
    temperature: float = 1.0
    usual: Usual | None = None

    @property
    def settings(self) -> Settings:
        """What is stored beside the weights."""
        return Settings(self.labels, self.pixels, self.temperature, self.point, self.usual)


def load_processor(model: Model) -> Any:
    """The model's own image processor, or the one of an untrained model."""
    if model.init == "pretrained":
        return own_processor(model.name)
    from transformers import ViTImageProcessor

    side = model.scratch.image_size
    return ViTImageProcessor(size={"height": side, "width": side})


def pixels_of(processor: Any, bit_depth: int = 8, roi: Sequence[float] | None = None) -> Pixels:
    """The pixel settings that do what a processor does, proven on probe pictures, to the region of interest.

    Raises `ModelError` where the processor does something that `images` does not reproduce to two grey levels.
    """
    settings = processor.to_dict()
    size = settings.get("size") or {}
    mean, std = settings.get("image_mean"), settings.get("image_std")
    normalised = bool(settings.get("do_normalize"))
    try:
        pixels = Pixels(
            **_geometry(settings, size),
            mean=tuple(mean) if normalised else (0.0, 0.0, 0.0),
            std=tuple(std) if normalised else (1.0, 1.0, 1.0),
            scale=settings["rescale_factor"] if settings.get("do_rescale") else 1.0,
            resample=int(settings["resample"]),
            bit_depth=bit_depth,
            roi=None if roi is None else (roi[0], roi[1], roi[2], roi[3]),
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"the model's image processor ({type(processor).__name__}) lacks {error}") from None
    _prove(processor, pixels)
    if pixels.resize is not None:
        log.warning("this model's processor cuts the margins of the picture off; what lies there cannot be seen by it")
    return pixels


def create(model: Model, labels: LabelSpace, pixels: Pixels, processor: Any) -> Classifier:
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
    return Classifier(AutoModelForImageClassification.from_config(config), labels, pixels, processor)


def load_pretrained(model: Model, labels: LabelSpace, pixels: Pixels, processor: Any) -> Classifier:
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
    return Classifier(module, labels, pixels, processor, revision)


def head_parameters(module: Any) -> list[str]:
    """The names of the parameters whose shape depends on the number of classes; nothing is allocated to find out."""
    twin = copy.deepcopy(module.config)
    twin.num_labels = module.config.num_labels + 1
    with torch.device("meta"):
        other = dict(type(module)(twin).named_parameters())
    return [name for name, parameter in module.named_parameters() if parameter.shape != other[name].shape]


def head_module(module: Any) -> Any:
    """The module that holds the head. Raises `ModelError` where there are several."""
    places = {name.rpartition(".")[0] for name in head_parameters(module)}
    if len(places) != 1:
        raise ModelError(f"{type(module).__name__} has {len(places)} heads", "Train it whole: training.freeze none")
    return module.get_submodule(places.pop())


def blocks(module: Any) -> tuple[str, Any]:
    """The path and the list of the transformer blocks. Raises `ModelError` where the model is not a stack of such."""
    count = getattr(module.config, "num_hidden_layers", None)
    for name, child in module.named_modules():
        if isinstance(child, torch.nn.ModuleList) and len(child) == count:
            return name, child
    raise ModelError(
        f"{type(module).__name__} is not a stack of transformer blocks",
        "Use training.freeze none or backbone, and training.layer_decay 1",
    )


def fingerprint(module: Any) -> str:
    """sha256 over all weights, by name."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).numpy().data)
    return digest.hexdigest()


def quiet() -> None:
    """Keeps transformers' own bars and advice off the terminal; what matters of them is said by framevit."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def own_processor(place: str) -> Any:
    # Imported here: processors bring torchvision along, seconds that predicting with a model of our own does not need.
    from transformers import AutoImageProcessor

    return from_hub(AutoImageProcessor, place)[0]


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


def _geometry(settings: dict[str, Any], size: dict[str, int]) -> dict[str, Any]:
    """height, width and resize of `Pixels` from a processor's size, crop_size and crop_pct."""
    crop = settings.get("crop_size") if settings.get("do_center_crop") else None
    if "height" in size:
        whole = (size["height"], size["width"])
        return {"height": whole[0], "width": whole[1]} if crop is None else {**crop, "resize": whole}
    edge = size["shortest_edge"]
    if crop is not None:
        return {**crop, "resize": edge}
    share = settings.get("crop_pct")
    if share is None or edge >= 384:  # ConvNeXt's processor cuts only below 384 pixels
        return {"height": edge, "width": edge}
    return {"height": edge, "width": edge, "resize": int(edge / share)}


def _prove(processor: Any, pixels: Pixels) -> None:
    random = np.random.default_rng(0)
    for width, height in ((320, 240), (96, 128)):
        smooth = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = smooth.resize((width, height), Image.Resampling.BICUBIC)
        theirs = np.asarray(processor(image, return_tensors="pt")["pixel_values"][0])
        ours = normalise(resize(image, pixels)[None], pixels)[0]
        level = pixels.scale / min(pixels.std)
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > 2.01 * level:
            raise ModelError(
                f"{type(processor).__name__} treats pictures in a way that framevit does not reproduce",
                "Processors that resize, cut from the middle, rescale and normalise are supported",
            )


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
