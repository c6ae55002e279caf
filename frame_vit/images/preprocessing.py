"""From an upright RGB picture to a model's input: region of interest, resizing, centre crop, normalisation.

A `Preprocessing` is stored with the model, so that prediction repeats exactly what the training did, without torch and
without transformers. It does the same as the model's own image processor: `model.processor` compares the two on probe
pictures when it makes one, that is for `prepare`, for a training, and for a model of other software. `normalise` and
`in_view` are the numpy versions of functions in `tensors`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from frame_vit.errors import RowError
from frame_vit.images.decode import MAX_MEGAPIXELS, Decoding, Stored, decode, read_file
from frame_vit.images.geometry import Area, Box, View
from frame_vit.images.pixel_array import Float32, UInt8

Array = TypeVar("Array", UInt8, Float32)
PIXELS_VERSION = 2
"""Raise it with every change of the pixels that `read_picture` gives: cached pictures are keyed by it."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a model's input; stored in framevit.json and never changed for a trained model.

    First the region of interest is cropped. Then there are three ways to `height` x `width`:

    - the whole picture is resized to it, which changes its aspect (squash);
    - with `pad`, the picture is resized as far as it fits in, and stands in the middle of a black ground;
    - with `resize`, the picture is resized to that, and the centre is cropped, as the processors of DeiT, DINOv2 or
      ConvNeXt do. The margin of the frame is lost, so a warning is logged when such a model is loaded.
    """

    height: int
    width: int
    """the model's input in pixels"""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    """per channel, of the scaled values"""
    scale: float = 1 / 255
    """what pixel values 0 to 255 are multiplied by first"""
    resample: int = int(Image.Resampling.BILINEAR)
    """the interpolation, a value of Pillow's `Resampling`"""
    resize: tuple[int, int] | int | None = None
    """(height, width) before the centre crop, or the length of the shorter side"""
    bit_depth: int = 8
    """bits that 16-bit grey pictures really use; with 8, such pictures are refused"""
    roi: tuple[float, float, float, float] | None = None
    """region of interest xyxy, the same for all pictures: shares of the picture if no number is over 1, else pixels"""
    max_megapixels: float = MAX_MEGAPIXELS
    """larger pictures are refused before they are decoded"""
    pad: bool = False
    """whether the picture keeps its aspect, on a black ground"""

    @property
    def decoding(self) -> Decoding:
        """What the first step, from the file to an RGB picture of full size, needs to know."""
        return Decoding(self.bit_depth, self.max_megapixels)

    @property
    def size_text(self) -> str:
        """Width x height, as people read it."""
        return f"{self.width} x {self.height}"

    def to_json(self) -> dict[str, Any]:
        # Without the key where it is not needed: caches and models from before there was padding stay as they are.
        return {key: value for key, value in asdict(self).items() if key != "pad" or value}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocessing:
        frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**frozen)


@dataclass(frozen=True)
class Picture:
    """A picture at the model's size, (height, width, 3) uint8; size of the upright original; how it was stored.

    `sha256` is that of the file's bytes, which a record of predictions names the picture by.
    """

    pixels: UInt8
    width: int
    height: int
    stored: Stored
    sha256: str


def read_picture(source: bytes | Path, preprocessing: Preprocessing) -> Picture:
    """A file or its bytes, decoded to the model's size. Raises `RowError` with the reason if it cannot be used."""
    data = read_file(source) if isinstance(source, Path) else source
    image, stored = decode(data, *preprocessing.decoding)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(seen(image, preprocessing), image.width, image.height, stored, digest)


def seen(image: Image.Image, preprocessing: Preprocessing) -> UInt8:
    """An upright RGB picture of full size as the model sees it, (height, width, 3) uint8."""
    return resize(
        image if preprocessing.roi is None else image.crop(seen_region(image.size, preprocessing)), preprocessing
    )


