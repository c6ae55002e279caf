"""From logits to accept, review or reject, by the thresholds of an operating point or else by the predicted class.

Pure functions over arrays; no files, no torch. How the thresholds are chosen is in `thresholds`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from frame_vit.decision.rates import UNDEFINED, Logits, Rate, rate
from frame_vit.decision.thresholds import Mask, OperatingPoint, Scores
from frame_vit.labels import LabelSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray


Verdicts: TypeAlias = "NDArray[np.int8]"


class Verdict(IntEnum):
    """The decision on one part; an array of them is int8."""

    ACCEPT = 0
    REVIEW = 1
    REJECT = 2

    @property
    def word(self) -> str:
        """As rows and reports spell it: accept, review, reject."""
        return self.name.lower()


def scores(logits: Logits, space: LabelSpace) -> Scores:
    """The probability of being bad, 1 - p(good), of (N, C) logits: (N,) float64.

    It is the sum of the probabilities of the other classes, so that small scores are exact.
    """
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    bad = np.array([i for i in range(len(space)) if not space.is_ok(i)], np.intp)
    # `take` keeps each row contiguous, so a picture gets the same score to the last bit alone and in a batch.
    # Of many classes, the sum of the bad ones may be rounded to more than that of all.
    return np.asarray(np.minimum(powers.take(bad, axis=-1).sum(axis=-1) / powers.sum(axis=-1), 1.0))


def verdicts(scores: Scores, point: OperatingPoint) -> Verdicts:
    """The verdict on each score by the thresholds, (N,)."""
    judged = np.full(len(scores), Verdict.REVIEW, np.int8)
    judged[scores < point.accept_below] = Verdict.ACCEPT
    judged[scores >= point.reject_from] = Verdict.REJECT
    return judged


def decide(
    logits: Logits, space: LabelSpace, point: OperatingPoint | None, review: Mask | None = None
) -> Verdicts | None:
    """The verdicts on (N, C) logits: by the operating point, or without one by whether the predicted class is good.

    Where `review` (N,) is true, a person decides. None where no class is good, so that nothing could be accepted.
    """
    if not space.ok:
        return None
    if point is not None:
        judged = verdicts(scores(logits, space), point)
    else:
        good = np.isin(logits.argmax(axis=1), space.ok_ids)
        judged = np.where(good, Verdict.ACCEPT, Verdict.REJECT).astype(np.int8)
    if review is not None:
        judged[review] = Verdict.REVIEW
    return judged


def verdict_rate(judged: Verdicts | None, verdict: Verdict, parts: Mask) -> Rate:
    """The share of the marked parts that got a verdict; undefined where there are no verdicts."""
    return UNDEFINED if judged is None else rate(int((judged[parts] == verdict).sum()), int(parts.sum()))
