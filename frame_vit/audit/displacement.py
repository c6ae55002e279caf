"""What the boxes say of the directions: where each class's terminals lie, and labels that contradict their box.

The classes are directions, and the declared symmetries say which: classes that a left-right mirror swaps lie apart
along x, those that a top-bottom mirror swaps along y. Which of the two is plus is learnt from the boxes, never assumed.
Displacement is that of the box's middle from the picture's, in shares of its width and height; where the frame itself
moves about in the picture, that movement is part of it, so only what is far out of place is called a contradiction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.examples import Example
from frame_vit.images.geometry import View
from frame_vit.labels import LabelSpace

Shares = NDArray[np.float64]
AXES = {0: View(0, True), 1: View(2, True)}
"""x and y, by the mirror that turns them round."""
AXIS_NAMES = ("x", "y")
ENOUGH = 5
"""Boxes that a class must have before anything is said of where it lies."""
OUTLYING = 4.0
"""A fine part is out of place beyond so many (robust) standard deviations, at the least."""


@dataclass(frozen=True)
class Separation:
    """Two classes along an axis: how often a box of `plus` lies further to that side than one of `minus`.

    `value` is 1 where they never overlap and 0.5 where they lie alike (the area under the ROC curve).
    """

    axis: int
    plus: int
    minus: int
    value: float


@dataclass(frozen=True)
class Displacement:
    """Rows with a box, (N,) numbers; where their boxes lie, (N, 2) shares of the picture, x right and y down.

    `contradictions` are (row, what its box says); `separations` only between classes that are measured.
    """

    rows: NDArray[np.int64]
    shares: Shares
    separations: list[Separation] = field(default_factory=list)
    contradictions: list[tuple[int, str]] = field(default_factory=list)

    def to_json(self, examples: Sequence[Example], labels: LabelSpace) -> dict[str, Any]:
        """Middles and spreads per class, and how far classes lie apart."""
        own = np.array([examples[row].label for row in self.rows], np.int64)
        where = {}
        for index, name in enumerate(labels.names):
            there = self.shares[own == index]
            if len(there):
                median, spread = np.median(there, axis=0), _spread(there)
                where[name] = {"n": len(there), "median": median.round(4).tolist(), "spread": spread.round(4).tolist()}
        apart = [
            {
                "axis": AXIS_NAMES[s.axis],
                "classes": [labels.names[s.plus], labels.names[s.minus]],
                "separation": round(s.value, 4),
            }
            for s in self.separations
        ]
        return {"boxes": len(self.rows), "classes": where, "separations": apart}


def displacement(
    examples: Sequence[Example], labels: LabelSpace, max_contradiction: float, min_separation: float
) -> Displacement:
    """Measures the first box of every row.

    A row contradicts its box where it lies further than `max_contradiction` of the way from the middle of its class
    to that of the opposite one. Classes that overlap more than `min_separation` allows are not judged row by row.
    """
    rows = np.array([row for row, e in enumerate(examples) if e.box], np.int64)
    shares = np.array([_share(examples[row]) for row in rows], np.float64).reshape(-1, 2)
    found = Displacement(rows, shares)
    own = np.array([examples[row].label for row in rows], np.int64)
    mirrored, said = dict(labels.group()), dict[int, str]()
    for axis, mirror in AXES.items():
        if mirror in mirrored:
            there = {c: np.flatnonzero(own == c) for c in range(len(labels))}
            along = {c: shares[numbers, axis] for c, numbers in there.items() if len(numbers) >= ENOUGH}
            # Fine parts lie in the middle; of other classes that the mirror leaves alone nothing is known.
            middle = [c for c in along if mirrored[mirror][c] == c and labels.is_ok(c)]
            for pair in _pairs(mirrored[mirror], along):
                found.separations.extend(_separations(axis, pair, middle, along))
                if found.separations[-1].value < min_separation:
                    continue
                for label, number, like in _contradictions(pair, middle, along, max_contradiction):
                    words = _said(AXIS_NAMES[axis], float(along[label][number]), (label, like), along, labels)
                    said.setdefault(int(rows[there[label][number]]), words)
    found.contradictions.extend(sorted(said.items()))
    return found


def _share(example: Example) -> tuple[float, float]:
    assert example.box is not None
    x1, y1, x2, y2 = example.box
    return (x1 + x2) / 2 / example.width - 0.5, (y1 + y2) / 2 / example.height - 0.5


def _pairs(classes: Sequence[int], along: dict[int, Shares]) -> Iterator[tuple[int, int]]:
    for one, other in enumerate(classes):
        if one < other and one in along and other in along:
            yield one, other


def _separation(low: Shares, high: Shares) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(high, low).statistic / (len(high) * len(low)))


def _spread(values: Shares) -> Shares:
    """The standard deviation, from the median distance to the median, which a few far ones do not move."""
    return np.asarray(1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0))


def _separations(
    axis: int, pair: tuple[int, int], middle: Sequence[int], along: dict[int, Shares]
) -> Iterator[Separation]:
    """Each of the opposite classes from the fine ones in the middle; last, the two from each other."""
    minus, plus = sorted(pair, key=lambda c: float(np.median(along[c])))
    for neutral in middle:
        yield Separation(axis, plus, neutral, _separation(along[neutral], along[plus]))
        yield Separation(axis, neutral, minus, _separation(along[minus], along[neutral]))
    yield Separation(axis, plus, minus, _separation(along[minus], along[plus]))


def _contradictions(
    pair: tuple[int, int], middle: Sequence[int], along: dict[int, Shares], max_contradiction: float
) -> Iterator[tuple[int, int, int]]:
    """(class, number among its boxes, the class whose parts lie there)."""
    middles = {c: float(np.median(values)) for c, values in along.items()}
    for label, opposite in (pair, pair[::-1]) if middles[pair[0]] != middles[pair[1]] else ():
        way = (along[label] - middles[label]) / (middles[opposite] - middles[label])
        for number in np.flatnonzero(way > max_contradiction):
            yield label, int(number), opposite
    for neutral in middle:
        for end in pair:
            # Further out than the parts of that direction typically are, and than this class's own ever stray.
            way_out = middles[end] - middles[neutral]
            beyond = max(abs(way_out), OUTLYING * float(_spread(along[neutral])))
            for number in np.flatnonzero(np.sign(way_out) * (along[neutral] - middles[neutral]) > beyond):
                yield neutral, int(number), end


def _said(axis: str, share: float, classes: tuple[int, int], along: dict[int, Shares], labels: LabelSpace) -> str:
    label, like = (f"{labels.names[c]} {np.median(along[c]):+.1%}" for c in classes)
    return f"box at {axis} {share:+.1%} of the picture from its middle; typical are {label} and {like}"
