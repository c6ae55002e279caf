"""Predictions as rows of CSV, JSON Lines, JSON or plain lines; and how a half-written file is read again to resume.

Each row is flushed as soon as it is written, so a crash loses none. No cell can start a formula in a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from frame_vit.errors import UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.predictor import Prediction
from frame_vit.system.files import replacing
from frame_vit.system.texts import neutral, raw, visible

RECORDED = ("features", "picture", "challenge")
"""What only the record of a prediction has."""


def csv_header(labels: LabelSpace, truth: bool = False) -> list[str]:
    """The columns of a predictions table; `truth` adds the true class."""
    probabilities = [f"p_{name}" for name in labels.names]
    first = ["file", *(["true"] if truth else []), "label", "confidence", *probabilities]
    return [*first, "decision", "status", "error", "score", "reason", "flags"]


def csv_row(row: Prediction, labels: LabelSpace, true: str | None = None) -> list[str]:
    """One row below `csv_header`. A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    values: list[Any] = [row.file, *([true] if true is not None else []), row.label, row.confidence]
    values += [row.probabilities[name] if row.probabilities else None for name in labels.names]
    values += [row.decision, row.status, row.error, row.score, row.reason, " ".join(row.flags) or None]
    return [_cell(value) for value in values]


def json_row(row: Prediction) -> dict[str, Any]:
    """The prediction as an object of the JSON formats."""
    values = row.__dict__ | {"flags": list(row.flags)}
    return {key: value for key, value in values.items() if key not in RECORDED}


def json_line(row: Prediction) -> str:
    """The prediction as a line of JSON, without its end."""
    return json.dumps(json_row(row), ensure_ascii=False)


class RowWriter:
    """Writes rows into a file as json, jsonl, csv, or as lines for people (table), and flushes after each.

    `fresh` is false where the file already has rows; `line` makes a line of jsonl. A json file is complete only after
    `close`.
    """

    def __init__(
        self,
        file: IO[str],
        form: str,
        labels: LabelSpace,
        fresh: bool = True,
        line: Callable[[Prediction], str] = json_line,
    ) -> None:
        self.file, self.form, self.labels, self._line = file, form, labels, line
        self._csv = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._first = True
        if form == "csv" and fresh:
            self._csv.writerow(csv_header(labels))
            file.flush()

    def write(self, row: Prediction) -> None:
        if self.form == "csv":
            cells = csv_row(row, self.labels)
            # Python's writer does not quote a carriage return, but its reader takes one for the end of a row.
            (self._quoted if any("\r" in cell for cell in cells) else self._csv).writerow(cells)
        elif self.form == "table":  # plain lines, because a table with borders can only be drawn after the last row
            columns = [row.file, row.label or row.status, row.decision or "", row.reason or row.error or ""]
            self.file.write("  ".join(visible(text) for text in columns) + "\n")
        elif self.form == "jsonl":
            self.file.write(self._line(row) + "\n")
        else:
            self.file.write(("[" if self._first else ",") + "\n  " + json_line(row))
        self._first = False
        self.file.flush()

    def close(self) -> None:
        """Writes what a json file needs at its end."""
        if self.form == "json":
            self.file.write("[]\n" if self._first else "\n]\n")
            self.file.flush()


class Done(NamedTuple):
    """The rows of a file: how often each input occurs, which inputs have only errors, how many errors, and the size.

    `end` is where the last whole row ends, in bytes.
    """

    names: Counter[str]
    failed: set[str]
    errors: int
    end: int


NOTHING = Done(Counter(), set(), 0, 0)


def read_done(path: Path, form: str, labels: LabelSpace) -> Done:
    """The rows of a csv or jsonl file, which may end in the middle of a row; `NOTHING` where there is no file.

    Raises `UsageError` where they are not predictions of a model with the same classes.
    """
    if not path.is_file():
        return NOTHING
    names: Counter[str] = Counter()
    predicted: set[str] = set()
    errors, end = 0, _whole_end(path, form)
    try:
        with path.open("rb") as file:
            text = io.TextIOWrapper(io.BufferedReader(_Head(file, end)), "utf-8", newline="")
            for name, status in (_csv_rows if form == "csv" else _json_rows)(text, labels):
                names[name] += 1
                errors += status == "error"
                if status != "error":
                    predicted.add(name)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, csv.Error) as error:
        raise UsageError(
            f"{path} has no rows to resume after: {error}", "Name another file, or --overwrite it"
        ) from None
    return Done(names, {*names} - predicted, errors, end)


def _whole_end(path: Path, form: str) -> int:
    """Where the last whole row ends, in bytes: after a line break, which in csv is outside of quotes."""
    end, quotes = 0, 0
    with path.open("rb") as file:
        for line in file:
            quotes += line.count(b'"') if form == "csv" else 0
            if line.endswith(b"\n") and quotes % 2 == 0:
                end = file.tell()
    return end


class _Head(io.RawIOBase):
    """The first `length` bytes of a file, as a file."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file, self._left = file, length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(min(len(buffer), self._left))
        buffer[: len(chunk)] = chunk
        self._left -= len(chunk)
        return len(chunk)


class LabelledPrediction(NamedTuple):
    """A prediction and the true class of its picture."""

    prediction: Prediction
    true: str


def write_predictions(path: Path, rows: Iterable[LabelledPrediction], labels: LabelSpace) -> None:
    """predictions.csv of an evaluation: every row with its true class."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
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
        yield raw(row[0]), _status(row[header.index("status")])


def _json_rows(text: IO[str], labels: LabelSpace) -> Iterator[tuple[str, str]]:
    # Only \n ends a row: names may contain other characters that count as line ends, such as U+2028.
    for line in text:
        row = json.loads(line)
        if row["probabilities"] is not None and [*row["probabilities"]] != [*labels.names]:
            raise ValueError("its classes are not those of this model")
        if not isinstance(row["file"], str):
            raise ValueError("a row does not name its file")
        yield row["file"], _status(row["status"])


def _status(text: object) -> str:
    if text not in ("ok", "error"):
        raise ValueError("a row is neither ok nor an error")
    return str(text)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else neutral(str(value))
