"""`framevit verify`: are the rows as they were written, of these pictures, and what this model decides?

Without pictures and a model, the file itself is checked (`integrity`). With a folder of pictures, their sha256 is
compared. With a model, every picture is predicted again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_vit.errors import RowError, UsageError
from frame_vit.images.decode import read_file
from frame_vit.line.integrity import Integrity, Problem, after_challenge, check_rows
from frame_vit.line.recorded import RecordedRow, lines, read_row
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.load import PredictorOptions
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.prediction.record import facts
from frame_vit.system.progress import Tick, silent

TOLERANCE = 1e-3
"""How far a probability may differ when a picture is predicted again: processors round differently."""


@dataclass(frozen=True)
class Verified:
    """What was found: `integrity` of the file; how many pictures were compared, and how many predicted again.

    A count is None where it was not asked for; pictures that are missing are in neither. `problems` holds those of the
    file, too, in the order of the rows.
    """

    integrity: Integrity
    pictures: int | None
    predicted: int | None
    problems: list[Problem]

    def to_json(self) -> dict[str, Any]:
        found = self.integrity
        return {
            "rows": found.rows,
            "chained": found.chained,
            "first": found.first.isoformat() if found.first else None,
            "last": found.last.isoformat() if found.last else None,
            "last_digest": found.last_digest,
            "models": found.models,
            "pictures": self.pictures,
            "predicted": self.predicted,
            "problems_by_kind": dict(Counter(problem.kind for problem in self.problems)),
            "problems": [problem._asdict() for problem in self.problems],
        }


def verify(
    path: Path, pictures: Path | None = None, predictor: Predictor | None = None, tick: Tick = silent
) -> Verified:
    """Checks a file of recorded rows, the pictures in a folder, and with a predictor every answer.

    Without a folder, the predictor's pictures are looked for under the rows' own names. Raises `UsageError` where the
    file has no records, or the folder is missing.
    """
    _check_recorded(path)
    if pictures is not None and not pictures.is_dir():
        raise UsageError(f"{pictures} is not a folder", "--pictures names the folder that the pictures lie in now")
    integrity = Integrity()
    rows = check_rows(path, integrity)
    if predictor is not None:
        further = _predicted_again(rows, pictures, predictor, tick)
    elif pictures is not None:
        further = _compared(rows, pictures, tick)
    else:
        further = ((row, []) for row in rows)
    compared, answered, found = 0, 0, []
    for row, problems in further:
        found += [Problem(row.number, row.file, kind, message) for kind, message in problems]
        there = all(kind != "missing" for kind, _ in problems)
        compared += there and row.record.get("picture") is not None
        answered += there and row.status == "ok"
    return Verified(
        integrity,
        compared if pictures is not None or predictor is not None else None,
        answered if predictor is not None else None,
        sorted([*integrity.problems, *found], key=lambda problem: problem.row),
    )


def recorded_options(path: Path) -> PredictorOptions:
    """How the first row of a file was predicted, to predict its pictures again in the same way."""
    record = _check_recorded(path)
    views = record.get("views")
    return PredictorOptions(
        str(record.get("backend", "auto")),
        precision=str(record.get("precision", "auto")),
        tta=not isinstance(views, list) or len(views) > 1,
    )


def find_picture(name: str, folder: Path | None) -> Path:
    """Where a row's picture lies now: below the folder, under as much of its name as is found there."""
    if folder is None:
        return Path(name)
    tails = []
    for spelling in dict.fromkeys((name, name.replace("\\", "/"))):  # the row may have been written on Windows
        # A part with a drive, the root or .. would lead out of the folder.
        parts = [part for part in Path(spelling).parts if part != ".." and not Path(part).anchor and ":" not in part]
        tails += [folder.joinpath(*parts[start:]) for start in range(max(len(parts), 1))]
    return next((tail for tail in tails if tail.is_file()), tails[0])


def _check_recorded(path: Path) -> dict[str, Any]:
    """The record of the first row that can be read. Raises `UsageError` where the file has no record at all."""
    for number, line in lines(path):
        try:
            return read_row(number, line).record
        except (ValueError, KeyError):
            continue
    raise UsageError(
        f"{path} has no row with a record, so there is nothing to verify",
        "Rows with records are written by `framevit predict -o rows.jsonl` (not with --record plain)",
    )


