"""What a row belongs to: a group that must stay in one split, a slice and a part for the evaluation report.

Each is configured by `data.group_by`, `data.slice_by` or `data.part_by`: the name of a column, or a regular expression
that is searched for in the name of the picture's file. Groups keep pictures of one lot or one minute together, so that
the test is not made of pictures that the training has nearly seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from frame_vit.config.schema import DataConfig
from frame_vit.errors import UsageError


class Marks(NamedTuple):
    """The group, slice and part of a row; each empty if it is not configured."""

    group: str = ""
    slice: str = ""
    part: str = ""


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


def joined(groups: Sequence[str], digests: Sequence[str]) -> list[int]:
    """One number for each row: the same for rows that must stay together, because they share a group or a picture.

    Sharing is transitive: if one picture is in two groups, both groups get the same number.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for group, digest in zip(groups, digests, strict=True):
        if group:
            parent[root(f"picture {digest}")] = root(f"group {group}")
    numbers: dict[str, int] = {}
    return [numbers.setdefault(root(f"picture {digest}"), len(numbers)) for digest in digests]
