"""Mistakes by direction, and what they cost: is the part good, is the axis right, the sign, the class?

A flip of a sign or a wrong axis sends a machine the wrong way, so not all mistakes are alike. Which class lies on which
axis follows from the declared symmetries: a class that a mirror swaps with another lies on the axis of that mirror, and
the two are opposite signs. Pure functions; numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frame_vit.config.schema import CostsConfig
from frame_vit.decision.judged import Judged
from frame_vit.decision.rates import Rate, rate
from frame_vit.errors import ConfigError
from frame_vit.images.geometry import MIRRORS, View
from frame_vit.labels import LabelSpace, did_you_mean

MISTAKES = ("missed", "false_alarm", "wrong_sign", "wrong_axis", "other_fine")


class Cost(NamedTuple):
    """The mean cost of `n` parts, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


@dataclass(frozen=True)
class Directions:
    """Four shares, each of the parts for which the one before holds, and the cost per part.

    `pass_fail`: correctly called good or bad, of all parts. `axis`: on the right axis with either sign, of the bad
    parts that are called bad. `sign`: on the right side, of these. `exact`: the right class, of all parts. `mistakes`
    counts by kind; `axes` has the axis of each class.
    """

    pass_fail: Rate
    axis: Rate
    sign: Rate
    exact: Rate
    mistakes: dict[str, int]
    axes: dict[str, str]
    cost: Cost


def axes(space: LabelSpace) -> list[str]:
    """The axis of each class: x, y, both (xy), or an empty string for a class that no declared mirror changes."""
    mirrored = dict(space.group())
    return ["".join(axis for axis, view in MIRRORS.items() if _moved(mirrored, view, i)) for i in range(len(space))]


def opposites(space: LabelSpace) -> list[set[int]]:
    """For each class, the class ids that a mirror or a half turn turns it into."""
    mirrored = dict(space.group())
    views = [view for view in (*MIRRORS.values(), View(2, False)) if view in mirrored]
    return [{mirrored[view][i] for view in views} - {i} for i in range(len(space))]


def mistakes(space: LabelSpace) -> NDArray[np.str_]:
    """(C, C) words, true by predicted: right, missed, false_alarm, wrong_sign, wrong_axis, other_fine.

    `missed` is a bad part called good, `false_alarm` a good part called bad, `other_fine` another good class. Two bad
    classes that lie on no axis are confused as `wrong_axis`: bad, but with another kind of fault.
    """
    count, opposite = len(space), opposites(space)
    words = np.full((count, count), "wrong_axis", "<U11")
    for true in range(count):
        for predicted in range(count):
            if true == predicted:
                words[true, predicted] = "right"
            elif space.is_ok(predicted):
                words[true, predicted] = "other_fine" if space.is_ok(true) else "missed"
            elif space.is_ok(true):
                words[true, predicted] = "false_alarm"
            elif predicted in opposite[true]:
                words[true, predicted] = "wrong_sign"
    return words


def costs(space: LabelSpace, config: CostsConfig) -> NDArray[np.float64]:
    """(C, C) costs, true by predicted; `check_costs` has checked the class names."""
    priced = {"right": 0.0, "other_fine": 0.0} | {
        word: float(getattr(config, word)) for word in ("missed", "false_alarm", "wrong_sign", "wrong_axis")
    }
    matrix = np.vectorize(priced.__getitem__, otypes=[float])(mistakes(space))
    for true, row in config.matrix.items():
        for predicted, cost in row.items():
            matrix[space.names.index(true), space.names.index(predicted)] = cost
    return np.asarray(matrix)


def directions(judged: Judged, config: CostsConfig) -> Directions:
    """By the predicted classes, whatever the thresholds decide."""
    space, labels, predicted = judged.space, judged.labels, judged.predicted
    words, prices = mistakes(space)[labels, predicted], costs(space, config)
    called_bad = ~judged.good & ~np.isin(predicted, space.ok_ids)
    on_axis = called_bad & (words != "wrong_axis")
    return Directions(
        pass_fail=rate(int((~np.isin(words, ("missed", "false_alarm"))).sum()), len(labels)),
        axis=rate(int(on_axis.sum()), int(called_bad.sum())),
        sign=rate(int((on_axis & (words == "right")).sum()), int(on_axis.sum())),
        exact=rate(int((words == "right").sum()), len(labels)),
        mistakes={word: int((words == word).sum()) for word in MISTAKES},
        axes=dict(zip(space.names, axes(space), strict=True)),
        cost=expected_cost(prices[labels, predicted], np.unique(prices)),
    )


def expected_cost(costs_of_parts: NDArray[np.float64], levels: NDArray[np.float64]) -> Cost:
    """The mean cost of a part, from the cost of each (N,), with an interval that covers it at least 95 times in 100.

    The mean is a sum over the `levels` that a cost can have: the step up to each level, times the share of parts that
    cost at least as much. Each share has an exact interval, at 95 % for all levels together (Bonferroni). A bootstrap
    works for many mistakes; with few or none it claims that nothing worse can happen.
    """
    steps = np.unique(np.append(0.0, levels))
    low = high = 0.0
    for below, level in pairwise(steps.tolist()):
        share = rate(int((costs_of_parts >= level).sum()), len(costs_of_parts), 1 - 0.05 / (len(steps) - 1))
        low += (level - below) * share.low
        high += (level - below) * share.high
    return Cost(float(costs_of_parts.mean()) if len(costs_of_parts) else 0.0, low, high, len(costs_of_parts))


def check_costs(space: LabelSpace, config: CostsConfig) -> None:
    """Raises `ConfigError` where decision.costs.matrix names an unknown class.

    The config alone cannot tell: with `labels.names: auto` the classes are known only when the data is read.
    """
    names = [name for true, row in config.matrix.items() for name in (true, *row) if name not in space.names]
    if names:
        lines = (f"decision.costs.matrix: {name!r} is not a class{did_you_mean(name, space.names)}" for name in names)
        raise ConfigError("\n".join(lines))


def _moved(mirrored: dict[View, tuple[int, ...]], view: View, label: int) -> bool:
    return view in mirrored and mirrored[view][label] != label
