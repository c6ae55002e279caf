"""A real file of chained rows, and rows changed as a hand would change them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frame_vit.prediction.inputs import expand
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.prediction.output import Output
from frame_vit.prediction.predict import predict_to
from frame_vit.prediction.predictor import Predictor
from frame_vit.prediction.record import RecordOptions, digest_of

Row = dict[str, Any]


def predictor(work: Path) -> Predictor:
    """That of a folder's exported run, in fp32."""
    options = PredictorOptions("onnxruntime", precision="fp32")
    return load_predictor(str(work / "runs/tiny-001"), options, 1, isolated=False)


def write_chain(model: Predictor, pictures: Path, path: Path, part: str | None = None) -> list[Row]:
    """Predicts all pictures of a folder into a chain, and returns its rows."""
    predict_to(model, expand([str(pictures)]), Output(path, "jsonl", record=RecordOptions(part, chain=True)))
    return rows_of(path)


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewritten(path: Path, change: Callable[[list[Row]], None]) -> None:
    """Changes rows and writes them with digests that fit, as somebody would who knows how; links stay as they are."""
    rows = rows_of(path)
    change(rows)
    lines = []
    for row in rows:
        del row["record"]["digest"]
        text = json.dumps(row, ensure_ascii=False)
        lines.append(f'{text[:-2]}, "digest": "{digest_of(text.encode())}"}}}}\n')
    path.write_text("".join(lines), encoding="utf-8")
