"""preprocessor_config.json: the preprocessing that a Hugging Face image processor is configured for. No transformers.

`model.processor` makes a `Preprocessing` of a processor with it, and `model.metadata` compares the file beside a
model's weights with framevit.json: both describe how pictures are prepared, and other software reads only this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from frame_vit.decision.json_values import parsed
from frame_vit.errors import DamagedModelError
from frame_vit.images.preprocessing import Preprocessing

PROCESSOR_FILE = "preprocessor_config.json"


def configured(settings: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of 8-bit pictures that a processor's settings stand for.

    Raises `KeyError`, `TypeError` or `ValueError` where they do not say it.
    """
    if not settings.get("do_resize", True):
        raise ValueError("do_resize is false, but a model takes pictures of one size")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize"):
        mean, std = (_of_rgb(settings, key) for key in ("image_mean", "image_std"))
    return Preprocessing(
        **_geometry(settings, settings.get("size") or {}),
        mean=mean,
        std=std,
        scale=settings["rescale_factor"] if settings.get("do_rescale") else 1.0,
        resample=int(settings["resample"]),
    )


def check_agreement(folder: Path, preprocessing: Preprocessing, metadata_file: str) -> None:
    """Raises `DamagedModelError` unless a model folder's preprocessor_config.json describes this preprocessing."""
    path = folder / PROCESSOR_FILE
    try:
        found = configured(parsed(path.read_text(encoding="utf-8")).values)
    except FileNotFoundError:
        raise DamagedModelError(
            f"{folder}: {PROCESSOR_FILE} is missing, which belongs beside the weights",
            "Copy the whole model folder again",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedModelError(f"{path}: damaged: {error}", "Copy the whole model folder again") from None
    of_camera = {key: getattr(preprocessing, key) for key in ("bit_depth", "roi", "max_megapixels")}
    if replace(found, **of_camera) != preprocessing:
        described, stored = asdict(found), asdict(preprocessing)
        keys = [key for key, value in stored.items() if described[key] != value and key not in of_camera]
        raise DamagedModelError(
            f"{path} and {metadata_file} beside it describe different preprocessing ({', '.join(keys)})",
            "Copy both from the same model folder",
        )


def _of_rgb(settings: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    values = settings[key]
    if len(values) != 3:
        raise ValueError(f"{key} is for pictures of {len(values)} channel(s), but framevit gives pictures of 3, in RGB")
    red, green, blue = values
    return red, green, blue


def _geometry(settings: Mapping[str, Any], size: Mapping[str, int]) -> dict[str, Any]:
    """height, width, resize and pad of `Preprocessing` from a processor's size, crop_size and crop_pct."""
    crop = {**settings["crop_size"]} if settings.get("do_center_crop") else None
    if "max_height" in size:  # a crop that is larger than the picture pads it with black
        if crop != {"height": size["max_height"], "width": size["max_width"]}:
            raise ValueError("pictures of another aspect have another size; do_center_crop with that size is needed")
        return {**crop, "pad": True}
    if "height" in size:
        height, width = size["height"], size["width"]
        return {"height": height, "width": width} if crop is None else {**crop, "resize": (height, width)}
    edge = size["shortest_edge"]
    if crop is not None:
        return {**crop, "resize": edge}
    share = settings.get("crop_pct")
    if share is None or edge >= 384:  # ConvNeXt's processor crops only below 384 pixels
        return {"height": edge, "width": edge}
    return {"height": edge, "width": edge, "resize": int(edge / share)}
