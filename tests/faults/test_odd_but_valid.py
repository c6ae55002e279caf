"""Odd but whole pictures: none is refused, and all have the pixels that Pillow alone gives.

Every refusal of a damaged file is a chance to refuse a good one, which stops a line. These are the kinds of files that
cameras, phones, browsers, microscopes and old programs write.
"""

from __future__ import annotations

import base64
import io
import random
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from frame_vit.data import demo
from frame_vit.errors import RowError
from frame_vit.images.decode import FORMATS, open_rgb
from tests.faults.drawn import (
    END,
    beginning_with,
    bmps,
    in_chunks,
    low_png,
    scan_by_scan,
    segment,
    tiff,
)
from tests.images.test_decode import encoded, noise
from tests.images.test_formats import chunk, png

EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ"
    "YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//yQARCAAQABgD"
    "ASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AEmpUSJJ8YhWeuQECJTs0wBRuxKIsiJmS9e8t8o7rj9hgKs0l62S82M6jvUK7miz"
    "2EVaYcC7fiaA/tB942WhBoObER95iDDMNT1K9HFGlsOVLM7I1Vj/2Q=="
)
"""A picture of 24 x 16 pixels by cjpeg -arithmetic, which Pillow reads and does not write; in base 64."""


def frame() -> Image.Image:
    """A drawn frame of odd width and height."""
    return Image.open(io.BytesIO(demo.jpeg(demo.sample("Xplus", 3)))).convert("RGB").resize((97, 61))


PICTURES = {
    "frame": frame(),
    "texture": noise(9, 7).resize((75, 51), Image.Resampling.BICUBIC),
    "black": Image.new("RGB", (200, 120)),
    "a pixel": Image.new("RGB", (1, 1), (9, 99, 200)),
    "a row": noise(50, 1),
    "a column": noise(1, 50),
}


def pillows(data: bytes) -> np.ndarray:
    """The pixels by Pillow alone, transparency laid on white."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA"):
            return np.asarray(image.convert("RGB"))
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return np.asarray(white.convert("RGB"))


def cmyk(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    """CMYK with and without Adobe's marker, and YCCK, which differs in one byte of it."""
    for name, options in (("", {}), (" progressive", {"progressive": True}), (" optimised", {"optimize": True})):
        data = encoded(image.convert("CMYK"), "JPEG", **options)
        adobe = data.index(b"Adobe")
        yield f"CMYK{name}", data
        yield f"YCCK{name}", data[: adobe + 11] + b"\2" + data[adobe + 12 :]
        yield f"CMYK without Adobe{name}", data[: adobe - 4] + data[adobe + 12 :]


