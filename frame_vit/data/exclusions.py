"""Rows to leave out: a CSV file with the columns `key` and, where keys repeat, `source`; `prepare` proposes one.

The proposal has the columns `code` and `reason` too, and carries over what was left out already, so that a proposal
that is itself in use stays whole.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from frame_vit.data.sources import RawSplit
from frame_vit.errors import UsageError
from frame_vit.system.files import replacing
from frame_vit.system.progress import log
from frame_vit.system.texts import neutral, raw


class Exclusion(NamedTuple):
    """A row to leave out: of which source (empty: of any), its key, and why."""

    source: str
    key: str
    code: str = ""
    reason: str = ""


def apply_exclusions(found: dict[str, RawSplit], file: str | None) -> tuple[dict[str, RawSplit], list[Exclusion]]:
    """The splits by role without the rows that the file lists, and which rows those were.

    Raises `UsageError` where the file cannot be used. What it lists and is not there is warned of.
    """
    if file is None:
        return found, []
    listed = _read(Path(file).expanduser())
    kept, gone, met = {}, [], set()
    for role, split in found.items():
        rows = []
        for row in split.rows:
            exclusion = listed.get((_place(split.source), row.key)) or listed.get(("", row.key))
            if exclusion is None:
                rows.append(row)
                continue
            gone.append(exclusion._replace(source=split.source))
            met.add((_place(exclusion.source), exclusion.key))
        kept[role] = replace(split, rows=rows)
    lost = sorted(key for source, key in listed if (source, key) not in met)
    if gone:
        log.info("%d rows are left out, as %s says", len(gone), file)
    if lost:
        log.warning("%s lists %d rows that are not in the data: %s", file, len(lost), ", ".join(lost[:5]))
    return kept, gone


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> None:
    """A file that `data.exclude` reads."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Exclusion._fields)
        writer.writerows([neutral(cell) for cell in exclusion] for exclusion in exclusions)


def _read(path: Path) -> dict[tuple[str, str], Exclusion]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            if "key" not in columns:
                raise UsageError(f"data.exclude: {path} has no column key; it has {', '.join(columns) or 'nothing'}")
            rows = [{name: raw(row.get(name) or "") for name in Exclusion._fields} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"data.exclude: {path} cannot be read: {error}") from None
    return {(_place(row["source"]), row["key"]): Exclusion(**row) for row in rows if row["key"]}


def _place(source: str) -> str:
    """A source that lies here, however it was named; another as it is."""
    return str(Path(source).resolve()) if source and os.path.exists(source) else source  # noqa: PTH110
