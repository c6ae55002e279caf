"""Temperature scaling and calibration error, by simulation and worked examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from frame_vit.decision.rates import softmax
from frame_vit.decision.temperature import calibration, fit_temperature, nll, reliability


def answers(n: int, temperature: float, seed: int = 0) -> tuple[Any, Any]:
    """Labels drawn by the probabilities of calibrated logits, which are then made so many times surer."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n, 5)).astype(np.float32)
    labels = np.array([random.choice(5, p=p / p.sum()) for p in softmax(logits.astype(np.float64))])
    return labels, logits * np.float32(temperature)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_spoilt_the_answers_is_found(temperature: float) -> None:
    labels, logits = answers(4000, temperature)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.08)


def test_calibration_error_is_small_after_and_not_before() -> None:
    labels, logits = answers(4000, 3.0)
    fitted = fit_temperature(labels, logits)
    measured = calibration(labels, (logits / fitted).astype(np.float32), fitted)
    before, after = measured.before, measured.after
    assert measured.temperature == fitted
    assert before.ece > 0.1
    assert after.ece < 0.04
    assert before.nll is not None
    assert after.nll is not None
    assert after.nll < before.nll
    assert before.accuracy == after.accuracy
    assert before.nll == pytest.approx(nll(labels, logits), rel=1e-5)


def test_answers_that_are_all_right_are_not_made_infinitely_sure() -> None:
    labels = np.arange(50) % 5
    logits = np.eye(5, dtype=np.float32)[labels] * 5
    assert 0.3 < fit_temperature(labels, logits) < 3
    assert fit_temperature(labels[:0], logits[:0]) == 1.0


def test_reliability_bins_hold_equally_many_and_say_how_often_right() -> None:
    """Hand-counted: 30 parts, surer by the row, of which the first 15 are wrong."""
    confidence = np.linspace(0.4, 0.98, 30)
    rows = reliability(confidence, np.arange(30) >= 15)
    assert [row.n for row in rows] == [2] * 15
    assert [row.accuracy for row in rows] == [0] * 7 + [0.5] + [1] * 7
    assert rows[0].confidence == pytest.approx(confidence[:2].mean())
    (same,) = reliability(np.full(10, 0.7), np.arange(10) < 6)
    assert (same.n, same.accuracy) == (10, 0.6)
    assert same.confidence == pytest.approx(0.7)


def test_the_error_of_calibrated_answers_may_be_chance_and_that_of_others_not() -> None:
    labels, logits = answers(2000, 3.0)
    measured = calibration(labels, (logits / np.float32(3)).astype(np.float32), 3.0)
    for error in (measured.before, measured.after):
        assert error.ece_interval.value == error.ece
        assert error.ece_interval.low <= error.ece <= error.ece_interval.high
        assert error.ece_interval.n == 2000
    assert measured.after.ece_interval.low == 0
    assert measured.before.ece_interval.low > 0.05


def test_calibration_error_of_a_worked_example() -> None:
    """Ten answers, 0.7 sure, six right: the error is 0.1."""
    logits = np.log(np.array([[0.7, 0.3]] * 10, np.float32))
    measured = calibration(np.array([0] * 6 + [1] * 4), logits, 1.0)
    assert measured.after.ece == pytest.approx(0.1, abs=1e-6)
