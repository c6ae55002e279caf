"""The rows that `framevit predict -o rows.jsonl` writes, read again one by one, with their records.

Nothing is kept in memory, so a file may hold the rows of years. What a record holds is in `prediction.record`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from frame_vit.decision.json_values import JsonObject, parsed
from frame_vit.errors import UsageError

DECISIONS = ("accept", "review", "reject")
STATUSES = ("ok", "error")
FEATURES = ("light", "contrast", "sharpness", "distance")
"""The numbers of a record's features that vary from picture to picture; the others are its size and colour mode."""
LARGEST = 1e9
"""No feature comes near it, and sums of its cubes are still finite."""
EARLIEST_YEAR = 1990


@dataclass(frozen=True)
class RecordedRow:
    """One row, checked for its form. `number` is its line in the file, from 1.

    `decision` and `score` are None for an error, and where the model has no good class; `label`, `confidence` and
    `probabilities` are None for an error. `time` has its offset from UTC. `features` are those of FEATURES that were
    measured.
    """

    number: int
    file: str
    label: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    decision: str | None
    status: str
    score: float | None
    flags: tuple[str, ...]
    time: datetime
    features: dict[str, float]
    record: dict[str, Any]

    @property
    def is_master(self) -> bool:
        """Whether it shows a master part of a challenge, which says nothing of the parts that the line makes."""
        challenge = self.record.get("challenge")
        return isinstance(challenge, dict) and isinstance(challenge.get("master"), str)


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, from 1, without their ends. Raises `UsageError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.removesuffix(b"\n")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "Name a file that framevit predict wrote"
        ) from None


def read_row(number: int, line: bytes) -> RecordedRow:
    """The row in a line. Raises `ValueError` or `KeyError` with the reason if it is no row with a record."""
    row = _object(line)
    status = row.text("status", STATUSES)
    record = row.object("record")
    measured = record.object("features") if "features" in record else JsonObject({})
    return RecordedRow(
        number,
        row.text("file"),
        row.text("label") if "label" in row else None,
        row.number("confidence", 0, 1) if "confidence" in row else None,
        _numbers(row.object("probabilities"), 0, 1) if "probabilities" in row else None,
        row.text("decision", DECISIONS) if "decision" in row else None,
        status,
        row.number("score", 0, 1) if "score" in row else None,
        row.texts("flags") if "flags" in row else (),
        read_time(record.text("time")),
        {name: float(measured.number(name, -LARGEST, LARGEST)) for name in FEATURES if name in measured},
        record.values,
    )


def recorded_rows(paths: Sequence[Path]) -> Iterator[RecordedRow]:
    """The rows of several files, file by file.

    Raises `UsageError` for a row that is damaged or has no record: a report that leaves rows out would not say so.
    """
    for path in paths:
        for number, line in lines(path):
            try:
                yield read_row(number, line)
            except (ValueError, KeyError) as error:
                raise UsageError(
                    f"{path}, row {number}: {reason(error)}",
                    "Name files that `framevit predict -o rows.jsonl` wrote (not with --record plain); "
                    "`framevit verify` names every row that is damaged",
                ) from None


def reason(error: Exception) -> str:
    """Why a row cannot be read, as a part of a sentence."""
    return str(error.args[0]) if isinstance(error, KeyError) else str(error)


def _object(line: bytes) -> JsonObject:
    try:
        return parsed(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON from character {error.pos + 1} on") from None


def _numbers(values: JsonObject, low: float, high: float) -> dict[str, float]:
    return {name: values.number(name, low, high) for name in values.values}


def read_time(text: str) -> datetime:
    """A time with its offset from UTC. Raises `ValueError` for another text."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"record.time is not a time: {text!r:.40}") from None
    if time.year < EARLIEST_YEAR:
        raise ValueError(f"record.time is before there was such a record: {text!r:.40}")
    if time.tzinfo is None:
        raise ValueError(f"record.time has no offset from UTC: {text!r:.40}")
    return time
