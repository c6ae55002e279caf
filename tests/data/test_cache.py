"""The cache of decoded pictures: decoded once, complete or absent, verified before use, and never all in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.config.schema import DataConfig
from frame_vit.data import demo
from frame_vit.data.cache import PIXELS, Decoded, decoded
from frame_vit.data.rows import RawRow, RawSplit
from frame_vit.data.sources import read_source
from frame_vit.errors import UsageError
from frame_vit.images.preprocessing import Preprocessing, read_picture

SMALL = Preprocessing(8, 12)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Class folders of drawn frames."""
    for number, frame in enumerate(demo.frames(15, 3)):
        folder = tmp_path / "frames" / frame.label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d}.jpg").write_bytes(demo.jpeg(frame))
    return tmp_path / "frames"


class Reader:
    """Reads a folder through a cache and counts the files that were really read."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache, self.reads = folder, cache, 0

    def __call__(self, preprocessing: Preprocessing = SMALL) -> Decoded:
        (raw,) = read_source(str(self.folder), DataConfig())
        self.reads = 0

        def counted(row: RawRow) -> RawRow:
            def read() -> bytes:
                self.reads += 1
                return row.read()

            return row._replace(read=read)

        return decoded(
            RawSplit(raw.source, raw.name, raw.kind, [counted(r) for r in raw.rows]), preprocessing, self.cache
        )


@pytest.fixture
def reader(frames: Path, tmp_path: Path) -> Reader:
    return Reader(frames, tmp_path / "cache")


def states(cache: Path) -> list[Path]:
    return [path.parent for path in cache.glob("pixels/*/*/rows.json")]


def test_a_second_run_reads_no_picture_and_gets_the_same_pixels(reader: Reader, frames: Path) -> None:
    first = reader()
    assert reader.reads == 15
    second = reader()
    assert reader.reads == 0
    assert np.array_equal(first.pixels, second.pixels)
    assert first.facts == second.facts
    files = sorted(frames.rglob("*.jpg"))
    for file, row in zip(files, second.pixels, strict=True):
        assert np.array_equal(row, read_picture(file, SMALL).pixels)


def test_only_what_changed_is_read_again(reader: Reader, frames: Path) -> None:
    reader()
    changed = sorted(frames.rglob("*.jpg"))[4]
    changed.write_bytes(demo.jpeg(demo.sample("passed", 999)))
    (frames / "passed" / "new.jpg").write_bytes(demo.jpeg(demo.sample("passed", 1000)))
    again = reader()
    assert reader.reads == 2
    for file, row in zip(sorted(frames.rglob("*.jpg")), again.pixels, strict=True):
        assert np.array_equal(row, read_picture(file, SMALL).pixels)
    assert len(states(reader.cache)) == 1, "the state before is gone"


def test_other_pixel_settings_are_other_pixels(reader: Reader) -> None:
    reader()
    assert reader(Preprocessing(8, 8)).pixels.shape == (15, 8, 8, 3)
    assert reader.reads == 15
    assert reader().pixels.shape == (15, 8, 12, 3)
    assert reader.reads == 0


@pytest.mark.parametrize("damage", ["bit", "short", "rows", "no rows"])
def test_a_damaged_cache_is_not_believed(reader: Reader, damage: str) -> None:
    expected = reader().pixels.copy()
    (state,) = states(reader.cache)
    if damage == "bit":
        content = bytearray((state / "pixels.u8").read_bytes())
        content[1000] ^= 4
        (state / "pixels.u8").write_bytes(content)
    elif damage == "short":
        os.truncate(state / "pixels.u8", 1000)
    elif damage == "rows":
        (state / "rows.json").write_text((state / "rows.json").read_text().replace("160", "161"))
    else:
        (state / "rows.json").unlink()
    assert np.array_equal(reader().pixels, expected)
    assert reader.reads == {"bit": 1}.get(damage, 15), "rows whose checksum is right are taken over"


def test_a_picture_that_cannot_be_used_is_tried_again(reader: Reader, frames: Path) -> None:
    bad = sorted(frames.rglob("*.jpg"))[0]
    whole = bad.read_bytes()
    bad.write_bytes(whole[:200])
    assert reader().facts[0].reason.startswith("damaged picture")
    assert reader().facts[0].reason.startswith("damaged picture")
    bad.write_bytes(whole)
    assert reader().facts[0].reason == ""
    assert reader.reads == 1


def test_a_picture_that_can_be_read_again_is_used_though_its_file_looks_the_same(tmp_path: Path) -> None:
    disk: list[bytes | OSError] = [OSError(5, "Input/output error")]

    def read() -> bytes:
        if isinstance(disk[0], OSError):
            raise disk[0]
        return disk[0]

    good = demo.jpeg(demo.sample("passed", 1))
    raw = RawSplit("src", "train", "label", [RawRow("a", "x", lambda: good, "1"), RawRow("b", "x", read, "2")])
    assert [f.reason for f in decoded(raw, SMALL, tmp_path).facts] == [
        "",
        "the picture cannot be read: Input/output error",
    ]
    disk[0] = good
    found = decoded(raw, SMALL, tmp_path)
    assert [f.reason for f in found.facts] == ["", ""]
    assert np.array_equal(found.pixels[0], found.pixels[1])


_BUILD = """
import sys
from pathlib import Path
from frame_vit.config.schema import DataConfig
from frame_vit.data.cache import decoded
from frame_vit.data.sources import read_source
from frame_vit.images.preprocessing import Preprocessing
(raw,) = read_source("demo", DataConfig.model_validate({"demo": {"train": 3000}}))
def tick(stage, done, total, note):
    print(done, flush=True)
