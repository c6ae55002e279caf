"""Slices, repeatability and rows worth a look."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.decision.thresholds import ACCEPT, REJECT
from frame_vit.evaluation.slices import fleiss_kappa, quartiles, repeatability, slices, worth_a_look
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])


def test_a_bad_camera_stands_out_and_a_good_one_does_not() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(600) % 3
    camera = [f"cam{i % 4}" for i in range(600)]
    predicted = labels.copy()
    worse = np.array([c == "cam2" for c in camera]) & (random.random(600) < 0.3)
    predicted[worse] = (labels[worse] + 1) % 3
    judged = np.where(predicted == 0, ACCEPT, REJECT).astype(np.int8)
    found = slices({"slice_by": camera, "size": ["1 x 1"] * 600}, labels, predicted, judged, SPACE)
    assert {row["by"] for row in found} == {"slice_by"}, "one size is no slice"
    assert [row["value"] for row in found if row["stands_out"]] == ["cam2"]
    bad = next(row for row in found if row["value"] == "cam2")
    there = np.array(camera) == "cam2"
    assert bad["n"] == 150
    assert bad["accuracy"]["value"] == pytest.approx((predicted == labels)[there].mean())
    assert bad["escape_rate"]["value"] == pytest.approx((predicted[there & (labels != 0)] == 0).mean())
    assert bad["overkill_rate"]["n"] == int((there & (labels == 0)).sum())


def test_chance_alone_seldom_stands_out() -> None:
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        labels = random.integers(0, 3, 200)
        predicted = np.where(random.random(200) < 0.1, (labels + 1) % 3, labels)
        words = {"slice_by": [str(i) for i in random.integers(0, 8, 200)]}
        alarms += any(row["stands_out"] for row in slices(words, labels, predicted, None, SPACE))
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
    judged = np.array([0, 0, 0, 2, 1, 2, 0, 0], np.int8)
    found = repeatability(parts, labels, predicted, judged, SPACE)
    assert found is not None
    assert (found["parts"], found["pictures"]) == (2, 5)
    assert found["alike"]["value"] == 0.5
    assert found["unlike"] == ["b"]
    assert found["decided"] == found["alike"]
    assert repeatability(["a", "b", ""], labels[:3], predicted[:3], None, SPACE) is None


def test_what_is_worth_a_look_is_listed_the_worst_first() -> None:
    probabilities = np.array(
        [[0.9, 0.05, 0.05], [0.02, 0.96, 0.02], [0.4, 0.35, 0.25], [0.8, 0.1, 0.1], [0.05, 0.05, 0.9], [0.1, 0.8, 0.1]]
    )
    labels = np.array([0, 0, 0, 0, 2, 1])
    found = worth_a_look(labels, np.log(probabilities).astype(np.float32))
    assert found["mistakes"] == [1]
    assert found["unsure"][0] == 2
    assert found["suspects"] == [1]


def test_planted_wrong_labels_are_suspects() -> None:
    random = np.random.default_rng(0)
    true = np.arange(300) % 3
    logits = (np.eye(3)[true] * 4 + random.normal(0, 0.7, (300, 3))).astype(np.float32)
    labels = true.copy()
    planted = set(range(0, 300, 10))
    labels[sorted(planted)] = (true[sorted(planted)] + 1) % 3
    suspects = {*worth_a_look(labels, logits)["suspects"]}
    assert len(suspects & planted) > 15
    assert len(suspects & planted) > 0.8 * len(suspects)
