"""Shares of few parts with their exact binomial intervals (Clopper and Pearson 1934), and the softmax.

A rate of zero in 100 parts is not a rate of zero: every share that framevit reports is therefore a `Rate`, which
carries its interval and its number of parts. Pure functions over numbers; no files, no torch. scipy is imported inside
the functions that need it, because `framevit predict` does not and starts a second sooner without it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray  # importing it takes 20 ms of the start of `predict`


Logits: TypeAlias = "NDArray[np.float32]"
Ids: TypeAlias = "NDArray[np.int64]"


class Rate(NamedTuple):
    """A share of `n` parts, or a score of them, with the ends of its two-sided confidence interval.

    `value` is None where it is not defined, as a share of no parts; the interval is then all that it can be.
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
    return rates([hits], [n], confidence)[0]


def rates(hits: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> list[Rate]:
    """The shares of (K,) hits in (K,) parts, each with its exact two-sided interval; many take hardly longer than one.

    The ends are quantiles of beta distributions, which is the interval of Clopper and Pearson (1934) in closed form.
    """
    from scipy.stats import beta

    seen, parts = np.asarray(hits, np.int64), np.asarray(n, np.int64)
    tail, missed = (1 - confidence) / 2, parts - seen
    low = np.where(seen > 0, beta.ppf(tail, np.maximum(seen, 1), missed + 1), 0.0)
    high = np.where(missed > 0, beta.ppf(1 - tail, seen + 1, np.maximum(missed, 1)), 1.0)
    columns = seen.tolist(), parts.tolist(), low.tolist(), high.tolist()
    return [Rate(k / of, start, end, of) if of else UNDEFINED for k, of, start, end in zip(*columns, strict=True)]


def upper_bound(hits: int, n: int, confidence: float) -> float:
    """The exact one-sided upper confidence bound of a share, after `hits` in `n` parts."""
    if n == 0 or hits >= n:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, hits + 1, n - hits))


@cache
def hits_allowed(n: int, target: float, confidence: float) -> int:
    """The largest number of hits in n parts whose upper bound still meets the target; -1 where zero hits do not."""
    allowed = -1
    while allowed + 1 < n and upper_bound(allowed + 1, n, confidence) <= target:
        allowed += 1
    return allowed


def parts_needed(target: float, confidence: float) -> int:
    """How many parts without a hit show that a share is below the target: 299 for 1 % with 95 % confidence."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-target) - 1e-9)
