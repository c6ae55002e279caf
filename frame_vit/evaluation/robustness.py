"""A split through the predictor: the numbers, and the rows behind them. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.examples import Example, Split
from frame_vit.decision.rates import Ids, Logits
from frame_vit.decision.thresholds import ACCEPT, REJECT, Verdicts, share_of
from frame_vit.images.corruptions import corruptions
from frame_vit.images.measures import measure
from frame_vit.images.pixel_array import PixelArray
from frame_vit.prediction.predictor import Predictor
from frame_vit.system.progress import Tick, silent

TRIED = 400
"""At most so many pictures are made worse in every way."""


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


class _Tried(NamedTuple):
    """Averaged logits (N, C) of pictures that were made worse, the decisions, and which are flagged (N,)."""

    logits: Logits
    judged: Verdicts | None
    flagged: NDArray[np.bool_]


def _tried(predictor: Predictor, examples: Sequence[Example], pixels: NDArray[np.uint8]) -> _Tried:
    rows = PixelArray.of(pixels)
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
        "flagged": float(np.concatenate([one.flagged for one in tried]).mean()) if predictor.metadata.novelty else None,
    }
