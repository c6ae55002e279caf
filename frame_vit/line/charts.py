"""Control charts: sums of subgroups -> values, limits from a baseline, and the alarms of three rules.

A chart of a rate (p chart) has the rules

    one    a subgroup's rate beyond its limits
    five   the rate of the last five subgroups together beyond its limits
    run    so many subgroups in a row on one side of the baseline's median

and a chart of a mean has `one`, `ewma` (the exponentially weighted moving average beyond its limits) and `run`. A
moving sum replaces the EWMA for rates because counts of five subgroups together have exact limits, also where almost
none is counted, and because it finds a doubled rate sooner. If 10 instead of 5 % of 200 are rejected, after a baseline
of 20, it alarms within five subgroups in 95 of 100 cases; an EWMA with the same false alarms does so in 90.

A subgroup beyond its own limits counts in `five` and `ewma` only up to them. One bad subgroup is therefore one alarm
of `one`, and no moving average goes on alarming after it.

Each chart gets a rate of false alarms, which it divides among its rules (`RATE_SHARES`, `MEAN_SHARES`). The sum is an
upper bound of what they give together (Bonferroni). What limits allow for: `line.limits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frame_vit.line.limits import (
    SMOOTHED,
    WEIGHT,
    Counts,
    Quantiles,
    Spread,
    count_limits,
    run_length,
    single,
    skewed,
    smooth,
    spread,
)
from frame_vit.line.subgroups import Moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST_SUBGROUPS = 5
"""Subgroups with parts in a baseline, at least."""
FEWEST_DEGREES = 10
"""Degrees of freedom of the spread inside the baseline's subgroups, at least."""
RATE_SHARES = {"one": 0.15, "five": 0.8, "run": 0.05}
MEAN_SHARES = {"one": 0.3, "ewma": 0.6, "run": 0.1}
"""How a chart's false alarms are divided among its rules."""
UPPER_SHARE = 0.75
"""The share of a rate's false alarms above: a rate that rises costs parts, one that falls is mostly good news."""


@dataclass(frozen=True)
class Rule:
    """A rule, its false alarms (those that begin, as a share of the subgroups judged), and the length of a run."""

    name: str
    false_alarm_rate: float
    length: int | None = None


class Point(NamedTuple):
    """A value with its limits; an alarm lies outside of them."""

    value: float
    lower: float
    upper: float

    @property
    def out(self) -> bool:
        return not self.lower <= self.value <= self.upper


@dataclass(frozen=True)
class Span:
    """An alarm: its rule, and the first and the last subgroup (by index) of those in a row at which the rule alarms."""

    rule: str
    first: int
    last: int


@dataclass(frozen=True)
class Chart:
    """A chart over M subgroups. A point is None where a subgroup has no parts, or is not judged.

    `points` are the subgroups by themselves, `smoothed` the points of the rule `five` or `ewma`. `runs` has, for every
    subgroup, how many in a row up to it lie above (below: negative) the baseline's median.
    """

    centre: float
    median: float
    sigma_z: float
    rules: tuple[Rule, ...]
    points: tuple[Point | None, ...]
    smoothed: tuple[Point | None, ...]
    runs: tuple[int, ...]
    alarms: tuple[Span, ...]


class Roles(NamedTuple):
    """Which of M subgroups are the baseline, and which are judged against it; by index, in their order."""

    baseline: tuple[int, ...]
    judged: tuple[int, ...]

    def of(self, sizes: Sequence[int]) -> Roles:
        """The subgroups that have parts."""
        with_parts = (tuple(index for index in each if sizes[index]) for each in self)
        return Roles(*with_parts)


def enough(sizes: Sequence[int], roles: Roles, mean: bool = False) -> bool:
    """Whether a baseline has the subgroups for a chart of a rate, and for that of a `mean` enough parts in them."""
    parts = [sizes[index] for index in roles.of(sizes).baseline]
    return len(parts) >= FEWEST_SUBGROUPS and not (mean and sum(parts) - len(parts) < FEWEST_DEGREES)


