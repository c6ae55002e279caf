"""Near duplicates: copies that were saved again or made a little brighter, bursts of one part.

A fixed camera makes all frames alike, so no distance and no limit from elsewhere fits. ImageHash's hashes were
considered: with 64 bits of an 8 x 8 grid, a passed and a displaced frame get the same hash, and its finer hashes still
need a limit. Here the distance of two pictures is the root mean square difference of their fingerprints
(`images.measures`), and the limit is learnt from the data: pictures are copied (brighter, saved again as JPEG), and the
limit is the distance of the farthest copy with some margin, provided that pictures of different classes are well
beyond it.

Real copies are set apart by a gap in the distances. If instead the distances continue without a gap and more pictures
lie just beyond the limit than within it, or if a picture has a good part of its class within the limit, the pairs are
ordinary neighbours; the result is then marked `crowded`. If no limit can be learnt, the result says so.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frame_vit.audit.near_pairs import Numbers, Pairs, main_directions, near_pairs
from frame_vit.data.examples import Example
from frame_vit.errors import RowError
from frame_vit.images.decode import open_rgb
from frame_vit.images.geometry import View
from frame_vit.images.measures import CELLS, fingerprints_of
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing, in_view, read_picture
from frame_vit.labels import LabelledView
from frame_vit.system.progress import Tick, silent

SAMPLE = 64
"""The number of pictures that are copied, and whose nearest picture of another class is searched for."""
QUALITY, BRIGHTER = 60, 1.06
"""How a copy is made: JPEG of this quality, this many times as bright."""
MARGIN = 1.25
"""The limit is this many times the distance of the farthest copy."""
GAP = 1.2
"""Copies are set apart if the nearest other picture is at least this many times as far as the farthest copy."""
ALIKE = 0.1
"""If a picture has, on average, more near duplicates than this share of a class, the whole class looks alike."""
TOGETHER = 2048
"""Fingerprints that the sample is compared with together, which bounds the memory."""
MANY = 100_000
"""Of so many pairs, the nearest of each row are chosen before they are sorted."""


@dataclass(frozen=True)
class Limit:
    """Up to which distance pictures are near duplicates (None: that cannot be told), and what it was learnt from."""

    value: float | None
    copies: float | None = None
    """how far the farthest copy is from its picture"""
    classes: float | None = None
    """how near pictures of different classes typically come"""

    def to_json(self) -> dict[str, Any]:
        return {"limit": self.value, "farthest_copy": self.copies, "nearest_of_other_class": self.classes}


class NearDuplicate(NamedTuple):
    """Another picture that is nearly the same: its row, its distance, and the view of it that is so near."""

    row: int
    distance: float
    view: str


@dataclass
class NearDuplicates:
    """The pairs that are nearer than the limit."""

    across: dict[int, NearDuplicate] = field(default_factory=dict)
    """by row: its nearest duplicate in a split of higher rank"""
    held: set[int] = field(default_factory=set)
    """the rows of those splits"""
    unfit: dict[int, NearDuplicate] = field(default_factory=dict)
    """by row: its nearest duplicate whose label does not fit"""
    within: int = 0
    """the number of pairs within one split"""
    crowded: bool = False
    """whether other pictures come just as near, so that the pairs need not be copies"""


def learn_limit(
    examples: Sequence[Example], fingerprints: Float32, preprocessing: Preprocessing, configured: float | None
) -> Limit:
    """The limit for these pictures with `fingerprints` (N, D); a `configured` limit is used as it is."""
    if configured is not None:
        return Limit(configured)
    sample = _evenly(np.flatnonzero(fingerprints.any(axis=1)), SAMPLE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        distances = pool.map(lambda row: _distance_to_copy(examples[row], fingerprints[row], preprocessing), sample)
        copies = [distance for distance in distances if distance is not None]
    if not copies:
        return Limit(None)
    farthest = float(np.quantile(copies, 0.99))
    nearest = _nearest_of_another_class(examples, fingerprints, sample)
    limit = MARGIN * farthest
    return Limit(limit if limit < nearest else None, farthest, nearest if math.isfinite(nearest) else None)


def find_near_duplicates(
    examples: Sequence[Example],
    ranks: Sequence[int],
    fingerprints: Float32,
    views: Sequence[LabelledView],
    limit: float,
    tick: Tick = silent,
) -> NearDuplicates:
    """All pairs nearer than `limit`; each picture is also compared with the declared views of the others.

    `ranks` (N) are the ranks of the examples' splits, the test's the highest; `fingerprints` is (N, D). Rows with
    identical pixels are the business of another check: here the one of the highest rank stands for all of them.
    """
    representatives: dict[str, int] = {}
    for row, example in enumerate(examples):
        if fingerprints[row].any() and ranks[row] > ranks[representatives.setdefault(example.seal, row)]:
            representatives[example.seal] = row
    if not representatives:
        return NearDuplicates()
    rows = np.array(sorted(representatives.values()), np.int64)
    prints = fingerprints[rows] if len(rows) < len(fingerprints) else fingerprints  # (n, D)
    search = _Search(rows, np.array(ranks)[rows], np.array([examples[row].label for row in rows]), limit)
    directions, done = main_directions(prints), 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        tick("comparing", done, len(views) * len(rows), "")

    for view, classes in views:
        viewed = _fingerprints_in_view(prints, view)
        # How the distances run on beyond the limit is seen in pictures as they are.
        reach = 2 * limit if viewed is prints else limit
        for pairs in near_pairs(prints, viewed, directions, reach, advance):
            search.add(pairs, view.name, np.array(classes))
    class_size = len(rows) / len({*search.labels.tolist()})
    alike = 2 * search.pairs / len(rows) > ALIKE * class_size
    search.result.crowded = alike or _crowded(search.nearest, limit)
    return search.result


@dataclass
class _Search:
    """The rows that are compared, (n,) each with its rank and class id, and what has been found so far."""

    rows: Numbers
    ranks: Numbers
    labels: Numbers
    limit: float
    result: NearDuplicates = field(default_factory=NearDuplicates)

    def __post_init__(self) -> None:
        self.nearest = np.full(len(self.rows), np.inf)
        """(n,) distance to the nearest other row, both as they are, as far as it was found"""
        self.pairs = 0

    def add(self, pairs: Pairs, view: str, classes: Numbers) -> None:
        """Keeps the pairs that are near enough; `classes` (C,) are the class ids under their view."""
        if view == "identity":
            np.minimum.at(self.nearest, pairs.one, pairs.distance)
            np.minimum.at(self.nearest, pairs.other, pairs.distance)
            pairs = pairs.where(pairs.distance <= self.limit)
            self.pairs += len(pairs.one)
        order = np.sign(self.ranks[pairs.other] - self.ranks[pairs.one])
        unfit = pairs.where(self.labels[pairs.one] != classes[self.labels[pairs.other]])
        upwards, downwards = pairs.where(order > 0), pairs.where(order < 0)
        downwards = downwards._replace(one=downwards.other, other=downwards.one)
        self.result.within += int((order == 0).sum())
        for higher in (upwards, downwards):
            self._keep(self.result.across, higher, view)
            held = np.zeros(len(self.rows), bool)
            held[higher.other] = True
            self.result.held |= {*self.rows[held].tolist()}
        self._keep(self.result.unfit, unfit, view)
        self._keep(self.result.unfit, unfit._replace(one=unfit.other, other=unfit.one), view)

    def _keep(self, nearest: dict[int, NearDuplicate], pairs: Pairs, view: str) -> None:
        """Keeps the nearest pair of each row `one`, if it is a new nearest."""
        if len(pairs.one) > MANY:  # sorting masses of pairs would take longer than finding them
            best = np.full(len(self.rows), np.inf)
            np.minimum.at(best, pairs.one, pairs.distance)
            pairs = pairs.where(pairs.distance == best[pairs.one])
        order = np.lexsort((pairs.other, pairs.distance, pairs.one))
        first = order[np.unique(pairs.one[order], return_index=True)[1]]
        ones, others = self.rows[pairs.one[first]].tolist(), self.rows[pairs.other[first]].tolist()
        for row, other, distance in zip(ones, others, pairs.distance[first].tolist(), strict=True):
            if row not in nearest or distance < nearest[row].distance:
                nearest[row] = NearDuplicate(other, distance, view)


def _crowded(nearest: NDArray[np.float64], limit: float) -> bool:
    """Whether the distances (n,) to the nearest rows continue beyond the limit: no gap, and more beyond than within."""
    within, beyond = nearest[nearest <= limit], nearest[(nearest > limit) & (nearest <= 2 * limit)]
    if not len(within) or len(beyond) < len(within):
        return False
    return bool(beyond.min() < GAP * within.max())


def _fingerprints_in_view(fingerprints: Float32, view: View) -> Float32:
    """(n, D) -> (n, D): the fingerprints of the pictures in a view; the same array if the view changes nothing."""
    if not view.turns and not view.mirror:
        return fingerprints
    seen = in_view(fingerprints.reshape(-1, CELLS, CELLS, 1), view)
    return np.ascontiguousarray(seen).reshape(fingerprints.shape)


def _distance_to_copy(example: Example, fingerprint: Float32, preprocessing: Preprocessing) -> float | None:
    """The distance of a picture, with fingerprint (D,), to a brighter copy saved again; None if it cannot be read."""
    table = [min(round(level * BRIGHTER), 255) for level in range(256)]
    try:
        picture = open_rgb(example.read(), *preprocessing.decoding)
        buffer = io.BytesIO()
        picture.point(table * 3).save(buffer, "JPEG", quality=QUALITY)
        copy = read_picture(buffer.getvalue(), preprocessing).pixels
    except (RowError, OSError):
        return None
    return float(np.sqrt(((fingerprints_of(copy[None])[0] - fingerprint) ** 2).mean()))


def _nearest_of_another_class(examples: Sequence[Example], fingerprints: Float32, sample: Numbers) -> float:
    """The median distance of the sampled pictures to the nearest one of another class; infinite for a single class.

    The smallest distance would be useless: a pair of copies under different labels is as near as any copy.
    """
    labels = np.array([example.label for example in examples])
    nearest = np.full(len(sample), np.inf)
    for start in range(0, len(fingerprints), TOGETHER):
        part = slice(start, start + TOGETHER)
        squares = 2 - 2 / fingerprints.shape[1] * (fingerprints[sample] @ fingerprints[part].T)
        squares[labels[sample][:, None] == labels[part][None]] = np.inf
        nearest = np.minimum(nearest, squares.min(axis=1))
    finite = nearest[np.isfinite(nearest)]
    return float(np.sqrt(max(np.median(finite), 0))) if finite.size else math.inf


def _evenly(rows: Numbers, count: int) -> Numbers:
    """At most `count` of the rows, evenly spaced from the first to the last."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
