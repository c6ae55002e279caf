"""Raw rows -> examples: each answer parsed and checked against the classes, and joined to its decoded pixels.

A row or picture that cannot be used becomes a `Reject` with its reason; no row disappears without one. This module does
not decide what happens to rejects: `read_dataset` sees those of all splits together and applies `data.on_bad_row`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.cache import decoded
from frame_vit.data.response import Annotation, parse_answer
from frame_vit.data.rows import Marks, RawSplit
from frame_vit.errors import RowError
from frame_vit.images.decode import Stored
from frame_vit.images.geometry import Box
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace, plainly
from frame_vit.system.progress import Tick, silent

STRAY = 0.05
"""A box that reaches over the picture's edge by more than this share of the side cannot be a box of that picture."""


@dataclass(frozen=True)
class Example:
    """One usable row of a split."""

    key: str
    """the row's name in its source: a file's path, or a line or row number"""
    label: int
    """class id"""
    boxes: tuple[Box, ...]
    """xyxy in pixels of the upright picture"""
    width: int
    height: int
    """size of the upright picture in pixels, before preprocessing"""
    digest: str
    """sha256 of the encoded bytes"""
    read: Callable[[], bytes]
    """gives the encoded bytes; raises `RowError` if the file is gone"""
    seal: str = ""
    """sha256 of the decoded pixels: the same for the same picture in other bytes"""
    marks: Marks = field(default_factory=Marks)
    """the group, slice and part of the row"""
    stored: Stored = field(default_factory=Stored)
    """format and colour mode of the file"""
    others: tuple[str, ...] = ()
    """further labels of the row, besides the first"""

    @property
    def box(self) -> Box | None:
        """The first box, which belongs to the label; None if there is none, or if it cannot be one of this picture."""
        if not self.boxes:
            return None
        x1, y1, x2, y2 = self.boxes[0]
        stray_x, stray_y = STRAY * self.width, STRAY * self.height
        inside = -stray_x <= x1 and x2 <= self.width + stray_x and -stray_y <= y1 and y2 <= self.height + stray_y
        return self.boxes[0] if inside and x1 < x2 and y1 < y2 else None


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used: its source and key, the reason, and the code of the finding that an audit makes."""

    source: str
    key: str
    reason: str
    code: str

    def __str__(self) -> str:
        return f"{self.source}, {self.key}: {self.reason}"


@dataclass(frozen=True)
class Split:
    """Examples and, in the same order, their pixels at the model's size, (N, height, width, 3) uint8, read lazily."""

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
        """The number of examples of each class, by class id."""
        return [int(n) for n in np.bincount(self.labels, minlength=classes)]

    def select(self, rows: Sequence[int], name: str) -> Split:
        """Another split of these rows, in this order."""
        return Split(name, [self.examples[i] for i in rows], PixelArray(self.pixels, np.array(rows, np.int64)))


@dataclass(frozen=True)
class AnnotatedSplit:
    """A raw split whose answers were parsed: (row number, annotation) pairs, and the rows without a usable answer."""

    raw: RawSplit
    rows: list[tuple[int, Annotation]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def several(self) -> int:
        """The number of rows with more than one label."""
        return sum(len(set(annotation.labels)) > 1 for _, annotation in self.rows)


def annotate(raw: RawSplit, multi: str) -> AnnotatedSplit:
    """Parses every answer. With `multi` = error, rows with several labels are rejected."""
    split = AnnotatedSplit(raw)
    for number, row in enumerate(raw.rows):
        try:
            annotation = parse_answer(row.answer, raw.kind)
            if multi == "error" and len(set(annotation.labels)) > 1:
                raise RowError(f"several labels: {', '.join(annotation.labels)}", "FV210")
            split.rows.append((number, annotation))
        except RowError as error:
            split.rejects.append(Reject(raw.source, row.key, error.message, error.code))
    return split


def auto_names(train: AnnotatedSplit, aliases: dict[str, str]) -> list[str]:
    """The class names of a training set: in the source's own order if it declares one, else sorted by name.

    Of names that differ only by case or blanks, the most frequent becomes a class; the others stay unknown labels.
    """
    labels = Counter(aliases.get(a.labels[0], a.labels[0]) for _, a in train.rows)
    own = [unicodedata.normalize("NFC", name) for name in train.raw.names]
    if own and {*labels} <= {*own}:
        return own
    spellings: dict[str, str] = {}
    for label, _ in sorted(labels.items(), key=lambda item: (-item[1], item[0])):
        spellings.setdefault(plainly(label), label)
    return sorted(spellings.values())


def build_split(
    annotated: AnnotatedSplit, space: LabelSpace, preprocessing: Preprocessing, cache: Path, tick: Tick = silent
) -> tuple[Split, list[Reject]]:
    """Joins the answers to the decoded pictures. Returns the split, and all rejects, those of `annotated` included."""
    raw = annotated.raw
    pictures = decoded(raw, preprocessing, cache, tick)
    examples, numbers, rejects = [], [], list(annotated.rejects)
    for number, annotation in annotated.rows:
        row, facts = raw.rows[number], pictures.facts[number]
        try:
            label = space.id(annotation.labels[0])
        except KeyError as error:
            reason = error.args[0] + _alias_needed(annotation.labels[0])
            rejects.append(Reject(raw.source, row.key, reason, _unknown_code(annotation.labels[0], space)))
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


def _alias_needed(label: str) -> str:
    """What to do about a number or a boolean, which may stand for a class; but only the data's maker knows which."""
    kind = "number" if label.lstrip("-").isdecimal() else "boolean" if label in ("True", "False") else ""
    return f"; labels.aliases can say which class this {kind} stands for: {{'{label}': CLASS}}" if kind else ""


def _unknown_code(label: str, space: LabelSpace) -> str:
    """The code for an unknown label: FV206 if only case or blanks differ from a class, else FV205."""
    return "FV206" if plainly(label) in map(plainly, space.names) else "FV205"
