"""All pairs of fingerprints within a distance, exactly, without comparing all with all.

A projection onto orthogonal directions brings no two fingerprints farther apart. So every pair within the distance is
also that near in the twelve directions in which the fingerprints vary most. A k-d tree (scipy) finds those pairs in a
time that grows little faster than the number of fingerprints, and they are then measured in all directions. Where there
are masses of pairs, as where every picture is a copy of every other, all are compared with all, in tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from frame_vit.images.pixel_array import Float32

DIRECTIONS = 12
"""In so many directions hardly a pair of synthetic frames is near that is not near in all."""
SAMPLE, ASKED = 2000, 200
"""Fingerprints by which the directions are chosen, and those by which the number of pairs is estimated."""
MASSES = 100
"""With more pairs a fingerprint than this, tiles are faster than a tree, whose pairs are Python lists."""
ROWS, TILE, BLOCK = 4096, 2048, 1 << 15
"""Fingerprints that a tree is asked about together, those along the side of a tile, and pairs that are measured
together: they bound the memory."""
SLACK = 1e-5
"""More than the rounding of float32 can do to a distance."""
Numbers = NDArray[np.int64]
Advance = Callable[[int], None]


class Pairs(NamedTuple):
    """Pairs of rows and their distances, (n,) each: `one` as it is, `other` in a view; `one` is less than `other`."""

    one: Numbers
    other: Numbers
    distance: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> Pairs:
        return Pairs(self.one[mask], self.other[mask], self.distance[mask])


def main_directions(prints: Float32) -> Float32:
    """The orthogonal directions in which fingerprints (N, D) vary most, (D, at most 12)."""
    rows = np.linspace(0, len(prints) - 1, min(SAMPLE, len(prints))).round().astype(np.int64)
    centred = prints[rows] - prints[rows].mean(axis=0)
    return np.ascontiguousarray(np.linalg.eigh(centred.T @ centred)[1][:, -DIRECTIONS:])


def near_pairs(
    prints: Float32, viewed: Float32, directions: Float32, limit: float, advance: Advance
) -> Iterator[Pairs]:
    """The pairs within the limit of fingerprints (N, D) of mean square 1 and the same in a view (N, D), in parts.

    The distance is the root mean square difference. `directions` are orthogonal ones, (D, K). `advance` is told how
    many more rows are done.
    """
    tree, reach = KDTree(viewed @ directions), (limit + SLACK) * np.sqrt(prints.shape[1])
    some = prints[:: max(1, len(prints) // ASKED)] @ directions
    if tree.query_ball_point(some, reach, return_length=True).mean() > MASSES:
        yield from _by_tiles(prints, viewed, limit, advance)
        return
    for start in range(0, len(prints), ROWS):
        part = prints[start : start + ROWS] @ directions
        counts = tree.query_ball_point(part, reach, workers=-1, return_length=True)
        rows = np.flatnonzero(counts > (viewed is prints))  # as it is, every fingerprint is near itself
        found = tree.query_ball_point(part[rows], reach, workers=-1)
        one = np.repeat(rows + start, counts[rows])
        other = np.array([row for near in found for row in near], np.int64)
        yield from _measured(prints, viewed, one, other, limit)
        advance(len(part))


def _measured(prints: Float32, viewed: Float32, one: Numbers, other: Numbers, limit: float) -> Iterator[Pairs]:
    """Of pairs that may be near those that are, each once."""
    one, other = one[one < other], other[one < other]
    for start in range(0, len(one), BLOCK):
        i, j = one[start : start + BLOCK], other[start : start + BLOCK]
        distance = np.sqrt(np.square(prints[i] - viewed[j]).mean(axis=1, dtype=np.float64))
        yield Pairs(i, j, distance).where(distance <= limit)


def _by_tiles(prints: Float32, viewed: Float32, limit: float, advance: Advance) -> Iterator[Pairs]:
    for top in range(0, len(prints), TILE):
        part = prints[top : top + TILE]
        for left in range(top, len(prints), TILE):
            # A fingerprint has a mean square of 1, so the mean square of a difference is 2 - 2 * cosine.
            cosines = (part / prints.shape[1]) @ viewed[left : left + TILE].T
            i, j = np.nonzero(cosines >= 1 - limit**2 / 2)
            distance = np.sqrt(np.maximum(2 - 2 * cosines[i, j].astype(np.float64), 0))
            yield Pairs(i + top, j + left, distance).where(i + top < j + left)
        advance(len(part))
