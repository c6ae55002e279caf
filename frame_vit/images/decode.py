"""From an encoded file to an upright RGB picture of full size. Pillow and numpy only.

`framevit prepare`, training, evaluation and prediction all decode here, so a model sees at work what it saw in
training. Every decision about file formats is made in this module, once:

- The EXIF orientation is applied; colour profiles are not.
- Grey, 1-bit, palette and CMYK pictures become RGB as Pillow converts them; transparency is laid on white.
- 16-bit grey is scaled by the declared bit depth and refused without one: `convert("RGB")` would clip it to white.
- Only the formats in FORMATS are tried and at most MAX_PIXELS are decoded; a truncated file is an error.

What comes after, from the region of interest to the normalised array, is in `preprocessing`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from frame_vit.errors import RowError

# Pillow loads the plugins of its rarer formats only on `Image.init()`, which loads all; importing two is faster.
FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "PPM",
    TiffImagePlugin.TiffImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
)
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm",
)  # fmt: skip
MAX_PIXELS = 150_000_000
"""Larger pictures are refused before any of them is decoded; 12,000 x 12,000 is still accepted."""
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""
TURNED = range(2, 9)
"""Values of the tag that turn or mirror a picture; many programs write others, such as 0."""


class Stored(NamedTuple):
    """How a picture is stored in its file: the format and the colour mode, both as Pillow names them."""

    format: str = ""
    mode: str = ""
    turned: bool = False
    """whether the EXIF tag turns or mirrors it"""
    several: bool = False
    """whether the file holds further pictures, which are not read"""


class DecodedImage(NamedTuple):
    """An upright RGB picture of full size, and how it was stored."""

    image: Image.Image
    stored: Stored


def open_rgb(source: bytes | Path, bit_depth: int = 8) -> Image.Image:
    """An upright RGB picture of full size. Raises `RowError` with the reason if it cannot be read."""
    return decode(source, bit_depth).image


def decode(source: bytes | Path, bit_depth: int) -> DecodedImage:
    """Decodes a file or its bytes; `bit_depth` is the number of bits that 16-bit grey pictures really use.

    Raises `RowError` with the reason, and the code of the finding, if the picture cannot be used.
    """
    data = read_file(source) if isinstance(source, Path) else source
    if not data:
        raise RowError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RowError(
                    f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are allowed, so save it smaller",
                    "FV104",
                )
            if ";16" in str(image.tile[0][3] if image.tile else "") and not image.mode.startswith("I"):
                raise RowError(
                    "a 16-bit colour picture, of which only the upper bits would be read; save it with 8 bits",
                    "FV104",
                )
            several = _several(image)  # before loading, because it seeks to the second picture and back
            image.load()
            upright = _upright(image)
            stored = Stored(image.format or "", image.mode, upright is not image, several)
            return DecodedImage(_to_rgb(upright, bit_depth), stored)
    except UnidentifiedImageError:
        raise RowError(f"not a picture (it starts with {data[:12]!r})", "FV103") from None
    except Image.DecompressionBombError:
        raise RowError(f"more than the {MAX_PIXELS:,} pixels that are allowed", "FV104") from None
    except RowError:
        raise
    except Exception as error:  # for a damaged file, Pillow raises errors of many kinds
        raise RowError(f"damaged picture: {error}", "FV102") from None


def read_bytes(source: Path | Callable[[], bytes]) -> bytes:
    """The bytes of a file, or those that a function returns. Raises `RowError` with the reason if that fails."""
    return read_file(source) if isinstance(source, Path) else source()


def read_file(path: Path) -> bytes:
    """The bytes of a plain file. Raises `RowError` for anything else: a pipe or a device could block for ever."""
    try:
        if path.is_dir():
            raise RowError("a folder, not a picture")
        if not path.exists():
            raise RowError("no such file")
        if not path.is_file():
            raise RowError("not a plain file")
        return path.read_bytes()
    except OSError as error:
        raise RowError(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RowError(f"not a possible file name: {error}") from None


def _several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # if the second picture is damaged, the first may still be fine
        image.seek(0)
        return True


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION) in TURNED else image
    except Exception:  # damaged EXIF does not affect the pixels; Pillow raises errors of many kinds for it
        return image


def _to_rgb(image: Image.Image, bit_depth: int) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return _deep_grey(image, bit_depth)
    if image.mode == "F":
        raise RowError("floating-point pixels; save it with 8 or 16 bits", "FV104")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # converting RGB to RGB would only copy it


def _deep_grey(image: Image.Image, bit_depth: int) -> Image.Image:
    values = np.asarray(image)  # (height, width)
    if bit_depth == 8:
        raise RowError(
            "a 16-bit picture; train with data.bit_depth set to the bits that are used (10, 12, 14 or 16)", "FV104"
        )
    top = 2**bit_depth - 1
    if values.min() < 0 or values.max() > top:
        raise RowError(
            f"pixel values from {values.min()} to {values.max()} do not fit data.bit_depth = {bit_depth}", "FV104"
        )
    grey = np.round(values * (255 / top)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
