"""A split through the predictor: the numbers, and the rows behind them. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.calibration import calibration
from frame_vit.corruptions import corruptions
from frame_vit.data.cache import Rows
from frame_vit.data.examples import Split
from frame_vit.data.measures import measure
from frame_vit.decision import ACCEPT, REJECT, VERDICTS, Verdicts, decide, share_of
from frame_vit.directions import directions
from frame_vit.metrics import evaluation_metrics, score
from frame_vit.predictor import Prediction, Predictor, judge
from frame_vit.progress import Tick, silent
from frame_vit.rates import Ids, Logits, parts_needed
from frame_vit.schema import Costs
from frame_vit.slices import quartiles, repeatability, slices, worth_a_look

TRIED = 400
"""At most so many pictures are made worse in every way."""


@dataclass(frozen=True)
class Evaluation:
    """metrics.json as a dict, and what it was computed from.

    `rows` are predictions with their true classes, `logits` (N, C) the averaged answers, `judged` (N,) the decisions
    (None where no class is fine), `look` row numbers by why they are worth a look.
    """

    metrics: dict[str, Any]
    rows: list[tuple[Prediction, str]]
    split: Split
    logits: Logits
    judged: Verdicts | None
    look: dict[str, list[int]]


def evaluate_split(predictor: Predictor, split: Split, costs: Costs, tick: Tick = silent) -> Evaluation:
    """Asks the predictor for every example of a split."""
    space, labels = predictor.labels, split.labels
    views = predictor.split_logits(split.pixels, tick)
    names = [view.name for view, _ in predictor.group]
    metrics = evaluation_metrics(split.name, labels, views, space, names, predictor.point)
    logits = views.mean(axis=1)
    judged, predicted = decide(logits, space, predictor.point), logits.argmax(axis=1)
    look = worth_a_look(labels, logits)
    by_class = score(labels, logits, space)
    parts = [example.marks.part for example in split.examples]
    metrics |= {
        "device": str(predictor.device),
        "precision": predictor.precision,
        "decision": {
            "point": predictor.point.to_json() if predictor.point else None,
            "by_class": {key: by_class[key] for key in ("escape_rate", "overkill_rate")},
            "verdicts": None if judged is None else {v: int((judged == i).sum()) for i, v in enumerate(VERDICTS)},
        },
        "calibration": calibration(labels, logits, predictor.temperature),
        "directions": directions(labels, predicted, space, costs),
        "slices": slices(slice_words(split), labels, predicted, judged, space),
        "repeatability": repeatability(parts, labels, predicted, space),
        "suspects": [split.examples[i].key for i in look["suspects"]],
    }
    rows = [
        (judge(example.key, answer, space, predictor.point), space.names[example.label])
        for example, answer in zip(split.examples, logits, strict=True)
    ]
    return Evaluation(metrics, rows, split, logits, judged, look)


def slice_words(split: Split) -> dict[str, Sequence[str]]:
    """By what the parts are told apart: `data.slice_by`, size, light; a word for each."""
    examples = split.examples
    return {
        "slice_by": [example.marks.slice for example in examples],
        "size": [f"{example.width} x {example.height}" for example in examples],
        "light": quartiles(measure([split.pixels]).light),
    }


def robustness(predictor: Predictor, split: Split, tick: Tick = silent) -> list[dict[str, Any]]:
    """The split made worse in known ways: at each severity how often the class stays, and what becomes of the rates.

    At most 400 pictures, evenly from the first to the last.
    """
    count = min(TRIED, len(split))
    rows = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    pixels, labels = np.asarray(split.pixels[rows]), split.labels[rows]
    before = _answers(predictor, pixels)
    found: dict[tuple[str, float], list[tuple[Logits, str]]] = {}
    every = list(corruptions())
    for done, corruption in enumerate(every, 1):
        answers = _answers(predictor, corruption.apply(pixels))
        found.setdefault((corruption.kind, corruption.level), []).append((answers, corruption.unit))
        tick("making worse", done, len(every), corruption.kind)
    return [
        {"kind": kind, "level": level, "unit": answers[0][1]}
        | _after(labels, before, np.concatenate([logits for logits, _ in answers]), predictor)
        for (kind, level), answers in found.items()
    ]


def sample_size(metrics: dict[str, Any]) -> str:
    """What so few parts can prove, in a sentence: the bound on escapes, and what it takes for the target."""
    escape, point = metrics["escape_rate"], metrics["decision"]["point"]
    if escape["value"] is None:
        return "Escapes are not defined: labels.ok names no class, or there is no bad part."
    hits = round(escape["value"] * escape["n"])
    said = (
        f"{hits} of {escape['n']} bad parts are accepted: between {escape['low']:.2%} and {escape['high']:.2%} of all"
    )
    if point is None:
        return f"{said}. No threshold was chosen for this model; the class decides."
    claim = point["claim"]
    target, needed = claim["target"], parts_needed(claim["target"], claim["confidence"])
    if escape["high"] <= target:
        return f"{said}, which meets the target of {target:.2%}."
    if escape["n"] < needed:
        return f"{said}. For the target of {target:.2%} at least {needed:,} bad parts must be tested, none accepted."
    return f"{said}, which does not show that the target of {target:.2%} is met."


def _answers(predictor: Predictor, pixels: NDArray[np.uint8]) -> Logits:
    return np.asarray(predictor.split_logits(Rows.of(pixels)).mean(axis=1))


def _after(labels: Ids, before: Logits, after: Logits, predictor: Predictor) -> dict[str, Any]:
    """Numbers over all directions of one severity: `after` holds the answers of one after the other."""
    times = len(after) // len(labels)
    many, good = np.tile(labels, times), np.isin(np.tile(labels, times), predictor.labels.ok_ids)
    predicted, was = after.argmax(axis=1), np.tile(before.argmax(axis=1), times)
    judged = decide(after, predictor.labels, predictor.point)
    return {
        "n": len(many),
        "unchanged": float((predicted == was).mean()),
        "accuracy": float((predicted == many).mean()),
        "escape_rate": share_of(judged, ACCEPT, ~good)["value"],
        "overkill_rate": share_of(judged, REJECT, good)["value"],
    }
