"""JPEG: the pixels are Pillow's, every kind of damage that can be seen is refused, and odd but whole files are not."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from frame_vit.data import demo
from frame_vit.errors import RowError
from frame_vit.images.jpeg import COLOUR_SPACES, jpeg_pixels
from frame_vit.images.pixel_array import UInt8
from tests.images.test_decode import encoded, noise

END = b"\xff\xd9"


def pictures() -> dict[str, Image.Image]:
    """A drawn frame, a texture, flat areas and a ramp: what Huffman codes of each look like differs most."""
    ramp = np.tile(np.arange(160, dtype=np.uint8), (120, 1))
    return {
        "frame": Image.open(io.BytesIO(demo.jpeg(demo.sample("Xplus", 3)))).convert("RGB"),
        "texture": noise(20, 15).resize((160, 120), Image.Resampling.BICUBIC),
        "black": Image.new("RGB", (160, 120)),
        "white": Image.new("RGB", (161, 119), "white"),
        "ramp": Image.fromarray(ramp).convert("RGB"),
    }


def files() -> Iterator[tuple[str, str, bytes]]:
    """(description, mode, file) of whole JPEGs as cameras and programs write them."""
    kinds: list[dict[str, object]] = [
        {},
        {"optimize": True},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"subsampling": 0},
        {"subsampling": 2, "optimize": True, "progressive": True},
    ]
    for name, image in pictures().items():
        for mode in COLOUR_SPACES:
            for quality in (1, 50, 95):
                for options in kinds:
                    if mode == "RGB" or "subsampling" not in options:
                        data = encoded(image.convert(mode), "JPEG", quality=quality, **options)
                        yield f"{name} {mode} {quality} {options}", mode, data


def pixels(data: bytes, mode: str) -> UInt8:
    decoded = jpeg_pixels(data, mode)
    assert decoded is not None
    return decoded


def test_the_pixels_are_those_of_pillow_in_every_variant() -> None:
    for name, mode, data in files():
        if mode != "CMYK":
            assert np.array_equal(pixels(data, mode), np.asarray(Image.open(io.BytesIO(data)))), name


@pytest.mark.parametrize(
    "padded",
    [
        lambda data: data + bytes(500),
        lambda data: data + b"text behind the picture",
        lambda data: data + bytes(300) + data + bytes(300) + END,
        lambda data: data[:-2] + bytes(200) + END,
        lambda data: data[:-2] + b"\xff" * 7 + END,
        lambda data: data[:-2],
    ],
    ids=["zeros behind", "text behind", "a preview behind", "zeros before the end", "fill bytes", "no end marker"],
)
def test_a_whole_picture_with_padding_is_no_error(padded: object) -> None:
    assert callable(padded)
    for name, mode, data in files():
        assert np.array_equal(pixels(padded(data), mode), pixels(data, mode)), name


def damaged(data: bytes, kind: str, dice: random.Random) -> bytes:
    """The file with one fault inside its first scan."""
    start = data.index(b"\xff\xda") + 14
    at = dice.randrange(start, len(data) - 70)
    return {
        "cut": data[:at] + END,
        "cut, no end": data[:at],
        "zeros": data[:at] + bytes(64) + data[at + 64 :],
    }[kind]


@pytest.mark.parametrize("kind", ["cut", "cut, no end", "zeros"])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}, {"subsampling": 0}], ids=str)
def test_a_scan_that_lost_bytes_is_refused_wherever_it_lost_them(kind: str, options: dict[str, object]) -> None:
    dice = random.Random(0)
    for name in ("frame", "texture"):
        data = encoded(pictures()[name], "JPEG", quality=90, **options)
        for _ in range(60):
            with pytest.raises(RowError, match=r"^damaged picture: ") as caught:
                jpeg_pixels(damaged(data, kind, dice), "RGB")
            assert caught.value.code == "FV102"


def test_a_progressive_file_without_its_last_scans_is_refused() -> None:
    data = encoded(pictures()["texture"], "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for at in scans[1:]:
        # Huffman tables stand before a scan; the file is cut before them.
        table = data.rfind(b"\xff\xc4", 0, at)
        cut = table if table > max(s for s in scans if s < at) else at
        with pytest.raises(RowError, match=r"^damaged picture: "):
            jpeg_pixels(data[:cut] + END, "RGB")


@pytest.mark.parametrize(
    "odd",
    [
        lambda data: data.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"),
        lambda data: data[:20] + bytes(7) + data[20:],
        lambda data: data.replace(b"\xff\xc4", b"\1\2\xff\xc4", 1),
        lambda data: data[:2] + b"\xff\xe2\0\x10ICC_PROFILE\0\2\1" + data[2:],
        lambda data: data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7" + data[20:],
    ],
    ids=["JFIF 2", "zeros between segments", "bytes before a table", "broken profile", "unknown transform"],
)
def test_what_decoders_warn_of_before_the_first_scan_is_no_damage(odd: object) -> None:
    assert callable(odd)
    data = encoded(pictures()["texture"], "JPEG")
    assert odd(data) != data
    assert np.array_equal(pixels(odd(data), "RGB"), pixels(data, "RGB"))
    cut = odd(data)[: len(data) * 3 // 4] + END
    with pytest.raises(RowError, match=r"^damaged picture: "):
        jpeg_pixels(cut, "RGB")


def test_what_only_pillow_decodes_is_left_to_it() -> None:
    assert jpeg_pixels(encoded(noise(9, 9), "JPEG"), "YCbCr") is None


def test_a_header_that_ends_early_gives_no_pixels() -> None:
    data = encoded(noise(9, 9), "JPEG")
    for length in range(2, data.index(b"\xff\xda")):
        try:
            assert jpeg_pixels(data[:length], "RGB") is None
        except RowError as error:
            assert error.code == "FV102"
