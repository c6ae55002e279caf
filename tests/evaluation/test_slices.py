"""Slices, repeatability, and the rows that a person should look at."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.decision.verdicts import Verdict
from frame_vit.evaluation.slices import fleiss_kappa, quartiles, repeatability, rows_to_inspect, slices
from frame_vit.labels import LabelSpace
from tests.evaluation.small import judged_parts, one_hot

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])


def test_a_bad_camera_stands_out_and_a_good_one_does_not() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(600) % 3
    camera = [f"cam{i % 4}" for i in range(600)]
    predicted = labels.copy()
    worse = np.array([c == "cam2" for c in camera]) & (random.random(600) < 0.3)
    predicted[worse] = (labels[worse] + 1) % 3
    verdicts = np.where(predicted == 0, Verdict.ACCEPT, Verdict.REJECT)
    judged = judged_parts(labels, one_hot(predicted), SPACE, verdicts)
    rows = slices(judged, {"slice_by": camera, "size": ["1 x 1"] * 600})
    assert {row.by for row in rows} == {"slice_by"}, "one size is no slice"
    assert [row.value for row in rows if row.stands_out] == ["cam2"]
    bad = next(row for row in rows if row.value == "cam2")
    inside = np.array(camera) == "cam2"
    assert bad.n == 150
    assert bad.accuracy.value == pytest.approx((predicted == labels)[inside].mean())
    assert bad.escape_rate.value == pytest.approx((predicted[inside & (labels != 0)] == 0).mean())
    assert bad.overkill_rate.n == int((inside & (labels == 0)).sum())


def test_chance_alone_seldom_stands_out() -> None:
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        labels = random.integers(0, 3, 200)
        predicted = np.where(random.random(200) < 0.1, (labels + 1) % 3, labels)
        words = {"slice_by": [str(i) for i in random.integers(0, 8, 200)]}
        alarms += any(row.stands_out for row in slices(judged_parts(labels, one_hot(predicted), SPACE), words))
    assert alarms / 200 < 0.1


def test_quartiles_hold_a_quarter_each() -> None:
    words = quartiles(np.arange(100, dtype=np.float32))
    assert sorted(words.count(word) for word in {*words}) == [25, 25, 25, 25]
    assert words[0] == "1: 0 to 24.75"
    assert {*quartiles(np.full(5, 3, np.float32))} == {""}
    assert quartiles(np.zeros(0, np.float32)) == []


def test_fleiss_kappa_of_the_textbook() -> None:
    """Ten subjects, fourteen raters, five categories: kappa 0.210 (Fleiss 1971's method; the usual worked example)."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(np.array([[3, 0], [2, 0]])) == 1.0


def test_several_pictures_of_a_part() -> None:
    parts = ["a", "a", "a", "b", "b", "c", "", ""]
    labels, predicted = np.array([0, 0, 0, 1, 1, 2, 0, 0]), np.array([0, 0, 0, 1, 2, 2, 1, 1])
    verdicts = [Verdict.ACCEPT] * 3 + [Verdict.REJECT, Verdict.REVIEW, Verdict.REJECT] + [Verdict.ACCEPT] * 2
    repeated = repeatability(judged_parts(labels, one_hot(predicted), SPACE, verdicts), parts)
    assert repeated is not None
    assert (repeated.parts, repeated.pictures) == (2, 5)
    assert repeated.alike.value == 0.5
    assert repeated.disagreeing == ["b"]
    assert repeated.decided == repeated.alike
    without = repeatability(judged_parts(labels, one_hot(predicted), SPACE), parts)
    assert without is not None
    assert without.decided is None
    assert repeatability(judged_parts(labels[:3], one_hot(predicted[:3]), SPACE), ["a", "b", ""]) is None


def test_what_is_worth_a_look_is_listed_in_order() -> None:
    probabilities = np.array(
        [[0.9, 0.05, 0.05], [0.02, 0.96, 0.02], [0.4, 0.35, 0.25], [0.8, 0.1, 0.1], [0.05, 0.05, 0.9], [0.1, 0.8, 0.1]]
    )
    labels = np.array([0, 0, 0, 0, 2, 1])
    inspect = rows_to_inspect(judged_parts(labels, np.log(probabilities).astype(np.float32), SPACE))
    assert inspect.mistakes == [1]
    assert inspect.unsure[0] == 2
    assert inspect.suspects == [1]
    assert inspect.escaped is None, "there are no verdicts"


def test_escapes_and_overkill_are_listed_from_the_threshold_on() -> None:
    bad = np.array([0.1, 0.3, 0.2, 0.9, 0.7, 0.8])
    logits = np.log(np.stack([1 - bad, bad / 2, bad / 2], axis=1)).astype(np.float32)
    verdicts = np.where(bad < 0.5, Verdict.ACCEPT, Verdict.REJECT)
    inspect = rows_to_inspect(judged_parts([1, 1, 2, 0, 0, 0], logits, SPACE, verdicts))
    assert (inspect.escaped, inspect.scrapped) == ([1, 2, 0], [4, 5, 3])


def test_planted_wrong_labels_are_suspects() -> None:
    random = np.random.default_rng(0)
    true = np.arange(300) % 3
    logits = (np.eye(3)[true] * 4 + random.normal(0, 0.7, (300, 3))).astype(np.float32)
    labels = true.copy()
    planted = set(range(0, 300, 10))
    labels[sorted(planted)] = (true[sorted(planted)] + 1) % 3
    suspects = {*rows_to_inspect(judged_parts(labels, logits, SPACE)).suspects}
    assert len(suspects & planted) > 15
    assert len(suspects & planted) > 0.8 * len(suspects)
