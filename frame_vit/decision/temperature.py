"""Calibration of probabilities: temperature scaling, calibration error, and the bins of a reliability diagram.

A calibrated model that is 90 % sure is right nine times in ten. Temperature scaling (Guo et al. 2017) divides all
logits by one number. That changes no predicted class, only the confidence. The temperature is fitted on a split of its
own and then folded into the weights of the head, so that any program that loads the model gets calibrated
probabilities. Pure functions over arrays; no files, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frame_vit.decision.bootstrap import error_interval
from frame_vit.decision.rates import Ids, Logits, Rate, softmax

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
"""The range in which a temperature is looked for."""


@dataclass(frozen=True)
class ReliabilityBin:
    """`n` parts of similar confidence: their mean confidence, and the share whose class is right."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class CalibrationError:
    """How well confidence and accuracy agree.

    `ece` is the expected calibration error (Naeini et al. 2015), `nll` the mean negative log-likelihood (None without
    parts).
    """

    ece: float
    nll: float | None
    mean_confidence: float
    accuracy: float
    bins: list[ReliabilityBin]
    ece_interval: Rate


@dataclass(frozen=True)
class Calibration:
    """The temperature of a model, and its calibration before and after the logits were divided by it."""

    temperature: float
    before: CalibrationError
    after: CalibrationError


def nll(labels: Ids, logits: Logits, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of (N,) true class ids under (N, C) logits."""
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1, keepdims=True)
    normal = np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0]
    return float((normal - scaled[np.arange(len(labels)), labels]).mean())


def fit_temperature(labels: Ids, logits: Logits) -> float:
    """The temperature with the smallest negative log-likelihood, between 0.05 and 20; 1 without parts.

    Where every answer is right, a colder temperature is always better, down to zero. One more mistake than was seen is
    therefore assumed, spread over all parts (Laplace's rule of succession), which bounds the result.
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

    best = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))


def calibration(labels: Ids, logits: Logits, temperature: float) -> Calibration:
    """Calibration after the division, of the (N, C) logits as the model gives them; and before, of the undivided."""
    before = calibration_error(labels, logits * np.float32(temperature))
    return Calibration(temperature, before, calibration_error(labels, logits))


def calibration_error(labels: Ids, logits: Logits) -> CalibrationError:
    """The calibration of (N, C) logits on parts with (N,) true class ids."""
    probabilities = softmax(logits.astype(np.float64))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = reliability(confidence, right)
    columns = np.array([(row.n, row.confidence, row.accuracy) for row in bins], np.float64).reshape(-1, 3).T
    interval = error_interval(*columns)
    return CalibrationError(
        ece=interval.value or 0.0,
        nll=nll(labels, logits) if len(labels) else None,
        mean_confidence=float(confidence.mean()),
        accuracy=float(right.mean()),
        bins=bins,
        ece_interval=interval,
    )


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[ReliabilityBin]:
    """Bins of equally many parts (Nguyen and O'Connor 2015), the least confident first.

    With bins of equal width, one bin would hold nearly all parts of a good model. Equal confidences share a bin.
    """
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, BINS + 1))) if len(confidence) else np.zeros(0)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, max(len(edges) - 2, 0))
    inside = [place == index for index in np.unique(place)]
    return [ReliabilityBin(int(m.sum()), float(confidence[m].mean()), float(right[m].mean())) for m in inside]
