"""Checkpoints on a real disk: complete or absent, whatever happens to the process or to the bytes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.errors import FrameVitError
from frame_vit.runs.checkpoints import Checkpoint, checkpoints_in, newest, verify, write


def save(root: Path, step: int, best: int | None = None, keep: set[int] | None = None, size: int = 5) -> Checkpoint:
    """A checkpoint whose every tensor holds its step."""
    tensors = {"model": {"w": torch.full((size,), float(step))}, "optimizer": {"0.m": torch.full((3,), float(step))}}
    return write(root, step, tensors, {"state": {"best_step": best}}, keep if keep is not None else {*range(step)})


def steps(root: Path) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints_in(root)]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    save(tmp_path, 12)
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.best_step) == (12, None)
    assert checkpoint.tensors("model")["w"].tolist() == [12.0] * 5
    assert checkpoint.values("state") == {"best_step": None}


def test_without_any_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "not there") is None


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_bit_is_noticed_and_the_one_before_is_taken(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("flip")
    save(root, 1)
    folder = save(root, 2).folder
    file = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) * 8 - 1))
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)
    # White space or an escape in the manifest may say the same in other bytes; then nothing is wrong.
    checkpoint = newest(root)
    assert checkpoint is not None
    assert checkpoint.step == (1 if verify(folder) else 2)
    assert verify(folder) or file.name == "manifest.json"
    assert checkpoint.tensors("model")["w"].tolist() == [float(checkpoint.step)] * 5


@pytest.mark.parametrize("damage", ["missing", "short", "empty manifest", "no manifest", "another's manifest"])
def test_what_is_not_whole_is_passed_over_by_name(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    folder = save(tmp_path, 2).folder
    if damage == "missing":
        (folder / "optimizer.safetensors").unlink()
    elif damage == "short":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])
    elif damage == "empty manifest":
        (folder / "manifest.json").write_text("{}")
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        shutil.copy(tmp_path / "step-000001" / "manifest.json", folder)
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert "step-000002 is skipped" in caplog.text


def test_where_none_is_whole_the_run_does_not_begin_anew_by_itself(tmp_path: Path) -> None:
    (save(tmp_path, 1).folder / "manifest.json").unlink()
    with pytest.raises(FrameVitError, match=r"no checkpoint in .* is whole"):
        newest(tmp_path)
    assert steps(tmp_path) == [1]


def test_what_a_file_browser_leaves_behind_does_no_harm(tmp_path: Path) -> None:
    (save(tmp_path, 1).folder / ".DS_Store").write_text("x")
    assert newest(tmp_path) is not None


def test_rotation_keeps_what_is_asked_for_and_the_best_ones_of_what_is_kept(tmp_path: Path) -> None:
    save(tmp_path, 20, best=20)
    save(tmp_path, 40, best=20, keep={20})
    save(tmp_path, 60, best=60, keep={40})
    assert steps(tmp_path) == [20, 40, 60], "without 20 one could not go on from 40"
    (tmp_path / "step-000060" / "model.safetensors").write_bytes(b"")
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 40
    save(tmp_path, 60, best=60, keep={40})
    save(tmp_path, 80, best=60, keep={60})
    assert steps(tmp_path) == [60, 80]


def test_a_checkpoint_without_its_best_one_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 1, best=1)
    save(tmp_path, 2, best=2)
    save(tmp_path, 3, best=2)
    (tmp_path / "step-000002" / "model.safetensors").write_bytes(b"")
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert "its best, step 2: changed since it was written" in caplog.text


def test_one_that_was_passed_over_is_written_anew(tmp_path: Path) -> None:
    save(tmp_path, 1)
    folder = save(tmp_path, 2).folder
    (folder / "model.safetensors").write_bytes(b"")
    assert save(tmp_path, 2).folder == folder
    assert verify(folder) is None


def test_where_it_cannot_be_written_nothing_is_lost(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".step-000002.part").write_text("in the way")
    (tmp_path / "file").write_text("")
    with pytest.raises(FrameVitError, match="step 2 could not be written") as error:
        save(tmp_path / "file", 2)
    assert "--resume" in error.value.hint
    assert steps(tmp_path) == [1]


_WRITER = """
import sys
from pathlib import Path
from tests.runs.test_checkpoints import save
root, step = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while True:
    step += 1
    save(root, step, best=step - step % 5 or None, keep={step - 1, step - step % 5}, size=200_000)
"""


def test_killed_at_any_moment_there_is_a_whole_one_and_it_is_the_newest(tmp_path: Path) -> None:
    """SIGKILL at random moments of a process that does nothing but save."""
    save(tmp_path, 1)
    moments, step, half_done = random.Random(3), 1, 0
    for _ in range(6):
        command = [sys.executable, "-c", _WRITER, str(tmp_path), str(step)]
        with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0.02, 0.2))
            process.send_signal(signal.SIGKILL)
        half_done += any(tmp_path.glob(".step-*"))
        expected = [c.step for c in checkpoints_in(tmp_path) if verify(c.folder) is None]
        assert expected == steps(tmp_path), "under its name lies only what is whole"
        checkpoint = newest(tmp_path)
        assert checkpoint is not None
        assert checkpoint.step == max(expected) >= step
        assert checkpoint.tensors("model")["w"].tolist() == [float(checkpoint.step)] * 200_000
        assert not list(tmp_path.glob(".step-*"))
        step = checkpoint.step
    assert step > 6
    assert half_done
