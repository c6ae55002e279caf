"""`framevit monitor` as a plain function: is the line still what it was? Subgroups of rows -> charts -> alarms.

A baseline, a time in which the line was in order, says what is expected; every later subgroup is judged against it.
All charts and rules together give at most one false alarm in 370 subgroups, the rate of a single chart of Shewhart with
limits of three standard deviations. `KINDS` says how it is divided, and tests simulate it.

The rows are those of recorded predictions. What is right or wrong is not known here; only what has changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from frame_vit.decision.json_values import json_fields, json_value
from frame_vit.errors import UsageError
from frame_vit.line.charts import FEWEST_SUBGROUPS, Chart, Point, Roles, Span, enough, mean_chart, rate_chart
from frame_vit.line.limits import SMOOTHED
from frame_vit.line.monitor_page import monitor_page
from frame_vit.line.recorded import recorded_rows
from frame_vit.line.subgroups import Subgroup, check_by, subgroups
from frame_vit.system.files import check_writable, filling, write_json, write_text
from frame_vit.system.progress import log

FALSE_ALARM_RATE = 1 / 370
"""False alarms of the whole page, as a share of the subgroups judged: those of +-3 standard deviations (Shewhart)."""
DIVIDED = 0.9
"""How much of it the charts divide. The rest is for what their limits leave out, above all rates that differ much from
day to day, and not like normal numbers."""


class Kind(NamedTuple):
    """What a chart shows: its name, title and unit, and its share of the false alarms."""

    name: str
    title: str
    unit: str
    share: float


KINDS = (
    Kind("rejects", "Rejects", "%", 0.5),
    Kind("reviews", "Reviews", "%", 0.1),
    Kind("flags", "Flagged pictures", "%", 0.1),
    Kind("errors", "Errors", "%", 0.1),
    Kind("score", "Score", "", 0.04),
    Kind("distance", "Distance to the training pictures", "", 0.04),
    Kind("light", "Light", "grey levels", 0.04),
    Kind("contrast", "Contrast", "grey levels", 0.04),
    Kind("sharpness", "Sharpness", "", 0.04),
)
"""Rates get most of the false alarms: 20 instead of 10 rejects in 200 parts are little beside chance, while a change of
light is many times what the mean of 200 pictures varies by. If a chart has no numbers, the others share its part."""
SHORT = 15
"""Subgroups in a baseline below which the spread between them is so uncertain that the limits are much wider."""
PARTS = {"rejects": "decided", "reviews": "decided", "flags": "ok", "errors": "rows"}
"""What each rate is a share of: errors of all rows, the others of the rows without an error."""
CHANGES = {
    "model": ("another model", "two models"),
    "thresholds": ("other thresholds", "two sets of thresholds"),
    "settings": ("other settings", "two settings"),
}


@dataclass(frozen=True)
class Baseline:
    """What the line is compared with: the first `subgroups` of the rows, or all rows of other files."""

    subgroups: int = 20
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True)
class BaselineFacts:
    """The baseline that was used. `first` and `last` are names of subgroups, `files` those of another baseline."""

    subgroups: int
    first: str
    last: str
    rows: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class SubgroupFacts:
    """A subgroup: rates are shares from 0 to 1; None where nothing was counted or measured.

    `role` is baseline, judged, or incomplete (the last of N rows with less than half of them, which is not judged).
    """

    name: str
    role: str
    first: str
    last: str
    n: int
    errors: int
    rates: dict[str, float | None]
    means: dict[str, float | None]


@dataclass(frozen=True)
class NamedChart:
    """A chart with its kind. In JSON, the points are lists of values and of limits, with null where there is none."""

    kind: Kind
    chart: Chart

    def to_json(self) -> dict[str, Any]:
        chart = self.chart
        values: dict[str, Any] = {"name": self.kind.name, "title": self.kind.title, "unit": self.kind.unit}
        values |= {"rules": [json_value(rule) for rule in chart.rules]}
        values |= {"centre": chart.centre, "median": chart.median, "sigma_z": chart.sigma_z}
        values |= _columns("", chart.points)
        rule = chart.rules[1].name
        return values | _columns(rule, chart.smoothed) | {"runs": list(chart.runs)}


def _columns(name: str, points: Sequence[Point | None]) -> dict[str, list[float | None]]:
    keys = (name or "values", f"{name}_lower".strip("_"), f"{name}_upper".strip("_"))
    return {key: [point and point[place] for point in points] for place, key in enumerate(keys)}


@dataclass(frozen=True)
class Alarm:
    """A rule that alarms from `subgroup` to `last`, with the value at the first of them and the limits expected there.

    Of a run, `expected` has the baseline's median, on the side on which the values should lie as often.
    """

    chart: str
    rule: str
    subgroup: str
    last: str
    value: float
    expected: tuple[float | None, float | None]
    sentence: str


@dataclass(frozen=True)
class Change:
    """The subgroup from which on the rows come from another model, or from other settings of it."""

    subgroup: str
    what: str
    sentence: str


@dataclass(frozen=True)
class Monitored:
    """The result. `notes` say what was left out, and why. `files` were written."""

    by: str | int
    baseline: BaselineFacts
    subgroups: tuple[SubgroupFacts, ...]
    charts: tuple[NamedChart, ...]
    alarms: tuple[Alarm, ...]
    false_alarm_rate: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    files: dict[str, Path] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything but the files."""
        values: dict[str, Any] = json_fields(self)
        del values["files"]
        return values


