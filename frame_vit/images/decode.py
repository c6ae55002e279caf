"""From an encoded file to an upright RGB picture of full size. Pillow and numpy only.

`framevit prepare`, training, evaluation and prediction all decode here, so a model sees at work what it saw in
training. Every decision about file formats is made in this module, once:

- The EXIF orientation is applied; colour profiles are not.
- Grey, 1-bit, palette and CMYK pictures become RGB as Pillow converts them; transparency is laid on white.
- 16-bit grey is scaled by the declared bit depth and refused without one: `convert("RGB")` would clip it to white.
- Only the formats in FORMATS are tried, and only pictures up to a size are decoded.
- A file that is cut off or damaged is an error, also where the decoder could fill the gap (`jpeg`, `formats`).

What comes after, from the region of interest to the normalised array, is in `preprocessing`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from frame_vit.errors import RowError
from frame_vit.images.formats import (
    FORMAT_OF,
    check_png,
    check_tiff,
    is_preview,
    libtiff_messages,
    maxval,
    undo_stretching,
    unidentified,
    without_texts,
)
from frame_vit.images.jpeg import jpeg_pixels

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
SUFFIXES = tuple(FORMAT_OF)
MAX_MEGAPIXELS = 100.0
"""The default of `data.max_megapixels`. A picture of this size takes about 0.7 GB while it is decoded."""
BAND = 8_000_000
"""Pixels that are converted to RGB at once, which bounds the memory of large pictures."""
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


class TooLargeError(RowError):
    """A picture of this size (width, height) in pixels, which is more than is allowed."""

    def __init__(self, size: tuple[int, int], allowed: float) -> None:
        self.size, self.megapixels = size, size[0] * size[1] / 1e6
        super().__init__(
            f"{size[0]} x {size[1]} pixels, more than the {allowed:g} megapixels that are allowed; save it smaller, or "
            "train with a larger data.max_megapixels",
            "FV104",
        )


class Decoding(NamedTuple):
    """What decoding needs to know of a camera: the arguments of `decode` besides the file."""

    bit_depth: int = 8
    max_megapixels: float = MAX_MEGAPIXELS


def open_rgb(source: bytes | Path, bit_depth: int = 8, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """An upright RGB picture of full size. Raises `RowError` with the reason if it cannot be read."""
    return decode(source, bit_depth, max_megapixels).image


def decode(source: bytes | Path, bit_depth: int = 8, max_megapixels: float = MAX_MEGAPIXELS) -> DecodedImage:
    """Decodes a file or its bytes; `bit_depth` is the number of bits that 16-bit pictures really use.

    Raises `RowError` with the reason, and the code of the finding, if the picture cannot be used.
    """
    data = read_file(source) if isinstance(source, Path) else source
    if not data:
        raise RowError("empty file")
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit lies below what max_megapixels may allow
    try:
        with Image.open(io.BytesIO(without_texts(data)), formats=FORMATS) as image:
            _check_kind(image, max_megapixels)
            several = _several(image)  # before loading, because it seeks to the second picture and back
            depth = maxval(image)
            pixels = _pixels(image, data)
            upright = _upright(pixels)
            stored = Stored(image.format or "", image.mode, upright is not pixels, several)
            return DecodedImage(_to_rgb(upright, bit_depth, depth), stored)
    except UnidentifiedImageError:
        raise unidentified(data) from None
    except MemoryError:
        raise RowError("not enough memory to decode this picture; save it smaller", "FV104") from None
    except RowError:
        raise
    except Exception as error:  # for a damaged file, Pillow raises errors of many kinds
        raise RowError(f"damaged picture: {error}", "FV102") from None


def _check_kind(image: ImageFile.ImageFile, max_megapixels: float) -> None:
    """Raises `RowError` for an opened picture that is too large, or of which decoding would lose a part."""
    if image.width * image.height > max_megapixels * 1e6:
        raise TooLargeError(image.size, max_megapixels)
    raw_mode = str(image.tile[0][3] if image.tile else "")
    # The 16 bits of a BMP are those of a whole pixel.
    deep_colour = (";16" in raw_mode and image.format != "BMP") or maxval(image) > 0
    if deep_colour and not image.mode.startswith("I"):
        raise RowError(
            "a 16-bit colour picture, of which only the upper bits would be read; save it with 8 bits", "FV104"
        )
    if is_preview(image):
        raise RowError("its first picture is only a preview, as in raw files; save it as JPEG or PNG", "FV104")


def _pixels(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """The decoded picture, with its EXIF tags. Raises `RowError` for a damaged file that Pillow alone would accept."""
    if image.format in ("JPEG", "MPO"):
        array = jpeg_pixels(data, image.mode)
        if array is not None and image.mode != "CMYK":  # Pillow knows which CMYK is stored inverted
            decoded = Image.fromarray(array)
            decoded.info = image.info
            return decoded
    if image.format == "TIFF":
        with libtiff_messages() as messages:
            image.load()
        check_tiff(messages)
        return image
    image.load()
    if image.format == "PNG":
        check_png(data, image)
    return image


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


def _to_rgb(image: Image.Image, bit_depth: int, depth: int) -> Image.Image:
    """The picture in RGB; `depth` is the largest value that a PGM declares, else 0."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return _deep_grey(undo_stretching(image, depth) if depth else np.asarray(image), bit_depth)
    if image.mode == "F":
        raise RowError("floating-point pixels; save it with 8 or 16 bits", "FV104")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    rows = max(1, BAND // max(1, image.width))
    if rows >= image.height:
        return _band_to_rgb(image)
    whole = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        whole.paste(_band_to_rgb(band), (0, top))
    return whole


def _band_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _deep_grey(values: NDArray[Any], bit_depth: int) -> Image.Image:
    """Values (height, width) of more than 8 bits, scaled to RGB by the number of bits that are used."""
    if bit_depth == 8:
        raise RowError(
            "a 16-bit picture; train with data.bit_depth set to the bits that are used (10, 12, 14 or 16)", "FV104"
        )
    top = 2**bit_depth - 1
    if values.min() < 0 or values.max() > top:
        raise RowError(
            f"pixel values from {values.min()} to {values.max()} do not fit data.bit_depth = {bit_depth}", "FV104"
        )
    grey = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    return Image.fromarray(grey[values]).convert("RGB")
