"""Picture files that are written byte by byte, because Pillow does not write them: odd, but as their formats allow."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from tests.images.test_decode import encoded
from tests.images.test_formats import chunk

PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
"""The first column, the first row and the steps of each pass of an interlaced PNG."""
START_OF_SCAN, END = b"\xff\xda", b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def beginning_with(segments: bytes, jpeg: bytes) -> bytes:
    """A JPEG with further segments at its beginning."""
    return jpeg[:2] + segments + jpeg[2:]


def scan_by_scan(image: Image.Image, **options: object) -> bytes:
    """A JPEG with a scan of its own, and Huffman tables of its own, for brightness and each of the two colours."""
    parts, tables = [], b""
    for number, band in enumerate(image.convert("YCbCr").split(), 1):
        grey = encoded(band, "JPEG", **options)
        scan = grey.index(START_OF_SCAN)
        huffman = grey[grey.index(b"\xff\xc4") : scan]
        tables = grey[grey.index(b"\xff\xdb") : grey.index(b"\xff\xc0")]
        parts.append(huffman + segment(0xDA, bytes([1, number, 0, 0, 63, 0])) + grey[scan + 10 : -2])
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    frame = segment(0xC0, struct.pack(">BHHB", 8, image.height, image.width, 3) + components)
    return b"\xff\xd8" + tables + frame + b"".join(parts) + END


def packed(rows: np.ndarray, bits: int) -> bytes:
    """Rows of values below 2 ** bits, packed from the left, each begun at a whole byte and led by filter 0 of PNG."""
    single = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
    lines = np.packbits(single.reshape(len(rows), -1), axis=1)
    return b"".join(b"\0" + line.tobytes() for line in lines)


def low_png(image: Image.Image, bits: int, palette: bool, interlaced: bool) -> bytes:
    """A PNG of 1, 2 or 4 bits, grey or with a palette."""
    values = np.asarray(image.convert("L")) >> (8 - bits)
    parts = [values[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [values]
    stream = zlib.compress(b"".join(packed(part, bits) for part in parts if part.size))
    header = struct.pack(">IIBBBBB", *image.size, bits, 3 if palette else 0, 0, 0, int(interlaced))
    colours = chunk(b"PLTE", bytes(range(3 * 2**bits))) if palette else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colours + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def in_chunks(png: bytes, size: int, behind: bytes = b"") -> bytes:
    """A PNG of one IDAT chunk, with its stream, and further bytes behind that, cut into chunks of this size."""
    at = png.index(b"IDAT") - 4
    length = int.from_bytes(png[at : at + 4])
    stream = png[at + 8 : at + 8 + length] + behind
    parts = [chunk(b"IDAT", stream[start : start + size]) for start in range(0, len(stream), size)]
    return png[:at] + b"".join(parts) + png[at + 12 + length :]


def bmp(
    image: Image.Image, bits: int, compression: int, pixels: bytes, palette: bytes = b"", masks: bytes = b""
) -> bytes:
    """A BMP with the header of Windows 3."""
    offset = 54 + len(masks) + len(palette)
    header = struct.pack(
        "<IiiHHIIiiII",
        *(40, image.width, image.height, 1, bits, compression, len(pixels), 2835, 2835, len(palette) // 4, 0),
    )
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + masks + palette + pixels


def bmp_rows(array: np.ndarray) -> bytes:
    """Rows from the bottom up, each filled to whole four bytes."""
    lines = [row.tobytes() for row in array[::-1]]
    return b"".join(line + bytes(-len(line) % 4) for line in lines)


def bmps(image: Image.Image) -> dict[str, bytes]:
    """Every depth of BMP that Pillow does not write, and both kinds of run-length encoding."""
    red, green, blue = (np.asarray(image)[..., i].astype(np.uint16) for i in range(3))
    blank = np.zeros_like(red)
    few = image.quantize(16)
    index = np.asarray(few)
    palette = b"".join(bytes([*colour[::-1], 0]) for colour in few.palette.colors)  # type: ignore[union-attr]
    wide = np.pad(index, ((0, 0), (0, image.width % 2)))
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F), struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    colours = np.stack([blue, green, red, blank], axis=2).astype(np.uint8)
    half = "<u2"
    return {
        "BMP of 4 bits": bmp(image, 4, 0, bmp_rows(wide[:, ::2] << 4 | wide[:, 1::2]), palette),
        "BMP of 15 bits": bmp(image, 16, 0, bmp_rows((red >> 3 << 10 | green >> 3 << 5 | blue >> 3).astype(half))),
        "BMP of 16 bits": bmp(
            image, 16, 3, bmp_rows((red >> 3 << 11 | green >> 2 << 5 | blue >> 3).astype(half)), masks=masks[0]
        ),
        "BMP of 32 bits": bmp(image, 32, 0, bmp_rows(colours)),
        "BMP of 32 bits with masks": bmp(image, 32, 3, bmp_rows(colours), masks=masks[1]),
        "BMP, RLE of 8 bits": bmp(image, 8, 1, runs(index, 1), palette),
        "BMP, RLE of 4 bits": bmp(image, 4, 2, runs(index, 17), palette),
    }


def runs(index: np.ndarray, factor: int) -> bytes:
    """Run-length encoding of a BMP, each run one pixel; factor 17 doubles the value for two pixels in a byte."""
    rows = (b"".join(bytes([1, int(value) * factor]) for value in row) + b"\0\0" for row in index[::-1])
    return b"".join(rows) + b"\0\1"


def tiff(
    image: Image.Image, order: str = "<", tile: int = 0, strip: int = 0, squeezed: bool = False, apart: bool = False
) -> bytes:
    """A TIFF in strips of some rows or in square tiles, in either byte order; `apart` stores colour after colour."""
    array = np.asarray(image).reshape(image.height, image.width, -1)
    samples = array.shape[2]
    planes = [array[..., i : i + 1] for i in range(samples)] if apart else [array]
    parts = [part for plane in planes for part in _parts(plane, tile, strip or image.height)]
    data = [zlib.compress(part) if squeezed else part for part in parts]
    offsets = [8 + sum(map(len, data[:i])) for i in range(len(data))]
    end = 8 + sum(map(len, data))
    end += end % 2
    tags: list[tuple[int, int, list[int]]] = [
        (256, 3, [image.width]),
        (257, 3, [image.height]),
        (258, 3, [8] * samples),
        (259, 3, [8 if squeezed else 1]),
        (262, 3, [2 if samples == 3 else 1]),
        *([] if tile else [(273, 4, offsets)]),
        (277, 3, [samples]),
        *([] if tile else [(278, 3, [strip or image.height]), (279, 4, [len(part) for part in data])]),
        (284, 3, [2 if apart else 1]),
        *([(322, 3, [tile]), (323, 3, [tile]), (324, 4, offsets), (325, 4, [len(p) for p in data])] if tile else []),
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", end)
    body = (head + b"".join(data)).ljust(end, b"\0")
    further = end + 2 + 12 * len(tags) + 4
    directory, values = struct.pack(order + "H", len(tags)), b""
    for tag, kind, numbers in tags:
        value = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        directory += struct.pack(order + "HHI", tag, kind, len(numbers))
        directory += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", further + len(values))
        values += value if len(value) > 4 else b""
    return body + directory + bytes(4) + values


def _parts(plane: np.ndarray, tile: int, strip: int) -> list[bytes]:
    """The bytes of each tile or strip of a plane (height, width, samples)."""
    height, width, _ = plane.shape
    if not tile:
        return [plane[top : top + strip].tobytes() for top in range(0, height, strip)]
    padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
    return [
        padded[top : top + tile, left : left + tile].tobytes()
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]
