"""Challenge parts: no part is accepted before all masters passed, after one failed, or when they are overdue."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.data import demo
from frame_vit.errors import UsageError
from frame_vit.line.challenge import FAILED, OVERDUE, PASSED, SAME, Challenge, Master, interval, read_challenge
from frame_vit.line.verify import verify
from frame_vit.prediction.inputs import expand
from frame_vit.prediction.predictor import Prediction
from frame_vit.prediction.record import facts
from tests.line.chains import Row, predictor, rows_of
from tests.line.written import row, write
from tests.processes import environment

MASTERS = (Master("good-*.jpg", "accept"), Master("bad-*.jpg", "reject"))
BEGIN = datetime.fromisoformat("2026-11-30T06:00:00+01:00")


class Line:
    """A challenge whose clock is set by the test."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.challenge = Challenge(MASTERS, timedelta(hours=8), clock=lambda: self.now)

    def decide(self, file: str, decision: str | None) -> Prediction:
        return self.challenge.judge(Prediction(file, "passed", decision=decision, reason="p(bad) 0.01 < 0.05"))

    def pass_all(self) -> None:
        self.decide("line/good-1.jpg", "accept")
        self.decide("line/bad-1.jpg", "reject")


@pytest.fixture
def line() -> Line:
    return Line()


def test_no_part_is_accepted_before_all_masters_were_shown(line: Line) -> None:
    row = line.decide("part-1.jpg", "accept")
    assert (row.decision, row.challenge) == ("review", {"state": OVERDUE})
    assert row.reason == "challenge overdue: good-*.jpg has not been shown; p(bad) 0.01 < 0.05"
    line.decide("good-1.jpg", "accept")
    assert line.decide("part-2.jpg", "accept").decision == "review"
    assert line.decide("Bad-7.JPG", "reject").challenge == {
        "state": PASSED,
        "master": "bad-*.jpg",
        "expected": "reject",
        "shown": BEGIN.isoformat(),
    }
    assert line.decide("part-3.jpg", "accept").decision == "accept"


@pytest.mark.parametrize("decided", ["accept", "review", None])
def test_after_a_master_failed_nothing_is_accepted_until_it_passes(line: Line, decided: str | None) -> None:
    line.pass_all()
    swapped = line.decide("bad-2.jpg", decided)
    assert (swapped.decision, (swapped.challenge or {})["state"]) == (decided, FAILED)
    assert line.decide("part.jpg", "accept").decision == "review"
    line.decide("good-2.jpg", "accept")
    assert line.decide("part.jpg", "accept").decision == "review", "another master does not help"
    line.decide("bad-3.jpg", "reject")
    assert line.decide("part.jpg", "accept").decision == "accept"


def test_what_is_not_accepted_stays_as_it_is(line: Line) -> None:
    for decision in ("review", "reject", None):
        row = line.decide("part.jpg", decision)
        assert (row.decision, row.reason) == (decision, "p(bad) 0.01 < 0.05")


def test_a_challenge_is_due_again_after_its_interval(line: Line) -> None:
    line.pass_all()
    line.now = BEGIN + timedelta(hours=8)
    assert line.decide("part.jpg", "accept").decision == "accept"
    line.now = BEGIN + timedelta(hours=8, seconds=1)
    assert "last shown at 2026-11-30 06:00" in str(line.decide("part.jpg", "accept").reason)
    line.now = BEGIN - timedelta(minutes=1)
    assert line.decide("part.jpg", "accept").decision == "review", "the clock was set back"


def test_a_picture_that_fits_two_masters_is_none_of_them(line: Line) -> None:
    line.pass_all()
    line.challenge.masters += (Master("*-1.jpg", "reject"),)
    line.challenge.shown["*-1.jpg"] = line.challenge.shown["bad-*.jpg"]
    row = line.decide("good-1.jpg", "accept")
    assert (row.decision, row.challenge) == ("review", {"state": OVERDUE})
    assert "fits several master parts: good-*.jpg and *-1.jpg" in str(row.reason)
    assert line.decide("good-1.jpg", "reject").decision == "reject", "nothing but an accept is withheld"


def test_an_old_picture_of_a_master_says_nothing_of_the_line_as_it_is(line: Line, tmp_path: Path) -> None:
    line.pass_all()
    left = tmp_path / "bad-9.jpg"
    left.touch()
    os.utime(left, (BEGIN.timestamp() - 9 * 3600,) * 2)
    line.decide(str(left), "reject")
    assert "last shown at" in str(line.decide("part.jpg", "accept").reason)


