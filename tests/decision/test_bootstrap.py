"""Bootstrap intervals: the scores are scikit-learn's, and the intervals cover a known truth by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

from frame_vit.decision import bootstrap
from frame_vit.decision.bootstrap import agreement, error_interval
from frame_vit.decision.rates import Rate

SETS = 1000


def truth(shares: list[float], recall: list[float], seed: int = 1) -> Any:
    """The probability of every cell, (C, C): classes as frequent and as often right, mistakes spread at random."""
    random, classes = np.random.default_rng(seed), len(shares)
    rows = [np.insert((1 - of) * random.dirichlet(np.ones(classes - 1)), i, of) for i, of in enumerate(recall)]
    return np.array(rows) * np.array(shares)[:, None]


def scores_of(cells: Any) -> tuple[float, float]:
    """Macro-F1 and kappa by their definitions, of the probability or the number of parts in every cell."""
    cells = cells / cells.sum()
    true, predicted, right = cells.sum(axis=1), cells.sum(axis=0), np.diagonal(cells)
    chance = float(true @ predicted)
    return float((2 * right / (true + predicted)).mean()), (float(right.sum()) - chance) / (1 - chance)


BALANCED, SKEWED = [0.2] * 5, [0.8, 0.05, 0.05, 0.05, 0.05]


@pytest.mark.parametrize(
    ("shares", "recall", "n"),
    [
        (BALANCED, [0.9] * 5, 200),
        (BALANCED, [0.98] * 5, 60),
        (BALANCED, [0.996] * 5, 500),
        (SKEWED, [0.998, 0.98, 0.98, 0.98, 0.98], 500),
        (SKEWED, [0.999, 0.99, 0.99, 0.99, 0.7], 200),
    ],
    ids=["balanced", "few parts", "few mistakes", "skewed", "one hard class"],
)
def test_intervals_of_macro_f1_and_kappa_cover_the_truth(
    shares: list[float], recall: list[float], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand test sets each. A plain percentile bootstrap covers 70 in 100 of few parts, 87 of few mistakes."""
    monkeypatch.setattr(bootstrap, "MOST_DRAWS", 500)
    cells = truth(shares, recall)
    random, covered = np.random.default_rng(n), np.zeros((SETS, 2), bool)
    for row in covered:
        found = agreement(random.multinomial(n, cells.ravel()).reshape(cells.shape))
        ends = found.macro_f1_interval, found.kappa
        row[:] = [of.low <= true <= of.high for of, true in zip(ends, scores_of(cells), strict=True)]
    assert (covered.mean(axis=0) >= 0.93).all(), covered.mean(axis=0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60))
@settings(deadline=None, max_examples=60)
def test_the_scores_are_those_of_scikit_learn_and_lie_in_their_intervals(parts: list[tuple[int, int]]) -> None:
    true, predicted = map(list, zip(*parts, strict=True))
    matrix = np.zeros((4, 4), np.int64)
    np.add.at(matrix, (true, predicted), 1)
    found = agreement(matrix)
    f1, kappa = found.macro_f1_interval, found.kappa
    assert f1.value == pytest.approx(f1_score(true, predicted, average="macro"))
    assert f1.value is not None
    assert 0 <= f1.low <= f1.value <= f1.high <= 1 + 1e-12
    assert f1.n == kappa.n == len(parts)
    if len({*true, *predicted}) == 1:
        assert kappa.value is None
    else:
        assert kappa.value == pytest.approx(cohen_kappa_score(true, predicted))
        assert kappa.value is not None
        assert -1 <= kappa.low <= kappa.value <= kappa.high <= 1 + 1e-12


def test_the_same_counts_have_the_same_interval() -> None:
    matrix = [[90, 10], [5, 95]]
    assert agreement(matrix) == agreement(matrix)
    bins = np.array([50.0, 50.0]), np.array([0.7, 0.9]), np.array([0.6, 0.92])
    assert error_interval(*bins) == error_interval(*bins)


def test_without_a_mistake_the_lower_end_is_near_that_of_the_exact_interval() -> None:
    """After 500 right answers, the exact lower end of the accuracy is 0.9926."""
    found = agreement(np.diag([100] * 5))
    assert (found.macro_f1_interval.value, found.macro_f1_interval.high) == (1, 1)
    assert 0.988 < found.macro_f1_interval.low < 0.996
    assert 0.985 < found.kappa.low < 0.996


def test_without_a_right_answer_the_upper_end_is_not_zero() -> None:
    found = agreement([[0, 20], [20, 0]]).macro_f1_interval
    assert (found.value, found.low) == (0, 0)
    assert 0.05 < found.high < 0.3


def test_where_all_parts_have_one_class_kappa_is_not_defined() -> None:
    assert agreement([[7, 0], [0, 0]]).kappa == Rate(None, -1.0, 1.0, 7)
    assert agreement([[0, 0], [0, 0]]).macro_f1_interval == Rate(None, 0.0, 1.0, 0)


def test_the_work_is_bounded_by_the_counts_that_are_drawn_and_not_by_the_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[int] = []
    sums = bootstrap._Cells.sums

    def counted(self: Any, counts: Any) -> Any:
        drawn.append(counts.size)
        return sums(self, counts)

    monkeypatch.setattr(bootstrap._Cells, "sums", counted)
    agreement(np.full((5, 5), 1_000_000))
    assert max(drawn) == 25 * bootstrap.MOST_DRAWS
    agreement(np.ones((60, 60), np.int64))
    assert max(drawn) <= bootstrap.COUNTS_DRAWN


@pytest.mark.parametrize("off", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("n", [150, 1500])
def test_the_interval_of_the_calibration_error_covers_it_and_reaches_zero_where_the_model_is_calibrated(
    off: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that are right as often as they are sure, or less often by a constant."""
    monkeypatch.setattr(bootstrap, "MOST_DRAWS", 300)
    confidence = np.linspace(0.55, 0.99, 15)
    counts = np.full(15, n / 15)
    random, covered, value = np.random.default_rng(n), [], []
    for _ in range(SETS):
        accuracy = random.binomial(n // 15, confidence - off) / counts
        found = error_interval(counts, confidence, accuracy)
        covered.append(found.low - 1e-12 <= off <= found.high)
        value.append(found.value or 0.0)
    assert np.mean(covered) >= 0.95
    assert np.mean(value) > off, "chance only adds to the error, so the plain value is too large"


def test_of_no_parts_there_is_no_calibration_error() -> None:
    nothing = np.zeros(0)
    assert error_interval(nothing, nothing, nothing) == Rate(None, 0.0, 1.0, 0)


def test_in_json_an_estimate_has_the_keys_of_a_rate() -> None:
    assert Rate(0.5, 0.25, 0.75, 8).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}
