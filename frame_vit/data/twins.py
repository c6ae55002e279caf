"""Pictures that are nearly the same: copies that were saved again or made a little brighter, bursts of one part.

A fixed camera makes all frames alike, so neither measure nor limit can be somebody else's constant. ImageHash's
hashes were considered: 64 bits of an 8 x 8 grid give a passed frame and a displaced one the same number, and its finer
ones still need a limit. Here the distance is that of two fingerprints (`measures.prints`), and the limit is learnt from
the pictures at hand: as far as pictures lie from copies of themselves, with a little to spare, provided that pictures
of different classes lie well beyond that. Where they do not, nothing can be told, and that is said.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frame_vit.data.examples import Example
from frame_vit.data.measures import CELLS, prints
from frame_vit.errors import RowError
from frame_vit.geometry import View
from frame_vit.images import Float32, Pixels, open_rgb, read_picture
from frame_vit.labels import LabelledView
from frame_vit.progress import Tick, silent

SAMPLE = 100
"""Pictures that are copied, and pictures whose nearest of another class is looked for."""
QUALITY, BRIGHTER = 60, 1.06
"""How a copy is made: JPEG of this quality, this much brighter."""
SPARE = 1.25
TILE = 4096
MOST_PAIRS = 1_000_000
"""After so many pairs the search is broken off: the pictures are nearly all alike, and more would say no more."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Limit:
    """Up to which distance two pictures are nearly the same, and what it was learnt from; None: it can't be told."""

    value: float | None
    copies: float | None = None
    classes: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"limit": self.value, "farthest_copy": self.copies, "nearest_of_other_class": self.classes}


class Twin(NamedTuple):
    """Another picture that is nearly the same: its row, how far it lies, and the view of it that is so near."""

    row: int
    distance: float
    view: str


@dataclass
class Twins:
    """For each row its nearest twin in another split, and its nearest under a label that does not fit.

    `within` counts the pairs of one split; `broken_off`: there were too many to look at them all.
    """

    across: dict[int, Twin] = field(default_factory=dict)
    unfit: dict[int, Twin] = field(default_factory=dict)
    within: int = 0
    broken_off: bool = False


def learn_limit(examples: Sequence[Example], marks: Float32, pixels: Pixels, given: float | None) -> Limit:
    """The limit for these pictures, whose fingerprints are `marks` (N, D); a `given` one is taken as it is."""
    if given is not None:
        return Limit(given)
    chosen = _spread(np.flatnonzero(marks.any(axis=1)), SAMPLE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        copies = pool.map(lambda row: _far(examples[row], marks[row], pixels), chosen)
        known = [distance for distance in copies if distance is not None]
    if not known:
        return Limit(None)
    farthest = float(np.quantile(known, 0.99))
    nearest = _nearest_of_another_class(examples, marks, chosen)
    limit = SPARE * farthest
    return Limit(limit if limit < nearest else None, farthest, nearest if math.isfinite(nearest) else None)


def find_twins(
    examples: Sequence[Example],
    sides: Sequence[int],
    marks: Float32,
    views: Sequence[LabelledView],
    limit: float,
    tick: Tick = silent,
) -> Twins:
    """All pairs nearer than `limit`, each picture also against the declared views of the others.

    `sides` numbers the split of each example, `marks` (N, D) are their fingerprints. Of rows with the very same pixels
    the first stands for all: those are found by their seals. Takes N * N * D / 2 multiplications for each view.
    """
    first = {example.seal: row for row, example in reversed([*enumerate(examples)])}
    rows = np.array(sorted(row for row in first.values() if marks[row].any()), np.int64)
    labels, side = np.array([example.label for example in examples]), np.array(sides)
    found, pairs = Twins(), 0
    for number, (view, classes) in enumerate(views):

        def compared(done: int, of: int, before: int = number) -> None:
            tick("comparing", before * of + done, len(views) * of, "")

        for ones, others in _near(marks[rows], _seen(marks[rows], view), limit, compared):
            i, j = rows[ones], rows[others]
            unfit, across = labels[i] != np.array(classes)[labels[j]], side[i] != side[j]
            found.within += int((~across).sum())
            pairs += len(i)
            for hit in np.flatnonzero(unfit | across).tolist():
                one, other = int(i[hit]), int(j[hit])
                distance = float(np.sqrt(((marks[one] - _seen(marks[other : other + 1], view)[0]) ** 2).mean()))
                for nearest, meant in ((found.unfit, unfit[hit]), (found.across, across[hit])):
                    if meant:
                        _keep(nearest, one, Twin(other, distance, view.name))
                        _keep(nearest, other, Twin(one, distance, view.name))
            if pairs > MOST_PAIRS:
                found.broken_off = True
                return found
    return found


def _keep(nearest: dict[int, Twin], row: int, twin: Twin) -> None:
    if row not in nearest or twin.distance < nearest[row].distance:
        nearest[row] = twin


def _near(
    marks: Float32, seen: Float32, limit: float, compared: Callable[[int, int], None]
) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs i < j nearer than the limit: picture i as it is, picture j in the view; tile by tile."""
    for top in range(0, len(marks), TILE):
        for left in range(top, len(marks), TILE):
            # Every fingerprint has a mean square of 1, so the mean square of a difference is 2 less twice the product.
            products = marks[top : top + TILE] @ seen[left : left + TILE].T
            i, j = np.nonzero(products > (1 - limit**2 / 2) * marks.shape[1])
            ordered = top + i < left + j
            yield top + i[ordered], left + j[ordered]
        compared(min(top + TILE, len(marks)), len(marks))


def _seen(marks: Float32, view: View) -> Float32:
    """The fingerprints of the pictures in a view; the same array where it changes nothing."""
    if not view.turns and not view.mirror:
        return marks
    turned = np.rot90(marks.reshape(-1, CELLS, CELLS), view.turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if view.mirror else turned).reshape(marks.shape)


def _far(example: Example, mark: Float32, pixels: Pixels) -> float | None:
    """How far a picture lies from a copy of itself that was made brighter and saved again; None if it can't be read."""
    try:
        picture = open_rgb(example.read(), pixels.bit_depth)
        brighter = np.minimum(np.asarray(picture, np.float32) * BRIGHTER, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(brighter).save(buffer, "JPEG", quality=QUALITY)
        copy = read_picture(buffer.getvalue(), pixels).pixels
    except (RowError, OSError):
        return None
    return float(np.sqrt(((prints(copy[None])[0] - mark) ** 2).mean()))


def _nearest_of_another_class(examples: Sequence[Example], marks: Float32, chosen: Numbers) -> float:
    """How near the pictures of different classes come to each other; infinite where there is one class only.

    Pairs under wrong labels would come as near as copies, so the nearest twentieth is not looked at.
    """
    labels = np.array([example.label for example in examples])
    nearest = np.full(len(chosen), np.inf)
    for start in range(0, len(marks), TILE):
        part = slice(start, start + TILE)
        squares = 2 - 2 / marks.shape[1] * (marks[chosen] @ marks[part].T)
        squares[labels[chosen][:, None] == labels[part][None]] = np.inf
        nearest = np.minimum(nearest, squares.min(axis=1))
    finite = nearest[np.isfinite(nearest)]
    return float(np.sqrt(max(np.quantile(finite, 0.05), 0))) if finite.size else math.inf


def _spread(rows: Numbers, count: int) -> Numbers:
    """At most so many of the rows, evenly from the first to the last."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
