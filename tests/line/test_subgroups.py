"""Subgroups: rows are counted where their time belongs, and sums are those of the rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from frame_vit.errors import UsageError
from frame_vit.line.recorded import recorded_rows
from frame_vit.line.subgroups import Moments, Subgroup, check_by, subgroups
from tests.line.written import CET, MODEL, MONDAY, OTHER_MODEL, Row, day, failed, row, write


def made(folder: Path, rows: Iterable[Row], by: str | int) -> list[Subgroup]:
    return subgroups(recorded_rows([write(folder / "rows.jsonl", rows)]), by)


def test_sums_added_one_by_one_are_those_of_all_numbers() -> None:
    values = np.random.default_rng(0).gamma(2, 3, 500) + 1e6
    moments = Moments()
    for value in values:
        moments.add(float(value))
    deviations = values - values.mean()
    assert moments.n == 500
    assert moments.mean == pytest.approx(values.mean())
    assert moments.squares == pytest.approx((deviations**2).sum())
    assert moments.cubes == pytest.approx((deviations**3).sum(), rel=1e-6)


def test_a_day_is_the_date_where_the_row_was_written(tmp_path: Path) -> None:
    """One minute apart, and the same day in UTC, but different dates on the two clocks."""
    late = datetime(2026, 11, 2, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    found = made(tmp_path, [row(late), row((late + timedelta(minutes=1)).astimezone(CET))], "day")
    assert [group.name for group in found] == ["2026-11-02", "2026-11-03"]


def test_rows_in_any_order_of_time_end_in_the_right_day(tmp_path: Path) -> None:
    rows = [each for number in range(3) for each in day(number, n=30)]
    shuffled = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    found = made(tmp_path, shuffled, "day")
    assert [(group.name, group.rows) for group in found] == [(f"2026-11-0{number}", 30) for number in (2, 3, 4)]
    assert [(group.first, group.last) for group in found] == [
        (group.first, group.last) for group in made(tmp_path, rows, "day")
    ]


@pytest.mark.parametrize(
    ("hour", "name"),
    [
        (5, "2026-11-01 22:00"),
        (6, "2026-11-02 06:00"),
        (13, "2026-11-02 06:00"),
        (14, "2026-11-02 14:00"),
        (22, "2026-11-02 22:00"),
        (23, "2026-11-02 22:00"),
    ],
)
def test_a_shift_belongs_to_the_day_on_which_it_began(tmp_path: Path, hour: int, name: str) -> None:
    (found,) = made(tmp_path, [row(datetime(2026, 11, 2, hour, 59, tzinfo=CET))], "shift")
    assert found.name == name


def test_the_night_shift_of_the_year_ends_in_the_next_one(tmp_path: Path) -> None:
    (found,) = made(tmp_path, [row(datetime(2027, 1, 1, 2, tzinfo=CET))], "shift")
    assert found.name == "2026-12-31 22:00"


def test_so_many_rows_follow_the_order_of_the_files(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, day(number, n=15)) for number, name in enumerate(("b.jsonl", "a.jsonl"))]
    found = subgroups(recorded_rows(paths), 10)
    assert [(group.name, group.rows) for group in found] == [("1 to 10", 10), ("11 to 20", 10), ("21 to 30", 10)]
    (*_, last) = subgroups(recorded_rows(paths), 20)
    assert (last.name, last.rows) == ("21 to 30", 10)


def test_an_error_counts_as_a_row_and_as_an_error_only(tmp_path: Path) -> None:
    rows = [failed(MONDAY), row(MONDAY, "reject", flags=["light", "contrast"]), row(MONDAY, "review"), row(MONDAY)]
    (found,) = made(tmp_path, rows, "day")
    assert (found.rows, found.errors, found.ok, found.decided) == (4, 1, 3, 3)
    assert (found.rejects, found.reviews, found.flags) == (1, 1, 1)
    assert {name: each.n for name, each in found.measured.items()} == {
        "score": 3,
        "light": 3,
        "contrast": 3,
        "sharpness": 3,
        "distance": 3,
    }


def test_master_parts_are_no_parts_of_the_line(tmp_path: Path) -> None:
    master = row(MONDAY, "reject")
    master["record"]["challenge"] = {"state": "passed", "master": "bad-*.jpg", "expected": "reject"}
    part = row(MONDAY)
    part["record"]["challenge"] = {"state": "passed"}
    path = write(tmp_path / "rows.jsonl", [master, part])
    (group,) = subgroups(recorded_rows([path]), "day")
    assert (group.rows, group.rejects) == (1, 0)


def test_a_model_without_good_classes_decides_nothing(tmp_path: Path) -> None:
    (found,) = made(tmp_path, [row(MONDAY, score=None) | {"decision": None}], "day")
    assert (found.ok, found.decided, found.measured["score"].n) == (1, 0, 0)


def test_every_model_in_a_subgroup_is_known(tmp_path: Path) -> None:
    (found,) = made(tmp_path, [row(MONDAY), row(MONDAY, model=OTHER_MODEL), row(MONDAY)], "day")
    assert found.settings["model"] == {MODEL, OTHER_MODEL}


@pytest.mark.parametrize("by", ["week", "", 9, 0, -200])
def test_other_subgroups_are_refused(by: str | int) -> None:
    with pytest.raises(UsageError, match="--by"):
        check_by(by)


def test_no_rows_are_no_subgroups() -> None:
    assert subgroups([], "day") == subgroups([], 100) == []
