"""Predictions as rows of CSV and JSON: written one by one as they come, and read again to go on after them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from frame_vit.errors import UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.predictor import Prediction
from frame_vit.system.texts import neutral, raw, visible


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
    """Rows into a file as json, jsonl or csv, or as lines for people (table); flushed one by one: a crash loses none.

    `fresh` is false where the file has rows already. A json file is whole only when it is `close`d.
    """

    def __init__(self, file: IO[str], form: str, labels: LabelSpace, fresh: bool = True) -> None:
        self.file, self.form, self.labels = file, form, labels
        self._csv = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._first = True
        if form == "csv" and fresh:
            self._csv.writerow(csv_header(labels))
            file.flush()

    def write(self, row: Prediction) -> None:
        if self.form == "csv":
            cells = csv_row(row, self.labels)
            # Python's writer does not quote a carriage return, and its reader then takes it for the end of a row.
            (self._quoted if any("\r" in cell for cell in cells) else self._csv).writerow(cells)
        elif self.form == "table":  # a line for people; a table with borders would have to know all rows
            told = [row.file, row.label or row.status, row.decision or "", row.reason or row.error or ""]
            self.file.write("  ".join(visible(text) for text in told) + "\n")
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
    """What a file has: how often each input, which of them only as errors, how many errors, and its end in bytes."""

    names: Counter[str]
    failed: set[str]
    errors: int
    end: int


NOTHING = Done(Counter(), set(), 0, 0)


def read_done(path: Path, form: str, labels: LabelSpace) -> Done:
    """What was predicted before, into a csv or jsonl file that may end in the middle of a row.

    Raises `UsageError` where these are no rows of predictions of the same classes.
    """
    if not path.is_file():
        return NOTHING
    names: Counter[str] = Counter()
    fine: set[str] = set()
    errors, end = 0, _whole_end(path, form)
    try:
        with path.open("rb") as file:
            text = io.TextIOWrapper(io.BufferedReader(_Head(file, end)), "utf-8", newline="")
            for name, status in (_csv_rows if form == "csv" else _json_rows)(text, labels):
                names[name] += 1
                errors += status == "error"
                if status != "error":
                    fine.add(name)
    except (ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise UsageError(
            f"{path} holds no rows that could be gone on with: {error}", "Name another file, or --overwrite it"
        ) from None
    return Done(names, {*names} - fine, errors, end)


def _whole_end(path: Path, form: str) -> int:
    """Where the last whole row ends, in bytes: a line break; in a table one outside of quotes."""
    end, quotes = 0, 0
    with path.open("rb") as file:
        for line in file:
            quotes += line.count(b'"') if form == "csv" else 0
            if line.endswith(b"\n") and quotes % 2 == 0:
                end = file.tell()
    return end


class _Head(io.RawIOBase):
    """The first bytes of a file, as a file."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file, self._left = file, length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._file.read(min(len(buffer), self._left))
        buffer[: len(found)] = found
        self._left -= len(found)
        return len(found)


class LabelledPrediction(NamedTuple):
    """A prediction and the true class of its picture."""

    prediction: Prediction
    true: str


def write_predictions(path: Path, rows: Iterable[LabelledPrediction], labels: LabelSpace) -> None:
    """predictions.csv of an evaluation: every row with its true class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(csv_header(labels, truth=True))
        writer.writerows(csv_row(row, labels, true) for row, true in rows)


def _csv_rows(text: IO[str], labels: LabelSpace) -> Iterator[tuple[str, str]]:
    rows = csv.reader(text)
    header = csv_header(labels)
    first = next(rows, header)
    if first != header:
        raise ValueError("its columns are not those of this model")
    for row in rows:
        if len(row) != len(header):
            raise ValueError("a row has too few or too many cells")
        yield raw(row[0]), row[header.index("status")]


def _json_rows(text: IO[str], labels: LabelSpace) -> Iterator[tuple[str, str]]:
    # A row ends with \n only: names may hold what else counts as a line's end, such as U+2028.
    for line in text:
        row = json.loads(line)
        if row["probabilities"] is not None and [*row["probabilities"]] != [*labels.names]:
            raise ValueError("its classes are not those of this model")
        yield row["file"], row["status"]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else neutral(str(value))
