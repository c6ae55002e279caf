"""Disks that are full or read-only and streams that are closed: one panel, the right code, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment, run_many

ROOT = Path(__file__).parents[2]

_SMALL = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
"""A sitecustomize: no file may become larger, which is what a full disk says, too, and needs no rights to set up."""


@pytest.fixture
def work(exported: Path, tmp_path: Path) -> Path:
    """A folder with an exported run whose pictures are in the cache."""
    for name in ("runs", "cache"):
        shutil.copytree(exported / name, tmp_path / name)
    shutil.copy(exported / "tiny.yaml", tmp_path)
    return tmp_path


def test_a_disk_that_fills_up_leaves_no_half_report(work: Path, pictures: Path) -> None:
    (work / "small").mkdir()
    (work / "small" / "sitecustomize.py").write_text(_SMALL)
    (work / "old").mkdir()
    (work / "old" / "model.onnx").write_text("of an earlier export")
    before = sorted(path for path in work.rglob("*") if path.is_file() and "cache" not in path.parts)
    commands: list[list[str | Path]] = [
        ["evaluate", "--backend", "onnxruntime", "-o", "report/new"],
        ["evaluate", "--backend", "onnxruntime"],
        ["explain", pictures / "Xplus.jpg", "-o", "maps"],
        ["prepare", "-c", "tiny.yaml", "-o", "prepared"],
        ["export", "-o", "line"],
        ["export", "-o", "old"],
    ]
    for answer in run_many(work, commands, PYTHONPATH=f"{work / 'small'}:{ROOT}"):
        assert "no room to write" in answer.stderr, answer.stderr
        assert "a bug" not in answer.stderr
        assert answer.returncode == 1
    assert not (work / "report").exists()
    assert not (work / "line").exists()
    assert not (work / "prepared").exists()
    assert (work / "old" / "model.onnx").read_text() == "of an earlier export"
    after = sorted(path for path in work.rglob("*") if path.is_file() and not {"cache", "mpl"} & {*path.parts})
    assert after == before


@pytest.mark.skipif(not Path("/proc").exists(), reason="folders that nobody can make are Linux's")
def test_a_place_in_which_no_folder_can_be_made_is_no_bug(work: Path) -> None:
    (answer,) = run_many(work, [["evaluate", "--backend", "onnxruntime", "-o", "/proc/nowhere"]])
    assert "cannot write into /proc/nowhere: No such file or directory" in " ".join(answer.stderr.split())
    assert answer.returncode == 2


def test_a_place_that_cannot_be_written_is_told_before_the_work(work: Path) -> None:
    (work / "file").touch()
    run = work / "runs" / "tiny-001"
    commands: list[list[str | Path]] = [
        ["evaluate", run, "-o", "file/report"],
        ["export", run, "-o", "file"],
        ["explain", "--model", run, "--split", "test", "-o", "file/maps"],
        ["prepare", "--data", "demo", "--set", "model.init=scratch", "-o", "file/prepared"],
        ["predict", "x.jpg", "--model", run, "--explain", "file/maps"],
    ]
    for answer in run_many(work, commands):
        assert "no results can be written to file" in answer.stderr, answer.stderr
        assert "testing" not in answer.stderr
        assert answer.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
@pytest.mark.parametrize("command", [["--help"], ["help", "data"], ["train", "--print-config"]])
def test_results_that_cannot_be_written_are_an_error(tmp_path: Path, command: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = program(tmp_path, command, stdout=full)
    assert done.stderr.count("╭") == 1, done.stderr
    assert "no room to write the output" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1


def test_without_stdout_there_is_no_place_for_results(tmp_path: Path) -> None:
    done = shell(tmp_path, "train --print-config >&-")
    assert "stdout is closed" in done.stderr
    assert done.stderr.count("╭") == 1
    assert done.returncode == 2


def test_without_stderr_the_work_is_done_and_the_code_is_right(tmp_path: Path) -> None:
    done = shell(tmp_path, "train --print-config 2>&-")
    assert done.returncode == 0
    assert "labels:" in done.stdout
    assert shell(tmp_path, "train -c gone.yaml 2>&-").returncode == 2
    if Path("/dev/full").exists():
        assert shell(tmp_path, "train -c gone.yaml 2>/dev/full").returncode == 2


def test_messages_that_nobody_reads_do_not_end_the_work(work: Path, pictures: Path) -> None:
    """What stands on stderr is advice; the rows are the work."""
    reader, writer = os.pipe()
    os.close(reader)
    words = ["predict", str(pictures), "--backend", "onnxruntime", "-o", "rows.jsonl"]
    done = subprocess.run(
        [sys.executable, "-m", "frame_vit", *words], cwd=work, env=environment(work), stderr=writer, timeout=100
    )
    os.close(writer)
    assert done.returncode == 0
    assert len((work / "rows.jsonl").read_text().splitlines()) == 5


def program(folder: Path, words: list[str], **streams: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "frame_vit", *words]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True, timeout=100, **streams
    )


def shell(folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    """The program as a shell starts it, with its streams closed or redirected."""
    command = f"{sys.executable} -m frame_vit {words}"
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=100
    )
