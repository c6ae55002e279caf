"""A split through the predictor: the numbers, and the rows behind them. Nothing is written here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frame_vit.calibration import calibration
from frame_vit.corruptions import corruptions
from frame_vit.data.cache import Rows
from frame_vit.data.examples import Example, Split
from frame_vit.data.measures import measure
from frame_vit.decision import ACCEPT, REJECT, REVIEW, VERDICTS, Verdicts, part_weights, scores, share_of
from frame_vit.directions import directions
from frame_vit.images import Float32
from frame_vit.metrics import evaluation_metrics, score
from frame_vit.operating import pictures
from frame_vit.predictor import Prediction, Predictor, judge
from frame_vit.progress import Tick, silent
from frame_vit.rates import Ids, Logits, parts_needed, upper_bound
from frame_vit.schema import Costs
from frame_vit.slices import quartiles, repeatability, slices, worth_a_look
from frame_vit.unlike import Usual

MANY_SIZES = 8
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
    answers, measures = predictor.split_answers(split.pixels, tick), measure([split.pixels])
    views, odd = answers.logits, predictor.odd(split.examples, answers, measures)
    names = [view.name for view, _ in predictor.group]
    metrics = evaluation_metrics(split.name, labels, views, space, names, predictor.point, predictor.review(odd))
    logits = views.mean(axis=1)
    judged, predicted = predictor.judged(logits, odd), logits.argmax(axis=1)
    look = worth_a_look(labels, logits)
    by_class = score(labels, logits, space)
    parts = [example.marks.part for example in split.examples]
    metrics |= {
        "device": str(predictor.device),
        "precision": predictor.precision,
        "backend": predictor.backend.name,
        "unlike": _counted(odd, predictor.usual),
        "decision": {
            "point": predictor.point.to_json() if predictor.point else None,
            "by_class": {key: by_class[key] for key in ("escape_rate", "overkill_rate")},
            "independent": predictor.point is None or predictor.point.facts.get("pictures") != pictures(split),
            "as_chosen": predictor.as_chosen,
            "chosen_by_others": _chosen_by_others(predictor),
            "review_share": _line_share(labels, judged, predictor),
            "verdicts": None if judged is None else {v: int((judged == i).sum()) for i, v in enumerate(VERDICTS)},
        },
        "calibration": calibration(labels, logits, predictor.temperature),
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
        (judge(example.key, answer, space, predictor.point, of, predictor.usual), space.names[example.label])
        for example, answer, of in zip(split.examples, logits, odd, strict=True)
    ]
    return Evaluation(metrics, rows, split, logits, judged, look)


def _counted(odd: list[dict[str, str]], usual: Usual | None) -> dict[str, Any] | None:
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
    bad_share = predictor.point.facts.get("bad_share") if predictor.point else None
    if judged is None or bad_share is None:
        return None
    good = np.isin(labels, predictor.labels.ok_ids)
    return float(part_weights(good, bad_share)[judged == REVIEW].sum())


def robustness(predictor: Predictor, split: Split, tick: Tick = silent) -> dict[str, Any]:
    """The split made worse in known ways: at each severity how often the class stays, and what becomes of the rates.

    `shift` says by how many pixels a picture must be shifted, in one direction, until its class changes: quartiles
    (None: not even by the largest shift tried) and the share that never changes. At most 400 pictures, evenly from the
    first to the last.
    """
    count = min(TRIED, len(split))
    rows = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    pixels, labels = np.asarray(split.pixels[rows]), split.labels[rows]
    examples = [split.examples[row] for row in rows]
    before = _tried(predictor, examples, pixels).logits
    found: dict[tuple[str, float], list[_Tried]] = {}
    units: dict[str, str] = {}
    every = list(corruptions())
    for done, corruption in enumerate(every, 1):
        units[corruption.kind] = corruption.unit
        tried = _tried(predictor, examples, corruption.apply(pixels))
        found.setdefault((corruption.kind, corruption.level), []).append(tried)
        tick("making worse", done, len(every), corruption.kind)
    rows_of = [
        {"kind": kind, "level": level, "unit": units[kind]} | _after(labels, before, tried, predictor)
        for (kind, level), tried in found.items()
    ]
    shifts = {level: [one.logits for one in tried] for (kind, level), tried in found.items() if kind == "shift"}
    return {"pictures": count, "side": list(pixels.shape[1:3]), "rows": rows_of, "shift": _until(before, shifts)}


def _until(before: Logits, shifts: dict[float, list[Logits]]) -> dict[str, Any]:
    """The smallest shift that changes the class, over all pictures and directions."""
    first = np.full(len(before) * len(next(iter(shifts.values()))), np.inf)
    was = before.argmax(axis=1)
    for level, answers in sorted(shifts.items(), reverse=True):
        changed = np.concatenate([logits.argmax(axis=1) != was for logits in answers])
        first[changed] = level
    quarters = np.quantile(first, (0.25, 0.5, 0.75), method="lower")
    named = {
        name: float(q) if np.isfinite(q) else None for name, q in zip(("q25", "median", "q75"), quarters, strict=True)
    }
    return named | {"never": float(np.isinf(first).mean()), "largest": max(shifts)}


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
    if predictor.point is None:
        return None
    facts = predictor.point.facts
    before = [facts.get("backend", "torch"), facts.get("precision", predictor.precision)]
    return None if before == [predictor.backend.name, predictor.precision] else before


class _Tried(NamedTuple):
    """Averaged logits (N, C) of pictures that were made worse, the decisions, and which are flagged (N,)."""

    logits: Logits
    judged: Verdicts | None
    flagged: NDArray[np.bool_]


def _tried(predictor: Predictor, examples: Sequence[Example], pixels: NDArray[np.uint8]) -> _Tried:
    rows = Rows.of(pixels)
    answers = predictor.split_answers(rows)
    odd = predictor.odd(examples, answers, measure([rows]))
    logits = np.asarray(answers.logits.mean(axis=1))
    return _Tried(logits, predictor.judged(logits, odd), np.array([bool(of) for of in odd], bool))


def _after(labels: Ids, before: Logits, tried: list[_Tried], predictor: Predictor) -> dict[str, Any]:
    """Numbers over all directions of one severity."""
    times = len(tried)
    many, good = np.tile(labels, times), np.isin(np.tile(labels, times), predictor.labels.ok_ids)
    predicted = np.concatenate([one.logits for one in tried]).argmax(axis=1)
    was = np.tile(before.argmax(axis=1), times)
    given = [one.judged for one in tried if one.judged is not None]
    judged = np.concatenate(given) if given else None
    return {
        "n": len(many),
        "unchanged": float((predicted == was).mean()),
        "accuracy": float((predicted == many).mean()),
        "escape_rate": share_of(judged, ACCEPT, ~good)["value"],
        "overkill_rate": share_of(judged, REJECT, good)["value"],
        "flagged": float(np.concatenate([one.flagged for one in tried]).mean()) if predictor.usual else None,
    }
