"""Small files of every format, damaged at random: each is a picture or a row with an error, and nothing else happens.

The number of a mutation is its seed, so a failure names all that is needed to see it again.
`python -m tests.faults.long` tries many more.
"""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from frame_vit.errors import RowError
from frame_vit.findings import KINDS
from frame_vit.images.decode import FORMATS, decode
from frame_vit.images.decoders import LIMIT_S
from tests.faults.drawn import bmps, low_png, scan_by_scan, tiff
from tests.images.test_decode import encoded, noise
from tests.images.test_formats import png

COUNT = 1_000
IMAGE = noise(9, 7).resize((45, 31))


def originals() -> dict[str, bytes]:
    """Small files, several of each format, so that every decoder and every compression has its turn."""
    few, grey, black = IMAGE.quantize(16), IMAGE.convert("L"), IMAGE.convert("1")
    deep = np.arange(45 * 31, dtype=">u2").tobytes()
    files = {
        "JPEG": encoded(IMAGE, "JPEG"),
        "JPEG progressive": encoded(IMAGE, "JPEG", progressive=True),
        "JPEG restart": encoded(IMAGE, "JPEG", restart_marker_rows=1),
        "JPEG scans": scan_by_scan(IMAGE),
        "JPEG CMYK": encoded(IMAGE.convert("CMYK"), "JPEG"),
        "JPEG two": encoded(IMAGE, "MPO", save_all=True, append_images=[few.convert("RGB")]),
        "PNG": encoded(IMAGE),
        "PNG palette": encoded(few, "PNG", transparency=3),
        "PNG interlaced": png(IMAGE, interlaced=True),
        "PNG low": low_png(IMAGE, 2, palette=True, interlaced=True),
        "PNG animated": encoded(IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(90)]),
        "BMP": encoded(IMAGE, "BMP"),
        "GIF": encoded(few, "GIF", interlace=1),
        "GIF animated": encoded(few, "GIF", save_all=True, append_images=[few.rotate(90)]),
        "PPM": encoded(IMAGE, "PPM"),
        "PPM plain": b"P3 3 2 255 " + b"17 200 3 " * 6,
        "PPM deep": b"P5 45 31 4095 " + deep,
        "TIFF": tiff(IMAGE, strip=5),
        "TIFF tiles": tiff(IMAGE, ">", tile=16, squeezed=True),
        "TIFF pages": encoded(IMAGE, "TIFF", save_all=True, append_images=[grey]),
        "TIFF fax": encoded(black, "TIFF", compression="group4"),
        **{f"TIFF {k}": encoded(IMAGE, "TIFF", compression=k) for k in ("tiff_lzw", "jpeg", "packbits", "zstd")},
        "WEBP": encoded(IMAGE, "WEBP"),
        "WEBP lossless": encoded(IMAGE, "WEBP", lossless=True),
        "WEBP animated": encoded(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(90)]),
    }
    return files | bmps(IMAGE)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The file with one to three faults, as disks, cables and programs make them."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        # The header, where a byte means most, is as likely as all of the rest.
        at = dice.randrange(min(len(data), dice.choice((64, len(data)))))
        length = dice.choice((1, 2, 8, 64, 512))
        data = {
            "cut": data[:at],
            "flipped bit": data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :],
            "changed byte": data[:at] + bytes([dice.choice((0, 1, 127, 128, 255))]) + data[at + 1 :],
            "zeros": data[:at] + bytes(len(data[at : at + length])) + data[at + length :],
            "inserted": data[:at] + dice.randbytes(length) + data[at:],
            "lost": data[:at] + data[at + length :],
            "repeated": data[: at + length] + data[at:],
        }[dice.choice(("cut", "flipped bit", "changed byte", "zeros", "inserted", "lost", "repeated"))] or b"\0"
    return data


def is_refused(number: int, files: dict[str, bytes]) -> bool:
    """Whether a mutation is a row with an error, not a picture. An assertion fails if it is neither, or takes long."""
    name = [*files][number % len(files)]
    data = mutated(files[name], random.Random(number))
    began = time.monotonic()
    try:
        image, stored = decode(data, max_megapixels=1)
        assert image.mode == "RGB", (number, name)
        assert stored.format in (*FORMATS, "MPO"), (number, name)
        assert image.width * image.height <= 1e6, (number, name)
        return False
    except RowError as error:
        assert KINDS[error.code].excludes, (number, name)
        assert error.message.isprintable(), (number, name, error.message)
        assert len(error.message) < 300, (number, name, error.message)
        return True
    finally:
        assert time.monotonic() - began < LIMIT_S, (number, name)


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_a_picture_or_a_row_with_a_reason(capfd: pytest.CaptureFixture[str]) -> None:
    """Rows 2, 5, 9 and 24: no error of another kind, no word on stderr, none slower than the limit."""
    files = originals()
    assert {name.partition(" ")[0].rstrip(",") for name in files} == set(FORMATS)
    capfd.readouterr()  # what encoders say
    refused = sum(is_refused(number, files) for number in range(COUNT))
    assert capfd.readouterr() == ("", "")
    assert 0.3 * COUNT < refused < 0.95 * COUNT
