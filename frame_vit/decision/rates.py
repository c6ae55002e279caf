"""Shares of few parts, with the exact bounds of Clopper and Pearson (1934). Pure functions; no files, no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray  # importing it takes 20 ms of the start of `predict`


Logits: TypeAlias = "NDArray[np.float32]"
Ids: TypeAlias = "NDArray[np.int64]"


def softmax(logits: Logits) -> Logits:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def rate(hits: int, n: int, confidence: float = 0.95) -> dict[str, float | int | None]:
    """A share with its exact two-sided interval; of nothing, it is unknown and the interval is everything."""
    if n == 0:
        return {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    from scipy.stats import binomtest  # here and below: predict starts a second sooner without them

    interval = binomtest(hits, n).proportion_ci(confidence, method="exact")
    return {"value": hits / n, "low": float(interval.low), "high": float(interval.high), "n": n}


def upper_bound(hits: int, n: int, confidence: float) -> float:
    """The exact one-sided upper bound of a share of which `hits` in `n` were seen."""
    if n == 0 or hits >= n:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, hits + 1, n - hits))


def parts_needed(target: float, confidence: float) -> int:
    """How many parts without a hit it takes to claim a share below the target: 299 for 1 % with 95 % confidence."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-target) - 1e-9)
