"""CSV and JSONL manifests: each row names a picture's file, its label or response, and optionally its split.

Paths are relative to the manifest's folder and must stay inside it, because a manifest may come from somebody else.
Nothing is guessed: a manifest that is not UTF-8, lacks a column or names a file outside is refused, with the line.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from frame_vit.config.schema import DataConfig
from frame_vit.data.response import Kind, answer_column
from frame_vit.data.rows import Marking, Marks
from frame_vit.errors import UsageError
from frame_vit.system.texts import printable

FILE_COLUMNS = ("file_name", "file", "path")
"""Columns that are tried, in this order, if the manifest has no column named by data.image_column."""


class ManifestRow(NamedTuple):
    """A row: `key` names its line and file, `answer` is its label or response as it stands in the manifest."""

    key: str
    answer: object
    file: Path
    marks: Marks = Marks()


def read_manifest(path: Path, data: DataConfig) -> tuple[dict[str, list[ManifestRow]], Kind]:
    """The rows by split name (`train` if no split is named), and whether answers are labels or responses.

    Raises `UsageError` with the line if the manifest cannot be used.
    """
    records = _records(path)
    if not records:
        raise UsageError(f"{path}: the manifest has no rows", "Write one line for each picture")
    columns = list(records[0][1])
    file_column = next((c for c in (data.image_column, *FILE_COLUMNS) if c in columns), None)
    if file_column is None:
        accepted = ", ".join((data.image_column, *FILE_COLUMNS))
        raise UsageError(
            f"{path}: no column with the file's path ({accepted}); the columns are {', '.join(columns)}",
            "Set data.image_column to the right one",
        )
    kind, answer = answer_column(columns, data.response_column, data.label_column, str(path))
    splits: dict[str, list[ManifestRow]] = {}
    marking = Marking(data, columns, str(path))
    for line, record in records:
        name = str(record.get(file_column) or "")
        key, file = f"line {line} ({printable(name)})", _inside(path, name, line)
        row = ManifestRow(key, record.get(answer), file, marking.of(record, name))
        splits.setdefault(str(record.get("split") or "train"), []).append(row)
    return splits, kind


def _records(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number, cells by column) pairs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start})", "Save the manifest as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return _csv(path, text) if path.suffix.lower() == ".csv" else _jsonl(path, text)


def _csv(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records = []
    try:
        twice = {name for name in reader.fieldnames or () if list(reader.fieldnames or ()).count(name) > 1}
        if twice:
            raise UsageError(f"{path}: repeated columns: {', '.join(sorted(twice))}", "Rename or remove them")
        for record in reader:
            if None in record or None in record.values():
                raise UsageError(f"{path}, line {reader.line_num}: not as many cells as the header has columns")
            records.append((reader.line_num, record))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.reader.line_num}: {error}") from None
    return records


def _jsonl(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise UsageError(f"{path}, line {number}: not a JSON object")
        records.append((number, record))
    return records


def _inside(manifest: Path, name: str, line: int) -> Path:
    """The path of a file named in the manifest. Raises `UsageError` if it could lie outside the manifest's folder."""
    windows = PureWindowsPath(name)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if (
        not parts
        or windows.is_absolute()
        or windows.drive
        or parts[0].startswith("/")
        or ".." in parts
        or "://" in name
    ):
        raise UsageError(
            f"{manifest}, line {line}: {name!r} is not a path inside the manifest's folder",
            "Absolute paths, '..' and URLs are refused; put the manifest into the folder of the pictures",
        )
    return manifest.parent.joinpath(*parts)
