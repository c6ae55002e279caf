"""Shares of few parts: worked examples, and intervals that cover what they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from frame_vit.decision.rates import (
    UNDEFINED,
    Rate,
    hits_allowed,
    parts_needed,
    rate,
    rates,
    softmax,
    upper_bound,
)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_exact_intervals_are_those_of_newcombe(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 5 (Clopper and Pearson)."""
    share = rate(hits, n)
    assert (share.value, share.n) == (hits / n, n)
    assert share.low == pytest.approx(low, abs=5e-5)
    assert share.high == pytest.approx(high, abs=5e-5)


def test_a_share_of_nothing_is_undefined() -> None:
    assert rate(0, 0) == UNDEFINED == Rate(None, 0.0, 1.0, 0)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (3, 7), (0, 400), (400, 400), (1, 400), (399, 400)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9875])
def test_intervals_are_those_of_scipy(hits: int, n: int, confidence: float) -> None:
    ends = binomtest(hits, n).proportion_ci(confidence, method="exact")
    share = rate(hits, n, confidence)
    assert (share.low, share.high) == pytest.approx((ends.low, ends.high), abs=1e-9)


def test_many_rates_at_once_are_the_same_one_by_one() -> None:
    hits, n = [0, 3, 0, 400, 17], [0, 7, 400, 400, 60]
    assert rates(hits, n) == [rate(*each) for each in zip(hits, n, strict=True)]
    assert rates(hits, n)[0] == UNDEFINED
    assert rates([], []) == []


def test_in_json_a_rate_is_an_object_with_four_keys() -> None:
    assert list(rate(1, 4).to_json()) == ["value", "low", "high", "n"]
    assert UNDEFINED.to_json() == {"value": None, "low": 0.0, "high": 1.0, "n": 0}


@pytest.mark.parametrize(("p", "n"), [(0.005, 400), (0.02, 300), (0.1, 60), (0.5, 20)])
def test_intervals_cover_what_they_claim(p: float, n: int) -> None:
    hits = np.random.default_rng(0).binomial(n, p, 4000)
    covers = {k: rate(k, n).low <= p <= rate(k, n).high for k in {*hits.tolist()}}
    assert np.mean([covers[k] for k in hits.tolist()]) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 4000)
    bounds = {k: upper_bound(k, n, 0.95) for k in {*hits.tolist()}}
    assert np.mean([bounds[k] >= p for k in hits.tolist()]) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize(("target", "needed"), [(0.01, 299), (0.005, 598), (0.001, 2995)])
def test_how_many_parts_it_takes(target: float, needed: int) -> None:
    assert parts_needed(target, 0.95) == needed
    assert upper_bound(0, needed, 0.95) <= target < upper_bound(0, needed - 1, 0.95)


@pytest.mark.parametrize(("n", "target", "confidence"), [(598, 0.005, 0.95), (1000, 0.02, 0.95), (100, 0.1, 0.99)])
def test_one_hit_more_than_allowed_breaks_the_target(n: int, target: float, confidence: float) -> None:
    allowed = hits_allowed(n, target, confidence)
    assert upper_bound(allowed, n, confidence) <= target < upper_bound(allowed + 1, n, confidence)


def test_with_too_few_parts_not_even_zero_hits_are_allowed() -> None:
    assert (hits_allowed(597, 0.005, 0.95), hits_allowed(598, 0.005, 0.95), hits_allowed(0, 0.5, 0.95)) == (-1, 0, -1)


def test_the_bound_of_everything_is_everything() -> None:
    assert upper_bound(5, 5, 0.95) == upper_bound(0, 0, 0.95) == 1.0


def test_softmax_of_large_logits_is_finite() -> None:
    assert np.allclose(softmax(np.array([[1e4, 0.0, 1e4]], np.float32)), [[0.5, 0.0, 0.5]])
