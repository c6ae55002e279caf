"""Predictions as rows, for the tests of the files that they are written to."""

from __future__ import annotations

from pathlib import Path

from frame_vit.labels import LabelSpace
from frame_vit.prediction.output import Output
from frame_vit.prediction.predictor import Prediction
from frame_vit.prediction.rows import RowWriter

SPACE = LabelSpace.build(["ok", "=bad"], ["ok"])


def row(name: str, error: bool = False) -> Prediction:
    if error:
        return Prediction(name, status="error", error="empty file")
    return Prediction(name, "ok", 0.75, {"ok": 0.75, "=bad": 0.25}, "accept", score=0.25, reason="because")


def write(path: Path, form: str, names: list[str]) -> None:
    output = Output(path, form, resume=True)
    done = output.done(SPACE)
    with output.opened(done) as file:
        writer = RowWriter(file, form, SPACE, fresh=not done.end)
        for name in names:
            writer.write(row(name, name.startswith("=")))
        writer.close()
