"""Raw rows -> examples: what each row says, checked against the classes, and its pixels, decoded once on all cores.

A row or picture that cannot be used becomes a `Reject` with its reason; nothing is dropped without one. `on_bad_row`
is applied by `prepare`, which sees the rejects of all splits together.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.response import Annotation, parse_answer
from frame_vit.data.sources import RawRow, RawSplit
from frame_vit.errors import RowError
from frame_vit.geometry import Box
from frame_vit.images import Picture, Pixels, UInt8, read_picture
from frame_vit.labels import LabelSpace
from frame_vit.progress import Tick, silent


@dataclass(frozen=True)
class Example:
    """One usable row. Boxes in pixels of the upright picture, which is `width` x `height`; `digest` of its bytes."""

    key: str
    label: int
    boxes: tuple[Box, ...]
    width: int
    height: int
    digest: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, and why."""

    source: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}, {self.key}: {self.reason}"


@dataclass(frozen=True)
class Split:
    """Examples and their pixels at the model's size, (N, height, width, 3) uint8, in the same order."""

    name: str
    examples: list[Example]
    pixels: UInt8

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
        return Split(name, [self.examples[i] for i in rows], self.pixels[list(rows)])


@dataclass(frozen=True)
class Annotated:
    """A raw split whose answers were read: what each good row says, and the rows that say nothing usable."""

    raw: RawSplit
    rows: list[tuple[RawRow, Annotation]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def several(self) -> int:
        """Rows with more than one label."""
        return sum(len(annotation.labels) > 1 for _, annotation in self.rows)


def annotate(raw: RawSplit, multi: str) -> Annotated:
    """Reads every answer; with `multi` error, rows with several labels are rejected."""
    found = Annotated(raw)
    for row in raw.rows:
        try:
            annotation = parse_answer(row.answer, raw.kind)
            if multi == "error" and len(annotation.labels) > 1:
                raise RowError(f"several labels: {', '.join(annotation.labels)}")
            found.rows.append((row, annotation))
        except RowError as error:
            found.rejects.append(Reject(raw.source, row.key, error.message))
    return found


def auto_names(train: Annotated, aliases: dict[str, str]) -> list[str]:
    """The classes of a training set: the source's own order where it has one, else by name."""
    labels = {aliases.get(a.labels[0], a.labels[0]) for _, a in train.rows}
    if train.raw.names and labels <= set(train.raw.names):
        return list(train.raw.names)
    return sorted(labels)


def build_split(found: Annotated, space: LabelSpace, pixels: Pixels, tick: Tick = silent) -> tuple[Split, list[Reject]]:
    """Decodes every picture on all cores. Returns the split and the rejected rows, with those of `found`."""
    source = found.raw.source
    examples, arrays, rejects = [], [], list(found.rejects)

    def one(item: tuple[RawRow, Annotation]) -> tuple[Example, UInt8] | Reject:
        row, annotation = item
        try:
            return _example(row, annotation, space, pixels)
        except RowError as error:
            return Reject(source, row.key, error.message)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, outcome in enumerate(pool.map(one, found.rows), 1):
            tick(f"reading {source}", done, len(found.rows), "")
            if isinstance(outcome, Reject):
                rejects.append(outcome)
            else:
                examples.append(outcome[0])
                arrays.append(outcome[1])
    stacked = np.stack(arrays) if arrays else np.zeros((0, pixels.height, pixels.width, 3), np.uint8)
    return Split(found.raw.name, examples, stacked), rejects


def _example(row: RawRow, annotation: Annotation, space: LabelSpace, pixels: Pixels) -> tuple[Example, UInt8]:
    try:
        label = space.id(annotation.labels[0])
    except KeyError as error:
        raise RowError(error.args[0]) from None
    try:
        data = row.read()
    except OSError as error:
        raise RowError(f"the picture cannot be read: {error.strerror or error}") from None
    picture: Picture = read_picture(data, pixels)
    digest = hashlib.sha256(data).hexdigest()
    example = Example(row.key, label, annotation.boxes, picture.width, picture.height, digest, row.read)
    return example, picture.pixels
