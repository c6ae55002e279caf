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

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from frame_vit.errors import RowError

if TYPE_CHECKING:
    pass  # importing it takes 20 ms of the start of `predict`


# Pillow registers its rarer formats only when asked for all of them; these two are asked for by importing them.
FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "PPM",
    TiffImagePlugin.TiffImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
)
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
MAX_PIXELS = 150_000_000
"""Larger pictures are refused before a byte of them is decoded (12,000 x 12,000 still passes)."""
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""
TURNED = range(2, 9)
"""Its values that turn or mirror a picture; many programs write others, such as 0."""


class Stored(NamedTuple):
    """How a picture lies in its file: format, Pillow's colour mode, turned by its EXIF tag, more pictures behind it."""

    format: str = ""
    mode: str = ""
    turned: bool = False
    several: bool = False


def open_rgb(source: bytes | Path, bit_depth: int = 8) -> Image.Image:
    """An upright RGB picture of full size. Raises `RowError` with the reason where it can't be read."""
    return _opened(source, bit_depth)[0]


def _opened(source: bytes | Path, bit_depth: int) -> tuple[Image.Image, Stored]:
    data = read_file(source) if isinstance(source, Path) else source
    if not data:
        raise RowError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RowError(f"{image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} allowed", "FV104")
            if ";16" in str(image.tile[0][3] if image.tile else "") and not image.mode.startswith("I"):
                raise RowError(
                    "a 16-bit colour picture, of which only the upper bits would be read; save it as 8 bit", "FV104"
                )
            several = _several(image)  # before loading: it looks at the second frame and goes back
            image.load()
            upright = _upright(image)
            stored = Stored(image.format or "", image.mode, upright is not image, several)
            return _to_rgb(upright, bit_depth), stored
    except UnidentifiedImageError:
        raise RowError(f"not a picture (it starts with {data[:12]!r})", "FV103") from None
    except Image.DecompressionBombError:
        raise RowError(f"more than the {MAX_PIXELS:,} pixels allowed", "FV104") from None
    except RowError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file makes it stumble over
        raise RowError(f"damaged picture: {error}", "FV102") from None


def read_bytes(source: Path | Callable[[], bytes]) -> bytes:
    """The bytes of a file, or of what gives them. Raises `RowError` with the reason where it can't be read."""
    return read_file(source) if isinstance(source, Path) else source()


def read_file(path: Path) -> bytes:
    """The bytes of a plain file; a FIFO or a device would block for ever. Raises `RowError` with the reason."""
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
        raise RowError(f"not a file's name: {error}") from None


def _several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second picture does not concern the first
        image.seek(0)
        return True


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION) in TURNED else image
    except Exception:  # damaged EXIF says nothing about the pixels, and Pillow raises many kinds for it
        return image


def _to_rgb(image: Image.Image, bit_depth: int) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return _deep_grey(image, bit_depth)
    if image.mode == "F":
        raise RowError("floating-point pixels; save it as 8 or 16 bit", "FV104")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # converting what is RGB would copy it


def _deep_grey(image: Image.Image, bit_depth: int) -> Image.Image:
    values = np.asarray(image)
    if bit_depth == 8:
        raise RowError(
            "a 16-bit picture; data.bit_depth of the training says how many bits are used (10, 12, 14 or 16)", "FV104"
        )
    top = 2**bit_depth - 1
    if values.min() < 0 or values.max() > top:
        raise RowError(
            f"pixel values from {values.min()} to {values.max()} do not fit data.bit_depth {bit_depth}", "FV104"
        )
    grey = np.round(values * (255 / top)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
