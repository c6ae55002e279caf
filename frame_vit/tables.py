"""Predictions as rows of CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from frame_vit.labels import LabelSpace
from frame_vit.predictor import Prediction
from frame_vit.texts import neutral


def csv_header(labels: LabelSpace, truth: bool = False) -> list[str]:
    """The columns of a predictions table."""
    probabilities = [f"p_{name}" for name in labels.names]
    return ["file", *(["true"] if truth else []), "label", "confidence", *probabilities, "decision", "status", "error"]


def csv_row(row: Prediction, labels: LabelSpace, true: str | None = None) -> list[str]:
    """One row for `csv_header`. Texts that a spreadsheet would run as a formula get an apostrophe in front."""
    values: list[Any] = [row.file, *([true] if true is not None else []), row.label, row.confidence]
    values += [row.probabilities[name] if row.probabilities else None for name in labels.names]
    values += [row.decision, row.status, row.error]
    return [_cell(value) for value in values]


def json_row(row: Prediction) -> dict[str, Any]:
    """The prediction as the JSON formats print it."""
    return asdict(row)


def write_rows(rows: Iterable[Prediction], form: str, labels: LabelSpace, file: IO[str]) -> None:
    """json, jsonl or csv. Lines are flushed as they come: a reader downstream does not wait for the last picture."""
    if form == "json":
        json.dump([json_row(row) for row in rows], file, indent=2, ensure_ascii=False)
        file.write("\n")
        return
    writer = csv.writer(file, lineterminator="\n")
    if form == "csv":
        writer.writerow(csv_header(labels))
    for row in rows:
        if form == "csv":
            writer.writerow(csv_row(row, labels))
        else:
            file.write(json.dumps(json_row(row), ensure_ascii=False) + "\n")
        file.flush()


def write_predictions(path: Path, rows: Iterable[tuple[Prediction, str]], labels: LabelSpace) -> None:
    """predictions.csv of an evaluation: every row with its true class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(csv_header(labels, truth=True))
        writer.writerows(csv_row(row, labels, true) for row, true in rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else neutral(str(value))
