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
from frame_vit.system.machine import cores

DIRECTIONS = 12
"""In so many directions hardly a pair of synthetic frames is near that is not near in all."""
SAMPLE, ASKED = 2000, 200
"""Fingerprints by which the directions are chosen, and those by which the number of pairs is estimated."""
MASSES, MASS_SHARE = 100, 0.01
"""With more pairs a fingerprint, and with more than this share of all fingerprints, tiles are faster than a tree."""
ROWS, TILE = 4096, 2048
"""Fingerprints that a tree is asked about together, and those along the side of a tile."""
LISTED, BLOCK = 1 << 20, 1 << 15
"""Pairs that a tree lists together, as Python numbers, and pairs that are measured together."""
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
    if _are_masses(tree.query_ball_point(some, reach, return_length=True).mean(), len(prints)):
        yield from _by_tiles(prints, viewed, limit, advance)
        return
    for start in range(0, len(prints), ROWS):
        part = prints[start : start + ROWS] @ directions
        counts = tree.query_ball_point(part, reach, workers=cores(), return_length=True)
        rows = np.flatnonzero(counts > (viewed is prints))  # as it is, every fingerprint is near itself
        for asked in np.split(rows, np.flatnonzero(np.diff(counts[rows].cumsum() // LISTED)) + 1):
            found = tree.query_ball_point(part[asked], reach, workers=cores())
            one = np.repeat(asked + start, counts[asked])
            other = np.array([row for near in found for row in near], np.int64)
            yield from _measured(prints, viewed, one, other, limit)
        advance(len(part))


def _are_masses(pairs: float, count: int) -> bool:
    """Whether so many pairs for each of so many fingerprints are compared sooner in tiles."""
    return pairs > max(MASSES, MASS_SHARE * count)


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
