"""Charts on drawn subgroups: false alarms as rare as said, changes found soon, and one bad subgroup is one alarm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from frame_vit.line.charts import MEAN_SHARES, RATE_SHARES, Chart, Roles, enough, mean_chart, rate_chart
from frame_vit.line.monitor import DIVIDED, FALSE_ALARM_RATE, KINDS, PARTS
from frame_vit.line.subgroups import Moments

RATES = {kind.name: DIVIDED * FALSE_ALARM_RATE * kind.share for kind in KINDS}


def roles(baseline: int, judged: int) -> Roles:
    return Roles(tuple(range(baseline)), tuple(range(baseline, baseline + judged)))


def counts(generator: np.random.Generator, n: int, p: float, spread: float, groups: int) -> list[int]:
    """Counts in subgroups of n, whose rates differ by a standard deviation of `spread` times the rate."""
    if p == 0 or spread == 0:
        return list(map(int, generator.binomial(n, p, groups)))
    weight = (1 - p) / (p * spread**2) - 1
    return list(map(int, generator.binomial(n, generator.beta(p * weight, (1 - p) * weight, groups))))


def sums(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[Moments]:
    """The sums of each row, (subgroups, n)."""
    means = values.mean(axis=1)
    deviations = values - means[:, None]
    squares, cubes = (deviations**2).sum(axis=1), (deviations**3).sum(axis=1)
    return [Moments(values.shape[1], *map(float, row)) for row in zip(means, squares, cubes, strict=True)]


def light(generator: np.random.Generator, n: int, groups: int, level: float = 110, spread: float = 0) -> list[Moments]:
    """The sums of pictures whose light has a standard deviation of 10 in a subgroup and `spread` between these."""
    means = generator.normal(level, math.sqrt(100 / n + spread**2), groups)
    squares = 100 * generator.chisquare(n - 1, groups)
    return [Moments(n, float(mean), float(square), 0.0) for mean, square in zip(means, squares, strict=True)]


def page(generator: np.random.Generator, n: int, p: float, spread: float, part: Roles) -> list[Chart]:
    """All charts of a page, in control: rejects and their scores go together, everything else is independent."""
    groups = len(part.baseline) + len(part.judged)
    hits = {name: counts(generator, n, p, spread, groups) for name in PARTS}
    charts = [rate_chart(hits[name], [n] * groups, part, RATES[name]) for name in PARTS]
    shape = groups, min(n, 200)  # more numbers to draw would only make the test slow
    rejected = np.arange(shape[1]) < np.array(hits["rejects"])[:, None] * shape[1] // n
    scores = np.where(rejected, generator.beta(8, 1, shape), generator.beta(1, 40, shape))
    distances = generator.gamma(2, 0.1 * (1 + spread * generator.normal(size=(groups, 1)) / 4), shape)
    charts.append(mean_chart(sums(scores), part, RATES["score"], bounded=True))
    charts.append(mean_chart(sums(distances), part, RATES["distance"]))
    for name in ("light", "contrast", "sharpness"):
        made = light(generator, shape[1], groups, spread=10 * spread)
        charts.append(mean_chart(made, part, RATES[name]))
    return charts


SETTINGS = [
    # parts in a subgroup, rate, spread of the rates between subgroups, subgroups of the baseline
    (20, 0.0, 0.0, 20),
    (20, 0.3, 0.0, 5),
    (200, 0.05, 0.0, 20),
    (200, 0.002, 0.0, 20),
    (200, 0.05, 0.2, 20),
    (200, 0.05, 0.3, 5),
    (200, 0.3, 0.2, 20),
    (2000, 0.05, 0.0, 20),
    (2000, 0.05, 0.2, 20),
]


def test_in_control_all_charts_together_give_at_most_one_alarm_in_370_subgroups() -> None:
    """Each setting by itself within the error of the simulation, and all of them together."""
    begun, judged, part_of = [], 0, 100
    for number, (n, p, spread, baseline) in enumerate(SETTINGS):
        pages = 6 if n == 2000 else 15
        found = 0
        for seed in range(pages):
            charts = page(np.random.default_rng((number, seed)), n, p, spread, roles(baseline, part_of))
            found += len({alarm.first for chart in charts for alarm in chart.alarms})
        expected = pages * part_of * FALSE_ALARM_RATE
        assert found <= expected + 3 * math.sqrt(2 * expected), (n, p, spread, baseline)
        begun.append(found)
        judged += pages * part_of
    expected = judged * FALSE_ALARM_RATE
    assert sum(begun) <= expected + 3 * math.sqrt(2 * expected)
    assert sum(begun) >= 1, "limits that never alarm would find nothing"


def delay(chart: Chart, change: int) -> float:
    """After how many subgroups an alarm is given that lasts at, or begins after, a change."""
    return min((max(alarm.first, change) - change + 1 for alarm in chart.alarms if alarm.last >= change), default=99)


def test_a_doubled_reject_rate_is_found_within_five_subgroups() -> None:
    """5 to 10 % of 200 a day, after a baseline of 20 days; in control before the change, for 0 or 15 days."""
    generator = np.random.default_rng(3)
    delays = []
    for run in range(600):
        before = 20 + 15 * (run % 2)
        hits = counts(generator, 200, 0.05, 0, before) + counts(generator, 200, 0.1, 0, 5)
        part = roles(20, before - 15)
        delays.append(delay(rate_chart(hits, [200] * len(hits), part, RATES["rejects"]), before))
    assert np.mean(np.array(delays) <= 5) >= 0.95


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_pictures_that_are_a_fifth_darker_are_found_within_five_subgroups(spread: float) -> None:
    generator = np.random.default_rng(4)
    delays = []
    for _ in range(100):
        made = light(generator, 200, 25, spread=spread) + light(generator, 200, 5, level=88, spread=spread)
        delays.append(delay(mean_chart(made, roles(20, 10), RATES["light"]), 25))
    assert np.mean(np.array(delays) <= 5) >= 0.95


def test_days_that_differ_by_more_than_chance_get_wider_limits() -> None:
    """Laney's correction: the limits of the binomial distribution would alarm all the time."""
    generator = np.random.default_rng(5)
    part = roles(20, 60)
    alike, unlike = (
        rate_chart(counts(generator, 5000, 0.1, spread, 80), [5000] * 80, part, 1e-3) for spread in (0.0, 0.3)
    )
    assert alike.sigma_z == pytest.approx(1, abs=0.4)
    assert unlike.sigma_z == pytest.approx(0.03 / math.sqrt(0.1 * 0.9 / 5000), rel=0.4)
    wide, narrow = (upper(chart.points)[-1] - chart.centre for chart in (unlike, alike))
    assert wide > 4 * narrow
    assert not unlike.alarms


