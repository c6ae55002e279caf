"""Corruptions of known severity, for robustness curves: light, blur, noise, JPEG, shift, turn. numpy and Pillow only.

All work on pixels at the model's size, (N, height, width, 3) uint8, so that a severity means the same for every camera.
A shift or turn moves the whole picture, frame and terminal alike, so the class does not change. Fixed
severities are also what ImageNet-C uses (Hendrycks and Dietterich, 2019).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from frame_vit.images.pixel_array import UInt8

DIRECTIONS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}


class Corruption(NamedTuple):
    """A kind of corruption at one severity, `level` in `unit`; `apply` maps (N, height, width, 3) uint8 to the same."""

    kind: str
    level: float
    unit: str
    apply: Callable[[UInt8], UInt8]


LEVELS: dict[str, tuple[str, tuple[float, ...]]] = {
    "light": ("times as bright", (0.5, 0.7, 0.85, 1.15, 1.3, 1.6)),
    "blur": ("pixels of blur", (0.5, 1, 2, 4)),
    "noise": ("grey levels of noise", (4, 8, 16, 32)),
    "jpeg": ("JPEG quality", (80, 50, 20, 8)),
    "shift": ("pixels of shift", (1, 2, 3, 4, 6, 8, 12)),
    "turn": ("degrees of turn", (1, 2, 4, 8)),
}
"""By kind: the unit, and the severities that are tried."""


def corruptions() -> Iterator[Corruption]:
    """All corruptions, by kind and severity; shifts and turns in each direction."""
    make = {"light": _light, "blur": _blur, "noise": _noise, "jpeg": _jpeg}
    for kind, (unit, levels) in LEVELS.items():
        for level in levels:
            if kind == "shift":
                for down, across in DIRECTIONS.values():
                    yield Corruption(kind, level, unit, _shift(down * int(level), across * int(level)))
            elif kind == "turn":
                for sign in (1, -1):
                    yield Corruption(kind, level, unit, _turn(sign * level))
            else:
                yield Corruption(kind, level, unit, make[kind](level))


def _light(gain: float) -> Callable[[UInt8], UInt8]:
    table = np.clip(np.round(np.arange(256) * gain), 0, 255).astype(np.uint8)
    return lambda pixels: np.asarray(table[pixels])


def _noise(deviation: float) -> Callable[[UInt8], UInt8]:
    def apply(pixels: UInt8) -> UInt8:
        # A fixed seed, so that two models are compared on the same noisy pictures.
        random, noisy = np.random.default_rng(0), np.empty_like(pixels)
        for picture, out in zip(pixels, noisy, strict=True):
            noise = deviation * random.standard_normal(picture.shape, np.float32)
            out[:] = np.clip(np.round(picture + noise), 0, 255)
        return noisy

    return apply


def _blur(radius: float) -> Callable[[UInt8], UInt8]:
    return _each(lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def _jpeg(quality: float) -> Callable[[UInt8], UInt8]:
    def compressed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(quality))
        with Image.open(buffer) as opened:
            return opened.convert("RGB")

    return _each(compressed)


def _turn(degrees: float) -> Callable[[UInt8], UInt8]:
    def turned(image: Image.Image) -> Image.Image:
        # The corners repeat the edge, as after a shift; black corners would be a corruption of their own.
        margin = max(image.size)
        padded = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), "edge")
        whole = Image.fromarray(padded).rotate(degrees, Image.Resampling.BILINEAR)
        return whole.crop((margin, margin, margin + image.width, margin + image.height))

    return _each(turned)


def _shift(down: int, across: int) -> Callable[[UInt8], UInt8]:
    def apply(pixels: UInt8) -> UInt8:
        height, width = pixels.shape[1:3]
        rows = np.clip(np.arange(height) - down, 0, height - 1)
        columns = np.clip(np.arange(width) - across, 0, width - 1)
        return np.asarray(pixels[:, rows][:, :, columns])

    return apply


def _each(change: Callable[[Image.Image], Image.Image]) -> Callable[[UInt8], UInt8]:
    return lambda pixels: np.stack([np.asarray(change(Image.fromarray(picture))) for picture in pixels])
