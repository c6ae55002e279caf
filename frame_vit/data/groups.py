"""What a picture belongs to: a group (one lot, one minute) that stays on one side of a division, a slice, a part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from frame_vit.config.schema import DataConfig
from frame_vit.errors import UsageError


class Marks(NamedTuple):
    """What a row belongs to, by `data.group_by`, `data.slice_by` and `data.part_by`; empty where nothing was asked."""

    group: str = ""
    slice: str = ""
    part: str = ""


class Marking:
    """All of `Marks` over a source that has these columns."""

    def __init__(self, data: DataConfig, columns: Sequence[str], where: str) -> None:
        self.groupings = [
            Grouping(f"data.{field}_by", getattr(data, f"{field}_by"), columns, where) for field in Marks._fields
        ]

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for at all."""
        return any(grouping.column or grouping.pattern for grouping in self.groupings)

    def of(self, row: Mapping[str, object], name: str) -> Marks:
        return Marks(*(grouping.of(row, name) for grouping in self.groupings))


class Grouping:
    """The setting `key` over a source that has these columns: the column named, or an expression over file names.

    An expression's first group is taken, or all that it matches. Raises `UsageError` where it is neither.
    """

    def __init__(self, key: str, group_by: str | None, columns: Sequence[str], where: str) -> None:
        self.key, self.where, self.column, self.pattern = key, where, None, None
        # A division needs the group of every row; a report can do without a slice or a part.
        self.strict = key == "data.group_by"
        if group_by is None:
            return
        if group_by in columns:
            self.column = group_by
            return
        try:
            self.pattern = re.compile(group_by)
        except re.error as error:
            has = f"; its columns are {', '.join(columns)}" if columns else ""
            raise UsageError(
                f"{where}: {key} {group_by!r} is neither a column nor an expression ({error}){has}"
            ) from None

    def of(self, row: Mapping[str, object], name: str) -> str:
        """The group of a row, whose picture has this file name; empty where nothing is grouped."""
        if self.column is not None:
            value = row.get(self.column)
            if not self.strict and (value is None or value == ""):
                return ""
            if value is None or value == "":
                raise UsageError(f"{self.where}: {name} has nothing in the column {self.column!r} ({self.key})")
            return str(value)
        if self.pattern is None:
            return ""
        found = self.pattern.search(name)
        if found is None and not self.strict:
            return ""
        if found is None:
            raise UsageError(
                f"{self.where}: {self.key} {self.pattern.pattern!r} finds nothing in {name!r}",
                "Every row must belong to a group: widen the expression, or name a column",
            )
        return found.group(1 if self.pattern.groups else 0) or ""


def joined(groups: Sequence[str], digests: Sequence[str]) -> list[int]:
    """One number a row: the same for rows of one group and for rows of one picture, also by way of others."""
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
