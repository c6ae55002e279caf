"""A decoder that crashes or hangs, in real commands: one row says so, and everything else goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.images.test_decode import encoded, noise
from tests.processes import environment

HOOK = """
import os, signal, time
from PIL import Image
opened = Image.open
def hostile(fp, *arguments, **options):
    if hasattr(fp, "getvalue") and fp.getvalue()[8:12] == b"WEBP":
        if os.environ["MODE"] == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        open("hangs", "w").close()
        time.sleep(1000)
    return opened(fp, *arguments, **options)
Image.open = hostile
"""
"""A Pillow whose WebP decoder fails, for every Python that starts with it."""


@pytest.fixture
def hostile(tmp_path: Path, pictures: Path) -> Path:
    """A folder with pictures, one of which the decoder does not survive, and the hook."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(HOOK)
    (pictures / "bad.webp").write_bytes(encoded(noise(32, 32), "WEBP"))
    return pictures


def start(exported: Path, hostile: Path, mode: str, *words: str | Path) -> subprocess.Popen[str]:
    extra = {"MODE": mode, "PYTHONPATH": f"{hostile.parent / 'hook'}:{Path(__file__).parents[2]}"}
    return subprocess.Popen(
        [sys.executable, "-m", "frame_vit", "predict", "--model", str(exported / "runs/tiny-001"), *map(str, words)],
        cwd=hostile.parent,
        env=environment(hostile.parent, **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_crash_is_a_row_and_is_not_tried_again(exported: Path, hostile: Path) -> None:
    output = hostile.parent / "rows.jsonl"
    for _ in range(2):
        process = start(exported, hostile, "crash", hostile, "-o", output, "--skip-done")
        _, said = process.communicate(timeout=100)
        assert process.returncode == 3, said
        assert "Traceback" not in said
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [Path(row["file"]).name for row in rows if row["status"] == "error"] == ["bad.webp"]
    assert len(rows) == 6
    assert {row["error"] for row in rows} == {None, "the decoder crashed on this picture (SIGSEGV)"}


def test_a_single_picture_that_crashes_its_decoder_gets_its_row_in_a_file(exported: Path, hostile: Path) -> None:
    output = hostile.parent / "rows.csv"
    process = start(exported, hostile, "crash", hostile / "bad.webp", "-o", output)
    assert process.wait(timeout=100) == 3
    assert "the decoder crashed" in output.read_text()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_while_a_decoder_hangs(exported: Path, hostile: Path, number: signal.Signals) -> None:
    process = start(exported, hostile, "hang", hostile, "-o", hostile.parent / "rows.jsonl")
    while not (hostile.parent / "hangs").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 128 + number, said
    assert "--skip-done" in said


def test_prepare_says_which_row_it_was_and_reads_all_others(exported: Path, hostile: Path) -> None:
    for name in ("passed", "Xplus"):
        folder = hostile.parent / "classes" / name
        folder.mkdir(parents=True)
        for seed in range(3):
            (folder / f"{seed}.png").write_bytes(encoded(noise(32, 32, seed + (name == "Xplus") * 9)))
    (hostile.parent / "classes/Xplus/bad.webp").write_bytes((hostile / "bad.webp").read_bytes())
    extra = {"MODE": "crash", "PYTHONPATH": f"{hostile.parent / 'hook'}:{Path(__file__).parents[2]}"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "frame_vit", "prepare", "--data", "classes", "--set", "model.init=scratch"),
            *("--set", "labels.names=auto", "--set", "labels.ok=[passed]", "--json", "-o", "out"),
        ],
        cwd=hostile.parent,
        env=environment(hostile.parent, **extra),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 3, done.stderr
    found = [finding for finding in json.loads(done.stdout)["findings"] if finding["code"] == "FV102"]
    assert len(found) == 1
    assert "the decoder crashed on this picture (SIGSEGV)" in json.dumps(found)
    assert "bad.webp" in json.dumps(found)