decoded(raw, Preprocessing(64, 64), Path(sys.argv[1]), tick)
"""


def test_a_build_that_is_killed_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _BUILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) > 700:
                process.send_signal(signal.SIGKILL)
                break
    assert states(tmp_path) == []
    assert len(list(tmp_path.glob("pixels/*/.*.part"))) == 1
    (raw,) = read_source("demo", DataConfig.model_validate({"demo": {"train": 40}}))
    assert decoded(raw, Preprocessing(64, 64), tmp_path).pixels.shape == (40, 64, 64, 3)
    assert list(tmp_path.glob("pixels/*/.*.part")) == [], "what was left half done is cleared"


_LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from frame_vit.data.cache import decoded
from frame_vit.data.rows import RawRow, RawSplit
from frame_vit.images.preprocessing import Preprocessing
folder = Path(sys.argv[1])
def row(i):
    return RawRow(str(i), "a", (folder / f"{i % 8}.jpg").read_bytes, str(i))
raw = RawSplit("src", "train", "label", [row(i) for i in range(1200)])
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 150_000_000,) * 2)
try:
    np.ones(400_000_000, np.uint8)
    print("the limit does not hold")
except MemoryError:
    pass
found = decoded(raw, Preprocessing(400, 400), folder / "cache")
print(found.pixels.nbytes, sum(int(found.pixels[[i, i + 1]].sum()) > 0 for i in range(0, 1200, 2)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts mapped files elsewhere")
def test_more_pictures_than_memory_work(tmp_path: Path) -> None:
    """576 MB of pixels in a process that may have 150 MB."""
    for seed in range(8):
        (tmp_path / f"{seed}.jpg").write_bytes(demo.jpeg(demo.sample("passed", seed)))
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["576000000", "600"], done.stderr


def test_two_processes_that_build_the_same_at_once_both_get_it(tmp_path: Path) -> None:
    program = _BUILD.replace("3000", "300")
    both = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.DEVNULL) for _ in "ab"]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len(states(tmp_path)) == 1
    assert list(tmp_path.glob("pixels/*/.*.part")) == []


def test_a_cache_that_cannot_be_written_says_where_else(frames: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written") as error:
        Reader(frames, tmp_path / "file" / "cache")()
    assert "FRAMEVIT_CACHE" in error.value.hint


def test_a_disk_without_room_is_found_out_before_anything_is_decoded(tmp_path: Path) -> None:
    raw = RawSplit("src", "train", "label", [RawRow(str(i), "a", bytes, str(i)) for i in range(1000)])
    began = time.monotonic()
    with pytest.raises(UsageError, match="would take 3e"):
        decoded(raw, Preprocessing(1_000_000, 1_000_000), tmp_path)
    assert not list(tmp_path.rglob(PIXELS))
    assert time.monotonic() - began < 60


def test_a_parquet_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "label": Value("string")})
    for seed in (1, 2):
        rows = {"image": [{"bytes": demo.jpeg(demo.sample("passed", seed)), "path": None}], "label": ["passed"]}
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "set.parquet")
        (raw,) = read_source(str(tmp_path / "set.parquet"), DataConfig())
        assert raw.rows[0].stamp
        found = decoded(raw, Preprocessing(120, 160), tmp_path / "cache").pixels[0]
        assert np.array_equal(
            found, read_picture(demo.jpeg(demo.sample("passed", seed)), Preprocessing(120, 160)).pixels
        )


def test_a_table_that_names_files_is_read_anew_when_they_change(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "label": Value("string")})
    file = tmp_path / "one.png"
    Image.new("RGB", (12, 8), "red").save(file)
    arrow = Dataset.from_dict({"image": [str(file)], "label": ["passed"]}, features=features)
    arrow.to_parquet(tmp_path / "set.parquet")
    stamps = set()
    for _ in "ab":
        (raw,) = read_source(str(tmp_path / "set.parquet"), DataConfig())
        stamps.add(raw.rows[0].stamp)
        Image.new("RGB", (120, 80), "blue").save(file)
    assert "" not in stamps