def upper(points: Sequence[object]) -> list[float]:
    return [point.upper for point in points if point is not None]  # type: ignore[attr-defined]


def test_one_bad_subgroup_is_one_alarm() -> None:
    hits = [10] * 25 + [150] + [10] * 15
    (alarm,) = rate_chart(hits, [200] * 41, roles(20, 21), 1e-3).alarms
    assert (alarm.rule, alarm.first, alarm.last) == ("one", 25, 25)
    made = light(np.random.default_rng(6), 200, 41)
    made[25] = Moments(200, 20.0, made[25].squares, 0.0)
    (alarm,) = mean_chart(made, roles(20, 21), 1e-4).alarms
    assert (alarm.rule, alarm.first, alarm.last) == ("one", 25, 25)


def test_a_change_that_stays_alarms_to_the_end_and_one_that_goes_alarms_no_longer_than_the_memory() -> None:
    stays = light(np.random.default_rng(7), 200, 30) + light(np.random.default_rng(8), 200, 20, level=80)
    chart = mean_chart(stays, roles(20, 30), 1e-4)
    assert {alarm.last for alarm in chart.alarms} == {49}
    assert {alarm.rule for alarm in chart.alarms} >= {"one", "ewma"}
    goes = [10] * 30 + [60] * 10 + [10] * 15
    chart = rate_chart(goes, [200] * 55, roles(20, 35), 1e-3)
    assert {alarm.rule: alarm.last for alarm in chart.alarms if alarm.rule != "run"} == {"one": 39, "five": 42}


