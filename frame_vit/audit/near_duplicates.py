"""Pictures that are nearly the same: copies that were saved again or made a little brighter, bursts of one part.

A fixed camera makes all frames alike, so neither measure nor limit can be somebody else's constant. ImageHash's
hashes were considered: 64 bits of an 8 x 8 grid give a passed frame and a displaced one the same number, and its finer
ones still need a limit. Here the distance is that of two fingerprints (`measures.prints`), and the limit is learnt from
the pictures at hand: as far as pictures lie from copies of themselves, with a little to spare, provided that pictures
of different classes lie well beyond that. Copies then stand apart from what lies next beyond them; where instead the
distances run on without a gap, and more pictures lie just beyond the limit than within it, or where a picture has
a good part of its class for twins, these are ordinary neighbours. Where nothing can be told, that is said.
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

from frame_vit.data.examples import Example
from frame_vit.errors import RowError
from frame_vit.images.decode import open_rgb
from frame_vit.images.geometry import View
from frame_vit.images.measures import CELLS, prints
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing, read_picture
from frame_vit.labels import LabelledView
from frame_vit.system.progress import Tick, silent

SAMPLE = 64
"""Pictures that are copied, and pictures whose nearest of another class is looked for."""
QUALITY, BRIGHTER = 60, 1.06
"""How a copy is made: JPEG of this quality, this much brighter."""
SPARE = 1.25
GAP = 1.2
"""Between the farthest copy and the nearest picture that is none there is at least this ratio, or copies abound."""
ALIKE = 0.1
"""Where a picture has, on average, more twins than this share of a class, the whole class looks alike."""
TILE = 2048
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Limit:
    """Up to which distance two pictures are nearly the same, and what it was learnt from; None: it can't be told."""

    value: float | None
    copies: float | None = None
    classes: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"limit": self.value, "farthest_copy": self.copies, "nearest_of_other_class": self.classes}


class NearDuplicate(NamedTuple):
    """Another picture that is nearly the same: its row, how far it lies, and the view of it that is so near."""

    row: int
    distance: float
    view: str


@dataclass
class NearDuplicates:
    """What lies nearer than the limit.

    `across`: for each row its nearest twin in a split that is to be left alone rather than its own; `held`: the rows of
    those splits. `unfit`: each row's nearest under a label that does not fit. `within` counts the pairs of one split.
    `crowded`: others come as near, so these need not be copies.
    """

    across: dict[int, NearDuplicate] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    unfit: dict[int, NearDuplicate] = field(default_factory=dict)
    within: int = 0
    crowded: bool = False


