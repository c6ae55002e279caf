"""Rows to exclude: a CSV file with the column `key` and, if keys repeat between sources, `source`.

`framevit prepare` proposes such a file, with the columns `code` and `reason` as well. A proposal repeats what is
excluded already, so that the new file can replace the one in use.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from frame_vit.data.sources import RawSplit
from frame_vit.errors import UsageError
from frame_vit.system.files import read_plain_text, replacing
from frame_vit.system.progress import log
from frame_vit.system.texts import neutral, raw


class Exclusion(NamedTuple):
    """A row to exclude: its source (empty: any source) and key, and the code and reason of the finding about it."""

    source: str
    key: str
    code: str = ""
    reason: str = ""


def apply_exclusions(splits: Mapping[str, RawSplit], file: str | None) -> tuple[dict[str, RawSplit], list[Exclusion]]:
    """The splits by role without the rows that the file lists, and the rows that were excluded.

    A listed row that is not in the data is warned of. Raises `UsageError` if the file cannot be used.
    """
    if file is None:
        return dict(splits), []
    listed = _read(Path(file).expanduser())
    kept, excluded, used = {}, [], set()
    for role, split in splits.items():
        rows = []
        for row in split.rows:
            exclusion = listed.get((_resolved(split.source), row.key)) or listed.get(("", row.key))
            if exclusion is None:
                rows.append(row)
                continue
            excluded.append(exclusion._replace(source=split.source))
            used.add((_resolved(exclusion.source), exclusion.key))
        kept[role] = replace(split, rows=rows)
    missing = sorted(key for source, key in listed if (source, key) not in used)
    if excluded:
        log.info("%d rows are excluded by %s", len(excluded), file)
    if missing:
        log.warning("%s lists %d rows that are not in the data: %s", file, len(missing), ", ".join(missing[:5]))
    return kept, excluded


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> None:
    """Writes a file that `data.exclude` accepts. Cells that a spreadsheet would take for formulas are made harmless."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Exclusion._fields)
        writer.writerows([neutral(cell) for cell in exclusion] for exclusion in exclusions)


def _read(path: Path) -> dict[tuple[str, str], Exclusion]:
    """By (resolved source, key)."""
    try:
        with io.StringIO(read_plain_text(path), newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            if "key" not in columns:
                raise UsageError(
                    f"data.exclude: {path} has no column key; it has {', '.join(columns) or 'no columns'}",
                    "framevit prepare writes such a list: exclude.csv",
                )
            rows = [{name: raw(row.get(name) or "") for name in Exclusion._fields} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"data.exclude: {path} cannot be read: {error}") from None
    return {(_resolved(row["source"]), row["key"]): Exclusion(**row) for row in rows if row["key"]}


def _resolved(source: str) -> str:
    """The absolute path of a source that is a local file or folder, however it was named; any other name as it is."""
    return str(Path(source).resolve()) if source and os.path.exists(source) else source  # noqa: PTH110
