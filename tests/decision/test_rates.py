"""Shares of few parts: worked examples, and intervals that cover what they claim."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.decision.rates import UNDEFINED, Rate, parts_needed, rate, softmax, upper_bound


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


def test_the_bound_of_everything_is_everything() -> None:
    assert upper_bound(5, 5, 0.95) == upper_bound(0, 0, 0.95) == 1.0


def test_softmax_of_large_logits_is_finite() -> None:
    assert np.allclose(softmax(np.array([[1e4, 0.0, 1e4]], np.float32)), [[0.5, 0.0, 0.5]])
