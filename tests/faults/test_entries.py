"""Entries of folders that are no plain files or cannot be entered: a row or a finding for each, and nothing waits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import read_dataset
from frame_vit.errors import DataError
from frame_vit.images.preprocessing import Preprocessing

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and permissions")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
AS_A_PERSON = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if IS_ROOT else []
"""In front of a command: the superuser may enter every folder, so it gives that right up."""
READ = """
import json, sys
from frame_vit.errors import FrameVitError
from frame_vit.images.decode import read_bytes
from frame_vit.prediction.inputs import expand, from_data
rows = []
try:
    for each in from_data(sys.argv[2]) if sys.argv[1] == "--data" else expand(sys.argv[1:]):
        try:
            rows.append([each.name, len(read_bytes(each.source)) > 0])
        except FrameVitError as error:
            rows.append([each.name, error.message])
except FrameVitError as error:
    rows = error.message
print(json.dumps(rows))
"""


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """Class folders in which lie a locked folder, a pipe and a link to nothing beside pictures."""
    root = tmp_path / "set"
    for number, frame in enumerate(demo.frames(40, 1)):
        (root / frame.label).mkdir(parents=True, exist_ok=True)
        (root / frame.label / f"{number}.jpg").write_bytes(demo.jpeg(frame))
    (root / "passed" / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(root / "passed" / "pipe.jpg")
    (root / "passed" / "locked").mkdir()
    (root / "passed" / "locked" / "x.jpg").write_bytes(demo.jpeg(demo.sample("passed", 5)))
    (root / "passed" / "locked").chmod(0)
    yield root
    (root / "passed" / "locked").chmod(0o700)


def read(*words: str | Path) -> list[tuple[str, object]] | str:
    """Those of the inputs that the words stand for that could not be read, and why; or the error of all."""
    if AS_A_PERSON and not shutil.which(AS_A_PERSON[0]):
        pytest.skip("the superuser enters every folder")
    command = [*AS_A_PERSON, sys.executable, "-c", READ, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    return rows if isinstance(rows, str) else [(name, said) for name, said in rows if said is not True]


@pytest.mark.parametrize(
    "words", [["FOLDER"], ["FOLDER/**/*.jpg"], ["--data", "FOLDER"]], ids=["folder", "glob", "data"]
)
def test_each_of_them_is_a_row_with_its_reason(odd: Path, words: list[str]) -> None:
    rows = read(*(word.replace("FOLDER", str(odd)) for word in words))
    assert isinstance(rows, list)
    assert {(name.rpartition("/")[2], str(said).rpartition(": ")[2]) for name, said in rows} == {
        ("gone.jpg", "no such file"),
        ("pipe.jpg", "not a plain file"),
        ("locked", "Permission denied"),
    }


def test_a_folder_that_cannot_be_entered_is_an_error_if_it_is_all(odd: Path) -> None:
    assert "cannot be entered: Permission denied" in str(read(odd / "passed" / "locked"))


def test_in_class_folders_they_are_bad_rows_that_stop_a_training_or_are_counted(odd: Path) -> None:
    bad = ["passed/gone.jpg", "passed/pipe.jpg"]
    if not IS_ROOT:
        bad.insert(1, "passed/locked")
    data = {"train": str(odd), "cache": str(odd.parent / "cache"), "test_fraction": 0.0}
    with pytest.raises(DataError, match=f"{len(bad)} rows cannot be used") as caught:
        read_dataset(Config.model_validate({"data": data}), Preprocessing(8, 8))
    assert all(key in caught.value.message for key in bad)
    skipping = Config.model_validate({"data": data | {"on_bad_row": "skip"}})
    assert [reject.key for reject in read_dataset(skipping, Preprocessing(8, 8)).rejects] == bad
