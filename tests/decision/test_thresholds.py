"""Thresholds that keep what they promise, on parts that they were not chosen on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.config.schema import DecisionConfig
from frame_vit.decision.rates import upper_bound
from frame_vit.decision.thresholds import (
    ACCEPT,
    REJECT,
    REVIEW,
    OperatingPoint,
    curve,
    decide,
    operating_point,
    part_weights,
    scores,
    verdicts,
)
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])


def parts(good: int, bad: int, seed: int, apart: float = 3.0) -> tuple[Any, Any]:
    """Labels and scores: log-odds from two normal distributions so far apart."""
    random = np.random.default_rng(seed)
    labels = np.array([0] * good + [1] * bad, np.int64)
    odds = random.normal(np.where(labels == 0, 0.0, apart))
    return labels, 1 / (1 + np.exp(-odds))


def chosen(labels: Any, found: Any, **options: Any) -> OperatingPoint:
    point = operating_point(labels, found, SPACE, DecisionConfig(**options))
    assert point is not None
    return point


def test_scores_are_one_minus_the_probability_of_a_fine_class_and_keep_small_ones() -> None:
    logits = np.array([[0, 0, 0], [60, 0, 0], [-60, 0, 0]], np.float32)
    found = scores(logits, SPACE)
    assert found[0] == pytest.approx(2 / 3)
    assert found[1] == pytest.approx(2 * np.exp(-60))
    assert found[2] == pytest.approx(1)


@pytest.mark.parametrize(("target", "confidence"), [(0.05, 0.95), (0.02, 0.9), (0.1, 0.95)])
def test_the_promise_is_kept_on_fresh_parts_as_often_as_promised(target: float, confidence: float) -> None:
    """The true escape rate below each threshold is known, for the distribution is: a normal one."""
    from scipy.stats import norm

    kept = []
    for seed in range(1500):
        labels, found = parts(60, 300, seed)
        below = chosen(labels, found, max_escape_rate=target, confidence=confidence).accept_below
        true = norm.cdf(np.log(below / (1 - below)) - 3.0)
        kept.append(true <= target)
    slack = 3 * np.sqrt(confidence * (1 - confidence) / len(kept))
    assert np.mean(kept) >= confidence - slack
    assert np.mean(kept) < 1, "with so many parts a promise that is never broken would cost overkill"


def test_as_many_escapes_are_used_as_the_target_allows() -> None:
    labels, found = parts(200, 1000, 0)
    claim = chosen(labels, found, max_escape_rate=0.02).claim
    assert claim.met
    assert claim.bound == upper_bound(claim.escapes, 1000, 0.95)
    assert upper_bound(claim.escapes + 1, 1000, 0.95) > 0.02
    assert claim.escapes == (found[labels == 1] < chosen(labels, found, max_escape_rate=0.02).accept_below).sum()


def test_with_too_few_bad_parts_none_is_accepted_and_the_number_needed_is_said() -> None:
    labels, found = parts(100, 200, 1)
    point = chosen(labels, found, max_escape_rate=0.005)
    assert (point.claim.met, point.claim.escapes, point.claim.needed) == (False, 0, 598)
    assert point.claim.bound == upper_bound(0, 200, 0.95)
    assert point.accept_below <= found[labels == 1].min()


def test_between_parts_that_lie_apart_the_threshold_lies_in_the_middle() -> None:
    labels = np.array([0] * 5 + [1] * 5)
    found = np.array([0.001] * 5 + [0.999] * 5)
    assert chosen(labels, found).accept_below == pytest.approx(0.5)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 2, 1], []])
def test_without_good_or_without_bad_parts_nothing_is_chosen(labels: list[int]) -> None:
    assert operating_point(np.array(labels, np.int64), np.full(len(labels), 0.5), SPACE, DecisionConfig()) is None


@given(st.integers(0, 10**6), st.floats(0, 0.4), st.one_of(st.none(), st.floats(0.01, 0.5)))
@settings(max_examples=60)
def test_the_review_budget_is_used_and_not_exceeded(seed: int, budget: float, bad_share: float | None) -> None:
    labels, found = parts(150, 100, seed, apart=2)
    point = chosen(labels, found, review_budget=budget, bad_share=bad_share)
    good = labels == 0
    weights = part_weights(good, bad_share)
    judged = verdicts(found, point)
    assert weights.sum() == pytest.approx(1)
    assert weights[judged == REVIEW].sum() <= budget + 1e-9
    above = np.sort(found[found >= point.reject_from])
    if len(above):
        one_more = (found >= point.accept_below) & (found <= above[0])
        assert weights[one_more].sum() > budget - 1e-9


def test_equal_scores_are_judged_alike() -> None:
    labels = np.array([0] * 50 + [1] * 50)
    found = np.array([0.1] * 40 + [0.5] * 10 + [0.5] * 10 + [0.9] * 40)
    point = chosen(labels, found, review_budget=0.15)
    judged = verdicts(found, point)
    assert len({*judged[40:60].tolist()}) == 1
    assert (judged[:40] == ACCEPT).all()


def test_a_bound_on_overkill_sets_the_band_instead_of_a_budget() -> None:
    labels, found = parts(1000, 400, 3, apart=2)
    point = chosen(labels, found, max_overkill_rate=0.02)
    judged = verdicts(found, point)
    rejected = int((judged[labels == 0] == REJECT).sum())
    assert upper_bound(rejected, 1000, 0.95) <= 0.02 < upper_bound(rejected + 1, 1000, 0.95)
    assert (judged == REVIEW).mean() > 0.1, "what it costs"
    few = chosen(labels[-430:], found[-430:], max_overkill_rate=0.02)
    assert not (verdicts(found[-430:], few)[labels[-430:] == 0] == REJECT).any()


def test_decisions_follow_the_point_or_else_the_class() -> None:
    logits = np.array([[2, 0, 0], [0.1, 0, 0], [0, 0, 3]], np.float32)
    by_class = decide(logits, SPACE, None)
    assert by_class is not None
    assert by_class.tolist() == [ACCEPT, ACCEPT, REJECT]
    labels, found = parts(100, 100, 0)
    point = chosen(labels, found)
    strict = OperatingPoint(0.3, 0.7, point.claim)
    judged = decide(logits, SPACE, strict)
    assert judged is not None
    assert judged.tolist() == [ACCEPT, REVIEW, REJECT]
    assert decide(logits, LabelSpace.build(["a", "b", "c"]), strict) is None


def test_a_point_survives_being_stored() -> None:
    point = chosen(*parts(100, 100, 0))
    assert OperatingPoint.from_json(point.to_json()) == point


def test_the_curve_goes_from_nothing_accepted_to_nothing_rejected() -> None:
    labels, found = parts(100, 200, 4)
    shares = curve(labels, found, SPACE)
    escape, overkill = np.array(shares["escape"]), np.array(shares["overkill"])
    assert (np.diff(escape) >= 0).all()
    assert (np.diff(overkill) <= 0).all()
    assert (escape[0], overkill[0], escape[-1], overkill[-1]) == (0, 1, 1, 0)
    middle = len(escape) // 2
    at = shares["threshold"][middle]
    assert escape[middle] == pytest.approx((found[labels == 1] < at).mean())
    assert overkill[middle] == pytest.approx((found[labels == 0] >= at).mean())
