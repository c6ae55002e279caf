"""Predicting on a line: without network and home, several at once, many pictures, and killed in the middle."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frame_vit.data import demo
from tests.conftest import environment

MANY = 1_500


def start(cwd: Path, *words: str | Path, **extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "frame_vit", *map(str, words)],
        cwd=cwd,
        env=environment(cwd, **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file below the folder, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_model_folder_needs_no_network_no_home_and_no_cache(exported: Path, pictures: Path, tmp_path: Path) -> None:
    """Row 86: every place outside of the command's own files is one that cannot be made."""
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "HF_HOME", "FRAMEVIT_CACHE", "MPLCONFIGDIR"), "/proc/nowhere")
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    model = exported / "runs/tiny-001/model"
    before = contents(model)
    for backend in ("onnxruntime", "torch"):
        words = ("predict", pictures, "--model", model, "--backend", backend, "--format", "jsonl")
        process = start(tmp_path, *words, **nowhere, **proxy)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert len(out.splitlines()) == 5
        assert "/proc/nowhere" not in err, "nothing is said of places that are not needed"
    assert contents(model) == before


def test_several_commands_share_a_model_without_writing_to_it(exported: Path, pictures: Path, tmp_path: Path) -> None:
    """Row 89: their rows are the same, and the model folder is as before."""
    run = exported / "runs/tiny-001"
    before = contents(run)
    words = ("predict", pictures, "--model", run, "--format", "jsonl")
    together = [start(tmp_path, *words) for _ in range(3)]
    said = [process.communicate(timeout=200) for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
    assert contents(run) == before


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the memory of a child")
def test_many_pictures_take_no_more_memory_and_a_kill_loses_no_row(exported: Path, tmp_path: Path) -> None:
    """Row 90: rows are written as they are made; with --skip-done each input has one row in the end, in order."""
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", number)))
    names = [f"{number % 3}.jpg" for number in range(MANY)]
    (tmp_path / "many.csv").write_text("\n".join(["file_name,label", *(f"{name},Xplus" for name in names)]))
    (tmp_path / "few.csv").write_text("\n".join(["file_name,label", *(f"{name},Xplus" for name in names[:50])]))
    rows = tmp_path / "rows.jsonl"
    options = ("--model", exported / "runs/tiny-001", "--backend", "onnxruntime")

    process = start(tmp_path, "predict", "many.csv", *options, "-o", rows)
    while not rows.exists() or rows.read_bytes().count(b"\n") < 100:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    written = rows.read_bytes().count(b"\n")
    assert 100 <= written < MANY

    peaks = {}
    for table, file, skip in (("few.csv", "few.jsonl", ()), ("many.csv", "rows.jsonl", ("--skip-done",))):
        process = start(tmp_path, "predict", table, *options, "-o", tmp_path / file, *skip)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, process.communicate()
        process.communicate()
        peaks[table] = usage.ru_maxrss / 1024
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [Path(row["file"]).name for row in found] == names
    assert {row["status"] for row in found} == {"ok"}
    assert peaks["many.csv"] < peaks["few.csv"] + 60, "megabytes"
