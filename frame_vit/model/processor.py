"""Hugging Face image processors, and the preprocessing that they stand for.

A model's processor says how its pictures are prepared. framevit does that itself (`images.preprocessing`), the same way
in training, evaluation and on the line PC, and tests on probe pictures that the result is the processor's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from frame_vit.config.schema import DataConfig, ModelConfig
from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import Preprocessing, normalise, resize
from frame_vit.model.hub import check_kind, from_hub
from frame_vit.model.processor_config import configured
from frame_vit.system.progress import log


def load_processor(model: ModelConfig, fit: str | None = None) -> Any:
    """The processor for the model that a training starts from, at `model.image_size` and with `data.fit`.

    A pretrained model's own is kept as it is unless that asks for something else.
    """
    if model.init == "scratch":
        side = model.scratch.image_size
        return _plain(Preprocessing(side, side, pad=fit == "pad"))
    check_kind(model.name)
    own = own_processor(model.name)
    before = _configured(own)
    own_fit = "pad" if before.pad else "squash" if before.resize is None else "processor"
    wanted = fit or ("squash" if own_fit == "processor" else own_fit)
    if wanted != own_fit and fit is None:
        log.info("this model's processor crops the margins of pictures; it is given the whole frame instead (data.fit)")
    height, width = (model.image_size or side for side in (before.height, before.width))
    if (wanted in (own_fit, "processor")) and (height, width) == (before.height, before.width):
        return own
    _check_colours(own, before)
    resize = before.resize if wanted == "processor" else None
    if isinstance(resize, int):
        resize = round(resize * height / before.height)
    elif resize is not None:
        resize = round(resize[0] * height / before.height), round(resize[1] * width / before.width)
    pad = before.pad if wanted == "processor" else wanted == "pad"
    return _plain(replace(before, height=height, width=width, resize=resize, pad=pad))


def _plain(preprocessing: Preprocessing) -> Any:
    """A ViT's processor, which every model can have, that does what the preprocessing does with 8-bit pictures."""
    from transformers import ViTImageProcessor

    size = {"height": preprocessing.height, "width": preprocessing.width}
    resize, crop = preprocessing.resize, None if preprocessing.resize is None and not preprocessing.pad else size
    if preprocessing.pad:
        size = {"max_height": preprocessing.height, "max_width": preprocessing.width}
    elif isinstance(resize, int):
        size = {"shortest_edge": resize}
    elif resize is not None:
        size = {"height": resize[0], "width": resize[1]}
    return ViTImageProcessor(
        size=size,
        resample=preprocessing.resample,
        do_center_crop=crop is not None,
        crop_size=crop,
        rescale_factor=preprocessing.scale,
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
    )


def preprocessing_of(processor: Any, data: DataConfig | None = None) -> Preprocessing:
    """The preprocessing that does what a processor does, with what the config says of the camera and its region.

    Raises `ModelError` where its result on probe pictures differs from the processor's by more than two grey levels.
    """
    data = data or DataConfig()
    preprocessing = replace(
        _configured(processor),
        bit_depth=data.bit_depth,
        roi=None if data.roi is None else (data.roi[0], data.roi[1], data.roi[2], data.roi[3]),
        max_megapixels=data.max_megapixels,
    )
    _check_equivalence(processor, preprocessing)
    if preprocessing.resize is not None:
        log.warning("this model's processor crops the margins of each picture; the model cannot see what is in them")
    return preprocessing


def _configured(processor: Any) -> Preprocessing:
    """What a processor's settings say, of 8-bit pictures. Raises `ModelError` where framevit cannot do that."""
    try:
        return configured(processor.to_dict())
    except KeyError as error:
        raise ModelError(f"the model's image processor ({type(processor).__name__}) lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the model's image processor ({type(processor).__name__}) cannot be used: {error}",
            "Processors that resize, crop the centre, rescale and normalise RGB pictures are supported",
        ) from None


def own_processor(place: str) -> Any:
    """The processor stored with a model, in a folder or on the hub."""
    # Imported here: processors import torchvision, which takes seconds and is not needed to predict with own models.
    from transformers import AutoImageProcessor

    processor = from_hub(AutoImageProcessor, place).value
    return _of_timm(processor.data_config) if hasattr(processor, "data_config") else processor


def _of_timm(settings: Mapping[str, Any]) -> Any:
    """A processor that does what timm's own configuration says; timm's models have no preprocessor_config.json."""
    _, height, width = settings["input_size"]
    if settings["crop_mode"] not in ("center", "squash"):
        raise ModelError(f"this model's crop_mode {settings['crop_mode']} (timm) is not supported")
    large = tuple(math.floor(side / settings["crop_pct"]) for side in (height, width))
    cut = large[0] if settings["crop_mode"] == "center" else large
    return _plain(
        Preprocessing(
            height,
            width,
            resize=None if cut == (height, width) else cut,
            mean=tuple(settings["mean"]),
            std=tuple(settings["std"]),
            resample=int(Image.Resampling[settings["interpolation"].upper()]),
        )
    )


def describe_to_timm(config: Any, preprocessing: Preprocessing) -> None:
    """Puts the preprocessing into a config of timm's, where transformers' pipeline looks for it.

    Raises `ModelError` where timm cannot do the same.
    """
    p = preprocessing
    if p.pad:
        raise ModelError("data.fit pad: models of timm cannot be given padded pictures", "Set data.fit to squash")
    height = p.resize if isinstance(p.resize, int) else p.resize[0] if p.resize else p.height
    config.pretrained_cfg |= {
        "input_size": [3, p.height, p.width],
        "mean": list(p.mean),
        "std": list(p.std),
        "interpolation": Image.Resampling(p.resample).name.lower(),
        "crop_mode": "center" if isinstance(p.resize, int) else "squash",
        # timm rounds height / crop_pct down; half a pixel more keeps rounding errors away
        "crop_pct": p.height / (height + 0.5) if p.resize else 1.0,
    }


def _check_colours(processor: Any, preprocessing: Preprocessing) -> None:
    """Raises `ModelError` where a processor that is replaced does more to colours than its settings say.

    Pictures of one colour show it whatever their geometry: channels in another order, or normalised twice.
    """
    for colour in ((250, 20, 90), (0, 200, 130)):
        image = Image.new("RGB", (320, 240), colour)
        seen = np.asarray(processor(image, return_tensors="pt")["pixel_values"][0])
        theirs = seen[:, seen.shape[1] // 2, seen.shape[2] // 2]  # the edges may be padding
        ours = normalise(np.full((1, 1, 1, 3), colour, np.uint8), preprocessing)[0, :, 0, 0]
        level = preprocessing.scale / min(preprocessing.std)
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > 2.01 * level:
            raise _not_reproduced(processor)


def _not_reproduced(processor: Any) -> ModelError:
    return ModelError(
        f"{type(processor).__name__} prepares pictures in a way that framevit does not reproduce",
        "Processors that resize, crop the centre, rescale and normalise are supported",
    )


def _check_equivalence(processor: Any, preprocessing: Preprocessing) -> None:
    """Raises `ModelError` unless the preprocessing gives what the processor gives, for a wide and a tall picture."""
    random = np.random.default_rng(0)
    for width, height in ((320, 240), (96, 128)):
        smooth = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = smooth.resize((width, height), Image.Resampling.BICUBIC)
        theirs = np.asarray(processor(image, return_tensors="pt")["pixel_values"][0])
        ours = normalise(resize(image, preprocessing)[None], preprocessing)[0]
        level = preprocessing.scale / min(preprocessing.std)
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > 2.01 * level:
            raise _not_reproduced(processor)