def learn_limit(
    examples: Sequence[Example], marks: Float32, preprocessing: Preprocessing, given: float | None
) -> Limit:
    """The limit for these pictures, whose fingerprints are `marks` (N, D); a `given` one is taken as it is."""
    if given is not None:
        return Limit(given)
    chosen = _spread(np.flatnonzero(marks.any(axis=1)), SAMPLE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        copies = pool.map(lambda row: _far(examples[row], marks[row], preprocessing), chosen)
        known = [distance for distance in copies if distance is not None]
    if not known:
        return Limit(None)
    farthest = float(np.quantile(known, 0.99))
    nearest = _nearest_of_another_class(examples, marks, chosen)
    limit = SPARE * farthest
    return Limit(limit if limit < nearest else None, farthest, nearest if math.isfinite(nearest) else None)


def find_near_duplicates(
    examples: Sequence[Example],
    ranks: Sequence[int],
    marks: Float32,
    views: Sequence[LabelledView],
    limit: float,
    tick: Tick = silent,
) -> NearDuplicates:
    """All pairs nearer than `limit`, each picture also against the declared views of the others.

    `ranks` (N) numbers the split of each example, the higher the more it is to be left alone (the test highest);
    `marks` (N, D) are the fingerprints. Of rows with the very same pixels the one of the highest rank stands for all:
    those are found by their seals. Takes N * N * D / 2 multiplications for each view; memory for a tile at a time.
    """
    standing: dict[str, int] = {}
    for row, example in enumerate(examples):
        if marks[row].any() and ranks[row] > ranks[standing.setdefault(example.seal, row)]:
            standing[example.seal] = row
    rows = np.array(sorted(standing.values()), np.int64)
    # Every fingerprint has a mean square of 1, so the mean square of a difference is 2 less twice this product.
    own = marks[rows] if len(rows) < len(marks) else marks
    search = _Search(rows, np.array(ranks)[rows], np.array([examples[row].label for row in rows]))
    tiles = [(top, left) for top in range(0, len(rows), TILE) for left in range(top, len(rows), TILE)]
    for number, (view, classes) in enumerate(views):
        for done, (top, left) in enumerate(tiles, 1):
            likeness = (own[top : top + TILE] / marks.shape[1]) @ _seen(own[left : left + TILE], view).T
            if top == left:
                likeness[np.tri(len(likeness), dtype=bool)] = -1  # each pair once, and none with itself
            search.look(likeness, (top, left), (view.name, np.array(classes)), 1 - limit**2 / 2)
            tick("comparing", number * len(tiles) + done, len(views) * len(tiles), "")
    alike = 2 * search.pairs / max(len(rows), 1) > ALIKE * len(rows) / len({*search.labels.tolist()} or {0})
    search.found.crowded = alike or _crowded(np.sqrt(np.maximum(2 - 2 * search.nearest, 0)), limit)
    return search.found


@dataclass
class _Search:
    """Rows that are compared, their ranks and labels, and what was found of them."""

    rows: Numbers
    ranks: Numbers
    labels: Numbers
    found: NearDuplicates = field(default_factory=NearDuplicates)

    def __post_init__(self) -> None:
        self.nearest, self.pairs = np.full(len(self.rows), -1, np.float32), 0

    def look(self, likeness: Float32, place: tuple[int, int], view: tuple[str, Numbers], least: float) -> None:
        """One tile: (n, m) means of the products of fingerprints; rows as they are, columns in the view."""
        one, other = (slice(start, start + size) for start, size in zip(place, likeness.shape, strict=True))
        name, classes = view
        highest = likeness.max(axis=1)
        if name == "identity":
            self.nearest[one] = np.maximum(self.nearest[one], highest)
            self.nearest[other] = np.maximum(self.nearest[other], likeness.max(axis=0))
        if highest.max() <= least:
            return
        near = likeness > least
        self.pairs += int(near.sum()) if name == "identity" else 0
        higher = np.sign(self.ranks[None, other] - self.ranks[one, None])
        self.found.within += int((near & (higher == 0)).sum())
        unfit = near & (self.labels[one, None] != classes[self.labels[other]][None])
        for meant, store in ((near & (higher > 0), self.found.across), (unfit, self.found.unfit)):
            self._keep(store, likeness, meant, (one, other, name))
        for meant, store in ((near & (higher < 0), self.found.across), (unfit, self.found.unfit)):
            self._keep(store, likeness.T, meant.T, (other, one, name))
        self.found.held |= {int(row) for row in self.rows[other][(near & (higher > 0)).any(axis=0)]}
        self.found.held |= {int(row) for row in self.rows[one][(near & (higher < 0)).any(axis=1)]}

    def _keep(
        self,
        store: dict[int, NearDuplicate],
        likeness: Float32,
        meant: NDArray[np.bool_],
        place: tuple[slice, slice, str],
    ) -> None:
        one, other, name = place
        for i in np.flatnonzero(meant.any(axis=1)).tolist():
            j = int(np.where(meant[i], likeness[i], -np.inf).argmax())
            row, twin = int(self.rows[one][i]), int(self.rows[other][j])
            distance = math.sqrt(max(2 - 2 * float(likeness[i, j]), 0.0))
            if row not in store or distance < store[row].distance:
                store[row] = NearDuplicate(twin, distance, name)


def _crowded(nearest: NDArray[np.float64], limit: float) -> bool:
    """Whether the distances to the nearest run on beyond the limit: no gap, and more beyond it than within."""
    within, beyond = nearest[nearest <= limit], nearest[(nearest > limit) & (nearest <= 2 * limit)]
    if not len(within) or len(beyond) < len(within):
        return False
    return bool(beyond.min() < GAP * within.max())


def _seen(marks: Float32, view: View) -> Float32:
    """The fingerprints of the pictures in a view; the same array where it changes nothing."""
    if not view.turns and not view.mirror:
        return marks
    turned = np.rot90(marks.reshape(-1, CELLS, CELLS), view.turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if view.mirror else turned).reshape(marks.shape)


def _far(example: Example, mark: Float32, preprocessing: Preprocessing) -> float | None:
    """How far a picture lies from a copy of itself that was made brighter and saved again; None if it can't be read."""
    table = [min(round(level * BRIGHTER), 255) for level in range(256)]
    try:
        picture = open_rgb(example.read(), preprocessing.bit_depth)
        buffer = io.BytesIO()
        picture.point(table * 3).save(buffer, "JPEG", quality=QUALITY)
        copy = read_picture(buffer.getvalue(), preprocessing).pixels
    except (RowError, OSError):
        return None
    return float(np.sqrt(((prints(copy[None])[0] - mark) ** 2).mean()))


def _nearest_of_another_class(examples: Sequence[Example], marks: Float32, chosen: Numbers) -> float:
    """How near the pictures of different classes come to each other; infinite where there is one class only.

    Half of them come nearer than that. The nearest would not do: pairs under wrong labels come as near as copies.
    """
    labels = np.array([example.label for example in examples])
    nearest = np.full(len(chosen), np.inf)
    for start in range(0, len(marks), TILE):
        part = slice(start, start + TILE)
        squares = 2 - 2 / marks.shape[1] * (marks[chosen] @ marks[part].T)
        squares[labels[chosen][:, None] == labels[part][None]] = np.inf
        nearest = np.minimum(nearest, squares.min(axis=1))
    finite = nearest[np.isfinite(nearest)]
    return float(np.sqrt(max(np.median(finite), 0))) if finite.size else math.inf


def _spread(rows: Numbers, count: int) -> Numbers:
    """At most so many of the rows, evenly from the first to the last."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
