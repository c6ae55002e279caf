"""A split through the predictor: the numbers, the rows behind them, and both as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_vit.data.examples import Split
from frame_vit.metrics import evaluation_metrics
from frame_vit.predictor import Prediction, Predictor, judge
from frame_vit.progress import Tick, silent
from frame_vit.report import draw_confusion
from frame_vit.runs import write_json
from frame_vit.tables import write_predictions


@dataclass(frozen=True)
class Evaluation:
    """metrics.json as a dict, and every row's prediction with its true class."""

    metrics: dict[str, Any]
    rows: list[tuple[Prediction, str]]


def evaluate_split(predictor: Predictor, split: Split, tick: Tick = silent) -> Evaluation:
    """Asks the predictor for every example of a split; nothing is written."""
    labels = predictor.labels
    views = predictor.split_logits(split.pixels, tick)
    names = [view.name for view, _ in predictor.group]
    metrics = evaluation_metrics(split.name, split.labels, views, labels, names)
    metrics |= {"device": str(predictor.device), "precision": predictor.precision}
    rows = [
        (judge(example.key, logits, labels), labels.names[example.label])
        for example, logits in zip(split.examples, views.mean(axis=1), strict=True)
    ]
    return Evaluation(metrics, rows)


def write_evaluation(evaluation: Evaluation, predictor: Predictor, folder: Path) -> None:
    """confusion_matrix.png, predictions.csv and, last, metrics.json."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_confusion(folder / "confusion_matrix.png", evaluation.metrics)
    write_predictions(folder / "predictions.csv", evaluation.rows, predictor.labels)
    write_json(folder / "metrics.json", evaluation.metrics)
