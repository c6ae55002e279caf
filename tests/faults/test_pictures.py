"""Faulty and odd pictures in a folder, through whole commands: a row for each, and the others go on."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from frame_vit.data import demo
from tests.cli.calls import Answer, Call
from tests.cli.conftest import call  # noqa: F401  (the command in this process)
from tests.faults.drawn import beginning_with, segment, tiff
from tests.images.test_decode import encoded, noise
from tests.images.test_formats import chunk, png
from tests.processes import run_framevit

Row = dict[str, Any]
SETTINGS = [
    *("--set", "labels.names=auto", "--set", "labels.ok=[passed]", "--set", "data.test=null"),
    *("--set", "model.init=scratch"),
]


def frame(label: str = "passed", seed: int = 7) -> Image.Image:
    return Image.open(io.BytesIO(demo.jpeg(demo.sample(label, seed)))).convert("RGB")


def deep(values: np.ndarray, form: str = "PNG") -> bytes:
    """A grey picture of 16 bits."""
    return encoded(Image.fromarray(values.astype(np.uint16)), form)


def header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG that declares this size and has few bytes."""
    stream = zlib.compress(bytes(1000))
    size = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """A GIF of 44 bytes and 3.6 gigapixels."""
    side = (60_000).to_bytes(2, "little") * 2
    return b"GIF89a" + side + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + side + b"\0\2\2\x44\1\0;"


def zeroed(data: bytes) -> bytes:
    """A file in which a part has become zeros, as after a bad transfer."""
    return data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :]


