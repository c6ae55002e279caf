"""Rows read again: every row with its record, in order, and nothing that is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.line.recorded import lines, read_row, recorded_rows
from tests.line.written import MONDAY, day, failed, row, write


def test_a_row_has_its_decision_its_time_and_the_numbers_that_vary(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [row(MONDAY, "reject", light=99.5, flags=["light 99.5"], score=0.9)])
    (read,) = recorded_rows([path])
    assert (read.decision, read.status, read.score, read.flags) == ("reject", "ok", 0.9, ("light 99.5",))
    assert read.time == MONDAY
    assert read.time.utcoffset() == MONDAY.utcoffset()
    assert read.features == {"light": 99.5, "contrast": 40.0, "sharpness": 0.3, "distance": 0.1}
    assert (read.number, read.file) == (1, "line/picture.jpg")


def test_an_error_has_neither_decision_nor_features(tmp_path: Path) -> None:
    (read,) = recorded_rows([write(tmp_path / "rows.jsonl", [failed(MONDAY)])])
    assert (read.status, read.decision, read.score, read.features) == ("error", None, None, {})


def test_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    first = write(tmp_path / "b.jsonl", day(1, n=20))
    second = write(tmp_path / "a.jsonl", day(0, n=10))
    read = list(recorded_rows([first, second]))
    assert [each.number for each in read] == [*range(1, 21), *range(1, 11)]
    assert read[0].time > read[20].time


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"file": "a.jpg", "status": "ok"}', "record is missing"),
        ('{"file": "a.jpg", "status": "fine", "record": {}}', "status is 'fine'"),
        ('{"file": "a.jpg", "status": "ok", "record": {"time": "2026-11-02T06:00:00"}}', "no offset from UTC"),
        ('{"file": "a.jpg", "status": "ok", "record": {"time": "Monday"}}', "not a time"),
        ('{"file": "a.jpg", "status": "ok", "score": 7, "record": {"time": "2026-11-02T06:00:00Z"}}', "score is 7"),
        ("half a li", "not JSON"),
    ],
)
def test_a_damaged_row_is_named_with_its_file_and_number(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "rows.jsonl", [row(MONDAY)])
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(UsageError, match=r"rows\.jsonl, row 2: ") as raised:
        list(recorded_rows([path]))
    assert reason in raised.value.message
    assert "framevit verify" in raised.value.hint


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        list(lines(tmp_path / "nowhere.jsonl"))


def test_a_feature_that_is_no_number_is_refused() -> None:
    bad = b'{"file": "a", "status": "ok", "record": {"time": "2026-11-02T06:00:00Z", "features": {"light": "dark"}}}'
    with pytest.raises(ValueError, match=r"record\.features\.light"):
        read_row(1, bad)
