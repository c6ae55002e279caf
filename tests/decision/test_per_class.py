"""The target in every defect class at once: jointly proven, and what is missing is said by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, norm

from frame_vit.config.schema import DecisionConfig
from frame_vit.decision.json_values import JsonObject
from frame_vit.decision.per_class import (
    ClassClaim,
    claims,
    confidence_in_each,
    highest_threshold,
    said_of_classes,
)
from frame_vit.decision.rates import parts_needed, upper_bound
from frame_vit.decision.thresholds import OperatingPoint, operating_point, promise
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right", "torn.off"], ["ok"])
APART = np.array([0.0, 3.0, 3.5, 2.2])
"""By class, the mean log-odds of being bad; the standard deviation is 1."""


def parts(counts: list[int], seed: int) -> tuple[Any, Any]:
    """Labels and scores of so many parts of each class."""
    labels = np.repeat(np.arange(4), counts)
    odds = np.random.default_rng(seed).normal(APART[labels])
    return labels, 1 / (1 + np.exp(-odds))


def chosen(counts: list[int], seed: int = 0, **options: Any) -> OperatingPoint:
    config = DecisionConfig(**({"per_class": True, "max_escape_rate": 0.05} | options))
    point = operating_point(*parts(counts, seed), SPACE, config)
    assert point is not None
    return point


def true_escapes(point: OperatingPoint) -> Any:
    """The share of all parts of each defect class below the threshold, (3,)."""
    below = point.accept_below
    return norm.cdf(np.log(below / (1 - below)) - APART[1:])


@pytest.mark.parametrize(("counts", "confidence"), [([60, 300, 300, 300], 0.9), ([60, 500, 80, 200], 0.8)])
def test_the_joint_claim_is_broken_no_more_often_than_promised(counts: list[int], confidence: float) -> None:
    """A thousand models whose true escape rates are known; `most` is what 1 - confidence gives 999 times in 1,000."""
    over_target, over_bound, models = 0, 0, 1000
    for seed in range(models):
        point = chosen(counts, seed, confidence=confidence)
        assert point.basis.per_class is not None
        true = true_escapes(point)
        over_target += bool((true > 0.05).any())
        over_bound += bool((true > [claim.bound for claim in point.basis.per_class.values()]).any())
    most = binom.ppf(0.999, models, 1 - confidence)
    assert 0 < over_target <= most, over_target
    assert 0 < over_bound <= most, over_bound


def test_a_target_for_all_bad_parts_as_one_says_nothing_of_a_rare_class() -> None:
    """One bad part in forty is of the class that is hard to tell from good ones."""
    counts, escaped = [200, 1000, 1000, 50], []
    for each in (False, True):
        points = [chosen(counts, seed, per_class=each, max_escape_rate=0.1) for seed in range(40)]
        escaped.append(float(np.mean([true_escapes(point)[2] > 0.1 for point in points])))
    assert escaped[0] == 1
    assert escaped[1] <= 0.05


def test_the_threshold_is_the_smallest_of_the_classes_and_uses_what_the_target_allows() -> None:
    labels, scores = parts([200, 400, 400, 400], 5)
    bad = {name: np.sort(scores[labels == i]) for i, name in enumerate(SPACE.names) if i}
    whole = highest_threshold(bad, 0.05, 0.95)
    each = confidence_in_each(0.95, 3)
    alone = [highest_threshold({name: own}, 0.05, each) for name, own in bad.items()]
    assert whole == min(alone)
    assert each == pytest.approx(1 - 0.05 / 3)
    found = claims(bad, whole, 0.05, 0.95)
    worst = max(found.values(), key=lambda claim: claim.bound)
    assert worst.bound <= 0.05 < upper_bound(worst.escapes + 1, 400, each)
    assert all(claim.needed == parts_needed(0.05, each) and not claim.missing for claim in found.values())


def test_with_one_defect_class_nothing_changes() -> None:
    space = LabelSpace.build(["ok", "bad"], ["ok"])
    labels, scores = parts([100, 300, 0, 0], 3)
    points = [
        operating_point(labels, scores, space, DecisionConfig(max_escape_rate=0.03, per_class=each))
        for each in (False, True)
    ]
    assert points[0] is not None
    assert points[1] is not None
    assert points[0].claim == points[1].claim
    assert points[0].accept_below == points[1].accept_below


def test_a_class_with_too_few_parts_lets_none_of_them_pass_and_is_named_with_what_is_missing() -> None:
    point = chosen([100, 400, 400, 30])
    of_each = point.basis.per_class
    assert of_each is not None
    assert not point.claim.met
    assert of_each["torn.off"].escapes == 0
    assert (of_each["torn.off"].n, of_each["torn.off"].needed, of_each["torn.off"].missing) == (30, 80, 50)
    assert point.claim.bound == of_each["torn.off"].bound == upper_bound(0, 30, 1 - 0.05 / 3)
    assert point.claim.needed == 240
    said = promise(point)
    assert said.endswith(
        "This does not prove the target of 5.000% in every class, which takes at least 80 parts of each: 50 more of "
        "torn.off."
    )
    assert said.startswith("With 95% confidence for all 3 defect classes together, at most ")
    assert f"{of_each['left'].bound:.3%} of left ({of_each['left'].escapes} of 400), " in said


def test_of_a_class_without_parts_nothing_is_claimed_and_the_others_decide() -> None:
    labels, scores = parts([100, 400, 400, 0], 2)
    point = chosen([100, 400, 400, 0], 2)
    of_each = point.basis.per_class
    assert of_each is not None
    assert of_each["torn.off"] == ClassClaim(0, 0, 1.0, 80)
    assert not point.claim.met
    assert point.claim.bound == 1
    others = {name: np.sort(scores[labels == i]) for i, name in ((1, "left"), (2, "right"))} | {"none": np.zeros(0)}
    assert 0 < point.accept_below <= highest_threshold(others, 0.05, 0.95)
    assert (scores[labels == 0] < point.accept_below).any(), "good parts are still accepted"
    said = promise(point)
    assert "Nothing can be claimed for torn.off, because" in said
    assert said.endswith("80 more of torn.off.")


def test_it_is_proven_in_every_class_where_all_have_enough_parts() -> None:
    said = promise(chosen([100, 400, 400, 400]))
    assert "does not prove" not in said
    assert "Nothing" not in said
    found = {"a": ClassClaim(598, 0, 0.004997, 598)}
    assert said_of_classes(found, 0.005, 0.95, "val") == (
        "With 95% confidence, at most 0.500% of a (0 of 598) are accepted; in brackets, the parts of val."
    )


def test_a_point_with_claims_by_class_survives_being_stored() -> None:
    point = chosen([100, 400, 400, 0], max_overkill_rate=0.1)
    stored = point.to_json()
    assert OperatingPoint.from_json(stored) == point
    assert list(stored["facts"]["per_class"]) == ["left", "right", "torn.off"]
    assert stored["facts"]["per_class"]["torn.off"] == {"n": 0, "escapes": 0, "bound": 1.0, "needed": 80}
    assert "per_class" not in chosen([100, 400, 400, 0], per_class=False).to_json()["facts"]


@pytest.mark.parametrize(
    "damaged",
    [{"escapes": 3}, {"bound": 1.5}, {"n": -1}, {"bound": None}, {"more": 1}],
)
def test_a_damaged_claim_is_refused(damaged: dict[str, Any]) -> None:
    stored = {"n": 2, "escapes": 0, "bound": 0.9, "needed": 80}
    ClassClaim.from_json(JsonObject(stored, "left"))
    with pytest.raises((KeyError, ValueError), match=r"left"):
        ClassClaim.from_json(JsonObject(stored | damaged, "left"))
