"""A watched folder, by real processes and real signals: whole files only, each once, whatever happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frame_vit.data import demo
from frame_vit.prediction.watch import Watcher, states
from tests.processes import environment, run_framevit

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def line(exported: Path, tmp_path: Path) -> Path:
    """An empty folder that pictures will come into, in a folder with an exported run."""
    shutil.copytree(exported / "runs", tmp_path / "runs")
    (tmp_path / "line").mkdir()
    return tmp_path / "line"


@pytest.fixture
def start(line: Path) -> Iterator[Start]:
    """`framevit predict --watch line -o rows.jsonl`, and when it has begun to watch."""
    begun: list[subprocess.Popen[str]] = []

    def watch(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "frame_vit", "predict", "--watch", "line", "-o", "rows.jsonl", *words]
        home = line.parent
        process = subprocess.Popen(command, cwd=home, env=environment(home), stderr=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stderr is not None
        for said in process.stderr:
            if said.startswith("watching"):
                return process
        raise AssertionError("it never began to watch")

    yield watch
    for process in begun:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def stopped(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Exit code and last words after a signal."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def rows(line: Path) -> list[dict[str, Any]]:
    path = line.parent / "rows.jsonl"
    return [json.loads(row) for row in path.read_text().splitlines()] if path.exists() else []


def until(line: Path, count: int) -> list[dict[str, Any]]:
    """The rows, when there are so many."""
    end = time.monotonic() + 60
    while len(rows(line)) < count:
        assert time.monotonic() < end, rows(line)
        time.sleep(0.02)
    return rows(line)


def picture(seed: int) -> bytes:
    return demo.jpeg(demo.sample("Xplus", seed))


def test_whole_files_get_a_row_each_and_a_bad_one_stops_nothing(line: Path, start: Start) -> None:
    (line / "before.jpg").write_bytes(picture(0))
    watching = start()
    until(line, 1)
    data = picture(1)
    with (line / "slow.jpg").open("wb") as file:
        for part in range(4):
            file.write(data[part * len(data) // 4 : (part + 1) * len(data) // 4])
            file.flush()
            time.sleep(0.3)
    (line / "note.txt").write_text("not a picture by its name")
    (line / "bad.jpg").write_text("not a picture at all")
    (line / "below").mkdir()
    (line.parent / "moved.jpg").write_bytes(picture(2))
    (line.parent / "moved.jpg").rename(line / "below" / "moved.jpg")
    found = until(line, 4)
    code, said = stopped(watching, signal.SIGTERM)
    assert code == 143
    assert {row["file"]: row["status"] for row in found} == {
        "line/before.jpg": "ok",
        "line/slow.jpg": "ok",
        "line/below/moved.jpg": "ok",
        "line/bad.jpg": "error",
    }
    assert re.search(r"4 rows written, 1 of them errors; .* p50 \d+ ms, p99 \d+ ms", said)


def test_it_does_not_matter_from_where_the_folder_was_named(line: Path, start: Start) -> None:
    (line / "a.jpg").write_bytes(picture(0))
    first = start()
    until(line, 1)
    stopped(first, signal.SIGINT)
    (line / "b.jpg").write_bytes(picture(1))
    command = [
        sys.executable,
        "-m",
        "frame_vit",
        "predict",
        "--watch",
        ".",
        "-o",
        "../rows.jsonl",
        "--model",
        "../runs/tiny-001",
    ]
    with subprocess.Popen(command, cwd=line, env=environment(line.parent), stderr=subprocess.DEVNULL) as again:
        found = until(line, 2)
        again.send_signal(signal.SIGINT)
    assert [row["file"] for row in found] == ["line/a.jpg", "b.jpg"]


def test_a_restart_picks_up_what_came_in_between_and_nothing_twice(line: Path, start: Start) -> None:
    (line / "a.jpg").write_bytes(picture(0))
    first = start()
    until(line, 1)
    first.kill()  # no time to say or write anything
    first.wait()
    (line / "b.jpg").write_bytes(picture(1))
    with (line.parent / "rows.jsonl").open("a") as file:
        file.write('{"file": "line/b.jpg", "lab')  # as a power cut leaves it
    again = start()
    found = until(line, 2)
    code, said = stopped(again, signal.SIGINT)
    assert code == 130
    assert [row["file"] for row in found] == ["line/a.jpg", "line/b.jpg"]
    assert "1 rows written" in said


def test_a_file_that_changes_is_another_picture(line: Path, start: Start) -> None:
    watching = start("--batch-size", "2")
    (line / "a.jpg").write_bytes(picture(0))
    until(line, 1)
    (line / "a.jpg").write_bytes(picture(5))
    found = until(line, 2)
    _, said = stopped(watching, signal.SIGINT)
    assert [row["file"] for row in found] == ["line/a.jpg"] * 2
    assert found[0]["score"] != found[1]["score"]
    assert "has changed since it was predicted" in said


def test_a_file_is_ready_when_it_was_the_same_twice_in_the_order_of_completion(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, {})
    assert watcher.look() == []
    for number, name in enumerate(("b.png", "a.png")):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, ns=(0, 10**18 + number))
    assert watcher.look() == []
    (tmp_path / "a.png").write_bytes(b"xy")
    time.sleep(0.01)
    assert watcher.look() == [tmp_path / "b.png"]
    time.sleep(0.01)
    assert watcher.look() == [tmp_path / "b.png", tmp_path / "a.png"]
    latency = watcher.predicted("b.png")
    assert latency is not None
    assert 0 <= latency < 60, "of a file with an old date it counts from when it came"
    time.sleep(0.01)
    assert watcher.look() == [tmp_path / "a.png"]


def test_files_from_before_have_no_latency_and_names_are_kept_while_a_share_is_away(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    watcher = Watcher(tmp_path, {})
    watcher.look()
    assert watcher.look() == [tmp_path / "a.png"]
    assert watcher.predicted("a.png") is None
    (tmp_path / "a.png").rename(tmp_path / "away")
    watcher.look()
    (tmp_path / "away").rename(tmp_path / "a.png")
    assert watcher.look() == watcher.look() == []


def test_a_folder_below_that_is_closed_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.scandir

    def closed(path: Path) -> Any:
        """As for a person who may not look into it; the tests may be run by one who may look everywhere."""
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", closed)
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    watcher = Watcher(tmp_path, {})
    watcher.look()
    assert watcher.look() == [tmp_path / "a.png"]
    assert caplog.text.count("closed cannot be looked into") == 1


def test_files_and_folders_of_the_system_are_passed_over_at_every_depth(tmp_path: Path) -> None:
    for name in ("a.jpg", ".b.jpg", "__MACOSX/c.jpg", "lot/@eaDir/d.jpg", "lot/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(demo.jpeg(demo.sample("passed", 0)))
    assert sorted(name for name, _ in states(tmp_path, lambda *_: None)) == ["a.jpg", "lot/e.jpg"]


def test_a_folder_that_goes_away_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "line").mkdir()
    watcher = Watcher(tmp_path / "line", {})
    (tmp_path / "line").rmdir()
    assert watcher.look() == watcher.look() == []
    assert caplog.text.count("cannot be looked into") == 1
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "a.png").write_bytes(b"x")
    watcher.look()
    time.sleep(0.01)
    assert len(watcher.look()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--watch", "gone"], "gone is no folder"),
        (["--watch", "line", "a.jpg"], "name different pictures"),
        (["--watch", "line", "--format", "json"], "cannot write one JSON list"),
        (["--watch", "line", "-o", "rows.xlsx"], "the format is not clear"),
        (["--watch", "line", "--explain", "x"], "cannot be used together"),
    ],
)
def test_what_cannot_be_watched_is_said(line: Path, words: list[str], said: str) -> None:
    done = run_framevit(line.parent, "predict", *words)
    assert done.returncode == 2
    assert said in " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())
