"""Thresholds that keep their promise on parts that they were not chosen on, and how they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.config.schema import DecisionConfig
from frame_vit.decision.rates import upper_bound
from frame_vit.decision.thresholds import (
    AnsweredBy,
    Claim,
    OperatingPoint,
    OverkillClaim,
    ThresholdsBasis,
    curve,
    operating_point,
    part_weights,
    promise,
)
from frame_vit.decision.verdicts import Verdict, verdicts
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])


def parts(good: int, bad: int, seed: int, apart: float = 3.0) -> tuple[Any, Any]:
    """Labels and scores: log-odds from two normal distributions so far apart."""
    random = np.random.default_rng(seed)
    labels = np.array([0] * good + [1] * bad, np.int64)
    odds = random.normal(np.where(labels == 0, 0.0, apart))
    return labels, 1 / (1 + np.exp(-odds))


def chosen(labels: Any, scores: Any, **options: Any) -> OperatingPoint:
    point = operating_point(labels, scores, SPACE, DecisionConfig(**options))
    assert point is not None
    return point


@pytest.mark.parametrize(("target", "confidence"), [(0.05, 0.95), (0.02, 0.9), (0.1, 0.95)])
def test_the_promise_is_kept_on_fresh_parts_as_often_as_promised(target: float, confidence: float) -> None:
    """The true escape rate below each threshold is known, for the distribution is: a normal one."""
    from scipy.stats import norm

    kept = []
    for seed in range(1500):
        labels, scores = parts(60, 300, seed)
        below = chosen(labels, scores, max_escape_rate=target, confidence=confidence).accept_below
        true = norm.cdf(np.log(below / (1 - below)) - 3.0)
        kept.append(true <= target)
    slack = 3 * np.sqrt(confidence * (1 - confidence) / len(kept))
    assert np.mean(kept) >= confidence - slack
    assert np.mean(kept) < 1, "with so many parts a promise that is never broken would cost overkill"


def test_as_many_escapes_are_used_as_the_target_allows() -> None:
    labels, scores = parts(200, 1000, 0)
    claim = chosen(labels, scores, max_escape_rate=0.02).claim
    assert claim.met
    assert claim.bound == upper_bound(claim.escapes, 1000, 0.95)
    assert upper_bound(claim.escapes + 1, 1000, 0.95) > 0.02
    assert claim.escapes == (scores[labels == 1] < chosen(labels, scores, max_escape_rate=0.02).accept_below).sum()


def test_with_too_few_bad_parts_none_is_accepted_and_the_number_needed_is_said() -> None:
    labels, scores = parts(100, 200, 1)
    point = chosen(labels, scores, max_escape_rate=0.005)
    assert (point.claim.met, point.claim.escapes, point.claim.needed) == (False, 0, 598)
    assert point.claim.bound == upper_bound(0, 200, 0.95)
    assert point.accept_below <= scores[labels == 1].min()


def test_between_parts_that_lie_apart_the_threshold_lies_in_the_middle() -> None:
    labels = np.array([0] * 5 + [1] * 5)
    scores = np.array([0.001] * 5 + [0.999] * 5)
    assert chosen(labels, scores).accept_below == pytest.approx(0.5)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 2, 1], []])
def test_without_good_or_without_bad_parts_nothing_is_chosen(labels: list[int]) -> None:
    assert operating_point(np.array(labels, np.int64), np.full(len(labels), 0.5), SPACE, DecisionConfig()) is None


@given(st.integers(0, 10**6), st.floats(0, 0.4), st.one_of(st.none(), st.floats(0.01, 0.5)))
@settings(max_examples=60)
def test_the_review_budget_is_used_and_not_exceeded(seed: int, budget: float, bad_share: float | None) -> None:
    labels, scores = parts(150, 100, seed, apart=2)
    point = chosen(labels, scores, review_budget=budget, bad_share=bad_share)
    good = labels == 0
    weights = part_weights(good, bad_share)
    decided = verdicts(scores, point)
    assert weights.sum() == pytest.approx(1)
    assert weights[decided == Verdict.REVIEW].sum() <= budget + 1e-9
    above = np.sort(scores[scores >= point.reject_from])
    if len(above):
        one_more = (scores >= point.accept_below) & (scores <= above[0])
        assert weights[one_more].sum() > budget - 1e-9


def test_equal_scores_are_judged_alike() -> None:
    labels = np.array([0] * 50 + [1] * 50)
    scores = np.array([0.1] * 40 + [0.5] * 10 + [0.5] * 10 + [0.9] * 40)
    point = chosen(labels, scores, review_budget=0.15)
    decided = verdicts(scores, point)
    assert len({*decided[40:60].tolist()}) == 1
    assert (decided[:40] == Verdict.ACCEPT).all()


def test_a_bound_on_overkill_sets_the_band_instead_of_a_budget() -> None:
    labels, scores = parts(1000, 400, 3, apart=2)
    point = chosen(labels, scores, max_overkill_rate=0.02)
    decided = verdicts(scores, point)
    rejected = int((decided[labels == 0] == Verdict.REJECT).sum())
    assert upper_bound(rejected, 1000, 0.95) <= 0.02 < upper_bound(rejected + 1, 1000, 0.95)
    assert (decided == Verdict.REVIEW).mean() > 0.1, "what it costs"
    few = chosen(labels[-430:], scores[-430:], max_overkill_rate=0.02)
    assert not (verdicts(scores[-430:], few)[labels[-430:] == 0] == Verdict.REJECT).any()


def test_a_point_survives_being_stored() -> None:
    point = chosen(*parts(100, 100, 0), max_overkill_rate=0.1, bad_share=0.02)
    assert point.basis.overkill is not None
    assert OperatingPoint.from_json(point.to_json()) == point


STORED = {
    "accept_below": 0.25,
    "reject_from": 0.75,
    "claim": {
        "target": 0.005,
        "confidence": 0.95,
        "n": 598,
        "escapes": 0,
        "bound": 0.0049971,
        "needed": 598,
        "met": True,
    },
    "chosen_on": "calibration",
    "facts": {
        "good": 40,
        "bad": 598,
        "bad_share": None,
        "overkill": {"target": 0.1, "rejected": 1, "bound": 0.113, "needed": 29},
        "pictures": "ab12",
        "views": ["identity", "hflip"],
        "backend": "onnxruntime",
        "precision": "fp32",
    },
}
"""The `decision` of a framevit.json of version 0.5."""
ADDED_LATER = ("overkill", "pictures", "views", "backend", "precision")


def test_the_stored_form_keeps_its_keys_and_their_order() -> None:
    point = OperatingPoint.from_json(STORED)
    assert point.basis.overkill == OverkillClaim(0.1, 1, 0.113, 29)
    assert repr(point.to_json()) == repr(STORED)
    assert point.basis.answered_by("bf16") == AnsweredBy("onnxruntime", "fp32")


@pytest.mark.parametrize("missing", [ADDED_LATER, ("backend",), ("views", "backend")])
def test_a_point_of_an_earlier_version_loads_and_is_stored_as_it_was(missing: tuple[str, ...]) -> None:
    facts: Any = STORED["facts"]
    old = STORED | {"facts": {key: value for key, value in facts.items() if key not in missing}}
    point = OperatingPoint.from_json(old)
    assert repr(point.to_json()) == repr(old)
    assert point.basis.answered_by("fp32").backend == "torch", "there was no other backend"
    assert (point.basis.views is None) == ("views" in missing)


@pytest.mark.parametrize("key", ["accept_below", "claim"])
def test_a_point_without_what_matters_is_refused(key: str) -> None:
    with pytest.raises(KeyError):
        OperatingPoint.from_json({name: value for name, value in STORED.items() if name != key})


def test_the_promise_is_said_with_what_it_takes_to_prove_the_targets() -> None:
    basis = ThresholdsBasis("val", 40, 200)
    few = OperatingPoint(0.1, 0.9, Claim(0.005, 0.95, 200, 0, 0.01487, 598), basis)
    assert promise(few) == (
        "With 95% confidence, at most 1.487% of bad parts are accepted (0 of the 200 bad parts of val are). This does "
        "not prove the target of 0.500%, which takes at least 598 bad parts."
    )
    enough = OperatingPoint(0.1, 0.9, Claim(0.005, 0.95, 598, 0, 0.004997, 598), basis)
    assert promise(enough).endswith("(0 of the 598 bad parts of val are).")


@pytest.mark.parametrize(("bound", "proven"), [(0.05, True), (0.2, False)])
def test_the_promise_names_overkill_where_it_has_a_target(bound: float, proven: bool) -> None:
    overkill = OverkillClaim(0.1, 2, bound, 29)
    claim = Claim(0.005, 0.95, 598, 0, 0.004997, 598)
    said = promise(OperatingPoint(0.1, 0.9, claim, ThresholdsBasis("val", 40, 598, overkill=overkill)))
    assert f"At most {bound:.3%} of good parts are rejected (2 are)." in said
    assert ("takes at least 29 good parts, none of them rejected" in said) != proven


def test_the_curve_goes_from_nothing_accepted_to_nothing_rejected() -> None:
    labels, scores = parts(100, 200, 4)
    thresholds, escape, overkill = curve(labels, scores, SPACE)
    assert (np.diff(escape) >= 0).all()
    assert (np.diff(overkill) <= 0).all()
    assert (escape[0], overkill[0], escape[-1], overkill[-1]) == (0, 1, 1, 0)
    middle = len(escape) // 2
    assert escape[middle] == pytest.approx((scores[labels == 1] < thresholds[middle]).mean())
    assert overkill[middle] == pytest.approx((scores[labels == 0] >= thresholds[middle]).mean())
