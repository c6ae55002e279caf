"""Decoding: every listed format becomes upright RGB; what is not a whole picture is refused with its reason."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.errors import RowError
from frame_vit.images.decode import MAX_MEGAPIXELS, Stored, decode, open_rgb, read_bytes


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = noise(12, 7)
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(open_rgb(encoded(stored, exif=exif))), np.asarray(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_matter() -> None:
    data = encoded(noise(9, 9), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert open_rgb(data).size == (9, 9)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("1", 1, 255), ("L", 100, 100), ("P", 0, 0), ("LA", (100, 255), 100), ("RGB", (100, 100, 100), 100)],
)
def test_other_modes_become_rgb(mode: str, colour: object, expected: int) -> None:
    picture = open_rgb(encoded(Image.new(mode, (3, 3), colour)))  # type: ignore[arg-type]
    assert picture.getpixel((1, 1)) == (expected,) * 3


def test_transparency_is_laid_on_white() -> None:
    assert open_rgb(encoded(Image.new("RGBA", (3, 3), (200, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
    assert open_rgb(encoded(Image.new("RGBA", (3, 3), (0, 0, 0, 128)))).getpixel((0, 0)) == (127, 127, 127)


def test_cmyk_becomes_rgb() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    red, green, blue = np.asarray(open_rgb(data))[4, 4]
    assert red > 240
    assert max(green, blue) < 15


def deep(values: list[int]) -> bytes:
    return encoded(Image.fromarray(np.array([values], np.uint16)))


def test_16_bit_grey_is_scaled_by_the_declared_depth_and_never_clipped() -> None:
    data = deep([0, 2048, 4095])
    assert np.asarray(open_rgb(data, bit_depth=12))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(RowError, match="bit_depth"):
        open_rgb(data)
    with pytest.raises(RowError, match="do not fit"):
        open_rgb(deep([0, 4096]), bit_depth=12)


def test_16_bit_colour_is_refused_and_not_cut_to_its_upper_bits() -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", *[4095] * 6)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    for depth in (8, 12):
        with pytest.raises(RowError, match="16-bit colour"):
            open_rgb(png, depth)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP"])
def test_every_listed_format_is_read(form: str) -> None:
    assert open_rgb(encoded(noise(10, 6), form)).size == (10, 6)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (encoded(noise(40, 40), "JPEG")[:400], "damaged"),
        (encoded(noise(40, 40))[:800], "damaged"),
    ],
    ids=["empty", "html", "eps", "cut jpeg", "cut png"],
)
def test_what_is_no_whole_picture_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        open_rgb(data)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    side = int((MAX_MEGAPIXELS * 1e6) ** 0.5) + 1
    header = b"GIF89a" + side.to_bytes(2, "little") * 2 + b"\x80\x00\x00" + b"\x00" * 6
    bomb = header + b"," + b"\x00" * 4 + side.to_bytes(2, "little") * 2 + b"\x00\x02\x02\x44\x01\x00;"
    with pytest.raises(RowError, match="pixels"):
        open_rgb(bomb)


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, reason in ((tmp_path, "folder"), (tmp_path / "pipe.jpg", "plain file"), (tmp_path / "x", "no such")):
        with pytest.raises(RowError, match=reason):
            open_rgb(path)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "FV101"),
        (encoded(noise(40, 40), "JPEG")[:400], "FV102"),
        (b"<html>not found</html>", "FV103"),
        (deep([0, 4096]), "FV104"),
    ],
)
def test_a_reason_has_the_code_of_its_finding(data: bytes, code: str) -> None:
    with pytest.raises(RowError) as caught:
        open_rgb(data)
    assert caught.value.code == code


def test_how_a_picture_is_stored_is_told() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(noise(9, 6).convert("L"))).stored == Stored("PNG", "L")
    assert decode(encoded(noise(9, 6), "JPEG", exif=exif)).stored == Stored("JPEG", "RGB", turned=True)
    pages = encoded(noise(9, 6), "TIFF", save_all=True, append_images=[noise(9, 6, 1)])
    image, stored = decode(pages)
    assert stored == Stored("TIFF", "RGB", several=True)
    assert np.array_equal(np.asarray(image), np.asarray(noise(9, 6))), "the first picture is the one that is used"


def test_bytes_come_from_a_file_or_from_a_function(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_bytes(tmp_path / "a") == b"abc"
    assert read_bytes(lambda: b"def") == b"def"
