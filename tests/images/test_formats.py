"""PNG, PGM and TIFF: what Pillow alone would show without a word."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from frame_vit.errors import RowError
from frame_vit.images.decode import open_rgb
from frame_vit.images.formats import PNG, libtiff_messages, without_texts
from tests.images.test_decode import encoded, noise


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(image: Image.Image, rows: float = 1.0, interlaced: bool = False) -> bytes:
    """A PNG in one chunk whose stream ends, correctly closed, after this share of its bytes."""
    array = np.asarray(image)
    bits, colour = (8, 2) if image.mode == "RGB" else (8, 0)
    header = struct.pack(">IIBBBBB", *image.size, bits, colour, 0, 0, int(interlaced))
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [array[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [array]
    raw = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    stream = zlib.compress(raw[: int(len(raw) * rows)])
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "interlaced"])
def test_a_png_whose_stream_ends_early_is_refused(mode: str, interlaced: bool) -> None:
    image = noise(33, 21).convert(mode)
    assert np.array_equal(np.asarray(open_rgb(png(image, 1, interlaced))), np.asarray(image.convert("RGB")))
    for share in (0.02, 0.3, 0.5, 0.9, 0.99):
        with pytest.raises(RowError, match=r"^damaged picture: "):
            open_rgb(png(image, share, interlaced))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_black_picture_is_not_taken_for_one_that_ends_early(mode: str) -> None:
    assert open_rgb(encoded(Image.new(mode, (301, 7)))).size == (301, 7)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_a_png_with_megabytes_of_text_is_a_picture(kind: bytes) -> None:
    image = noise(20, 10)
    text = b"x" * 3_000_000
    body = {
        b"tEXt": b"workflow\0" + text,
        b"zTXt": b"workflow\0\0" + zlib.compress(text),
        b"iTXt": b"workflow\0\1\0\0\0" + zlib.compress(text),
    }[kind]
    data = encoded(image)
    for at in (33, len(data) - 12):
        with_text = data[:at] + chunk(kind, body) + data[at:]
        assert np.array_equal(np.asarray(open_rgb(with_text)), np.asarray(image))
        assert without_texts(with_text) == data
    assert without_texts(data) == data


@pytest.mark.parametrize(("bits", "maxval"), [(10, 1023), (12, 4095), (16, 65535)])
def test_a_deep_pgm_is_read_as_the_png_of_the_same_values(bits: int, maxval: int) -> None:
    values = np.random.default_rng(0).integers(0, maxval + 1, (30, 40)).astype(np.uint16)
    values[0, 0] = maxval
    pgm = f"P5 40 30 {maxval}\n".encode() + values.astype(">u2").tobytes()
    for depth in (bits, 16):
        from_png = np.asarray(open_rgb(encoded(Image.fromarray(values)), depth))
        assert np.array_equal(np.asarray(open_rgb(pgm, depth)), from_png)
    with pytest.raises(RowError, match="16-bit picture"):
        open_rgb(pgm)


@pytest.mark.parametrize("maxval", [1023, 4095, 65535])
def test_deep_colour_is_refused_as_ppm_as_it_is_as_png(maxval: int) -> None:
    ppm = f"P6 4 3 {maxval}\n".encode() + bytes(4 * 3 * 3 * 2)
    with pytest.raises(RowError, match="16-bit colour"):
        open_rgb(ppm, 12)


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw"])
def test_what_libtiff_repairs_is_refused_with_its_words_and_nothing_reaches_the_terminal(
    compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    image = noise(80, 60)
    data = encoded(image, "TIFF", compression=compression)
    dice, refused = random.Random(0), 0
    for _ in range(40):
        torn = bytearray(data)
        at = dice.randrange(100, len(data) - 200)
        torn[at : at + 64] = bytes(64)
        try:
            open_rgb(bytes(torn))
        except RowError as error:
            assert error.code in ("FV102", "FV103"), error
            refused += 1
    assert refused >= 30
    assert capfd.readouterr().err == ""
    assert open_rgb(data).size == (80, 60)


def test_messages_of_c_code_are_gathered_and_stderr_is_as_before() -> None:
    with libtiff_messages() as messages:
        os.write(2, b"/tmp/tempfile.tif: Using code not yet in table.\n")
    assert messages == ["Using code not yet in table"]
    assert os.fstat(2)


def test_a_large_picture_is_converted_in_bands_to_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(1).integers(0, 256, (61, 40, 4), dtype=np.uint8)
    kinds = [Image.fromarray(data), Image.fromarray(data[..., :3]).quantize(16), Image.fromarray(data[..., 0])]
    files = [encoded(kinds[0]), encoded(kinds[1], transparency=3), encoded(kinds[2])]
    whole = [np.asarray(open_rgb(file)) for file in files]
    monkeypatch.setattr("frame_vit.images.decode.BAND", 300)
    for file, expected in zip(files, whole, strict=True):
        assert np.array_equal(np.asarray(open_rgb(file)), expected)


def test_not_enough_memory_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", no_memory)
    with pytest.raises(RowError, match=r"^not enough memory"):
        open_rgb(encoded(Image.new("L", (9, 9))))


def test_the_size_that_is_allowed_comes_from_the_config() -> None:
    data = encoded(Image.new("L", (200, 100)))
    assert open_rgb(data, max_megapixels=0.02).size == (200, 100)
    with pytest.raises(RowError, match=r"200 x 100 pixels, more than the 0\.019 megapixels") as caught:
        open_rgb(data, max_megapixels=0.019)
    assert "data.max_megapixels" in caught.value.message
    assert caught.value.code == "FV104"


def test_a_bomb_of_a_few_bytes_is_refused_whatever_the_limit_of_pillow() -> None:
    side = 60_000
    header = b"GIF89a" + side.to_bytes(2, "little") * 2 + b"\x80\x00\x00" + b"\x00" * 6
    bomb = header + b"," + b"\x00" * 4 + side.to_bytes(2, "little") * 2 + b"\x00\x02\x02\x44\x01\x00;"
    with pytest.raises(RowError, match="60000 x 60000 pixels"):
        open_rgb(bomb, max_megapixels=100)
    assert io.BytesIO(bomb).getbuffer().nbytes < 60


@pytest.mark.parametrize(
    ("start", "reason", "code"),
    [
        (b"\0\0\0\x18ftypheic", "in the format HEIC", "FV104"),
        (b"\0\0\0\x20ftypavif", "in the format AVIF", "FV104"),
        (b"8BPS\0\1", "in the format Photoshop", "FV104"),
        (b"<?xml version='1.0'?>\n<svg>", "in the format SVG", "FV104"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "in the format JPEG 2000", "FV104"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a picture (it starts with b'%!PS-Adobe", "FV103"),
        (b"PK\3\4", "not a picture", "FV103"),
        (b"GIF87a\t\0\t", "damaged picture: its header cannot be read", "FV102"),
        (b"RIFF\xac\0\0\0WEBP", "damaged picture: its header cannot be read", "FV102"),
    ],
)
def test_what_is_not_opened_is_named_by_its_first_bytes(start: bytes, reason: str, code: str) -> None:
    with pytest.raises(RowError) as caught:
        open_rgb(start)
    assert reason in caught.value.message
    assert caught.value.code == code


def test_the_preview_of_a_raw_file_is_not_taken_for_the_picture() -> None:
    raw = encoded(noise(16, 12), "TIFF", tiffinfo={254: 1})
    with pytest.raises(RowError, match="only a preview") as caught:
        open_rgb(raw)
    assert caught.value.code == "FV104"
    assert open_rgb(encoded(noise(16, 12), "TIFF", tiffinfo={254: 2})).size == (16, 12), "a page of several"