def monitor(paths: Sequence[Path], by: str | int, baseline: Baseline, output: Path | None) -> Monitored:
    """Judges the rows of files, by `day`, by `shift` or by so many rows.

    Writes monitor.json and the page monitor.html into the folder `output`, if there is one. Warns where the model, its
    thresholds or its settings change. Raises `UsageError` for rows that cannot be read or have no records, if there are
    too few subgroups for the baseline, or none to judge, and if the folder cannot be written.
    """
    check_by(by)
    check_writable(output)
    other = subgroups(recorded_rows(baseline.paths), by) if baseline.paths else []
    for group in other:
        group.name = f"baseline {group.name}"  # the same days may be judged
    rows = subgroups(recorded_rows(paths), by)
    count = len(other) if baseline.paths else baseline.subgroups
    _check(baseline, count, len(rows))
    result = judge([*other, *rows], by, count, tuple(map(str, baseline.paths)))
    for text in [change.sentence for change in result.changes[:1]] + list(result.notes):
        log.warning(text)
    if output is None:
        return result
    values = json_value(result)
    with filling(output, "monitor.json") as part:
        write_text(part / "monitor.html", monitor_page(values))
        write_json(part / "monitor.json", values)
    return replace(result, files={"report": output / "monitor.html", "numbers": output / "monitor.json"})


def _check(baseline: Baseline, count: int, rows: int) -> None:
    """Raises `UsageError` if there are too few subgroups for a baseline of `count`, or none beside it."""
    if count < FEWEST_SUBGROUPS:
        raise UsageError(
            f"a baseline of {count} subgroups says too little about what varies: it needs at least {FEWEST_SUBGROUPS}",
            "Name more of them or more rows with --baseline, or smaller subgroups with --by",
        )
    if rows < (1 if baseline.paths else count + 1):
        found = f"the rows make {rows} subgroup{'s' if rows != 1 else ''}"
        raise UsageError(
            f"{found}: none is left to judge after a baseline of {count}" if rows else "the files have no rows",
            f"Name more rows, a shorter baseline with --baseline (at least {FEWEST_SUBGROUPS}), rows of a time when "
            "the line was in order with --baseline FILE, or smaller subgroups with --by",
        )


def judge(groups: Sequence[Subgroup], by: str | int, baseline: int, files: tuple[str, ...] = ()) -> Monitored:
    """Judges all subgroups after the first `baseline` ones against these. `files` are those of another baseline."""
    roles, notes = _roles(groups, by, baseline)
    if not roles.judged:
        raise UsageError(f"nothing is left to judge: {notes[0]}", "Name more rows, or smaller subgroups with --by")
    kinds = [kind for kind in KINDS if enough(_sizes(kind, groups), roles, kind.name not in PARTS)]
    if left := [kind.title.lower() for kind in KINDS if kind not in kinds]:
        notes.append(f"not charted, because the baseline has too few numbers: {', '.join(left)}")
    budget = DIVIDED * FALSE_ALARM_RATE / sum(kind.share for kind in kinds)
    charts = [NamedChart(kind, _chart(kind, groups, roles, budget * kind.share)) for kind in kinds]
    first, last = (groups[at].name.removeprefix("baseline ") for at in (0, baseline - 1))
    return Monitored(
        by,
        BaselineFacts(baseline, first, last, sum(group.rows for group in groups[:baseline]), files),
        tuple(_facts(group, index, roles) for index, group in enumerate(groups)),
        tuple(charts),
        tuple(_alarms(charts, groups, by)),
        FALSE_ALARM_RATE,
        tuple(_changes(groups, by)),
        tuple(notes),
    )


def _roles(groups: Sequence[Subgroup], by: str | int, baseline: int) -> tuple[Roles, list[str]]:
    """Which subgroups are judged, and notes on what a person should know of them."""
    judged, notes = list(range(baseline, len(groups))), []
    last = groups[-1]
    if isinstance(by, int) and last.rows < by:
        small = 2 * last.rows < by
        notes.append(
            f"the last subgroup has {last.rows} of {by} rows" + (", less than half, and is not judged" if small else "")
        )
        judged = judged[:-1] if small else judged
    if isinstance(by, int):
        pairs = zip(groups[baseline:], groups[baseline + 1 :], strict=False)
        if late := [after.name for before, after in pairs if after.last < before.first]:
            notes.append(f"rows {late[0]} are earlier than those before them: name the files in the order of time")
    if baseline < SHORT:
        notes.append(f"a baseline of {baseline} subgroups is short, so its limits are wide; take {SHORT} or more")
    return Roles(tuple(range(baseline)), tuple(judged)), notes


