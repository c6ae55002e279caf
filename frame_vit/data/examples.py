"""Raw rows -> examples: what each row says, checked against the classes, joined to its pixels from the cache.

A row or picture that cannot be used becomes a `Reject` with its reason; nothing is dropped without one. `on_bad_row`
is applied by `prepare`, which sees the rejects of all splits together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.cache import decoded
from frame_vit.data.groups import Marks
from frame_vit.data.response import Annotation, parse_answer
from frame_vit.data.sources import RawSplit
from frame_vit.errors import RowError
from frame_vit.images.decode import Stored
from frame_vit.images.geometry import Box
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace, plainly
from frame_vit.system.progress import Tick, silent

STRAY = 0.05
"""A box that reaches over the picture's edge by more than this share of its side is no box of anything in it."""


@dataclass(frozen=True)
class Example:
    """One usable row. Boxes in pixels of the upright picture, which is `width` x `height`; `digest` of its bytes.

    `seal` is that of its decoded pixels; `marks` say what it belongs to.
    """

    key: str
    label: int
    boxes: tuple[Box, ...]
    width: int
    height: int
    digest: str
    read: Callable[[], bytes]
    seal: str = ""
    marks: Marks = field(default_factory=Marks)
    stored: Stored = field(default_factory=Stored)
    others: tuple[str, ...] = ()
    """what else the row is labelled, besides the first label"""

    @property
    def box(self) -> Box | None:
        """The first box, that of the label; None where there is none, or where it can't be one of this picture."""
        if not self.boxes:
            return None
        x1, y1, x2, y2 = self.boxes[0]
        stray_x, stray_y = STRAY * self.width, STRAY * self.height
        inside = -stray_x <= x1 and x2 <= self.width + stray_x and -stray_y <= y1 and y2 <= self.height + stray_y
        return self.boxes[0] if inside and x1 < x2 and y1 < y2 else None


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, why, and what kind of fault that is."""

    source: str
    key: str
    reason: str
    code: str

    def __str__(self) -> str:
        return f"{self.source}, {self.key}: {self.reason}"


@dataclass(frozen=True)
class Split:
    """Examples and their pixels at the model's size, (N, height, width, 3) uint8, in the same order; read when used."""

    name: str
    examples: list[Example]
    pixels: PixelArray

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class ids."""
        return np.array([example.label for example in self.examples], np.int64)

    def counts(self, classes: int) -> list[int]:
        """Examples of each class."""
        return [int(n) for n in np.bincount(self.labels, minlength=classes)]

    def select(self, rows: Sequence[int], name: str) -> Split:
        return Split(name, [self.examples[i] for i in rows], PixelArray(self.pixels, np.array(rows, np.int64)))


@dataclass(frozen=True)
class Annotated:
    """A raw split whose answers were read: what each good row (by its number) says, and the rows that say nothing."""

    raw: RawSplit
    rows: list[tuple[int, Annotation]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def several(self) -> int:
        """Rows with more than one label."""
        return sum(len(set(annotation.labels)) > 1 for _, annotation in self.rows)


def annotate(raw: RawSplit, multi: str) -> Annotated:
    """Reads every answer; with `multi` error, rows with several labels are rejected."""
    found = Annotated(raw)
    for number, row in enumerate(raw.rows):
        try:
            annotation = parse_answer(row.answer, raw.kind)
            if multi == "error" and len(set(annotation.labels)) > 1:
                raise RowError(f"several labels: {', '.join(annotation.labels)}", "FV210")
            found.rows.append((number, annotation))
        except RowError as error:
            found.rejects.append(Reject(raw.source, row.key, error.message, error.code))
    return found


def auto_names(train: Annotated, aliases: dict[str, str]) -> list[str]:
    """The classes of a training set: the source's own order where it has one, else by name.

    Of names that differ only by case or blanks the most frequent is a class; the others are left to be unknown labels.
    """
    labels = Counter(aliases.get(a.labels[0], a.labels[0]) for _, a in train.rows)
    if train.raw.names and {*labels} <= {*train.raw.names}:
        return list(train.raw.names)
    spelt: dict[str, str] = {}
    for label, _ in sorted(labels.items(), key=lambda found: (-found[1], found[0])):
        spelt.setdefault(plainly(label), label)
    return sorted(spelt.values())


def build_split(
    found: Annotated, space: LabelSpace, preprocessing: Preprocessing, cache: Path, tick: Tick = silent
) -> tuple[Split, list[Reject]]:
    """Joins the answers to the decoded pictures. Returns the split and the rejected rows, with those of `found`."""
    raw = found.raw
    pictures = decoded(raw, preprocessing, cache, tick)
    examples, numbers, rejects = [], [], list(found.rejects)
    for number, annotation in found.rows:
        row, facts = raw.rows[number], pictures.facts[number]
        try:
            label = space.id(annotation.labels[0])
        except KeyError as error:
            rejects.append(Reject(raw.source, row.key, error.args[0], _unknown(annotation.labels[0], space)))
            continue
        if facts.reason:
            rejects.append(Reject(raw.source, row.key, facts.reason, facts.code))
            continue
        boxes = annotation.boxes
        picture = (facts.width, facts.height, facts.digest, row.read, facts.seal)
        others = tuple(dict.fromkeys(other for other in annotation.labels[1:] if other != annotation.labels[0]))
        examples.append(Example(row.key, label, boxes, *picture, row.marks, facts.stored, others))
        numbers.append(number)
    return Split(raw.name, examples, PixelArray(pictures.pixels, np.array(numbers, np.int64))), rejects


def _unknown(label: str, space: LabelSpace) -> str:
    """The kind of fault that an unknown label is: spelt otherwise than a class, or of no class at all."""
    return "FV206" if plainly(label) in map(plainly, space.names) else "FV205"
