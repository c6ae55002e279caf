"""The versions in the cache keys: each stands for code, and changes exactly when that code gives something else.

Every golden test draws small pictures, runs the code, and compares a digest with the one recorded for the version. The
inputs are lossless and their arithmetic is exact, so the digest does not depend on how Pillow or PyTorch were built.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL
import torch
from PIL import Image

from frame_vit.data import demo
from frame_vit.data.cache import decoder_version
from frame_vit.data.examples import Example, Split
from frame_vit.images.geometry import IDENTITY, View
from frame_vit.images.pixel_array import PixelArray, UInt8
from frame_vit.images.preprocessing import PIXELS_VERSION, Preprocessing, read_picture
from frame_vit.images.tensors import VIEWS_VERSION, in_view, normalise
from frame_vit.labels import LabelledView
from frame_vit.training.frozen import ACTIVATIONS_VERSION, CutModel, FrozenFeatures

PACKAGE = Path(__file__).parents[2] / "frame_vit"
ADVICE = "the code gives something else than the recorded version: raise {} and record the new digest, {!r}"
RECORDED = {
    "PIXELS_VERSION": (2, "685ab4b3432d1c5d"),
    "VIEWS_VERSION": (1, "11121f715ce59c0b"),
    "DEMO_VERSION": (1, "32e0836ccf3e0181"),
    "ACTIVATIONS_VERSION": (1, "b3880395cea7245a"),
}
"""For each constant its value and the digest of what the code gave when that value was set."""


def check(name: str, version: int, parts: Iterable[bytes]) -> None:
    digest = hashlib.sha256(b"|".join(parts)).hexdigest()[:16]
    assert (version, digest) == RECORDED[name], ADVICE.format(name, digest)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def levels(height: int, width: int, channels: int = 3) -> UInt8:
    """A picture without symmetry, its levels multiples of 4, so that means of two or four of them are exact."""
    count = height * width * channels
    return (np.arange(count, dtype=np.int64) * 52 % 256).astype(np.uint8).reshape(height, width, channels)


def pixels() -> Iterable[bytes]:
    """What `read_picture` gives for every colour mode and every setting of `Preprocessing` that moves pixels."""
    same, half = Preprocessing(6, 8, resample=0), Preprocessing(3, 4, resample=int(Image.Resampling.BOX))
    colour = Image.fromarray(levels(6, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright: the file's columns are the picture's rows
    deep = Image.fromarray((np.arange(48, dtype=np.uint16) * 85).reshape(6, 8))
    palette = Image.fromarray(levels(6, 8, 1)[:, :, 0], "P")
    palette.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
    with_alpha = levels(6, 8, 4)
    with_alpha[..., 3] = np.where(with_alpha[..., 3] > 128, 255, 0)
    pictures = [
        (encoded(colour), same),
        (encoded(colour), half),
        (encoded(colour, exif=exif), Preprocessing(8, 6, resample=0)),
        (encoded(colour), Preprocessing(3, 4, resample=0, roi=(0.25, 0.0, 0.75, 0.5))),
        (encoded(colour), Preprocessing(3, 4, resample=0, roi=(1, 2, 5, 5))),
        (encoded(colour), Preprocessing(2, 2, resample=int(Image.Resampling.BOX), resize=3)),
        (encoded(colour), Preprocessing(3, 3, resample=int(Image.Resampling.BOX), resize=(3, 4))),
        (encoded(Image.fromarray(levels(6, 8, 1)[:, :, 0])), same),
        (encoded(Image.fromarray(levels(6, 8, 1)[:, :, 0] > 100)), same),
        (encoded(palette), same),
        (encoded(Image.fromarray(with_alpha)), same),
        (encoded(Image.fromarray(levels(6, 8, 4), "CMYK"), "TIFF"), same),
        (encoded(deep), Preprocessing(6, 8, resample=0, bit_depth=12)),
    ]
    for data, preprocessing in pictures:
        picture = read_picture(data, preprocessing)
        yield f"{picture.width} {picture.height} {picture.stored} {picture.pixels.shape}".encode()
        yield np.ascontiguousarray(picture.pixels).tobytes()


def views() -> Iterable[bytes]:
    """A batch in all eight views, then normalised with numbers that float32 holds exactly."""
    batch = torch.from_numpy(np.ascontiguousarray(levels(5, 5).transpose(2, 0, 1)[None]))
    exact = Preprocessing(5, 5, mean=(0.5, 0.25, 0.75), std=(0.5, 0.25, 2.0), scale=1 / 256)
    for view in [View(turns, mirror) for turns in range(4) for mirror in (False, True)]:
        yield f"{view.name} {view.box((0, 1, 2, 4), 5, 5)}".encode()
        yield in_view(batch, view).contiguous().numpy().tobytes()
        yield normalise(in_view(batch, view), exact).contiguous().numpy().tobytes()


def drawings() -> Iterable[bytes]:
    """Demo frames as drawn, and how the camera would encode them, without the encoder's own choices."""
    for frame in [*demo.frames(5, 0), demo.frames(1, 7)[0].seen(View(2, True))]:
        yield f"{demo.response(frame)} {frame.label}".encode()
        yield demo.draw(frame).tobytes()
    with Image.open(io.BytesIO(demo.jpeg(demo.sample("Xplus", 3)))) as image:
        tables = image.quantization  # type: ignore[attr-defined]
        yield f"{image.format} {image.size} {image.mode} {tables}".encode()