def without_height(data: bytes) -> bytes:
    """A JPEG whose header says that it has no rows."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + bytes(2) + data[at + 2 :]


WHOLE = encoded(frame(), "JPEG", quality=90)
REFUSED: dict[str, tuple[int, bytes, str, str]] = {
    "empty.jpg": (1, b"", "empty file", "FV101"),
    "cut.jpg": (2, WHOLE[: len(WHOLE) // 2], "damaged picture", "FV102"),
    "cut and closed.jpg": (2, WHOLE[: len(WHOLE) // 2] + b"\xff\xd9", "damaged picture", "FV102"),
    "zeros.jpg": (2, zeroed(WHOLE), "damaged picture", "FV102"),
    "cut.png": (2, encoded(frame())[:-5000], "damaged picture", "FV102"),
    "ends early.png": (2, png(frame(), 0.6), "its pixels end too early", "FV102"),
    "page.jpg": (3, b"<html><body>404 not found", "not a picture (it starts with b'<html><body>')", "FV103"),
    "text.jpg": (3, b"see attachment", "not a picture (it starts with b'see attachme')", "FV103"),
    "document.jpg": (3, b"%PDF-1.7\n%\xe2\xe3", "not a picture (it starts with b'%PDF-1.7", "FV103"),
    "bomb.gif": (5, bomb(), "60000 x 60000 pixels, more than the 100 megapixels", "FV104"),
    "huge.png": (7, header(20_000, 20_000, 1, 0), "20000 x 20000 pixels, more than the 100", "FV104"),
    "deep.png": (10, deep(np.arange(4000).reshape(50, 80)), "a 16-bit picture; train with data.bit_depth", "FV104"),
    "deep.tif": (10, deep(np.arange(4000).reshape(50, 80), "TIFF"), "a 16-bit picture", "FV104"),
    "deep.pgm": (11, b"P5 2 1 4095 \x0f\xff\0\0", "a 16-bit picture", "FV104"),
    "deep colour.png": (10, header(10, 10, 16), "a 16-bit colour picture", "FV104"),
    "float.tif": (12, encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"), "floating-point", "FV104"),
    "no width.png": (17, header(0, 10), "damaged picture", "FV102"),
    "no height.jpg": (17, without_height(WHOLE), "damaged picture", "FV102"),
    "script.jpg": (19, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture", "FV103"),
    "layers.jpg": (19, b"8BPS\0\1" + bytes(40), "a picture in the format Photoshop", "FV104"),
    "phone.jpg": (19, b"\0\0\0\x18ftypheic" + bytes(40), "a picture in the format HEIC", "FV104"),
    "drawing.png": (19, b'<?xml version="1.0"?><svg xmlns="x">', "a picture in the format SVG", "FV104"),
    "raw.tif": (19, encoded(frame(), "TIFF", tiffinfo={254: 1}), "only a preview", "FV104"),
}
"""By file name: the row of the list of faults, the bytes, the reason, and the code of the finding."""


def turned(orientation: int) -> bytes:
    """The frame, stored as a camera that was held in this way stores it."""
    undo = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = frame() if undo is None else frame().transpose(Image.Transpose(undo))
    return encoded(image, "PNG", exif=exif)


def texts(megabytes: int) -> bytes:
    """A PNG with a text that decompresses to so much."""
    data = encoded(frame())
    return data[:33] + chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(megabytes * 10**6))) + data[33:]


def accepted() -> dict[str, bytes]:
    """Pictures that show the same frame, losslessly."""
    clear = frame().convert("RGBA")
    further = [noise(*frame().size)]
    files = {f"turned {orientation}.png": turned(orientation) for orientation in range(1, 9)}
    facts = segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff") + segment(0xE2, b"ICC_PROFILE\0\2\1?")
    facts += segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x")
    whole = encoded(frame())
    files |= {
        "png named.jpg": whole,
        "texts.png": texts(200),
        "broken facts.png": whole[:33] + chunk(b"eXIf", b"?") + chunk(b"iCCP", b"x\0\0?") + whole[33:],
        "opaque.png": encoded(clear),
        "animated.png": encoded(frame(), "PNG", save_all=True, append_images=further),
        "pages.tif": encoded(frame(), "TIFF", save_all=True, append_images=further),
        "animated.webp": encoded(frame(), "WEBP", save_all=True, append_images=further, lossless=True),
        "two.mpo.jpg": encoded(frame(), "MPO", save_all=True, append_images=further, quality=90),
        "broken facts.jpg": beginning_with(facts, WHOLE),
        "alone.jpg": WHOLE,
    }
    return files


LOSSLESS = {name for name in accepted() if not name.endswith(".jpg")} | {"png named.jpg"}


def flagged() -> dict[str, tuple[bytes, str]]:
    """Pictures unlike those of the training, and the flag that says so."""
    cmyk = frame().convert("CMYK")
    faint = frame().convert("RGBA")
    faint.putalpha(1)
    return {
        "black.png": (encoded(Image.new("RGB", (320, 240))), "light"),
        "white.png": (encoded(Image.new("RGB", (320, 240), "white")), "light"),
        "constant.png": (encoded(Image.new("RGB", (320, 240), (90, 90, 90))), "contrast"),
        "blurred.png": (encoded(frame().filter(ImageFilter.GaussianBlur(30))), "sharpness"),
        "other.png": (encoded(noise(320, 240)), "sharpness"),
        "grey.png": (encoded(frame().convert("L")), "mode"),
        "print.jpg": (encoded(cmyk, "JPEG"), "mode"),
        "clear.png": (encoded(faint), "light"),
        "pixel.png": (encoded(Image.new("RGB", (1, 1))), "size"),
        "line.png": (encoded(Image.new("RGB", (1, 10_000))), "size"),
        "small.png": (encoded(frame().resize((16, 12))), "size"),
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def predicted(call: Call, exported: Path, tmp_path: Path) -> tuple[Answer, dict[str, Row]]:  # noqa: F811
    """One command over all of them: what it said, and the rows by file name."""
    files = {name: data for name, (_, data, _, _) in REFUSED.items()} | accepted()
    folder = write(tmp_path / "pictures", files | {name: data for name, (data, _) in flagged().items()})
    answer = call("predict", folder, "--model", exported / "runs/tiny-001", "--format", "json")
    rows = json.loads(answer.out)
    assert [row["file"] for row in rows] == sorted(str(path) for path in folder.iterdir())
    return answer, {Path(row["file"]).name: row for row in rows}


def test_predict_gives_each_faulty_file_its_row_and_all_others_theirs(predicted: tuple[Answer, dict[str, Row]]) -> None:
    """Rows 1, 2, 3, 5, 7, 10, 11, 12, 17 and 19: an error row with the reason, exit code 3, and nothing else on stderr.

    Rows 4, 6, 8, 9, 14, 15, 16, 18, 25, 26 and 30: an answer; what is odd is a flag, and then a person decides.
    """
    answer, rows = predicted
    assert answer.code == 3
    for name, (number, _, reason, _) in REFUSED.items():
        assert rows[name]["status"] == "error", (number, name, rows[name])
        assert reason in rows[name]["error"], (number, name, rows[name])
        assert rows[name]["label"] is None
    for names in (LOSSLESS, {"alone.jpg", "broken facts.jpg", "two.mpo.jpg"}):
        same = [rows[name] for name in names]
        assert {row["status"] for row in same} == {"ok"}, same
        for row in same:
            assert row["probabilities"] == pytest.approx(same[0]["probabilities"], abs=1e-6), row["file"]
    for name, (_, flag) in flagged().items():
        assert flag in rows[name]["flags"], rows[name]
        assert rows[name]["decision"] == "review", rows[name]
        assert rows[name]["reason"].startswith("out of distribution"), rows[name]
    assert "some files contain several pictures: only the first of each is predicted" in answer.words
    assert "some files have the extension of another format" in answer.words
    for unwanted in ("Traceback", "UserWarning", "libtiff", "libpng", "/PIL/"):
        assert unwanted not in answer.err


def test_prepare_lists_each_faulty_file_under_its_code(call: Call, tmp_path: Path) -> None:  # noqa: F811
    """Rows 1, 2, 3, 5, 7, 10, 12, 17 and 19: listed with reason and code, proposed for exclusion, and counted.

    Rows 4, 8, 16, 18, 25, 28 and 30: used, and listed. That the odd ones are the same picture shows that they are read
    as they should be.
    """
    files = {name: data for name, (_, data, _, _) in REFUSED.items()} | accepted()
    write(tmp_path / "data/Xplus", files | {name: data for name, (data, _) in flagged().items()})
    write(tmp_path / "data/passed", {f"{i}.jpg": demo.jpeg(demo.sample("passed", i)) for i in range(60)})
    answer = call("prepare", "--data", "data", *SETTINGS, "--json", "-o", "out")
    assert answer.code == 3, answer.err
    found = {finding["code"]: finding for finding in json.loads(answer.out)["findings"]}
    excluded = (tmp_path / "out/exclude.csv").read_text()
    for name, (number, _, reason, code) in REFUSED.items():
        rows = [row for row in found[code]["rows"] if row["key"] == f"Xplus/{name}"]
        assert len(rows) == 1, (number, name, code)
        assert reason in rows[0]["detail"], (number, name, rows)
        assert f"Xplus/{name}" in excluded
    assert sum(found[code]["count"] for code in ("FV101", "FV102", "FV103", "FV104")) == len(REFUSED)
    listed = {code: {row["key"].removeprefix("Xplus/") for row in finding["rows"]} for code, finding in found.items()}
    assert listed["FV303"] == {*LOSSLESS, "passed/7.jpg"}, "the same picture under two labels"
    assert listed["FV107"] == {"png named.jpg"}
    assert listed["FV509"] == {f"turned {orientation}.png" for orientation in range(2, 9)}
    assert listed["FV106"] == {"pages.tif", "animated.png", "animated.webp", "two.mpo.jpg"}
    assert listed["FV510"] == {"small.png", "line.png", "pixel.png"}
    assert listed["FV503"] == {"grey.png", "print.jpg", "clear.png", "opaque.png"}
    assert listed["FV502"] == {"line.png", "pixel.png"}
    assert listed["FV507"] == {"black.png", "white.png", "constant.png", "clear.png", "line.png", "pixel.png"}
    assert listed["FV508"] == {"blurred.png", "small.png"}


def test_twelve_bits_are_scaled_alike_in_every_format(call: Call, tmp_path: Path) -> None:  # noqa: F811
    """Rows 10 and 11: with data.bit_depth 12 the PNG, the TIFF and the PGM of the same values are the same picture.

    A value that does not fit is refused, and a picture that uses fewer bits than declared is called dark.
    """
    dice = np.random.default_rng(0)
    for i in range(6):
        values = dice.integers(0, 4096, (30, 40))
        values[0, 0] = 4095
        files = {f"{i}.png": deep(values), f"{i}.tif": deep(values, "TIFF")}
        files[f"{i}.pgm"] = b"P5 40 30 4095\n" + values.astype(">u2").tobytes()
        write(tmp_path / "data" / ("passed" if i % 2 else "Xplus"), files)
    write(tmp_path / "data/Xplus", {"16 bits.png": deep(values * 16), "8 bits.png": deep(values // 16)})
    answer = call("prepare", "--data", "data", *SETTINGS, "--set", "data.bit_depth=12", "--json", "-o", "out")
    assert answer.code == 3
    found = {finding["code"]: finding for finding in json.loads(answer.out)["findings"]}
    copies = [row["key"] for row in found["FV301"]["rows"]]
    assert len(copies) == 12, "of each of the six, two are copies of the third"
    assert [row["key"] for row in found["FV104"]["rows"]] == ["Xplus/16 bits.png"]
    assert "do not fit data.bit_depth = 12" in found["FV104"]["rows"][0]["detail"]
    assert [row["key"] for row in found["FV505"]["rows"]] == ["Xplus/8 bits.png"]


def test_copies_conflicts_and_bursts_are_reported_and_kept_together(call: Call, tmp_path: Path) -> None:  # noqa: F811
    """Rows 27, 28 and 29: copies in two splits and under two labels are named, and a part stays in one split."""
    for place, first in (("given/train", 0), ("given/test", 100), ("undivided", 0)):
        for label in ("passed", "Xplus"):
            numbers = range(first, first + 60)
            files = {f"part{i // 3}-{i % 3}.jpg": demo.jpeg(demo.sample(label, i)) for i in numbers}
            write(tmp_path / place / label, files)
    shared = demo.jpeg(demo.sample("Xplus", 999))
    for place in ("train/Xplus/a.jpg", "test/Xplus/b.jpg", "train/passed/c.jpg"):
        (tmp_path / "given" / place).write_bytes(shared)
    again = Image.open(io.BytesIO(demo.jpeg(demo.sample("Xplus", 998))))
    (tmp_path / "given/train/Xplus/d.jpg").write_bytes(encoded(again, "JPEG", quality=95))
    (tmp_path / "given/test/Xplus/e.jpg").write_bytes(encoded(again, "JPEG", quality=60))
    answer = call("prepare", "--data", "given", *SETTINGS, "--json", "-o", "out")
    assert answer.code == 3
    found = {finding["code"]: [row["key"] for row in finding["rows"]] for finding in json.loads(answer.out)["findings"]}
    assert {key.rpartition("/")[2] for key in found["FV302"] + found["FV303"]} == {"a.jpg", "b.jpg", "c.jpg"}
    assert found["FV304"] == ["Xplus/d.jpg"]
    group = ["--set", r"data.group_by='part(\d+)'"]
    assert call("prepare", "--data", "undivided", *SETTINGS, *group, "-o", "grouped").code in (0, 3), answer.err
    division = json.loads((tmp_path / "grouped/manifest.json").read_text())
    parts = {name: {row["key"].rpartition("-")[0] for row in rows} for name, rows in division["splits"].items()}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["val"]


def test_of_a_single_picture_libraries_say_nothing_of_their_own(exported: Path, tmp_path: Path) -> None:
    """Rows 2 and 9: it is decoded in the command's own process, where Pillow could reach the terminal."""
    whole = tiff(frame(), strip=10)
    samples = struct.pack("<HHI", 277, 3, 1)
    at = whole.index(samples) + len(samples)
    (tmp_path / "many.tif").write_bytes(whole[:at] + b"\xff\0" + whole[at + 2 :])
    (tmp_path / "exif.jpg").write_bytes(beginning_with(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"), WHOLE))
    options: list[str | Path] = ["--model", exported / "runs/tiny-001", "--precision", "fp32"]
    for name, code in (("many.tif", 3), ("exif.jpg", 0)):
        done = run_framevit(tmp_path, "predict", name, *options, PYTHONWARNINGS="default")
        assert done.returncode == code
        first, *others = done.stderr.splitlines()
        assert first.startswith("model: ")
        assert not [line for line in others if line and "could not be read" not in line], done.stderr
