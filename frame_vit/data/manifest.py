"""Tables that list pictures: each row names a picture's file, its label or response, and optionally its split.

Paths are relative to the table's folder and must stay inside it, because a table may come from somebody else. A table
is CSV, JSON lines or parquet, and is read as other programs write it:

- spreadsheets: a line `sep=;`, UTF-16 with its byte order mark, rows and columns without any cell, blank split cells;
- Roboflow's `_classes.csv`: a column for each class, 1 where the picture shows it;
- Label Studio's CSV: the label in `choice`, the file by the path it was uploaded to.

Nothing is guessed: a table that is in no Unicode encoding, lacks a column or names a file outside is refused, with the
line.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from frame_vit.config.schema import DataConfig
from frame_vit.data.response import Kind, answer_column
from frame_vit.data.rows import ROLES, Marking, Marks, Note, role_of
from frame_vit.errors import UsageError
from frame_vit.system.files import read_plain_bytes
from frame_vit.system.texts import printable
from frame_vit.tree import walk

FILE_COLUMNS = ("file_name", "filename", "file", "path")
"""Columns that are tried, in this order, if the table has no column named by data.image_column."""
CLASSES = "_classes.csv"
"""The table that Roboflow writes into every split folder."""
ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""By byte order mark; everything else is UTF-8."""
UPLOADED = re.compile(r"/data/upload/(?:.*/)?(?:[0-9a-f]{8}-)?([^/]+)|/data/local-files/\?d=(.+)")
"""Where Label Studio keeps a picture: with a prefix before the name that it was uploaded by, or in a local folder."""
Cells = dict[str, Any]


class ManifestRow(NamedTuple):
    """A row: `key` names its line and file, `answer` is its label or response as it stands in the manifest."""

    key: str
    answer: object
    file: Path
    marks: Marks = Marks()


class Manifest(NamedTuple):
    """The rows of a table by split name, the kind of their answers, and class names if the table has an order."""

    splits: dict[str, list[ManifestRow]]
    kind: Kind
    names: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


class _Columns(NamedTuple):
    """Where a row has its file and its answer; `classes` are the columns of a one-hot table."""

    file: str
    kind: Kind
    answer: str
    classes: tuple[str, ...] = ()


def read_manifest(path: Path, data: DataConfig, root: Path | None = None) -> Manifest:
    """The rows by split name: that of the column `split`, else of a folder called like a split, else `train`.

    Folders are looked at from `root` on, which is the table's own folder if it is not given. Raises `UsageError` with
    the line if the table cannot be used.
    """
    records, empty = _without_empty(_records(path))
    if not records:
        raise UsageError(f"{path}: the manifest has no rows", "Write one line for each picture")
    names = list(records[0][1])
    columns = _columns(path, records, data)
    marking = Marking(data, names, str(path))
    uploads = _Uploads(path)
    rows = []
    for line, cells in records:
        name = str(cells.get(columns.file) or "")
        key, file = f"line {line} ({printable(name)})", uploads.file(name, line)
        rows.append(ManifestRow(key, _answer(cells, columns), file, marking.of(cells, name)))
    split_names = [str(cells.get("split") or "").strip() for _, cells in records]
    if not any(split_names):
        split_names = _split_folders(path, [row.file for row in rows], root or path.parent)
    notes = _notes(path, rows, split_names, empty)
    splits: dict[str, list[ManifestRow]] = {}
    for split, row in zip(split_names, rows, strict=True):
        splits.setdefault(split or "train", []).append(row)
    return Manifest(splits, columns.kind, columns.classes, notes)


def file_column(columns: Sequence[str], data: DataConfig) -> str | None:
    """The column that names the pictures' files, if there is one."""
    return next((column for column in (data.image_column, *FILE_COLUMNS) if column in columns), None)


def _columns(path: Path, records: list[tuple[int, Cells]], data: DataConfig) -> _Columns:
    columns = list(records[0][1])
    file = file_column(columns, data)
    if file is None:
        accepted = ", ".join((data.image_column, *FILE_COLUMNS))
        raise UsageError(
            f"{path}: no column with the file's path ({accepted}); the columns are {', '.join(columns)}",
            "Set data.image_column to the right one",
        )
    has_answers = not data.label_column or data.response_column in columns or data.label_column in columns
    if not has_answers and path.name.lower() == CLASSES:
        classes = tuple(column for column in columns if column not in (file, "split"))
        for line, cells in records:
            if not {str(cells[column]).strip() for column in classes} <= {"0", "1"}:
                raise UsageError(f"{path}, line {line}: a column of a class holds something else than 0 or 1")
        return _Columns(file, "label", "", classes)
    if not has_answers and {"choice", "annotation_id"} <= {*columns}:
        return _Columns(file, "label", "choice")
    return _Columns(file, *answer_column(columns, data.response_column, data.label_column, str(path)))