def _sizes(kind: Kind, groups: Sequence[Subgroup]) -> list[int]:
    if kind.name in PARTS:
        return [getattr(group, PARTS[kind.name]) for group in groups]
    return [group.measured[kind.name].n for group in groups]


def _chart(kind: Kind, groups: Sequence[Subgroup], roles: Roles, rate: float) -> Chart:
    if kind.name in PARTS:
        return rate_chart([getattr(group, kind.name) for group in groups], _sizes(kind, groups), roles, rate)
    return mean_chart([group.measured[kind.name] for group in groups], roles, rate, bounded=kind.name == "score")


def _facts(group: Subgroup, index: int, roles: Roles) -> SubgroupFacts:
    role = "baseline" if index in roles.baseline else "judged" if index in roles.judged else "incomplete"
    parts = {name: getattr(group, of) for name, of in PARTS.items()}
    rates = {name: getattr(group, name) / n if n else None for name, n in parts.items()}
    means = {name: each.mean if each.n else None for name, each in group.measured.items()}
    first, last = (time.isoformat(timespec="seconds") for time in (group.first, group.last))
    return SubgroupFacts(group.name, role, first, last, group.rows, group.errors, rates, means)


def _changes(groups: Sequence[Subgroup], by: str | int) -> Iterator[Change]:
    """Where something occurs in the records that the subgroup before does not have; of several, the first named."""
    for before, group in zip([groups[0], *groups], groups, strict=False):
        for name, (other, two) in CHANGES.items():
            now = group.settings[name]
            if now - before.settings[name] or (group is before and len(now) > 1):
                text = f"there are rows of {other} {_when(group, by)}: a chart across that change compares {two}"
                yield Change(group.name, name, f"{text}. Monitor each by itself, with a baseline of its own")
                break


def _alarms(charts: Sequence[NamedChart], groups: Sequence[Subgroup], by: str | int) -> list[Alarm]:
    """All alarms, in the order in which they begin."""
    found = [(span.first, each, span) for each in charts for span in each.chart.alarms]
    return [_alarm(each, span, groups, by) for _, each, span in sorted(found, key=lambda alarm: alarm[0])]


def _alarm(named: NamedChart, span: Span, groups: Sequence[Subgroup], by: str | int) -> Alarm:
    chart, unit = named.chart, named.kind.unit
    points = chart.points if span.rule in ("one", "run") else chart.smoothed
    point, when = points[span.first], _when(groups[span.first], by)
    assert point is not None
    expected: tuple[float | None, float | None] = point.lower, point.upper
    groups_word = {"day": "days", "shift": "shifts"}.get(str(by), "subgroups")
    if span.rule == "run":
        run = chart.runs[span.first]
        expected = (chart.median, None) if run < 0 else (None, chart.median)
        median = point._replace(value=chart.median)
        side = "below" if run < 0 else "above"
        text = f"{abs(run)} {groups_word} in a row {side} the baseline's median of {in_words(median, unit)}, the last"
        text += f" {when}"
    else:
        count = sum(each is not None for each in chart.points[: span.first + 1])
        begin = {"five": "", "ewma": "a moving average of "}.get(span.rule, "")
        place = f"in the {min(SMOOTHED, count)} {groups_word} up to {groups[span.first].name}"
        text = f"{begin}{in_words(point, unit)} {place if span.rule == 'five' else when}, where {within(point, unit)}"
    sentence = f"{named.kind.title}: {text}"
    names = groups[span.first].name, groups[span.last].name
    return Alarm(named.kind.name, span.rule, *names, point.value, expected, sentence)


def _when(group: Subgroup, by: str | int) -> str:
    return (
        f"in rows {group.name}" if isinstance(by, int) else f"{'on' if by == 'day' else 'in the shift of'} {group.name}"
    )


def in_words(point: Point, unit: str) -> str:
    """A value with its unit: `9.8 %`, `101.2 grey levels`."""
    return f"{_texts(point, unit)[0]} {unit}".strip()


def within(point: Point, unit: str) -> str:
    """The limits in words: `3.1 to 6.9 % were expected`. 0 and 100 % are none, since nothing lies beyond them."""
    _, low, high = _texts(point, unit)
    sign = " %" if unit == "%" else ""
    if point.lower <= 0:
        return f"at most {high}{sign} were expected"
    if unit == "%" and point.upper >= 1:
        return f"at least {low}{sign} were expected"
    return f"{low} to {high}{sign} were expected"


def _texts(point: Point, unit: str) -> tuple[str, str, str]:
    """Value and limits with as many decimals as tell the limits apart, and the value from them if it lies outside."""
    value, low, high = (100 * each if unit == "%" else each for each in point)
    width = high - low or abs(value) or 1.0
    first = max(0, 1 - math.floor(math.log10(width)))
    for decimals in range(first, first + 12):
        texts = tuple(f"{each:.{decimals}f}" for each in (value, low, high))
        if not point.out or texts[0] not in texts[1:]:
            break
    return texts[0], texts[1], texts[2]
