"""Predictions as rows of CSV and JSON: written one by one as they come, and read again to go on after them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

from frame_vit.errors import UsageError
from frame_vit.labels import LabelSpace
from frame_vit.predictor import Prediction
from frame_vit.texts import neutral, raw


def csv_header(labels: LabelSpace, truth: bool = False) -> list[str]:
    """The columns of a predictions table."""
    probabilities = [f"p_{name}" for name in labels.names]
    first = ["file", *(["true"] if truth else []), "label", "confidence", *probabilities]
    return [*first, "decision", "status", "error", "score", "reason", "flags"]


def csv_row(row: Prediction, labels: LabelSpace, true: str | None = None) -> list[str]:
    """One row for `csv_header`. Texts that a spreadsheet would run as a formula get an apostrophe in front."""
    values: list[Any] = [row.file, *([true] if true is not None else []), row.label, row.confidence]
    values += [row.probabilities[name] if row.probabilities else None for name in labels.names]
    values += [row.decision, row.status, row.error, row.score, row.reason, " ".join(row.flags) or None]
    return [_cell(value) for value in values]


def json_row(row: Prediction) -> dict[str, Any]:
    """The prediction as the JSON formats print it."""
    return row.__dict__ | {"flags": list(row.flags)}


class RowWriter:
    """Rows into a file as json, jsonl or csv, flushed one by one: a crash loses none that was written.

    `fresh` is false where the file has rows already. A json file is whole only when it is `close`d.
    """

    def __init__(self, file: IO[str], form: str, labels: LabelSpace, fresh: bool = True) -> None:
        self.file, self.form, self.labels = file, form, labels
        self._csv = csv.writer(file, lineterminator="\n")
        self._first = True
        if form == "csv" and fresh:
            self._csv.writerow(csv_header(labels))
            file.flush()

    def write(self, row: Prediction) -> None:
        if self.form == "csv":
            self._csv.writerow(csv_row(row, self.labels))
        elif self.form == "jsonl":
            self.file.write(json.dumps(json_row(row), ensure_ascii=False) + "\n")
        else:
            self.file.write(("[" if self._first else ",") + "\n  " + json.dumps(json_row(row), ensure_ascii=False))
        self._first = False
        self.file.flush()

    def close(self) -> None:
        """What ends the file."""
        if self.form == "json":
            self.file.write("[]\n" if self._first else "\n]\n")
            self.file.flush()


class Done(NamedTuple):
    """The rows that a file has: names of their inputs, how many are errors, and where they end, in bytes."""

    names: set[str]
    errors: int
    end: int


def read_done(path: Path, form: str, labels: LabelSpace) -> Done:
    """What was predicted before, into a csv or jsonl file that may end in the middle of a row.

    Raises `UsageError` where these are no rows of predictions of the same classes.
    """
    if not path.is_file():
        return Done(set(), 0, 0)
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    try:
        text = data[:end].decode("utf-8")
        rows = _csv_rows(text, labels) if form == "csv" else _json_rows(text, labels)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{path} holds no rows that could be gone on with: {error}", "Name another file, or --overwrite it"
        ) from None
    return Done({name for name, _ in rows}, sum(status == "error" for _, status in rows), end)


def write_predictions(path: Path, rows: Iterable[tuple[Prediction, str]], labels: LabelSpace) -> None:
    """predictions.csv of an evaluation: every row with its true class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(csv_header(labels, truth=True))
        writer.writerows(csv_row(row, labels, true) for row, true in rows)


def _csv_rows(text: str, labels: LabelSpace) -> list[tuple[str, str]]:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if not rows:
        return []
    header = csv_header(labels)
    if rows[0] != header:
        raise ValueError("its columns are not those of this model")
    if any(len(row) != len(header) for row in rows):
        raise ValueError("a row has too few or too many cells")
    return [(raw(row[0]), row[header.index("status")]) for row in rows[1:]]


def _json_rows(text: str, labels: LabelSpace) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in text.split("\n") if line]
    for row in rows:
        if row["probabilities"] is not None and [*row["probabilities"]] != [*labels.names]:
            raise ValueError("its classes are not those of this model")
    return [(row["file"], row["status"]) for row in rows]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else neutral(str(value))