def _answer(cells: Cells, columns: _Columns) -> object:
    if columns.classes:
        return [name for name in columns.classes if str(cells[name]).strip() == "1"]
    answer = cells.get(columns.answer)
    if columns.answer == "choice" and isinstance(answer, str) and answer.startswith("{"):
        try:
            return json.loads(answer)["choices"]  # Label Studio writes several choices as an object
        except (ValueError, KeyError, TypeError):
            return answer
    return answer


def _notes(path: Path, rows: list[ManifestRow], splits: list[str], empty: list[int]) -> tuple[Note, ...]:
    notes = []
    if empty:
        lines = tuple(f"line {line}" for line in empty)
        notes.append(Note("FV706", str(path), f"{len(lines)} rows without any cell are passed over", lines))
    blank = tuple(row.key for row, split in zip(rows, splits, strict=True) if not split)
    if any(splits) and blank:
        message = f"{len(blank)} rows have no split, although others have; they are taken for train"
        notes.append(Note("FV705", str(path), message, blank))
    return tuple(notes)


def _split_folders(path: Path, files: list[Path], root: Path) -> list[str]:
    """For each file, the outermost folder with the name of a split; empty if no file lies in such a folder.

    Raises `UsageError` if only some of them do.
    """
    splits = [
        next((part for part in file.relative_to(root).parts[:-1] if role_of(part) in ROLES), "") for file in files
    ]
    if any(splits) and not all(splits):
        inside = next(file for file, split in zip(files, splits, strict=True) if split)
        outside = next(file for file, split in zip(files, splits, strict=True) if not split)
        raise UsageError(
            f"{path}: some pictures lie in folders for splits ({inside.relative_to(root)}), others do not "
            f"({outside.relative_to(root)})",
            "Add a column split that says train, validation or test for every row",
        )
    return splits


def _records(path: Path) -> list[tuple[int, Cells]]:
    """(line number, cells by column) pairs."""
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    try:
        content = read_plain_bytes(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = content.decode(ENCODINGS.get(content[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start})", "Save the manifest as UTF-8") from None
    return _csv(path, text) if path.suffix.lower() == ".csv" else _jsonl(path, text)


def _parquet(path: Path) -> list[tuple[int, Cells]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(enumerate(pq.read_table(path).to_pylist(), 1))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def _without_empty(records: list[tuple[int, Cells]]) -> tuple[list[tuple[int, Cells]], list[int]]:
    """The records with a cell that is not blank, and the lines of the others."""
    empty = [line for line, cells in records if all(isinstance(c, str) and not c.strip() for c in cells.values())]
    return [record for record in records if record[0] not in {*empty}], empty


def _csv(path: Path, text: str) -> list[tuple[int, Cells]]:
    said = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)  # Excel's own line before the header
    text = text[said.end() :] if said else text
    header = text.split("\n", 1)[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=said[1] if said else max(",;\t", key=header.count), strict=True
    )
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        _check_columns(path, columns)
        records = []
        for cells in filter(None, reader):
            line, width = reader.line_num + bool(said), len(columns)
            if not any(cell.strip() for cell in cells):
                cells = [""] * width
            if len(cells) != width or any(c.strip() for c, name in zip(cells, columns, strict=True) if not name):
                raise UsageError(f"{path}, line {line}: not as many cells as the header has columns")
            records.append((line, {name: cell for name, cell in zip(columns, cells, strict=True) if name}))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num + bool(said)}: {error}") from None
    return records


def _check_columns(path: Path, columns: Collection[str]) -> None:
    named = [name for name in columns if name]  # a spreadsheet may write columns without any cell
    twice = {name for name in named if named.count(name) > 1}
    if twice:
        raise UsageError(f"{path}: repeated columns: {', '.join(sorted(twice))}", "Rename or remove them")


def _jsonl(path: Path, text: str) -> list[tuple[int, Cells]]:
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


class _Uploads:
    """Finds the files that a table names, those too that Label Studio has uploaded."""

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest

    @cached_property
    def names(self) -> dict[str, list[Path]]:
        """The pictures in the table's folder and below, by their names without folders."""
        found: dict[str, list[Path]] = {}
        for entry in walk(self.manifest.parent).of("picture"):
            found.setdefault(entry.path.name, []).append(entry.path)
        return found

    def file(self, name: str, line: int) -> Path:
        """The file of a row. Raises `UsageError` if it may lie outside, or if it is not one uploaded file."""
        uploaded = UPLOADED.fullmatch(name)
        if uploaded is None:
            return _inside(self.manifest, name, line)
        if uploaded[2]:
            return _inside(self.manifest, uploaded[2], line)
        found = [file for each in {name.rpartition("/")[2], uploaded[1]} for file in self.names.get(each, [])]
        if len(found) != 1:
            raise UsageError(
                f"{self.manifest}, line {line}: {name!r} is a path of Label Studio; in the table's folder "
                + (f"{' and '.join(sorted(map(str, found)))} can be meant" if found else f"there is no {uploaded[1]}"),
                "Put the table above the pictures, or write their paths into a column file_name",
            )
        return found[0]


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
