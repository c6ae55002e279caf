"""Mistakes by direction: is the part good, is the axis right, the sign, the class; and what they cost.

What the classes are is read off the declared symmetries: a class that a mirror swaps with another lies on the mirror's
axis, and the two are opposite signs. Pure functions; numpy only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.config.schema import CostsConfig
from frame_vit.decision.rates import Ids, rate
from frame_vit.errors import ConfigError
from frame_vit.images.geometry import View
from frame_vit.labels import LabelSpace, did_you_mean

MIRRORS = {"x": View(0, True), "y": View(2, True)}
"""The axis that a mirror turns round."""


def axes(space: LabelSpace) -> list[str]:
    """The axis of each class: x, y, both (xy), or nothing for a class that no declared mirror changes."""
    mirrored = dict(space.group())
    return ["".join(axis for axis, view in MIRRORS.items() if _moved(mirrored, view, i)) for i in range(len(space))]


def opposites(space: LabelSpace) -> list[set[int]]:
    """For each class, those that a mirror or half turn makes of it."""
    mirrored = dict(space.group())
    views = [view for view in (*MIRRORS.values(), View(2, False)) if view in mirrored]
    return [{mirrored[view][i] for view in views} - {i} for i in range(len(space))]


def mistakes(space: LabelSpace) -> NDArray[np.str_]:
    """(C, C) words, true by predicted: right, missed, false_alarm, wrong_sign, wrong_axis, other_fine.

    `other_fine` is another fine class. Between bad classes that lie on no axis a mistake is a wrong_axis: bad, but in
    another way.
    """
    count, against = len(space), opposites(space)
    words = np.full((count, count), "wrong_axis", "<U11")
    for true in range(count):
        for predicted in range(count):
            if true == predicted:
                words[true, predicted] = "right"
            elif space.is_ok(predicted):
                words[true, predicted] = "other_fine" if space.is_ok(true) else "missed"
            elif space.is_ok(true):
                words[true, predicted] = "false_alarm"
            elif predicted in against[true]:
                words[true, predicted] = "wrong_sign"
    return words


def costs(space: LabelSpace, settings: CostsConfig) -> NDArray[np.float64]:
    """(C, C) costs, true by predicted. Raises nothing: names were checked with the config."""
    priced = {"right": 0.0, "other_fine": 0.0} | {
        word: float(getattr(settings, word)) for word in ("missed", "false_alarm", "wrong_sign", "wrong_axis")
    }
    matrix = np.vectorize(priced.__getitem__, otypes=[float])(mistakes(space))
    for true, row in settings.matrix.items():
        for predicted, cost in row.items():
            matrix[space.names.index(true), space.names.index(predicted)] = cost
    return np.asarray(matrix)


def directions(labels: Ids, predicted: Ids, space: LabelSpace, settings: CostsConfig) -> dict[str, Any]:
    """Four shares with exact intervals, each of the parts for which the one before holds, and the cost per part.

    `pass_fail`: good or bad, rightly. Of the bad parts called bad, `axis`: on the right axis (either sign). Of these,
    `sign`: on the right side. `exact`: the class itself, of all parts.
    """
    words = mistakes(space)[labels, predicted]
    bad_as_bad = ~np.isin(labels, space.ok_ids) & ~np.isin(predicted, space.ok_ids)
    on_axis = bad_as_bad & (words != "wrong_axis")
    return {
        "pass_fail": rate(int((~np.isin(words, ("missed", "false_alarm"))).sum()), len(labels)),
        "axis": rate(int(on_axis.sum()), int(bad_as_bad.sum())),
        "sign": rate(int((on_axis & (words == "right")).sum()), int(on_axis.sum())),
        "exact": rate(int((words == "right").sum()), len(labels)),
        "mistakes": {word: int((words == word).sum()) for word in _WORDS},
        "axes": dict(zip(space.names, axes(space), strict=True)),
        "cost": expected_cost(costs(space, settings)[labels, predicted], np.unique(costs(space, settings))),
    }


_WORDS = ("missed", "false_alarm", "wrong_sign", "wrong_axis", "other_fine")


def expected_cost(each: NDArray[np.float64], levels: NDArray[np.float64]) -> dict[str, float | int]:
    """The mean cost of a part, with an interval that is wide enough at least 95 times in 100.

    The mean is the sum, over the `levels` that a cost can have, of the step to each level times the share of parts that
    cost at least as much. Each share has its exact interval at 95 % over all levels together (Bonferroni). A bootstrap
    would do for many mistakes; of few, or none, it says that nothing worse can happen.
    """
    steps = np.unique(np.append(0.0, levels))
    low = high = 0.0
    for below, level in pairwise(steps.tolist()):
        share = rate(int((each >= level).sum()), len(each), 1 - 0.05 / (len(steps) - 1))
        low += (level - below) * float(share["low"] or 0)
        high += (level - below) * float(share["high"] or 0)
    return {"value": float(each.mean()) if len(each) else 0.0, "low": low, "high": high, "n": len(each)}


def check_costs(space: LabelSpace, settings: CostsConfig) -> None:
    """Raises `ConfigError` where decision.costs.matrix names what is no class: with labels auto, known only now."""
    names = [name for true, row in settings.matrix.items() for name in (true, *row) if name not in space.names]
    if names:
        lines = (f"decision.costs.matrix: {name!r} is not a class{did_you_mean(name, space.names)}" for name in names)
        raise ConfigError("\n".join(lines))


def _moved(mirrored: dict[View, tuple[int, ...]], view: View, label: int) -> bool:
    return view in mirrored and mirrored[view][label] != label
