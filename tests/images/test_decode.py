"""The pixel path: the model's own processor's, and what is decided before it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from transformers import ViTImageProcessor

from frame_vit.errors import RowError
from frame_vit.images.decode import MAX_PIXELS, open_rgb
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import Preprocessing, normalise, read_picture, region, resize

SMALL = Preprocessing(8, 8)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(1280, 960), (160, 120), (20, 31), (64, 64)])
def test_agrees_with_the_vit_processor_to_one_grey_level(size: tuple[int, int]) -> None:
    processor = ViTImageProcessor(size={"height": 64, "width": 64})
    image, pixels = noise(*size), Preprocessing(64, 64)
    theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    ours = normalise(resize(image, pixels)[None], pixels)[0]
    assert np.abs(theirs - ours).max() <= 1.01 * pixels.scale / 0.5


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
        read_picture(data, SMALL)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    header = b"GIF89a" + side.to_bytes(2, "little") * 2 + b"\x80\x00\x00" + b"\x00" * 6
    bomb = header + b"," + b"\x00" * 4 + side.to_bytes(2, "little") * 2 + b"\x00\x02\x02\x44\x01\x00;"
    with pytest.raises(RowError, match="pixels"):
        read_picture(bomb, SMALL)


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, reason in ((tmp_path, "folder"), (tmp_path / "pipe.jpg", "plain file"), (tmp_path / "x", "no such")):
        with pytest.raises(RowError, match=reason):
            read_picture(path, SMALL)


def test_the_size_of_the_upright_picture_is_kept() -> None:
    picture = read_picture(encoded(noise(30, 10)), SMALL)
    assert (picture.width, picture.height, picture.pixels.shape) == (30, 10, (8, 8, 3))


def test_settings_survive_json() -> None:
    preprocessing = Preprocessing(4, 6, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 0.5, 3, (8, 9), 12)
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


def test_normalise_is_scale_minus_mean_over_std() -> None:
    preprocessing = Preprocessing(1, 1, (0.5, 0.25, 0.0), (0.5, 0.5, 2.0))
    batch: UInt8 = np.array([[[[255, 0, 51]]]], np.uint8)
    assert np.allclose(normalise(batch, preprocessing).ravel(), [1.0, -0.5, 0.1])


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        ((0.25, 0.5, 0.75, 1.0), (3, 4, 9, 8)),
        ((3, 4, 9, 8), (3, 4, 9, 8)),
        ((0.0, 0.0, 1.0, 1.0), (0, 0, 12, 8)),
        ((0.3, 0.3, 0.9, 0.9), (4, 2, 11, 7)),
    ],
)
def test_a_region_is_in_shares_or_in_pixels(
    roi: tuple[float, float, float, float], expected: tuple[int, int, int, int]
) -> None:
    assert region(roi, (12, 8)) == expected


@pytest.mark.parametrize("roi", [(3, 4, 13, 8), (0, 0, 5, 9), (0.0, 0.0, 0.01, 1.0)])
def test_a_region_outside_or_without_a_pixel_is_refused(roi: tuple[float, float, float, float]) -> None:
    with pytest.raises(RowError, match=r"the region of interest .* 12 x 8 picture"):
        region(roi, (12, 8))


def test_only_the_region_is_seen_and_it_is_cut_from_the_upright_picture() -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    upright, file = Image.fromarray(values), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: the file holds the picture lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    picture = read_picture(file.getvalue(), Preprocessing(4, 6, roi=(3, 4, 9, 8)))
    assert np.array_equal(picture.pixels, values[4:8, 3:9])
    assert (picture.width, picture.height) == (12, 8)


def test_settings_with_a_region_come_back() -> None:
    preprocessing = Preprocessing(4, 6, roi=(0.1, 0.2, 0.8, 0.9))
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing
    assert Preprocessing.from_json({"height": 4, "width": 6}).roi is None, "models of version 0.1.0 have none"


def _as_a_careful_user_opens_it(data: bytes) -> Image.Image:
    """Upright, transparency on white, 16-bit values scaled: the RGB picture that is given to a model's processor."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        return Image.fromarray(np.round(np.asarray(image) * (255 / 4095)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        white.paste(clear, mask=clear.getchannel("A"))
        return white.convert("RGB")
    return image.convert("RGB")


def _encoded(mode: str) -> bytes:
    random = np.random.default_rng(3)
    smooth = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    picture = smooth.resize((320, 240), Image.Resampling.BICUBIC)
    options: dict[str, Any] = {"format": "JPEG" if mode == "CMYK" or mode.startswith("EXIF") else "PNG"}
    if mode.startswith("EXIF"):
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = int(mode[4:])
    elif mode == "I;16":
        picture = Image.fromarray((np.asarray(picture.convert("L")).astype(np.uint16) * 16).astype(np.uint16))
    elif mode in ("RGBA", "LA"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture = picture.convert(mode)
    elif mode == "P with a clear colour":
        picture = picture.quantize(32)
        options["transparency"] = 3
    else:
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


MODES = ["L", "1", "I;16", "P", "P with a clear colour", "RGBA", "LA", "CMYK", *(f"EXIF{i}" for i in range(1, 9))]


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_picture_agrees_with_the_models_own_processor(mode: str) -> None:
    """What predict feeds an exported model, against what transformers feeds the model, to one grey level."""
    data, settings = _encoded(mode), Preprocessing(224, 224, bit_depth=12)
    ours = normalise(read_picture(data, settings).pixels[None], settings)[0]
    processor = ViTImageProcessor(size={"height": 224, "width": 224})
    theirs = np.asarray(processor(_as_a_careful_user_opens_it(data), return_tensors="pt")["pixel_values"][0])
    assert np.abs(ours - theirs).max() < 1.01 * 2 / 255
    assert ours.std() > 0.2
