"""Shares of few parts with their exact binomial intervals (Clopper and Pearson 1934), and the softmax.

A rate of zero in 100 parts is not a rate of zero: every share that framevit reports is therefore a `Rate`, which
carries its interval and its number of parts. Pure functions over numbers; no files, no torch. scipy is imported inside
the functions that need it, because `framevit predict` does not and starts a second sooner without it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray  # importing it takes 20 ms of the start of `predict`


Logits: TypeAlias = "NDArray[np.float32]"
Ids: TypeAlias = "NDArray[np.int64]"


class Rate(NamedTuple):
    """A share of `n` parts, with the ends of its two-sided confidence interval.

    `value` is None where n is 0: the rate is not defined, and the interval is 0 to 1.
    """

    value: float | None
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        return self._asdict()


UNDEFINED = Rate(None, 0.0, 1.0, 0)


def softmax(logits: Logits) -> Logits:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def rate(hits: int, n: int, confidence: float = 0.95) -> Rate:
    """The share `hits / n` with its exact two-sided interval."""
    if n == 0:
        return UNDEFINED
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(confidence, method="exact")
    return Rate(hits / n, float(interval.low), float(interval.high), n)


def upper_bound(hits: int, n: int, confidence: float) -> float:
    """The exact one-sided upper confidence bound of a share, after `hits` in `n` parts."""
    if n == 0 or hits >= n:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, hits + 1, n - hits))


def parts_needed(target: float, confidence: float) -> int:
    """How many parts without a hit show that a share is below the target: 299 for 1 % with 95 % confidence."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-target) - 1e-9)
