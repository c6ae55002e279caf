"""Robustness: what becomes of the answers when the pictures get darker, blurred, noisy, shifted or turned.

Each corruption is applied to pixels at the model's size, and the corrupted pictures are judged by the same predictor.
Nothing is written here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frame_vit.decision.judged import Judged
from frame_vit.decision.rates import Ids
from frame_vit.decision.verdicts import Verdict, verdict_rate
from frame_vit.images.corruptions import corruptions
from frame_vit.images.pixel_array import PixelArray
from frame_vit.system.progress import Tick, silent

if TYPE_CHECKING:
    from frame_vit.data.examples import Split
    from frame_vit.prediction.predictor import Predictor

TRIED = 400
"""At most this many pictures are corrupted."""


class CorruptionLevel(NamedTuple):
    """A kind of corruption, how much of it, and in what unit."""

    kind: str
    level: float
    unit: str


@dataclass(frozen=True)
class CorruptedScores:
    """The answers for `n` corrupted pictures, over all directions of one kind and severity (`level` in `unit`).

    `unchanged` is the share whose predicted class stays; the two rates are None where they are not defined; `flagged`
    is the share that is out of distribution, None where the model cannot tell.
    """

    kind: str
    level: float
    unit: str
    n: int
    unchanged: float
    accuracy: float
    escape_rate: float | None
    overkill_rate: float | None
    flagged: float | None


@dataclass(frozen=True)
class ShiftTolerance:
    """By how many pixels a picture must be shifted in one direction until its class changes, as quartiles.

    None means: not even by the `largest` shift tried. `never` is the share that never changes.
    """

    q25: float | None
    median: float | None
    q75: float | None
    never: float
    largest: float


@dataclass(frozen=True)
class Robustness:
    """How many pictures were corrupted, at which height and width, the scores of each severity, and for shifts."""

    pictures: int
    side: list[int]
    rows: list[CorruptedScores]
    shift: ShiftTolerance


def robustness(predictor: Predictor, split: Split, judged: Judged, tick: Tick = silent) -> Robustness:
    """Corrupts pictures of a split that was judged before, at most 400, evenly from the first to the last."""
    count = min(TRIED, len(split))
    rows = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    pixels, examples = np.asarray(split.pixels[rows]), [split.examples[row] for row in rows]
    before = judged.predicted[rows]
    tried: dict[CorruptionLevel, list[Judged]] = defaultdict(list)
    every = list(corruptions())
    for done, corruption in enumerate(every, 1):
        corrupted = predictor.judge_examples(examples, PixelArray.of(corruption.apply(pixels)))
        tried[CorruptionLevel(corruption.kind, corruption.level, corruption.unit)].append(corrupted)
        tick("corrupting", done, len(every), corruption.kind)
    flagging = predictor.metadata.novelty is not None
    scores = [_scores(severity, before, after, flagging) for severity, after in tried.items()]
    shifts = {severity.level: after for severity, after in tried.items() if severity.kind == "shift"}
    return Robustness(count, list(pixels.shape[1:3]), scores, _shift_tolerance(before, shifts))


def _shift_tolerance(before: Ids, shifts: dict[float, list[Judged]]) -> ShiftTolerance:
    """The smallest shift that changes the predicted class, over all pictures and directions."""
    first = np.full(len(before) * len(next(iter(shifts.values()))), np.inf)
    for level, directions in sorted(shifts.items(), reverse=True):
        first[np.concatenate([after.predicted != before for after in directions])] = level
    quartiles = np.quantile(first, (0.25, 0.5, 0.75), method="lower")
    q25, median, q75 = (float(shift) if np.isfinite(shift) else None for shift in quartiles)
    return ShiftTolerance(q25, median, q75, float(np.isinf(first).mean()), max(shifts))


def _scores(severity: CorruptionLevel, before: Ids, after: Sequence[Judged], flagging: bool) -> CorruptedScores:
    """Over all directions of one severity; `before` (N,) are the predicted classes of the pictures as they were."""
    labels, good = np.concatenate([one.labels for one in after]), np.concatenate([one.good for one in after])
    predicted = np.concatenate([one.predicted for one in after])
    known = [one.verdicts for one in after if one.verdicts is not None]
    verdicts = np.concatenate(known) if known else None
    return CorruptedScores(
        *severity,
        n=len(labels),
        unchanged=float((predicted == np.tile(before, len(after))).mean()),
        accuracy=float((predicted == labels).mean()),
        escape_rate=verdict_rate(verdicts, Verdict.ACCEPT, ~good).value,
        overkill_rate=verdict_rate(verdicts, Verdict.REJECT, good).value,
        flagged=float(np.concatenate([one.flagged for one in after]).mean()) if flagging else None,
    )