def _compared(
    rows: Iterable[RecordedRow], folder: Path, tick: Tick
) -> Iterator[tuple[RecordedRow, list[tuple[str, str]]]]:
    """Each row with what is wrong with its picture, by the sha256 of the file."""
    for row in rows:
        try:
            found = hashlib.sha256(read_file(find_picture(row.file, folder))).hexdigest()
            problem = _of_picture(row, found)
        except RowError as error:
            problem = [] if row.status == "error" else [("missing", f"its picture: {error.message}")]
        tick("comparing pictures", row.number, 0, "")
        yield row, problem


def _predicted_again(
    rows: Iterable[RecordedRow], folder: Path | None, predictor: Predictor, tick: Tick
) -> Iterator[tuple[RecordedRow, list[tuple[str, str]]]]:
    """Each row with what is wrong with its picture or, if that is the same, with its answer."""
    own = facts(predictor)
    pending: list[RecordedRow] = []

    def inputs() -> Iterator[Input]:
        for row in rows:
            pending.append(row)  # the predictor reads ahead; its answers come in the same order
            yield Input(row.file, find_picture(row.file, folder))

    for prediction in predictor.predict(inputs(), tick):
        row = pending.pop(0)
        yield row, [*_of_model(row, own), *_of_answer(row, prediction, own)]


def _of_picture(row: RecordedRow, found: str | None) -> list[tuple[str, str]]:
    recorded = row.record.get("picture")
    if recorded is None or recorded == found:
        return []
    return [("picture", "its picture is another one than was decided on: its sha256 differs")]


def _of_model(row: RecordedRow, own: dict[str, Any]) -> list[tuple[str, str]]:
    """In what the model of a row is not the one that answers now."""
    if row.record.get("model") != own["model"]:
        return [("model", "it was decided by another model: the sha256 of the weights differs")]
    if row.record.get("settings") != own["settings"]:
        return [("model", "it was decided with other settings: classes, preprocessing, thresholds or novelty differ")]
    if any(row.record.get(key) != own[key] for key in ("thresholds", "novelty")):
        return [("model", "its thresholds, or what it says of flags, are not those of the settings that it names")]
    return []


def _of_answer(row: RecordedRow, now: Prediction, own: dict[str, Any]) -> list[tuple[str, str]]:
    """In what an answer differs from the recorded one; of numbers only where backend and precision are the same."""
    if row.status == "error" or now.status == "error":
        if row.status == now.status:
            return []
        if row.status == "error":
            return [("picture", "its picture could not be read then, and can be read now")]
        return [("missing", f"its picture: {now.error}")]
    if wrong := _of_picture(row, now.picture):
        return wrong
    decision = after_challenge(row, now.decision)
    if all(row.record.get(key) == own[key] for key in ("backend", "precision", "views")):
        # With thresholds the decision follows from the score, which may lie at one of them (`contradictions`).
        same = _close(row, now) and (own["thresholds"] is not None or row.decision == decision)
    else:
        same = (row.label, row.decision) == (now.label, decision)
    if same and row.flags == now.flags:
        return []
    return [("answer", f"it was {_said(row)}; the model now says {_said(now)}")]


def _close(row: RecordedRow, now: Prediction) -> bool:
    """Whether score and probabilities are the same but for rounding."""
    before, after = dict(row.probabilities or {}), dict(now.probabilities or {})
    if before.keys() != after.keys() or (row.score is None) != (now.score is None):
        return False
    pairs = [(before[name], after[name]) for name in before] + [(row.score or 0.0, now.score or 0.0)]
    return all(abs(then - again) <= TOLERANCE for then, again in pairs)


def _said(row: RecordedRow | Prediction) -> str:
    score = "" if row.score is None else f", p(bad) {row.score:.4g}"
    flags = f", flags {' '.join(row.flags)}" if row.flags else ""
    return f"{row.label}, {row.decision or 'no decision'}{score}{flags}"
