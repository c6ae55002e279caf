"""What single file formats need beside Pillow's decoding, so that no damaged or deep picture is taken for a good one.

- PNG: pixels are complete only if the compressed stream is as long as the picture; texts beside them are never read.
- PPM, PGM: Pillow stretches values to 16 bits; the file's own values are given back.
- TIFF: libtiff says on stderr what it repairs, and Pillow goes on; raw files of cameras are TIFFs that begin with a
  preview.
- Files that Pillow does not open are named by their first bytes.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from frame_vit.errors import RowError

PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel of a PNG by its colour type."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row and the steps of the passes of an interlaced PNG (PNG specification, 8.2)."""
_REDUCED = 254
"""The TIFF tag NewSubfileType, whose lowest bit says that there is a larger version of the picture in the file."""
_OPENED = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|BM....\0\0\0\0", re.DOTALL)
"""How files of the formats begin that are opened."""
_OTHERS = {
    "HEIC": rb"....ftyp(hei|hev|mif|msf)",
    "AVIF": rb"....ftypavi",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "Photoshop": rb"8BPS",
    "SVG": rb"(<\?xml[^>]*>\s*)?<svg",
    "icon": rb"\0\0\x01\0",
}
"""How pictures of some other formats begin."""
FORMAT_OF = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".jif": "JPEG", ".png": "PNG"}
FORMAT_OF |= {".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".gif": "GIF"}
FORMAT_OF |= {".ppm": "PPM", ".pgm": "PPM"}
"""The endings of the files that are read, with Pillow's name of the format that each stands for."""
_stderr = threading.Lock()


def misnamed(name: str, stored_format: str) -> bool:
    """Whether a file's extension, if it is one of a picture, stands for another format than the file's."""
    actual = stored_format.replace("MPO", "JPEG")  # phones write MPO: a JPEG with a second picture behind it
    return FORMAT_OF.get("." + name.rpartition(".")[2].lower(), actual) != actual


def begins_like_a_picture(head: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a format that is read; a PPM begins too much like a text."""
    return _OPENED.match(head) is not None


def unidentified(data: bytes) -> RowError:
    """The reason why a file is refused that Pillow does not open."""
    if begins_like_a_picture(data):
        return RowError("damaged picture: its header cannot be read, or is of a kind that is not supported", "FV102")
    for name, start in _OTHERS.items():
        if re.match(start, data, re.DOTALL):
            return RowError(f"a picture in the format {name}, which is not read; save it as JPEG or PNG", "FV104")
    return RowError(f"not a picture (it starts with {data[:12]!r})", "FV103")


def is_preview(image: ImageFile.ImageFile) -> bool:
    """Whether an opened picture is a TIFF that says that it is the small version of another picture in the file."""
    return image.format == "TIFF" and bool(int(getattr(image, "tag_v2", {}).get(_REDUCED, 0)) & 1)


def without_texts(data: bytes) -> bytes:
    """A PNG without its text chunks: Pillow decompresses all, and refuses a picture with more than 1 MB of them."""
    if not data.startswith(PNG) or not any(text in data for text in _TEXTS):
        return data
    return PNG + b"".join(data[start:end] for kind, start, end in _chunks(data) if kind not in _TEXTS)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of every chunk of a PNG; what is left of the file after a damaged length is the last one."""
    at = len(PNG)
    while at < len(data):
        end = min(at + 12 + int.from_bytes(data[at : at + 4]), len(data))
        yield data[at + 4 : at + 8], at, end
        at = end


def check_png(data: bytes, image: Image.Image) -> None:
    """Raises `RowError` where the compressed stream of a decoded PNG ends before its pixels do.

    Pillow leaves the rest black. Only where the last row is black is the length of the stream counted.
    """
    depth, colour, interlaced = data[24], data[25], data[28]
    if not interlaced and np.asarray(image.crop((0, image.height - 1, *image.size))).any():
        return
    sizes = [image.size]
    if interlaced:
        sizes = [(-(-(image.width - x) // dx), -(-(image.height - y) // dy)) for x, y, dx, dy in _ADAM7]
    bits = depth * _CHANNELS.get(colour, 1)
    needed = sum(height * (1 + -(-width * bits // 8)) for width, height in sizes if width > 0 and height > 0)
    stream, length = zlib.decompressobj(), 0
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            part = stream.decompress(data[start + 8 : end - 4], needed)
            length += len(part)
            while stream.unconsumed_tail and length < needed:
                length += len(stream.decompress(stream.unconsumed_tail, needed))
    if length < needed:
        raise RowError("damaged picture: its pixels end too early", "FV102")


def check_tiff(messages: list[str]) -> None:
    """Raises `RowError` with what libtiff said while it decoded; its mere warnings are switched off by Pillow."""
    if messages:
        raise RowError(f"damaged picture: {messages[0]}", "FV102")


@contextmanager
def libtiff_messages() -> Iterator[list[str]]:
    """Gathers what C code writes to the process's stderr while the block runs, which would reach the terminal.

    There is no other way to learn what libtiff repaired. One thread at a time.
    """
    messages: list[str] = []
    with _stderr, tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said = file.read(10_000).decode("utf-8", "replace").splitlines()
            messages += [re.sub(r"^[^:]*\.tif: ", "", line).rstrip(". ") for line in said if line.strip()]


def undo_stretching(image: Image.Image, maxval: int) -> NDArray[np.int64]:
    """The file's own values (height, width) of a PGM that Pillow stretched from `maxval` to 65535."""
    return np.round(np.asarray(image).astype(np.float64) * (maxval / 65535)).astype(np.int64)


def maxval(image: ImageFile.ImageFile) -> int:
    """The largest value that an opened PPM or PGM declares; 0 for other formats, and where it is 8 bits."""
    if image.format != "PPM" or not image.tile:
        return 0
    arguments = image.tile[0].args
    if isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 255:
        return arguments[-1]
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    return 65535 if str(raw).startswith("I;16") else 0
