"""Raw rows: what every source gives, whatever it is, and what a row belongs to.

A raw row names a picture that is still encoded, and its answer that is not parsed yet. It has marks: a group that must
stay in one split, a slice and a part for the evaluation report. Each is configured by `data.group_by`, `data.slice_by`
or `data.part_by`: the name of a column, or a regular expression that is searched for in the name of the picture's file.
Groups keep pictures of one lot or one minute together, so that the test is not made of pictures that the training has
nearly seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from frame_vit.config.schema import DataConfig
from frame_vit.data.response import Kind
from frame_vit.errors import UsageError
from frame_vit.images.decode import read_file
from frame_vit.tree import some

ROLES = {
    "train": ("train", "training"),
    "val": ("validation", "val", "valid", "dev", "eval"),
    "calibration": ("calibration", "calib"),
    "test": ("test", "testing"),
}
"""The split names that are understood, by role. This is also the order in which splits are shown and ranked."""


def role_of(split: str) -> str:
    """The role of a split with this name; a name that stands for none is returned as it is."""
    return next((role for role, names in ROLES.items() if split.lower() in names), split)


class Marks(NamedTuple):
    """The group, slice and part of a row; each empty if it is not configured."""

    group: str = ""
    slice: str = ""
    part: str = ""


class Note(NamedTuple):
    """What a source holds besides its rows, such as files that were passed over: a finding of the audit.

    `code` is the kind of finding, `items` are the names of the entries or rows that it is about.
    """

    code: str
    source: str
    message: str
    items: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The message, with the first of the items."""
        return f"{self.source}: {self.message}" + (f" ({some(self.items)})" if self.items else "")


class RawRow(NamedTuple):
    """One row as the source has it."""

    key: str
    """names the row within its source"""
    answer: object
    """its label or response, not yet parsed"""
    read: Callable[[], bytes]
    """gives the encoded picture; raises `RowError` if it cannot"""
    stamp: str = ""
    """changes whenever the picture may have changed, without reading it; empty if nothing can tell"""
    marks: Marks = Marks()
    """its group, slice and part"""
    file: Path | None = None
    """the picture's file, if it has one of its own"""


@dataclass(frozen=True)
class RawSplit:
    """The rows of one split of a source."""

    source: str
    """as the user named it"""
    name: str
    """as the source names the split"""
    kind: Kind
    """whether answers are labels or responses"""
    rows: list[RawRow]
    names: tuple[str, ...] = ()
    """class names in the source's own order, if it declares one"""
    revision: str = ""
    """the hub's commit; empty for local data"""
    notes: tuple[Note, ...] = ()
    """what was found in the source besides the rows of its splits"""


def file_row(key: str, answer: object, file: Path, marks: Marks) -> RawRow:
    """The row of a picture that is a file of its own."""
    return RawRow(key, answer, partial(read_file, file), stamp(file), marks, file)


def stamp(file: Path) -> str:
    """A text that changes whenever the file is changed or replaced."""
    try:
        status = file.stat()
    except (OSError, ValueError):
        return f"{file} is not there"
    # A file that replaces another may keep the modification time (mtime), but never the change time (ctime).
    return f"{file.absolute()} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def with_notes(splits: list[RawSplit], notes: Iterable[Note]) -> list[RawSplit]:
    """The same splits, the first with these notes as well."""
    return [replace(splits[0], notes=(*splits[0].notes, *notes)), *splits[1:]] if splits else []


class Marking:
    """Gives the `Marks` of the rows of one source, which has these columns."""

    def __init__(self, data: DataConfig, columns: Sequence[str], where: str) -> None:
        self.groupings = [
            Grouping(f"data.{field}_by", getattr(data, f"{field}_by"), columns, where) for field in Marks._fields
        ]

    @property
    def wanted(self) -> bool:
        """Whether any of them is configured."""
        return any(grouping.column or grouping.pattern for grouping in self.groupings)

    def of(self, row: Mapping[str, object], name: str) -> Marks:
        """The marks of a row, given its cells by column and the name of its picture's file."""
        return Marks(*(grouping.of(row, name) for grouping in self.groupings))


class Grouping:
    """One of the three settings, `key`, for a source with these columns: a column, or a pattern for file names.

    Of a match, the first group of the pattern counts, or all of it. Raises `UsageError` if `group_by` is neither a
    column nor a regular expression.
    """

    def __init__(self, key: str, group_by: str | None, columns: Sequence[str], where: str) -> None:
        self.key, self.where, self.column, self.pattern = key, where, None, None
        # Dividing needs the group of every row; a report can do without the slice or part of a row.
        self.strict = key == "data.group_by"
        if group_by is None:
            return
        if group_by in columns:
            self.column = group_by
            return
        try:
            self.pattern = re.compile(group_by)
        except re.error as error:
            has = f"; the columns are {', '.join(columns)}" if columns else ""
            raise UsageError(
                f"{where}: {key} {group_by!r} is neither a column nor a regular expression ({error}){has}",
                f"Set {key} to the name of a column, or to an expression such as lot(\\d+)",
            ) from None

    def of(self, row: Mapping[str, object], name: str) -> str:
        """The group of a row whose picture's file has this name; empty if there is none.

        Raises `UsageError` for a row without a group if every row must have one.
        """
        if self.column is not None:
            value = row.get(self.column)
            if not self.strict and (value is None or value == ""):
                return ""
            if value is None or value == "":
                raise UsageError(
                    f"{self.where}: {name} has no value in the column {self.column!r} ({self.key})",
                    "Every row must belong to a group: fill in the column, or name another one",
                )
            return str(value)
        if self.pattern is None:
            return ""
        match = self.pattern.search(name)
        if match is None and not self.strict:
            return ""
        if match is None:
            raise UsageError(
                f"{self.where}: {self.key} {self.pattern.pattern!r} does not match {name!r}",
                "Every row must belong to a group: widen the expression, or name a column",
            )
        return match.group(1 if self.pattern.groups else 0) or ""