def jpegs(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    data, dice = encoded(image, "JPEG"), random.Random(0)
    preview = encoded(image.resize((16, 12)), "JPEG")
    further = encoded(image, "MPO", save_all=True, append_images=[image.transpose(Image.Transpose.ROTATE_180)])
    second = further.rindex(b"\xff\xd8\xff")
    for form in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
        for quality in (1, 100):
            for progressive in (False, True):
                options = {"subsampling": form, "quality": quality, "progressive": progressive}
                yield str(options), encoded(image, "JPEG", **options)
    yield "restart markers", encoded(image, "JPEG", restart_marker_rows=1)
    yield "many restart markers, progressive", encoded(image, "JPEG", restart_marker_blocks=1, progressive=True)
    yield "optimised", encoded(image, "JPEG", optimize=True)
    yield "grey, optimised", encoded(image.convert("L"), "JPEG", optimize=True)
    yield "RGB, not YCbCr", encoded(image, "JPEG", keep_rgb=True)
    yield "scan by scan", scan_by_scan(image)
    yield "scan by scan, optimised", scan_by_scan(image, optimize=True)
    yield "scan by scan, restart markers", scan_by_scan(image, optimize=True, quality=30)
    yield from cmyk(image)
    yield "profile", encoded(image, "JPEG", icc_profile=dice.randbytes(200_000))
    yield "XMP", encoded(image, "JPEG", xmp=b"<x:xmpmeta>" + b"x" * 60_000)
    yield "markers in a comment", encoded(image, "JPEG", comment=END * 100 + b"\xff\xda" * 100)
    yield "preview in EXIF", beginning_with(segment(0xE1, EXIF + preview), data)
    yield "large EXIF", beginning_with(segment(0xE1, EXIF + dice.randbytes(60_000)), data)
    yield "megabytes of a maker", beginning_with(segment(0xE5, dice.randbytes(60_000)) * 40, data)
    yield (
        "broken EXIF and profile",
        beginning_with(segment(0xE1, b"Exif\0\0?") + segment(0xE2, b"ICC_PROFILE\0\2\1"), data),
    )
    yield "no JFIF", data[:2] + data[20:]
    yield "JFIF 2.1", data.replace(b"JFIF\0\1\1", b"JFIF\0\2\1")
    yield "unknown transform of Adobe", data[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\5") + data[20:]
    yield "zeros between segments", data[:20] + bytes(7) + data[20:]
    yield "fill bytes before a segment", data[:2] + b"\xff" * 5 + data[2:]
    yield "fill bytes before the end", data[:-2] + b"\xff" * 3 + END
    yield "zeros before the end", data[:-2] + bytes(100) + END
    yield "line end behind", data + b"\r\n"
    yield "film behind", data + b"\0\0\0\x18ftypmp42" + dice.randbytes(9_000)
    yield "zeros and a preview behind", data + bytes(3_000) + preview
    yield "facts of a phone behind", data + b"\0\0\1\n\x0e\0\0\0Image_UTC_Data1621SEFHk\0\0\0SEFT"
    yield "MPO", further
    yield "MPO, padding between the pictures", further[:second] + bytes(1_000) + further[second:]
    yield "MPO, second picture cut", further[: second + 50]


def pngs(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    data, grey = encoded(image), image.convert("L")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        for options in ({}, {"optimize": True}, {"compress_level": 0}):
            yield f"{mode} {options}", encoded(image.convert(mode), "PNG", **options)
    for bits in (1, 2, 4):
        for palette in (False, True):
            for interlaced in (False, True):
                yield f"{bits} bits {palette=} {interlaced=}", low_png(image, bits, palette, interlaced)
    for mode in ("RGB", "L"):
        yield f"interlaced {mode}", png(image.convert(mode), interlaced=True)
    yield "palette with transparency", encoded(image.quantize(16), "PNG", transparency=bytes([0, 128, 255, 3]))
    yield "a colour that is transparent", encoded(image, "PNG", transparency=image.getpixel((0, 0)))
    yield "a grey that is transparent", encoded(grey, "PNG", transparency=grey.getpixel((0, 0)))
    chunks = {
        b"sBIT": b"\5\6\5",
        b"gAMA": struct.pack(">I", 45455),
        b"cHRM": bytes(32),
        b"pHYs": bytes(9),
        b"sRGB": b"\0",
    }
    chunks |= {b"tIME": bytes(7), b"bKGD": bytes(6), b"prVt": bytes(99), b"iCCP": b"x\0\0?", b"eXIf": b"?"}
    for kind, body in chunks.items():
        yield kind.decode(), data[:33] + chunk(kind, body) + data[33:]
    for before in (False, True):
        turned = image.transpose(Image.Transpose.ROTATE_180)
        yield f"APNG {before=}", encoded(image, "PNG", save_all=True, append_images=[turned], default_image=before)
    yield "chunks of seven bytes", in_chunks(data, 7)
    yield "an empty chunk", data[:33] + chunk(b"IDAT", b"") + data[33:]
    yield "bytes behind the stream", in_chunks(data, 99_999, b"behind")
    yield "bytes behind the end", data + b"behind" * 100
    yield "no end", data[:-12]


def gifs(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    few = image.quantize(32)
    yield "87a", b"GIF87a" + encoded(few, "GIF")[6:]
    for interlace in (0, 1):
        yield f"{interlace=}", encoded(few, "GIF", interlace=interlace)
    yield "transparency", encoded(few, "GIF", transparency=3)
    yield "grey", encoded(image.convert("L"), "GIF")
    yield "comment", encoded(few, "GIF", comment=b"x" * 3_000)
    turned = few.transpose(Image.Transpose.ROTATE_180)
    for disposal in (0, 2):
        yield f"animated {disposal=}", encoded(few, "GIF", save_all=True, append_images=[turned], disposal=disposal)
    data = bytearray(encoded(few, "GIF"))
    data[6:10] = struct.pack("<HH", image.width + 3, image.height + 2)
    yield "smaller than its canvas", bytes(data)
    yield "bytes behind the end", encoded(few, "GIF") + b"behind"


def tiffs(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    grey = image.convert("L")
    kinds = (None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "lzma")
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK"):
        for kind in kinds:
            yield f"{mode} {kind}", encoded(image.convert(mode), "TIFF", **({"compression": kind} if kind else {}))
    for kind in ("group3", "group4"):
        yield kind, encoded(image.convert("1"), "TIFF", compression=kind)
    for mode in ("L", "RGB"):
        yield f"JPEG {mode}", encoded(image.convert(mode), "TIFF", compression="jpeg")
        yield f"predictor {mode}", encoded(image.convert(mode), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
        for order in "<>":
            for squeezed in (False, True):
                for tile, strip in ((16, 0), (0, 1), (0, 7)):
                    data = tiff(image.convert(mode), order, tile, strip, squeezed)
                    yield f"{mode} {order} {tile=} {strip=} {squeezed=}", data
    yield "colour after colour", tiff(image, strip=5, apart=True)
    yield "tiles, colour after colour", tiff(image, ">", tile=32, squeezed=True, apart=True)
    yield "several pages", encoded(image, "TIFF", save_all=True, append_images=[grey], compression="tiff_lzw")
    facts = {270: "x" * 100_000, 305: "a microscope", 50_000: "a tag of its maker", 34_675: b"a profile"}
    yield "facts", encoded(image, "TIFF", tiffinfo=facts, compression="tiff_lzw")
    yield "bytes behind the end", encoded(image, "TIFF") + bytes(1_000)
    yield "BigTIFF", encoded(image, "TIFF", big_tiff=True)


def webps(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    clear = image.copy()
    clear.putalpha(image.convert("L"))
    for options in ({}, {"quality": 1}, {"lossless": True}, {"lossless": True, "exact": True}):
        yield str(options), encoded(image, "WEBP", **options)
        yield f"alpha {options}", encoded(clear, "WEBP", **options)
    yield "animated", encoded(image, "WEBP", save_all=True, append_images=[clear.convert("RGB")])
    yield "facts", encoded(image, "WEBP", exif=EXIF, icc_profile=bytes(50_000), xmp=b"<x/>")
    yield "bytes behind the end", encoded(image, "WEBP") + bytes(100)


def ppms(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    grey, colour, black = (np.asarray(image.convert(mode)) for mode in ("L", "RGB", "1"))
    size = b"%d %d\n" % image.size
    for mode in ("1", "L", "RGB"):
        yield f"binary {mode}", encoded(image.convert(mode), "PPM")
    yield "P1", b"P1\n" + size + b" ".join(b"%d" % (not bit) for bit in black.ravel())
    yield "P1 without blanks", b"P1\n" + size + b"".join(b"%d" % (not bit) for bit in black.ravel())
    yield "P2", b"P2\n" + size + b"255\n" + b"\n".join(b"%d" % value for value in grey.ravel()) + b"\n"
    yield "P2 up to 15", b"P2\n" + size + b"15\n" + b" ".join(b"%d" % (value >> 4) for value in grey.ravel())
    yield "P3", b"P3\n" + size + b"255\n" + b" ".join(b"%d" % value for value in colour.ravel())
    yield "P5 up to 127", b"P5\n" + size + b"127\n" + (grey >> 1).tobytes()
    yield "P6 up to 63", b"P6\n" + size + b"63\n" + (colour >> 2).tobytes()
    yield "comments", b"P6 # a\n# b\n" + size + b"# c\n255\n" + colour.tobytes()
    yield "two in a file", encoded(image, "PPM") * 2


def other_bmps(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield mode, encoded(image.convert(mode), "BMP")
    yield "bytes behind the end", encoded(image, "BMP") + bytes(100)
    yield from bmps(image).items()


KINDS = {"JPEG": jpegs, "PNG": pngs, "BMP": other_bmps, "GIF": gifs, "PPM": ppms, "TIFF": tiffs, "WEBP": webps}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("form", KINDS)
def test_every_odd_file_is_read_with_the_pixels_of_pillow(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Rows 9, 13, 14, 15 and 16: odd is not damaged."""
    assert set(KINDS) == set(FORMATS)
    files = {f"{name} {kind}": data for name, image in PICTURES.items() for kind, data in KINDS[form](image)}
    capfd.readouterr()  # what encoders say
    for what, data in files.items():
        try:
            pixels = np.asarray(open_rgb(data))
        except RowError as error:
            pytest.fail(f"{what}: {error}")
        assert np.array_equal(pixels, pillows(data)), what
    assert capfd.readouterr().err == ""


def test_arithmetic_coding_is_read() -> None:
    """Row 2: what decodes no zeros and no Huffman codes is not searched for them."""
    data = base64.b64decode(ARITHMETIC)
    assert open_rgb(data).size == (24, 16)
    assert np.array_equal(np.asarray(open_rgb(data)), pillows(data))


def test_a_jpeg_that_lost_its_last_bytes_but_no_pixel_is_read() -> None:
    """Row 2: Pillow refuses a file without an end marker; the pixels are all there."""
    for image in PICTURES.values():
        data = encoded(image, "JPEG")
        assert np.array_equal(np.asarray(open_rgb(data[:-2])), pillows(data))


def test_colours_scan_by_scan_are_missed_where_a_scan_is_lost() -> None:
    """Row 2: a file that is cut between two scans and closed is not a grey picture."""
    data = scan_by_scan(PICTURES["texture"])
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) == 3
    for at in scans[1:]:
        with pytest.raises(RowError, match="ends before the picture is complete"):
            open_rgb(data[: data.rindex(b"\xff\xc4", 0, at)] + END)
    for at in scans:
        with pytest.raises(RowError, match=r"^damaged picture: "):
            open_rgb(data[: at + 60] + bytes(100) + data[at + 160 :])
