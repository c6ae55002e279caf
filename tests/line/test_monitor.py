"""`framevit monitor` as a plain function: from files of rows to alarms in words, with every way out named."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from frame_vit.decision.json_values import json_value
from frame_vit.errors import UsageError
from frame_vit.line.charts import Point
from frame_vit.line.monitor import FALSE_ALARM_RATE, KINDS, Baseline, Monitored, in_words, monitor, within
from tests.line.written import MONDAY, OTHER_MODEL, Row, day, failed, row, write


def days(numbers: Iterable[int], **changes: Any) -> Iterator[Row]:
    for number in numbers:
        yield from day(number, **changes)


def monitored(folder: Path, rows: Iterable[Row], by: str | int = "day", baseline: Baseline | None = None) -> Monitored:
    return monitor([write(folder / "rows.jsonl", rows)], by, baseline or Baseline(), None)


def divided(result: Monitored) -> float:
    return sum(rule.false_alarm_rate for each in result.charts for rule in each.chart.rules)


def alarms(result: Monitored) -> set[tuple[str, str]]:
    return {(alarm.chart, alarm.rule) for alarm in result.alarms}


def test_a_line_that_stays_as_it_was_has_no_alarm(tmp_path: Path) -> None:
    result = monitored(tmp_path, days(range(30)))
    assert not result.alarms
    assert not result.changes
    assert not result.notes
    assert [each.kind for each in result.charts] == list(KINDS)
    assert result.false_alarm_rate == FALSE_ALARM_RATE
    assert divided(result) == pytest.approx(0.9 * FALSE_ALARM_RATE)
    roles = [group.role for group in result.subgroups]
    assert roles == ["baseline"] * 20 + ["judged"] * 10
    facts = result.baseline
    assert (facts.subgroups, facts.first, facts.last, facts.rows) == (20, "2026-11-02", "2026-11-21", 4000)


def test_pictures_that_are_a_fifth_darker_are_found_on_the_first_day(tmp_path: Path) -> None:
    result = monitored(tmp_path, [*days(range(25)), *days(range(25, 30), darker=0.2)])
    first = result.alarms[0]
    assert (first.chart, first.rule, first.subgroup, first.last) == ("light", "one", "2026-11-27", "2026-12-01")
    assert first.value == pytest.approx(88, abs=2)
    low, high = first.expected
    assert low is not None
    assert high is not None
    assert 100 < low < 110 < high < 120
    assert re.fullmatch(
        r"Light: 8\d\.\d grey levels on 2026-11-27, where 10\d\.\d to 11\d\.\d were expected", first.sentence
    )
    assert {chart for chart, _ in alarms(result)} == {"light"}


def test_a_doubled_reject_rate_is_found_within_five_days(tmp_path: Path) -> None:
    result = monitored(tmp_path, [*days(range(25)), *days(range(25, 30), rejects=0.1)])
    rejects = [alarm for alarm in result.alarms if alarm.chart == "rejects"]
    assert {alarm.rule for alarm in rejects} == {"five"}
    assert "2026-11-27" <= rejects[0].subgroup <= "2026-12-01"
    assert re.fullmatch(
        r"Rejects: \S+ % in the 5 days up to 2026-\d\d-\d\d, where \S+ to \S+ % were expected", rejects[0].sentence
    )


def test_the_json_has_every_number_and_no_nan(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*days(range(25)), failed(MONDAY + timedelta(days=25))])
    result = monitor([path], "day", Baseline(), tmp_path / "out")
    assert result.files == {"report": tmp_path / "out/monitor.html", "numbers": tmp_path / "out/monitor.json"}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"monitor.html", "monitor.json"}
    text = (tmp_path / "out/monitor.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    values = json.loads(text)
    assert values == json.loads(json.dumps(json_value(result)))
    assert [*values] == [
        "by", "baseline", "subgroups", "charts", "alarms", "false_alarm_rate", "changes", "notes",
    ]  # fmt: skip
    last = values["subgroups"][-1]
    assert (last["n"], last["errors"]) == (1, 1)
    assert last["rates"] == {"rejects": None, "reviews": None, "flags": None, "errors": 1.0}
    assert set(last["means"].values()) == {None}
    rejects, light = values["charts"][0], values["charts"][6]
    assert [len(rejects[key]) for key in ("values", "lower", "upper", "five", "five_lower", "five_upper")] == [26] * 6
    assert [len(light[key]) for key in ("values", "lower", "upper", "ewma", "ewma_lower", "ewma_upper")] == [26] * 6
    assert rejects["values"][-1] is rejects["five"][-1] is light["upper"][-1] is None


def test_by_shift_a_day_is_several_subgroups(tmp_path: Path) -> None:
    rows = [row(MONDAY + timedelta(hours=hour), light=100.0 + hour % 7) for hour in range(24 * 9)]
    result = monitored(tmp_path, rows, "shift")
    assert [group.name for group in result.subgroups[:4]] == [
        "2026-11-02 06:00",
        "2026-11-02 14:00",
        "2026-11-02 22:00",
        "2026-11-03 06:00",
    ]
    assert {group.n for group in result.subgroups} == {8}
    assert not result.alarms


def test_by_rows_the_last_subgroup_is_judged_if_it_has_half_of_them(tmp_path: Path) -> None:
    rows = list(days(range(12), n=100))
    result = monitored(tmp_path, rows[:1140], 80, Baseline(10))
    assert [group.role for group in result.subgroups] == ["baseline"] * 10 + ["judged"] * 4 + ["incomplete"]
    assert result.subgroups[-1].name == "1121 to 1140"
    assert result.notes[0] == "the last subgroup has 20 of 80 rows, less than half, and is not judged"
    assert result.notes[1] == "a baseline of 10 subgroups is short, so its limits are wide; take 15 or more"
    result = monitored(tmp_path, rows[:1160], 80, Baseline(10))
    assert result.subgroups[-1].role == "judged"
    assert result.notes[0] == "the last subgroup has 40 of 80 rows"


def test_an_alarm_by_rows_names_them(tmp_path: Path) -> None:
    result = monitored(tmp_path, [*days(range(12), n=100), *days([12], n=100, darker=0.3)], 100, Baseline(12))
    assert "grey levels in rows 1201 to 1300, where" in result.alarms[0].sentence


def test_files_that_are_not_in_the_order_of_time_are_noted_by_rows_and_sorted_by_day(tmp_path: Path) -> None:
    late, early = (write(tmp_path / name, days(numbers)) for name, numbers in (("a", range(15, 30)), ("b", range(15))))
    assert "earlier than those before them" in " ".join(monitor([late, early], 200, Baseline(10), None).notes)
    by_day = monitor([late, early], "day", Baseline(), None)
    assert by_day.notes == ()
    assert by_day.subgroups[0].name == "2026-11-02"


def test_other_files_can_be_the_baseline(tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", days(range(8)))
    now = write(tmp_path / "now.jsonl", days([20], darker=0.5))
    result = monitor([now], "day", Baseline(paths=(good,)), None)
    assert result.baseline.files == (str(good),)
    assert [group.role for group in result.subgroups] == ["baseline"] * 8 + ["judged"]
    assert ("light", "one") in alarms(result)
    by_rows = monitor([now], 100, Baseline(paths=(good,)), None)
    assert by_rows.subgroups[0].name == "baseline 1 to 100"
    assert by_rows.subgroups[-1].name == "101 to 200"


@pytest.mark.parametrize(
    ("numbers", "by", "baseline", "message"),
    [
        (range(12), "day", Baseline(), r"the rows make 12 subgroups: none is left to judge after a baseline of 20"),
        (range(12), "day", Baseline(12), r"the rows make 12 subgroups: none is left"),
        (range(12), "day", Baseline(4), r"a baseline of 4 subgroups says too little .* at least 5"),
        (range(0), "day", Baseline(), r"the files have no rows"),
        (range(12), "week", Baseline(), r"--by 'week'"),
        (range(12), 3, Baseline(), r"--by 3: a subgroup needs at least 10 rows"),
        (range(6), 100, Baseline(6), r"nothing is left to judge: the last subgroup has 10 of 100 rows"),
    ],
)
def test_too_few_subgroups_are_an_error_that_names_the_way_out(
    tmp_path: Path, numbers: Iterable[int], by: str | int, baseline: Baseline, message: str
) -> None:
    rows = [*days(numbers, n=100), *(day(30, n=10) if by == 100 else ())]
    with pytest.raises(UsageError, match=message) as raised:
        monitored(tmp_path, rows, by, baseline)
    assert raised.value.hint


def test_a_short_baseline_of_other_files_is_an_error_too(tmp_path: Path) -> None:
    good, now = (write(tmp_path / name, days(range(3), n=20)) for name in ("good.jsonl", "now.jsonl"))
    with pytest.raises(UsageError, match="a baseline of 3 subgroups"):
        monitor([now], "day", Baseline(paths=(good,)), None)


def test_a_folder_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        monitor([tmp_path / "nowhere.jsonl"], "day", Baseline(), tmp_path / "file" / "out")


def test_another_model_is_warned_of_with_the_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = list(days(range(25), n=50))
    for each in rows[22 * 50 :]:
        each["record"]["model"] = OTHER_MODEL
    with caplog.at_level(logging.WARNING, "framevit"):
        result = monitored(tmp_path, rows)
    (change,) = result.changes
    assert (change.subgroup, change.what) == ("2026-11-24", "model")
    assert change.sentence.startswith("there are rows of another model on 2026-11-24: ")
    assert change.sentence in caplog.text


def test_other_thresholds_are_a_change_too(tmp_path: Path) -> None:
    rows = list(days(range(25), n=50))
    for each in rows[24 * 50 + 10 :]:
        each["record"]["thresholds"] = {"accept_below": 0.1, "reject_from": 0.2}
        each["record"]["settings"] = "f" * 64
    (change,) = monitored(tmp_path, rows).changes
    assert (change.subgroup, change.what) == ("2026-11-26", "thresholds")


def test_two_models_side_by_side_are_one_change(tmp_path: Path) -> None:
    rows = list(days(range(25), n=50))
    for each in rows[::2]:
        each["record"]["model"] = OTHER_MODEL
    assert [change.subgroup for change in monitored(tmp_path, rows).changes] == ["2026-11-02"]


def test_rows_without_distances_have_no_chart_of_them_and_the_others_share_its_false_alarms(tmp_path: Path) -> None:
    rows = list(days(range(25), n=50))
    for each in rows:
        if each["record"]["features"]:
            del each["record"]["features"]["distance"]
    result = monitored(tmp_path, rows)
    assert "distance" not in {each.kind.name for each in result.charts}
    assert result.notes == ("not charted, because the baseline has too few numbers: distance to the training pictures",)
    assert divided(result) == pytest.approx(0.9 * FALSE_ALARM_RATE)


def test_where_every_row_is_an_error_only_their_rate_is_charted(tmp_path: Path) -> None:
    rows = [failed(MONDAY + timedelta(days=number, minutes=each)) for number in range(25) for each in range(20)]
    result = monitored(tmp_path, rows)
    assert [each.kind.name for each in result.charts] == ["errors"]
    assert not result.alarms


def test_no_rejects_ever_is_no_alarm(tmp_path: Path) -> None:
    rows = [row(MONDAY + timedelta(days=number, minutes=each)) for number in range(25) for each in range(30)]
    result = monitored(tmp_path, rows)
    assert not result.alarms
    assert {group.rates["rejects"] for group in result.subgroups} == {0.0}


def test_a_day_of_errors_alone_is_an_alarm_of_errors_and_passed_over_by_the_others(tmp_path: Path) -> None:
    bad = [failed(MONDAY + timedelta(days=22, minutes=each)) for each in range(30)]
    result = monitored(tmp_path, [*days(range(22)), *bad, *days([23, 24])])
    assert alarms(result) == {("errors", "one")}
    assert result.alarms[0].sentence.startswith("Errors: 100 % on 2026-11-24, where at most ")


def test_days_without_rows_are_no_subgroups(tmp_path: Path) -> None:
    result = monitored(tmp_path, days(number for number in range(36) if number % 7 < 5))
    assert [group.name for group in result.subgroups[4:6]] == ["2026-11-06", "2026-11-09"]
    assert not result.alarms


def test_a_run_is_said_with_its_length_and_the_median(tmp_path: Path) -> None:
    shifted = []
    for each in days(range(30, 75), n=50):
        for value in [each["record"]["features"]] if each["record"]["features"] else []:
            value["light"] += 3
        shifted.append(each)
    result = monitored(tmp_path, [*days(range(30), n=50), *shifted], baseline=Baseline(30))
    (run,) = [alarm for alarm in result.alarms if alarm.rule == "run"]
    assert run.expected[0] is None
    assert re.fullmatch(
        r"Light: \d\d days in a row above the baseline's median of 1\d\d(\.\d)? grey levels, the last on 2026-12-\d\d",
        run.sentence,
    )


@pytest.mark.parametrize(
    ("point", "unit", "said"),
    [
        (Point(0.098, 0.031, 0.069), "%", "9.8 %, where 3.1 to 6.9 % were expected"),
        (Point(0.098, 0, 0.069), "%", "9.8 %, where at most 6.9 % were expected"),
        (Point(0.5, 0.81, 1), "%", "50 %, where at least 81 % were expected"),
        (Point(0.06904, 0.031, 0.069), "%", "6.904 %, where 3.100 to 6.900 % were expected"),
        (Point(88.04, 107.2, 112.61), "grey levels", "88.0 grey levels, where 107.2 to 112.6 were expected"),
        (Point(0.00123, 0.0004, 0.0011), "", "0.00123, where 0.00040 to 0.00110 were expected"),
        (Point(0, 0, 0), "%", "0.0 %, where at most 0.0 % were expected"),
    ],
)
def test_numbers_have_as_many_digits_as_tell_them_apart(point: Point, unit: str, said: str) -> None:
    assert f"{in_words(point, unit)}, where {within(point, unit)}" == said


def test_the_shares_of_the_charts_are_one_whole() -> None:
    assert sum(kind.share for kind in KINDS) == pytest.approx(1)