def seen_region(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """What the model sees of a picture of this (width, height), xyxy: its region of interest, or all of it."""
    return region(preprocessing.roi, size) if preprocessing.roi else (0, 0, *size)


def region(roi: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The region of interest, xyxy in whole pixels, of a picture of this (width, height).

    Raises `RowError` if it is empty or reaches outside the picture.
    """
    width, height = size
    scale = (width, height, width, height) if max(roi) <= 1 else (1, 1, 1, 1)
    x1, y1, x2, y2 = (round(value * by) for value, by in zip(roi, scale, strict=True))
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise RowError(
            f"the region of interest {[x1, y1, x2, y2]} is empty or outside this {width} x {height} picture", "FV105"
        )
    return x1, y1, x2, y2


def resize(image: Image.Image, preprocessing: Preprocessing) -> UInt8:
    """An RGB picture resized, and cropped or padded with black, to the model's size, (height, width, 3) uint8."""
    width, height = preprocessing.width, preprocessing.height
    whole = resized_size(image.size, preprocessing)
    if image.size != whole:
        image = image.resize(whole, Image.Resampling(preprocessing.resample))
    # Both are negative for a picture that is padded: what Pillow crops beyond a picture's edge is black.
    left, top = int((image.width - width) / 2), int((image.height - height) / 2)
    return np.asarray(image if whole == (width, height) else image.crop((left, top, left + width, top + height)))


def placed(box: Box, size: tuple[int, int], preprocessing: Preprocessing) -> Box:
    """A box, xyxy in pixels of an upright picture of this (width, height), in pixels of the model's input.

    What is cropped away has coordinates outside the input.
    """
    left, top, right, bottom = seen_region(size, preprocessing)
    width, height = resized_size((right - left, bottom - top), preprocessing)
    crop_x, crop_y = int((width - preprocessing.width) / 2), int((height - preprocessing.height) / 2)
    scale_x, scale_y = width / (right - left), height / (bottom - top)
    x1, y1, x2, y2 = box
    return (
        (x1 - left) * scale_x - crop_x,
        (y1 - top) * scale_y - crop_y,
        (x2 - left) * scale_x - crop_x,
        (y2 - top) * scale_y - crop_y,
    )


class Sized(Protocol):
    """A picture, or an example, that knows the size of its upright original."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


def padded_areas(pictures: Iterable[Sized], preprocessing: Preprocessing) -> list[Area] | None:
    """What each picture covers of the model's input, whose rest is black ground; None where nothing is padded."""
    if not preprocessing.pad:
        return None
    areas = []
    for picture in pictures:
        x1, y1, x2, y2 = seen_region((picture.width, picture.height), preprocessing)
        width, height = resized_size((x2 - x1, y2 - y1), preprocessing)
        left, top = (preprocessing.width - width) // 2, (preprocessing.height - height) // 2
        areas.append(Area(top, top + height, left, left + width))
    return areas


def turns_distort(size: tuple[int, int], preprocessing: Preprocessing) -> bool:
    """Whether a quarter turn of a picture of this (width, height) is another picture than that of a turned part.

    Where the aspect changes on the way to the model's input, a displacement to the right is stretched by another factor
    than one downwards. A difference of less than a pixel over the whole picture does not count.
    """
    if preprocessing.pad or isinstance(preprocessing.resize, int):
        return False
    left, top, right, bottom = seen_region(size, preprocessing)
    width, height = resized_size(size, preprocessing)
    stretched = width / (right - left) * (bottom - top) / height
    return abs(stretched - 1) * max(width, height) >= 1


def resized_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """The (width, height) that a picture of this (width, height) is resized to before it is cropped or padded."""
    if preprocessing.pad:
        width, height = size
        scale = min(preprocessing.height / height, preprocessing.width / width)
        return max(1, int(width * scale)), max(1, int(height * scale))  # truncated, as in transformers
    if preprocessing.resize is None:
        return preprocessing.width, preprocessing.height
    if isinstance(preprocessing.resize, tuple):
        height, width = preprocessing.resize
        return width, height
    # The longer side is truncated, not rounded, as the processors of transformers do.
    width, height = (int(preprocessing.resize * side / min(size)) for side in size)
    return width, height


def normalise(batch: UInt8, preprocessing: Preprocessing) -> Float32:
    """(N, height, width, 3) uint8 -> (N, 3, height, width) float32, normalised: the model's input."""
    scale = np.float32(preprocessing.scale) / np.asarray(preprocessing.std, np.float32)
    offset = np.asarray(preprocessing.mean, np.float32) / np.asarray(preprocessing.std, np.float32)
    return np.ascontiguousarray((batch * scale - offset).transpose(0, 3, 1, 2))


def in_view(batch: Array, view: View) -> Array:
    """The pictures (N, height, width, C) in a view; quarter turns swap height and width."""
    turned = np.rot90(batch, view.turns, axes=(1, 2)) if view.turns else batch
    return turned[:, :, ::-1] if view.mirror else turned