def test_what_another_model_decided_is_not_taken_over(exported: Path, tmp_path: Path) -> None:
    own = facts(predictor(exported))
    masters = Challenge((Master("bad-*.jpg", "reject"),), timedelta(days=1))
    note = {"state": PASSED, "master": "bad-*.jpg", "expected": "reject", "shown": masters.clock().isoformat()}
    for change, state in (
        ({}, PASSED),
        ({"model": "another"}, OVERDUE),
        ({"settings": "others"}, OVERDUE),
        ({"views": []}, OVERDUE),
    ):
        record = {key: own[key] for key in SAME} | change
        written = row(masters.clock(), "reject", **record)
        written["record"]["challenge"] = note
        begun = Challenge(masters.masters, masters.every)
        begun.resume(write(tmp_path / "rows.jsonl", [written]), own)
        assert begun.state()[0] == state, change
    begun.resume(None, own)


@settings(deadline=None)
@given(
    shown=st.lists(
        st.tuples(st.sampled_from(["good-1.jpg", "bad-1.jpg", "part.jpg"]), st.sampled_from(["accept", "reject"]))
    )
)
def test_a_part_is_accepted_only_while_the_last_of_every_master_was_as_listed(shown: list[tuple[str, str]]) -> None:
    line, last = Line(), {"good-1.jpg": "", "bad-1.jpg": ""}
    for file, decision in shown:
        row = line.decide(file, decision)
        if file in last:
            last[file] = decision
        elif decision == "accept":
            assert (row.decision == "accept") == (last == {"good-1.jpg": "accept", "bad-1.jpg": "reject"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,decision\na.jpg,accept\n", "lists no bad part"),
        ("name,decision\na.jpg,rejected\n", "line 2: a.jpg, rejected"),
        ("name,decision\n,reject\n", "line 2: no name, reject"),
        ("name,decision\na.jpg,reject\na.jpg,accept\n", "names a.jpg twice"),
        ("file,decision\na.jpg,reject\n", "no column called name"),
        ("name,decision\nbad.jpg,reject\n*.jpg,accept\n", "fits every picture"),
        ("", "no column called name"),
    ],
)
def test_a_table_that_proves_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "masters.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_challenge(tmp_path / "masters.csv", "8h")


def test_intervals() -> None:
    assert [interval(text) for text in ("30min", "8h", "1.5 d")] == [
        timedelta(minutes=30),
        timedelta(hours=8),
        timedelta(hours=36),
    ]
    for text in ("8", "0h", "-1h", "8 hours", "nan h"):
        with pytest.raises(UsageError, match="not an interval"):
            interval(text)


def test_a_watch_takes_the_state_over_from_its_rows_and_ends_with_4_after_a_failure(
    exported: Path, tmp_path: Path
) -> None:
    """A real watch, twice: a master passes, then another part lies in its place."""
    shutil.copytree(exported / "runs", tmp_path / "runs")
    drawn = {f"{name}-{seed}.jpg": demo.jpeg(demo.sample(name, seed)) for seed in range(3) for name in demo.NAMES}
    (tmp_path / "drawn").mkdir()
    for name, data in drawn.items():
        (tmp_path / "drawn" / name).write_bytes(data)
    answers = predictor(exported).predict(expand([str(tmp_path / "drawn")]))
    by_decision = {str(row.decision): drawn[Path(row.file).name] for row in answers}
    expected, swapped = [by_decision[name] for name in ("reject", "accept")]
    (tmp_path / "masters.csv").write_text("name,decision\nmaster-*.jpg,reject\n")

    passed = _watched(tmp_path, {"part-1.jpg": swapped, "master-1.jpg": expected, "part-2.jpg": swapped})
    assert passed.returncode == 130
    again = _watched(tmp_path, {"part-3.jpg": swapped, "master-2.jpg": swapped, "part-4.jpg": swapped})
    assert again.returncode == 4, again.stderr
    assert "challenge failed: master-*.jpg was accept, expected reject" in again.stderr

    decided = {Path(row["file"]).stem: _of(row) for row in rows_of(tmp_path / "rows.jsonl")}
    assert decided == {
        "part-1": ("review", OVERDUE),
        "master-1": ("reject", PASSED),
        "part-2": ("accept", PASSED),
        "part-3": ("accept", PASSED),
        "master-2": ("accept", FAILED),
        "part-4": ("review", FAILED),
    }
    assert verify(tmp_path / "rows.jsonl", tmp_path).problems == []


def _of(row: Row) -> tuple[str, str]:
    return row["decision"], row["record"]["challenge"]["state"]


def _watched(home: Path, arriving: dict[str, bytes]) -> subprocess.CompletedProcess[str]:
    """A watch during which pictures arrive one after the other, and its end by Ctrl-C."""
    (home / "camera").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "frame_vit", "predict", "--watch", "camera", "-o", "rows.jsonl"]
    command += ["--challenge", "masters.csv", "--chain", "--backend", "onnxruntime", "--precision", "fp32"]
    rows = home / "rows.jsonl"
    with subprocess.Popen(command, cwd=home, env=environment(home), stderr=subprocess.PIPE, text=True) as process:
        for name, data in arriving.items():
            before = len(rows_of(rows)) if rows.exists() else 0
            (home / "camera" / name).write_bytes(data)
            end = time.monotonic() + 60
            while not rows.exists() or rows.read_bytes().count(b"\n") <= before:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, "", said)