def test_a_small_lasting_shift_is_found_by_a_run_or_an_average() -> None:
    generator = np.random.default_rng(9)
    made = light(generator, 200, 30) + light(generator, 200, 40, level=111)
    chart = mean_chart(made, roles(30, 40), 5e-4)
    assert {alarm.rule for alarm in chart.alarms} >= {"ewma", "run"}
    run = next(alarm for alarm in chart.alarms if alarm.rule == "run")
    length = next(rule.length for rule in chart.rules if rule.name == "run")
    assert chart.runs[run.first] == length
    assert all(chart.runs[index] > 0 for index in range(run.first, run.last + 1))


def test_no_rejects_ever_is_no_alarm_and_some_are_one() -> None:
    sizes = [50] * 60
    never = rate_chart([0] * 60, sizes, roles(20, 40), 1e-3)
    assert not never.alarms
    assert never.centre == never.median == 0
    assert all(point and point.lower == 0 < point.upper < 0.2 for point in never.points)
    assert rate_chart([0] * 59 + [25], sizes, roles(20, 40), 1e-3).alarms


def test_all_rejects_in_the_baseline_is_the_same_mirrored() -> None:
    assert not rate_chart([50] * 60, [50] * 60, roles(20, 40), 1e-3).alarms
    assert rate_chart([50] * 59 + [25], [50] * 60, roles(20, 40), 1e-3).alarms


def test_a_subgroup_without_parts_is_passed_over() -> None:
    hits, sizes = [10] * 24 + [0] + [150] * 2, [200] * 24 + [0] + [200] * 2
    chart = rate_chart(hits, sizes, roles(20, 7), 1e-3)
    assert chart.points[24] is chart.smoothed[24] is None
    assert [(alarm.first, alarm.last) for alarm in chart.alarms if alarm.rule == "one"] == [(25, 26)]
    made = light(np.random.default_rng(0), 200, 26)
    made[22] = made[3] = Moments()
    assert mean_chart(made, roles(20, 6), 1e-4).points[22] is None


def test_small_subgroups_have_wider_limits_than_large_ones() -> None:
    sizes = [200] * 20 + [20, 2000]
    chart = rate_chart([size // 20 for size in sizes], sizes, roles(20, 2), 1e-3)
    small, large = upper(chart.points)[-2:]
    assert small > 2 * large
    made = [*light(np.random.default_rng(0), 200, 20), Moments(20, 110, 2000, 0), Moments(2000, 110, 200_000, 0)]
    small, large = upper(mean_chart(made, roles(20, 2), 1e-4).points)[-2:]
    assert small - 110 > 2 * (large - 110)


def test_pictures_that_are_all_alike_may_differ_by_rounding_but_not_by_more() -> None:
    same = [Moments(100, 110.0 + index % 2 * 1e-9, 0.0, 0.0) for index in range(40)]
    assert not mean_chart(same, roles(20, 20), 1e-4).alarms
    assert mean_chart([*same[:39], Moments(100, 109.0, 0.0, 0.0)], roles(20, 20), 1e-4).alarms


def test_the_first_high_scores_after_a_baseline_without_any_are_no_alarm() -> None:
    generator = np.random.default_rng(0)
    values = generator.beta(1, 50, (40, 200))
    values[30, :1] = 0.97
    assert not mean_chart(sums(values), roles(20, 20), 1e-4, bounded=True).alarms
    values[30:, :60] = 0.97
    assert mean_chart(sums(values), roles(20, 20), 1e-4, bounded=True).alarms


def test_a_chart_divides_its_false_alarms_among_its_rules() -> None:
    for shares in (RATE_SHARES, MEAN_SHARES):
        assert sum(shares.values()) == pytest.approx(1)
    chart = rate_chart([10] * 40, [200] * 40, roles(20, 20), 1e-3)
    assert {rule.name: rule.false_alarm_rate for rule in chart.rules} == {
        name: pytest.approx(1e-3 * share) for name, share in RATE_SHARES.items()
    }
    short = rate_chart([10] * 40, [200] * 40, roles(5, 35), 1e-3)
    assert [rule.name for rule in short.rules] == ["one", "five"], "the run would be too long"


def test_a_baseline_needs_five_subgroups_with_parts() -> None:
    assert enough([10] * 5, roles(5, 0))
    assert not enough([10] * 4 + [0, 10], roles(5, 1))
    assert not enough([2] * 6, roles(6, 0), mean=True), "too few parts in them to know how they vary"
    assert enough([3] * 6, roles(6, 0), mean=True)