class Sums(torch.nn.Module):
    """A model whose activations are exact in half precision: sums of a few rows of pixels, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, 2)
        self.config = SimpleNamespace(to_json_string=lambda: "{}")

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(pixel_values[:, 0, :4, 0] + pixel_values[:, 1, :4, 1])
        return logits


def activations(folder: Path) -> Iterable[bytes]:
    """What reaches the head for three pictures in two views, as it is stored: the views first, then the pictures."""
    batch = np.stack([np.roll(levels(5, 5), shift, axis=0) for shift in range(3)])
    examples = [Example(f"{row}", 0, (), 5, 5, f"{row}", bytes) for row in range(len(batch))]
    model, plain = Sums(), Preprocessing(5, 5, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
    frozen = FrozenFeatures(CutModel(model, model.head, model.head), plain, torch.device("cpu"), "fp32", folder)
    views = [LabelledView(IDENTITY, (0,)), LabelledView(View(0, True), (0,))]
    features = frozen.features(Split("train", examples, PixelArray.of(batch)), views)
    yield f"{features.shape} {features.dtype}".encode()
    yield np.ascontiguousarray(features).tobytes()


def test_the_activations_are_those_of_their_version(tmp_path: Path) -> None:
    check("ACTIVATIONS_VERSION", ACTIVATIONS_VERSION, activations(tmp_path))


def test_the_pixels_are_those_of_their_version() -> None:
    check("PIXELS_VERSION", PIXELS_VERSION, pixels())


def test_the_views_are_those_of_their_version() -> None:
    check("VIEWS_VERSION", VIEWS_VERSION, views())


def test_the_demo_frames_are_those_of_their_version() -> None:
    check("DEMO_VERSION", demo.DEMO_VERSION, drawings())


def test_another_version_is_another_key() -> None:
    assert str(PIXELS_VERSION) in decoder_version()
    assert PIL.__version__ in decoder_version()


_READ = """
import json, sys
from pathlib import Path
import frame_vit
from frame_vit.config.schema import DataConfig
from frame_vit.data.cache import decoded
from frame_vit.data.rows import RawSplit
from frame_vit.data.sources import read_source
from frame_vit.images.preprocessing import Preprocessing
(raw,) = read_source("demo", DataConfig.model_validate({"demo": {"train": 5}}))
reads = []
def counted(row):
    return row._replace(read=lambda: reads.append(row.key) or row.read())
rows = [counted(row) for row in raw.rows]
decoded(RawSplit(raw.source, raw.name, raw.kind, rows), Preprocessing(8, 8), Path(sys.argv[1]))
print(json.dumps([frame_vit.__file__, len(reads)]))
"""


def test_an_edit_of_a_comment_empties_no_cache(tmp_path: Path) -> None:
    """A copy of the package reads a split, gets a comment in every file that a key stands for, and reads it again."""
    shutil.copytree(PACKAGE, tmp_path / "frame_vit", ignore=shutil.ignore_patterns("__pycache__"))
    answers = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _READ, str(tmp_path / "cache")],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
        for name in ("images/decode", "images/preprocessing", "images/geometry", "data/demo", "data/cache"):
            file = tmp_path / "frame_vit" / f"{name}.py"
            file.write_text(file.read_text() + "\n# A remark.\n")
    assert [reads for _, reads in answers] == [5, 0]
    assert all(Path(place).is_relative_to(tmp_path) for place, _ in answers), "the copy was read, not this package"


def test_no_key_is_made_from_a_source_file() -> None:
    """The other key, of cached activations, would need a trained model here; so nobody may hash source files at all."""
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert not [path for path, text in texts.items() if "__file__" in text and "hashlib" in text]
