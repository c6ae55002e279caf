"""What checks read and what they return: all usable rows of a data set in one table, and the result of one check.

A check names rows by their number in the table. Only the table knows how a number becomes a `Row` of a finding, with
its split, its source and, for duplicates, the other row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frame_vit.data.dataset import Dataset
from frame_vit.data.examples import Example
from frame_vit.data.rows import ROLES
from frame_vit.findings import Row


@dataclass(frozen=True)
class CheckResult:
    """What a check found under one code, whatever its severity; nothing if there are no rows and `number` is 0."""

    code: str
    rows: Sequence[Row] = ()
    message: str = ""
    """what to say about all of it; empty if the rows say enough"""
    number: int = 0
    """how many things were found, if they are classes or splits and not rows"""
    limit: float | None = None
    """the value of the threshold it was compared with"""

    @property
    def count(self) -> int:
        return len(self.rows) or self.number


@dataclass(frozen=True)
class Table:
    """All usable rows, split after split: the name of their split, the example, and the source, each a list of N."""

    splits: list[str]
    examples: list[Example]
    sources: list[str]

    @classmethod
    def of(cls, dataset: Dataset) -> Table:
        """The rows of all splits of a data set, in order."""
        rows = [(name, example) for name, split in dataset.splits.items() for example in split.examples]
        return cls([n for n, _ in rows], [e for _, e in rows], [dataset.source_of(n) for n, _ in rows])

    def row(self, number: int, detail: str = "", duplicate_of: int | None = None) -> Row:
        """A row of a finding, and the number of the other row if it is a duplicate of one."""
        other = None if duplicate_of is None else (self.splits[duplicate_of], self.examples[duplicate_of].key)
        return Row(self.splits[number], self.examples[number].key, detail, self.sources[number], other)

    def name(self, number: int) -> str:
        """Split and key of a row, for a sentence about another row."""
        return f"{self.splits[number]}, {self.examples[number].key}"


def rank(split: str) -> int:
    """How much a split must be left untouched: of two duplicates, the row in the split of lower rank is left out."""
    names = list(ROLES)
    return names.index(split) if split in names else 0
