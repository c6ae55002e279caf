"""A split through the predictor: the numbers, and the rows behind them. Nothing is written here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.config.schema import CostsConfig
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.rates import Ids, Logits, parts_needed, upper_bound
from frame_vit.decision.temperature import calibration
from frame_vit.decision.thresholds import ACCEPT, REJECT, REVIEW, VERDICTS, Verdicts, part_weights, scores
from frame_vit.evaluation.directions import directions
from frame_vit.evaluation.metrics import evaluation_metrics, score
from frame_vit.evaluation.slices import quartiles, repeatability, slices, worth_a_look
from frame_vit.images.measures import measure
from frame_vit.images.pixel_array import Float32
from frame_vit.prediction.predictor import Prediction, Predictor, judge
from frame_vit.runs.data import pictures
from frame_vit.system.progress import Tick, silent

MANY_SIZES = 8


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


def evaluate_split(predictor: Predictor, split: Split, costs: CostsConfig, tick: Tick = silent) -> Evaluation:
    """Asks the predictor for every example of a split."""
    space, labels = predictor.labels, split.labels
    answers, measures = predictor.split_answers(split.pixels, tick), measure([split.pixels])
    views, odd = answers.logits, predictor.odd(split.examples, answers, measures)
    names = [view.name for view, _ in predictor.group]
    metrics = evaluation_metrics(
        split.name, labels, views, space, names, predictor.metadata.operating_point, predictor.review(odd)
    )
    logits = views.mean(axis=1)
    judged, predicted = predictor.judged(logits, odd), logits.argmax(axis=1)
    look = worth_a_look(labels, logits)
    by_class = score(labels, logits, space)
    parts = [example.marks.part for example in split.examples]
    metrics |= {
        "device": str(predictor.device),
        "precision": predictor.precision,
        "backend": predictor.backend.name,
        "unlike": _counted(odd, predictor.metadata.novelty),
        "decision": {
            "point": predictor.metadata.operating_point.to_json() if predictor.metadata.operating_point else None,
            "by_class": {key: by_class[key] for key in ("escape_rate", "overkill_rate")},
            "independent": predictor.metadata.operating_point is None
            or predictor.metadata.operating_point.facts.get("pictures") != pictures(split),
            "as_chosen": predictor.as_chosen,
            "chosen_by_others": _chosen_by_others(predictor),
            "review_share": _line_share(labels, judged, predictor),
            "verdicts": None if judged is None else {v: int((judged == i).sum()) for i, v in enumerate(VERDICTS)},
        },
        "calibration": calibration(labels, logits, predictor.metadata.temperature),
        "directions": directions(labels, predicted, space, costs),
        "slices": slices(slice_words(split, measures.light), labels, predicted, judged, space),
        "repeatability": repeatability(parts, labels, predicted, judged, space),
        "suspects": [split.examples[i].key for i in look["suspects"]],
    }
    if judged is not None:
        good = np.isin(labels, space.ok_ids)
        found = scores(logits, space)
        look["escaped"] = _by_score(np.flatnonzero((judged == ACCEPT) & ~good), found)
        look["scrapped"] = _by_score(np.flatnonzero((judged == REJECT) & good), -found)
    rows = [
        (
            judge(example.key, answer, space, predictor.metadata.operating_point, of, predictor.metadata.novelty),
            space.names[example.label],
        )
        for example, answer, of in zip(split.examples, logits, odd, strict=True)
    ]
    return Evaluation(metrics, rows, split, logits, judged, look)


def _counted(odd: list[dict[str, str]], usual: NoveltyReference | None) -> dict[str, Any] | None:
    """How many pictures are unlike the training's, and in what; None where the model does not know."""
    if usual is None:
        return None
    by = Counter(name for of in odd for name in of)
    return {"flagged": sum(map(bool, odd)), "by": dict(by), "reviewed": usual.reviewed}


def slice_words(split: Split, light: Float32) -> dict[str, Sequence[str]]:
    """By what the parts are told apart: `data.slice_by`, size, light; a word for each."""
    examples = split.examples
    return {
        "slice_by": [example.marks.slice for example in examples],
        "size": _sizes([(example.width, example.height) for example in examples]),
        "light": quartiles(light),
    }


def _sizes(sizes: list[tuple[int, int]]) -> list[str]:
    """A word for each size; where there are many, for a quarter of the areas."""
    if len({*sizes}) <= MANY_SIZES:
        return [f"{width} x {height}" for width, height in sizes]
    return quartiles(np.array([width * height for width, height in sizes], np.float32))


def _by_score(rows: NDArray[np.int64], found: NDArray[np.float64]) -> list[int]:
    return [int(row) for row in rows[np.argsort(-found[rows], kind="stable")]]


def _line_share(labels: Ids, judged: Verdicts | None, predictor: Predictor) -> float | None:
    """The share that goes to people on a line with `decision.bad_share` bad parts; None where that is not known."""
    bad_share = (
        predictor.metadata.operating_point.facts.get("bad_share") if predictor.metadata.operating_point else None
    )
    if judged is None or bad_share is None:
        return None
    good = np.isin(labels, predictor.labels.ok_ids)
    return float(part_weights(good, bad_share)[judged == REVIEW].sum())


def sample_size(metrics: dict[str, Any]) -> str:
    """What so few parts can prove, in a sentence or two: the bound on escapes, and what it takes for the target."""
    escape, decision = metrics["escape_rate"], metrics["decision"]
    if escape["value"] is None:
        return "Escapes are not defined: labels.ok names no class, or there is no bad part."
    hits, n = round(escape["value"] * escape["n"]), escape["n"]
    point = decision["point"]
    confidence = point["claim"]["confidence"] if point else 0.95
    bound = upper_bound(hits, n, confidence)
    said = f"{hits} of {n} bad parts are accepted: with {confidence:.0%} confidence at most {bound:.2%} of all"
    if point is None:
        said += ". No threshold was chosen for this model; the class decides."
    elif bound <= point["claim"]["target"]:
        said += f", which meets the target of {point['claim']['target']:.2%}."
    elif n < (needed := parts_needed(point["claim"]["target"], confidence)):
        target = point["claim"]["target"]
        said += f". For the target of {target:.2%} at least {needed:,} bad parts must be tested, none accepted."
    else:
        said += f", which does not show that the target of {point['claim']['target']:.2%} is met."
    if not decision["independent"]:
        said += " But these are the pictures that the thresholds were chosen on: they prove nothing of others."
    if decision["chosen_by_others"]:
        said += " The thresholds were chosen on answers of {} in {}; these differ a little.".format(
            *decision["chosen_by_others"]
        )
    if not decision["as_chosen"]:
        said += " The answers are not averaged as when the thresholds were chosen, so what was promised does not hold."
    if metrics["repeatability"]:
        said += " Several pictures show one part, and the intervals count pictures: they are too narrow."
    return said


def _chosen_by_others(predictor: Predictor) -> list[str] | None:
    """Backend and precision whose answers the thresholds were chosen on, where they are not those of the predictor."""
    if predictor.metadata.operating_point is None:
        return None
    facts = predictor.metadata.operating_point.facts
    before = [facts.get("backend", "torch"), facts.get("precision", predictor.precision)]
    return None if before == [predictor.backend.name, predictor.precision] else before
