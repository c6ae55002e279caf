"""One pixel path: encoded picture -> RGB -> uint8 of the model's size -> what the model reads. Pillow and numpy only.

prepare, train, evaluate and predict all come through here, so that a model is fed at work as it was in training, and a
line PC needs no torch for it. What the path does is what the model's own processor does (`model.pixels_of` proves it
on probe pictures when a model is loaded); what happens before the processor's part is decided here, once:

- EXIF orientation is applied; colour profiles are not.
- grey, 1-bit, palette, CMYK become RGB as Pillow converts them; transparency is laid on white.
- 16-bit grey is scaled by the declared bit depth, and refused without one: `convert("RGB")` would clip it to white.
- only the formats in FORMATS are tried, at most MAX_PIXELS are decoded, a truncated file is an error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from frame_vit.errors import RowError
from frame_vit.images.decode import Stored, _opened
from frame_vit.images.geometry import Box, View
from frame_vit.images.pixel_array import Float32, UInt8

if TYPE_CHECKING:
    pass  # importing it takes 20 ms of the start of `predict`

PIXELS_VERSION = 1
"""Raise it with every change of the pixels that `read_picture` gives: cached pictures are keyed by it."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a model's input; stored in framevit.json and fixed for the life of a model.

    The whole picture is resized to height x width. With `resize` it is first resized to that (height, width), or its
    shorter side to that many pixels, and height x width is cut from the middle: what the processors of DeiT, DINOv2
    or ConvNeXt do. A cut loses the margin of the frame, so loading such a model says so. Before all that the region of
    interest `roi` is cut out, xyxy, the same for all pictures: in shares of the picture if no number is over 1, else in
    pixels.
    """

    height: int
    width: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    scale: float = 1 / 255
    resample: int = int(Image.Resampling.BILINEAR)
    resize: tuple[int, int] | int | None = None
    bit_depth: int = 8
    roi: tuple[float, float, float, float] | None = None

    @property
    def size_text(self) -> str:
        """Width and height, for people."""
        return f"{self.width} x {self.height}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocessing:
        frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**frozen)


@dataclass(frozen=True)
class Picture:
    """A decoded picture at the model's size, (height, width, 3) uint8, and its own size after EXIF orientation."""

    pixels: UInt8
    width: int
    height: int
    stored: Stored


def read_picture(source: bytes | Path, preprocessing: Preprocessing) -> Picture:
    """Encoded bytes or a file as the model will see it. Raises `RowError` with the reason where it can't be read."""
    image, stored = _opened(source, preprocessing.bit_depth)
    return Picture(seen(image, preprocessing), image.width, image.height, stored)


def seen(image: Image.Image, preprocessing: Preprocessing) -> UInt8:
    """What a model sees of an upright RGB picture of full size, (height, width, 3) uint8."""
    return resize(
        image if preprocessing.roi is None else image.crop(region(preprocessing.roi, image.size)), preprocessing
    )


def region(roi: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The region of interest in whole pixels, xyxy, of a picture of this (width, height).

    Raises `RowError` where it does not lie within the picture or is empty.
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
    """An RGB picture at the model's size, (height, width, 3) uint8."""
    size = (preprocessing.width, preprocessing.height)
    whole = resized_size(image.size, preprocessing)
    if image.size != whole:
        image = image.resize(whole, Image.Resampling(preprocessing.resample))
    left, top = int((whole[0] - size[0]) / 2), int((whole[1] - size[1]) / 2)
    return np.asarray(image if whole == size else image.crop((left, top, left + size[0], top + size[1])))


def placed(box: Box, size: tuple[int, int], preprocessing: Preprocessing) -> Box:
    """Where a box, xyxy in pixels of an upright picture of this (width, height), lies in the model's input.

    What is outside of the region of interest or cut off lies outside.
    """
    left, top, right, bottom = region(preprocessing.roi, size) if preprocessing.roi else (0, 0, *size)
    seen = (right - left, bottom - top)
    whole = resized_size(seen, preprocessing)
    cut = int((whole[0] - preprocessing.width) / 2), int((whole[1] - preprocessing.height) / 2)
    x, y = whole[0] / seen[0], whole[1] / seen[1]
    x1, y1, x2, y2 = box
    return (x1 - left) * x - cut[0], (y1 - top) * y - cut[1], (x2 - left) * x - cut[0], (y2 - top) * y - cut[1]


def resized_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """The (width, height) that a picture of this (width, height) is resized to, before anything is cut."""
    if preprocessing.resize is None:
        return preprocessing.width, preprocessing.height
    if isinstance(preprocessing.resize, tuple):
        return preprocessing.resize[1], preprocessing.resize[0]
    # The processors truncate the longer side.
    width, height = (int(preprocessing.resize * side / min(size)) for side in size)
    return width, height


def normalise(batch: UInt8, preprocessing: Preprocessing) -> Float32:
    """(N, height, width, 3) uint8 -> (N, 3, height, width) float32 as the model reads it."""
    scale = np.float32(preprocessing.scale) / np.asarray(preprocessing.std, np.float32)
    offset = np.asarray(preprocessing.mean, np.float32) / np.asarray(preprocessing.std, np.float32)
    return np.ascontiguousarray((batch * scale - offset).transpose(0, 3, 1, 2))


def laid(batch: UInt8, view: View) -> UInt8:
    """(N, height, width, 3) as the view lays the pictures; quarter turns swap height and width."""
    turned = np.rot90(batch, view.turns, axes=(1, 2)) if view.turns else batch
    return turned[:, :, ::-1] if view.mirror else turned