def rate_chart(hits: Sequence[int], sizes: Sequence[int], roles: Roles, rate: float) -> Chart:
    """The chart of a rate: `hits[i]` of `sizes[i]` parts, (M,) each. `rate` is the chart's rate of false alarms."""
    roles = roles.of(sizes)
    base = _RateBaseline.of(hits, sizes, roles)
    degrees = base.spread.degrees
    alone, together = (
        tuple(make(rate * RATE_SHARES[name] * side, degrees) for side in (1 - UPPER_SHARE, UPPER_SHARE))
        for name, make in (("one", single), ("five", smooth))
    )
    points: list[Point | None] = [None] * len(sizes)
    smoothed: list[Point | None] = [None] * len(sizes)
    for part in roles:
        window: list[tuple[int, int]] = []
        for index in part:
            n = sizes[index]
            limits = base.limits((n,), *alone)
            points[index] = Point(hits[index] / n, limits.low / n, limits.high / n)
            window = [*window[-SMOOTHED + 1 :], (min(max(hits[index], limits.low), limits.high), n)]
            total = sum(n for _, n in window)
            limits = base.limits([n for _, n in window], *together)
            smoothed[index] = Point(sum(x for x, _ in window) / total, limits.low / total, limits.high / total)
    names = {name: rate * share for name, share in RATE_SHARES.items()}
    return _chart((points, smoothed), roles, names, (base.hits / base.parts, base.spread.sigma_z))


def mean_chart(moments: Sequence[Moments], roles: Roles, rate: float, bounded: bool = False) -> Chart:
    """The chart of the mean of numbers that are never below 0, from the sums of M subgroups.

    `rate` is the chart's rate of false alarms.
    `bounded` numbers lie between 0 and 1, most of them near an end, as scores do. If the baseline happens to have none
    near the other end, the first one there would be an alarm; so half a part at 0 and half a part at 1 are added to its
    spread. For numbers that are 0 or 1 this is Jeffreys' prior.
    """
    roles = roles.of([each.n for each in moments])
    base = _MeanBaseline.of([moments[index] for index in roles.baseline], bounded)
    alone, together = (
        make(rate * MEAN_SHARES[name] / 2, base.spread.degrees, base.within)
        for name, make in (("one", single), ("ewma", smooth))
    )
    points: list[Point | None] = [None] * len(moments)
    smoothed: list[Point | None] = [None] * len(moments)
    for part in roles:
        average, weights = base.centre, _Weights()
        for index in part:
            n, mean = moments[index].n, moments[index].mean
            points[index] = point = Point(mean, *base.limits(_Weights().then(n, 1), alone))
            average += WEIGHT * (min(max(mean, point.lower), point.upper) - average)
            weights = weights.then(n, WEIGHT)
            smoothed[index] = Point(average, *base.limits(weights, together))
    names = {name: rate * share for name, share in MEAN_SHARES.items()}
    return _chart((points, smoothed), roles, names, (base.centre, base.spread.sigma_z))


class _RateBaseline(NamedTuple):
    """Hits and parts of the baseline, the sum of its subgroups' squared shares of them, and the spread between them."""

    hits: int
    parts: int
    own: float
    spread: Spread

    @classmethod
    def of(cls, hits: Sequence[int], sizes: Sequence[int], roles: Roles) -> _RateBaseline:
        counts, parts = (np.array([each[index] for index in roles.baseline]) for each in (hits, sizes))
        share = counts.sum() / parts.sum()
        between = spread(counts / parts - share, parts.astype(np.float64), share * (1 - share))
        own = float((parts / parts.sum()) @ (parts / parts.sum()))
        return cls(int(counts.sum()), int(parts.sum()), own, between)

    def limits(self, sizes: Sequence[int], low: Quantiles, high: Quantiles) -> Counts:
        """Those of the count of subgroups of these sizes together.

        The distribution has the variance between subgroups as estimated; that this is an estimate widens the limits.
        """
        total = sum(sizes)
        alike = sum(n * n for n in sizes) / total**2 + self.own  # 1 / the number of subgroups, of both sides
        chance = 1 / total + 1 / self.parts
        ends = [
            side.known
            * math.sqrt((chance + self.spread.at_limit(side) * alike) / (chance + self.spread.between * alike))
            for side in (low, high)
        ]
        share = (self.hits + 0.5) / (self.parts + 1)
        weight = max(1 / (1 / (self.parts + 2) + self.spread.between * alike) - 1, 0.01)
        return count_limits(total, share, weight, -ends[0], ends[1])


class _Weights(NamedTuple):
    """Sums over the subgroups in a moving average, with weights w and sizes n: w, w², w³, w²/n and w³/n²."""

    total: float = 0.0
    squares: float = 0.0
    cubes: float = 0.0
    chance: float = 0.0
    skew: float = 0.0

    def then(self, n: int, weight: float) -> _Weights:
        """With one more subgroup; those before it, and the centre that the average begins at, share the rest."""
        rest = 1 - weight
        return _Weights(
            rest * self.total + weight,
            rest**2 * self.squares + weight**2,
            rest**3 * self.cubes + weight**3,
            rest**2 * self.chance + weight**2 / n,
            rest**3 * self.skew + weight**3 / n**2,
        )


