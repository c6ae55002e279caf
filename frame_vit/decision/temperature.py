"""Is 0.9 right nine times in ten? Temperature, calibration error, the points of a reliability picture. Pure functions.

One number divides all logits (Guo et al. 2017): it changes no class, only how sure the model says it is. It is fitted
on a split of its own, then folded into the weights of the head, so that whatever loads the model is as sure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.decision.rates import Ids, Logits, softmax

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0


def nll(labels: Ids, logits: Logits, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of (N,) true class ids under (N, C) logits."""
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1, keepdims=True)
    normal = np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0]
    return float((normal - scaled[np.arange(len(labels)), labels]).mean())


def fit_temperature(labels: Ids, logits: Logits) -> float:
    """The temperature with the smallest negative log-likelihood, between 0.05 and 20.

    Where every answer is right, ever colder would be ever better: one mistake more than was seen, spread over the
    parts, is assumed (as Laplace did), which bounds it. Without parts it is 1.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0
    scaled = logits.astype(np.float64)
    share = 1 / (len(labels) + 2)

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        powers = scaled / temperature
        top = powers.max(axis=1, keepdims=True)
        logs = powers - top - np.log(np.exp(powers - top).sum(axis=1, keepdims=True))
        own = logs[np.arange(len(labels)), labels]
        others = (logs.sum(axis=1) - own) / max(logs.shape[1] - 1, 1)
        return float(-((1 - share) * own + share * others).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def calibration(labels: Ids, logits: Logits, temperature: float) -> dict[str, Any]:
    """Before and after: of logits as the model gives them (after), and as they were before they were divided."""
    return {
        "temperature": temperature,
        "before": _measured(labels, logits * np.float32(temperature)),
        "after": _measured(labels, logits),
    }


def _measured(labels: Ids, logits: Logits) -> dict[str, Any]:
    probabilities = softmax(logits.astype(np.float64))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = reliability(confidence, right)
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins]
    return {
        "ece": sum(gaps) / max(len(labels), 1),
        "nll": nll(labels, logits) if len(labels) else None,
        "mean_confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
        "bins": bins,
    }


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Bins of equally many parts (Nguyen and O'Connor 2015), from the least sure: n, mean confidence, accuracy.

    Bins of equal width would hold nearly all parts of a good model in one. Equal confidences share a bin.
    """
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, BINS + 1))) if len(confidence) else np.zeros(0)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, max(len(edges) - 2, 0))
    rows = []
    for index in np.unique(place):
        there = place == index
        rows.append(
            {
                "n": int(there.sum()),
                "confidence": float(confidence[there].mean()),
                "accuracy": float(right[there].mean()),
            }
        )
    return rows
