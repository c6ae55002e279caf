"""What boxes show about directions: where the terminals of each class lie, and labels that contradict their box.

The declared symmetries say which classes are opposite directions: classes that a left-right mirror swaps lie apart
along x, those that a top-bottom mirror swaps along y. Which of the two is on the plus side is learnt from the boxes,
never assumed. Displacement is measured from the middle of the picture to the middle of the box, in shares of the
picture's width and height. If the frame itself moves about in the picture, that movement is included, so only boxes
that are far out of place are called contradictions. This module knows nothing of findings; `checks` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.examples import Example
from frame_vit.images.geometry import MIRRORS
from frame_vit.labels import LabelSpace

Shares = NDArray[np.float64]
"""Positions in shares of the picture, from its middle: (N, 2) for x and y, or (N,) along one axis."""
AXIS_NAMES = tuple(MIRRORS)
"""By the number of the axis: 0 is x, 1 is y."""
MIN_BOXES = 5
"""A class needs this many boxes before anything is said about where it lies."""
OUTLYING = 4.0
"""A good part is out of place only beyond this many (robust) standard deviations of its class."""


@dataclass(frozen=True)
class Separation:
    """Two classes along an axis: how often a box of `plus` lies further to the plus side than one of `minus`.

    `value` is the area under the ROC curve: 1 if they never overlap, 0.5 if they lie in the same place.
    """

    axis: int
    plus: int
    minus: int
    value: float


class Contradiction(NamedTuple):
    """A row whose box lies where another class does: its number among the examples, and a sentence about the box."""

    row: int
    reason: str


@dataclass(frozen=True)
class Displacement:
    """Where the boxes lie, and what follows for classes and rows."""

    rows: NDArray[np.int64]
    """(N,) numbers of the examples that have a box"""
    shares: Shares
    """(N, 2) middles of their boxes, x to the right and y downwards, in shares of the picture from its middle"""
    separations: list[Separation] = field(default_factory=list)
    """only between classes with at least MIN_BOXES boxes"""
    contradictions: list[Contradiction] = field(default_factory=list)

    def to_json(self, examples: Sequence[Example], labels: LabelSpace) -> dict[str, Any]:
        """Median and spread of each class, and how far classes lie apart."""
        class_ids = np.array([examples[row].label for row in self.rows], np.int64)
        classes = {}
        for class_id, name in enumerate(labels.names):
            shares = self.shares[class_ids == class_id]
            if len(shares):
                median, spread = np.median(shares, axis=0), _spread(shares)
                classes[name] = {
                    "n": len(shares),
                    "median": median.round(4).tolist(),
                    "spread": spread.round(4).tolist(),
                }
        separations = [
            {
                "axis": AXIS_NAMES[s.axis],
                "classes": [labels.names[s.plus], labels.names[s.minus]],
                "separation": round(s.value, 4),
            }
            for s in self.separations
        ]
        return {"boxes": len(self.rows), "classes": classes, "separations": separations}


class _Stray(NamedTuple):
    """A box of class `label`, by its number among the boxes of that class, that lies where `like` does."""

    label: int
    number: int
    like: int


def displacement(
    examples: Sequence[Example], labels: LabelSpace, max_contradiction: float, min_separation: float
) -> Displacement:
    """Measures the first box of every row.

    A row contradicts its box if the box lies further than `max_contradiction` of the way from the median of its class
    to that of the opposite class. Classes that are separated less than `min_separation` are not judged row by row.
    """
    rows = np.array([row for row, e in enumerate(examples) if e.box], np.int64)
    shares = np.array([_middle_of(examples[row]) for row in rows], np.float64).reshape(-1, 2)
    result = Displacement(rows, shares)
    class_ids = np.array([examples[row].label for row in rows], np.int64)
    mirrored, reasons = dict(labels.group()), dict[int, str]()
    for axis, mirror in enumerate(MIRRORS.values()):
        if mirror in mirrored:
            numbers = {c: np.flatnonzero(class_ids == c) for c in range(len(labels))}
            along = {c: shares[chosen, axis] for c, chosen in numbers.items() if len(chosen) >= MIN_BOXES}
            # Good parts lie in the middle. Of other classes that the mirror leaves alone, nothing is known.
            middle = [c for c in along if mirrored[mirror][c] == c and labels.is_ok(c)]
            for pair in _pairs(mirrored[mirror], along):
                separations = list(_separations(axis, pair, middle, along))
                result.separations.extend(separations)
                if separations[-1].value < min_separation:
                    continue
                for stray in _strays(pair, middle, along, max_contradiction):
                    reason = _reason(AXIS_NAMES[axis], stray, along, labels)
                    reasons.setdefault(int(rows[numbers[stray.label][stray.number]]), reason)
    result.contradictions.extend(Contradiction(row, reasons[row]) for row in sorted(reasons))
    return result


def _middle_of(example: Example) -> tuple[float, float]:
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
    """The standard deviation along the rows, estimated by the median absolute deviation, which outliers do not move."""
    return np.asarray(1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0))


def _separations(
    axis: int, pair: tuple[int, int], middle: Sequence[int], along: dict[int, Shares]
) -> Iterator[Separation]:
    """Each of two opposite classes from the good classes in the middle; last, the two from each other."""
    minus, plus = sorted(pair, key=lambda c: float(np.median(along[c])))
    for neutral in middle:
        yield Separation(axis, plus, neutral, _separation(along[neutral], along[plus]))
        yield Separation(axis, neutral, minus, _separation(along[minus], along[neutral]))
    yield Separation(axis, plus, minus, _separation(along[minus], along[plus]))


def _strays(
    pair: tuple[int, int], middle: Sequence[int], along: dict[int, Shares], max_contradiction: float
) -> Iterator[_Stray]:
    medians = {c: float(np.median(values)) for c, values in along.items()}
    one, other = pair
    for label, opposite in ((one, other), (other, one)) if medians[one] != medians[other] else ():
        # 0 at the median of the own class, 1 at that of the opposite one
        way = (along[label] - medians[label]) / (medians[opposite] - medians[label])
        for number in np.flatnonzero(way > max_contradiction):
            yield _Stray(label, int(number), opposite)
    for neutral in middle:
        for end in pair:
            # Further out than parts of that direction typically are, and than good parts ever stray.
            way_out = medians[end] - medians[neutral]
            beyond = max(abs(way_out), OUTLYING * float(_spread(along[neutral])))
            for number in np.flatnonzero(np.sign(way_out) * (along[neutral] - medians[neutral]) > beyond):
                yield _Stray(neutral, int(number), end)


def _reason(axis: str, stray: _Stray, along: dict[int, Shares], labels: LabelSpace) -> str:
    label, like = (f"{np.median(along[c]):+.1%} for {labels.names[c]}" for c in (stray.label, stray.like))
    share = float(along[stray.label][stray.number])
    return f"but the box lies at {axis} {share:+.1%} of the picture from its middle; typical are {label} and {like}"