class _MeanBaseline(NamedTuple):
    """Mean, variance and third central moment of single parts in the baseline, and the spread between subgroups.

    `within` are the degrees of freedom of the variance, `own` is the sum of the subgroups' squared shares of all parts.
    """

    centre: float
    variance: float
    third: float
    within: float
    parts: int
    own: float
    spread: Spread

    @classmethod
    def of(cls, moments: Sequence[Moments], bounded: bool) -> _MeanBaseline:
        sizes = np.array([each.n for each in moments], np.float64)
        means = np.array([each.mean for each in moments])
        parts = float(sizes.sum())
        centre = float(sizes @ means) / parts
        within = parts - len(moments)
        squares, cubes = sum(each.squares for each in moments), sum(each.cubes for each in moments)
        for end in (0, 1) if bounded else ():
            squares, cubes = squares + (end - centre) ** 2 / 2, cubes + (end - centre) ** 3 / 2
        resolution = 1e-6 * abs(centre) + 1e-12  # pictures that are all alike still differ by rounding
        variance = max(squares / within, resolution**2)
        third = cubes / max(float(((sizes - 1) * (sizes - 2) / sizes).sum()), 1)
        between = spread(means - centre, sizes, variance)
        return cls(centre, variance, third, within, int(parts), float(sizes @ sizes) / parts**2, between)

    def limits(self, weights: _Weights, quantiles: Quantiles) -> tuple[float, float]:
        """Those of a moving average with these weights, or of one subgroup.

        Its variance has three parts: chance inside the subgroups, what differs between them, and the error of the
        baseline's mean, which all of them share. What differs between subgroups is taken to be skewed like a gamma
        distribution that begins at 0. A baseline of skewed numbers whose mean is low by chance has a small spread, too,
        which adds to the skewness (Johnson 1978, Modified t tests and confidence intervals for asymmetrical
        populations, Journal of the American Statistical Association 73, 536-544). A skewness widens the limits on its
        side; it does not narrow the other ones, because it may come from a few outliers.
        """
        between, total = self.spread.between, weights.total
        chance, alike = weights.chance + total**2 / self.parts, weights.squares + total**2 * self.own
        variance = self.variance * (chance + between * alike)
        third = self.third * (weights.skew - total**3 / self.parts**2 + 3 * chance * total / self.parts)
        of_gamma = 2 * (self.variance * between) ** 2 / max(self.centre, 1e-12)
        third += of_gamma * (weights.cubes - total**3 * self.own**2 + 3 * alike * total * self.own)
        wide = math.sqrt(self.variance * (chance + self.spread.at_limit(quantiles) * alike))
        low, high = (
            wide * max(quantiles.known, sign * skewed(sign * quantiles.known, third / variance**1.5))
            for sign in (-1, 1)
        )
        return max(0.0, self.centre - low), self.centre + high


Points = Sequence[Point | None]


def _chart(lines: tuple[Points, Points], roles: Roles, rates: dict[str, float], centre: tuple[float, float]) -> Chart:
    """The chart of points and smoothed points, with its runs and alarms; `centre` is followed by sigma_z."""
    points, smoothed = lines
    median = float(np.median([point.value for index in roles.baseline if (point := points[index])]))
    length = run_length(rates["run"], len(roles.baseline))
    runs = _runs([point and point.value - median for point in points], roles.judged)
    rules = [Rule(name, rate) for name, rate in rates.items() if name != "run"]
    alarms = [
        span
        for rule, line in zip(rules, lines, strict=True)
        for span in _spans(rule.name, roles.judged, [point is not None and point.out for point in line])
    ]
    if length is not None:
        rules.append(Rule("run", rates["run"], length))
        alarms += _spans("run", roles.judged, [abs(run) >= length for run in runs])
    return Chart(centre[0], median, centre[1], tuple(rules), tuple(points), tuple(smoothed), runs, tuple(alarms))


def _runs(deviations: Sequence[float | None], judged: Sequence[int]) -> tuple[int, ...]:
    """How many in a row lie on the same side, negative below, for each of M subgroups; 0 for one on the median."""
    runs, run = [0] * len(deviations), 0
    for index in judged:
        side = int(np.sign(deviations[index] or 0))
        run = run + side if run * side > 0 else side
        runs[index] = run
    return tuple(runs)


def _spans(rule: str, judged: Sequence[int], out: Sequence[bool]) -> list[Span]:
    """The alarms of a rule, given whether it alarms at each of M subgroups: those in a row are one."""
    spans: list[Span] = []
    before = False
    for index in judged:
        if out[index]:
            spans[-1:] = [Span(rule, spans[-1].first, index)] if before else [*spans[-1:], Span(rule, index, index)]
        before = out[index]
    return spans
