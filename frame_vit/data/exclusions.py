"""Rows that a person has decided to leave out: a CSV file with the column `key`, and `source` where keys repeat."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from frame_vit.data.sources import RawSplit
from frame_vit.errors import UsageError
from frame_vit.progress import log


def leave_out(raw: dict[str, RawSplit], file: str | None) -> tuple[dict[str, RawSplit], list[str]]:
    """The splits by role without the rows that the file lists, and which rows those were ("source, key").

    Raises `UsageError` where the file cannot be used. What it lists and is not there is warned of.
    """
    if file is None:
        return raw, []
    listed = _read(Path(file).expanduser())
    kept, gone = {}, []
    for role, split in raw.items():
        rows = []
        for row in split.rows:
            if {("", row.key), (split.source, row.key)} & listed:
                gone.append((split.source, row.key))
            else:
                rows.append(row)
        kept[role] = replace(split, rows=rows)
    found = {*gone, *(("", key) for _, key in gone)}
    lost = sorted(key for source, key in listed if (source, key) not in found)
    if gone:
        log.info("%d rows are left out, as %s says", len(gone), file)
    if lost:
        log.warning("%s lists %d rows that are not in the data: %s", file, len(lost), ", ".join(lost[:5]))
    return kept, [f"{source}, {key}" for source, key in gone]


def _read(path: Path) -> set[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            if "key" not in columns:
                raise UsageError(f"data.exclude: {path} has no column key; it has {', '.join(columns) or 'nothing'}")
            return {(row.get("source") or "", row["key"]) for row in reader if row["key"]}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"data.exclude: {path} cannot be read: {error}") from None
