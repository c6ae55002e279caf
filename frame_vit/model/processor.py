"""A classifier with its label space and its pixel settings, to begin a training with. Safetensors only, no remote code.

Which parameters make up a model's head is not guessed by name: they are those whose shape depends on
the number of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from frame_vit.config.schema import ModelConfig
from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import Preprocessing, normalise, resize
from frame_vit.model.pretrained import from_hub
from frame_vit.system.progress import log


def load_processor(model: ModelConfig) -> Any:
    """The model's own image processor, or the one of an untrained model."""
    if model.init == "pretrained":
        return own_processor(model.name)
    from transformers import ViTImageProcessor

    side = model.scratch.image_size
    return ViTImageProcessor(size={"height": side, "width": side})


def preprocessing_of(processor: Any, bit_depth: int = 8, roi: Sequence[float] | None = None) -> Preprocessing:
    """The pixel settings that do what a processor does, proven on probe pictures, to the region of interest.

    Raises `ModelError` where the processor does something that `images` does not reproduce to two grey levels.
    """
    settings = processor.to_dict()
    size = settings.get("size") or {}
    mean, std = settings.get("image_mean"), settings.get("image_std")
    normalised = bool(settings.get("do_normalize"))
    try:
        preprocessing = Preprocessing(
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
    _prove(processor, preprocessing)
    if preprocessing.resize is not None:
        log.warning("this model's processor cuts the margins of the picture off; what lies there cannot be seen by it")
    return preprocessing


def own_processor(place: str) -> Any:
    # Imported here: processors bring torchvision along, seconds that predicting with a model of our own does not need.
    from transformers import AutoImageProcessor

    return from_hub(AutoImageProcessor, place)[0]


def _geometry(settings: dict[str, Any], size: dict[str, int]) -> dict[str, Any]:
    """height, width and resize of `Preprocessing` from a processor's size, crop_size and crop_pct."""
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


def _prove(processor: Any, preprocessing: Preprocessing) -> None:
    random = np.random.default_rng(0)
    for width, height in ((320, 240), (96, 128)):
        smooth = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = smooth.resize((width, height), Image.Resampling.BICUBIC)
        theirs = np.asarray(processor(image, return_tensors="pt")["pixel_values"][0])
        ours = normalise(resize(image, preprocessing)[None], preprocessing)[0]
        level = preprocessing.scale / min(preprocessing.std)
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > 2.01 * level:
            raise ModelError(
                f"{type(processor).__name__} treats pictures in a way that framevit does not reproduce",
                "Processors that resize, cut from the middle, rescale and normalise are supported",
            )
