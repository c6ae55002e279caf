"""Scores, and what is decided on them."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.decision.rates import UNDEFINED
from frame_vit.decision.thresholds import Claim, OperatingPoint
from frame_vit.decision.verdicts import Verdict, decide, scores, verdict_rate, verdicts
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])
POINT = OperatingPoint(0.3, 0.7, Claim(0.01, 0.95, 300, 0, 0.0099, 299))
ACCEPT, REVIEW, REJECT = Verdict


def test_scores_are_one_minus_the_probability_of_a_fine_class_and_keep_small_ones() -> None:
    logits = np.array([[0, 0, 0], [60, 0, 0], [-60, 0, 0]], np.float32)
    bad = scores(logits, SPACE)
    assert bad[0] == pytest.approx(2 / 3)
    assert bad[1] == pytest.approx(2 * np.exp(-60))
    assert bad[2] == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 9, 40])
def test_a_picture_has_the_same_score_alone_and_among_others(classes: int) -> None:
    """To the last bit: a threshold may lie exactly on a score."""
    space = LabelSpace.build([f"c{i}" for i in range(classes)], ["c0"])
    logits = np.random.default_rng(classes).normal(0, 3, (50, classes)).astype(np.float32)
    together = scores(logits, space)
    assert together.tolist() == [float(scores(row[None], space)[0]) for row in logits]


def test_where_every_class_is_fine_no_part_is_bad() -> None:
    assert scores(np.zeros((2, 2), np.float32), LabelSpace.build(["a", "b"], ["a", "b"])).tolist() == [0, 0]


def test_a_score_on_a_threshold_is_not_below_it() -> None:
    assert verdicts(np.array([0.29, 0.3, 0.69, 0.7]), POINT).tolist() == [ACCEPT, REVIEW, REVIEW, REJECT]


def test_decisions_follow_the_point_or_else_the_class() -> None:
    logits = np.array([[2, 0, 0], [0.1, 0, 0], [0, 0, 3]], np.float32)
    by_class, by_point = decide(logits, SPACE, None), decide(logits, SPACE, POINT)
    assert by_class is not None
    assert by_class.tolist() == [ACCEPT, ACCEPT, REJECT]
    assert by_point is not None
    assert by_point.tolist() == [ACCEPT, REVIEW, REJECT]
    assert decide(logits, LabelSpace.build(["a", "b", "c"]), POINT) is None


@pytest.mark.parametrize("point", [None, POINT])
def test_what_must_be_reviewed_is_neither_accepted_nor_rejected(point: OperatingPoint | None) -> None:
    logits = np.array([[9, 0, 0], [9, 0, 0], [0, 9, 0]], np.float32)
    judged = decide(logits, SPACE, point, np.array([True, False, True]))
    assert judged is not None
    assert judged.tolist() == [REVIEW, ACCEPT, REVIEW]


def test_the_rate_of_a_verdict_is_that_among_the_marked_parts() -> None:
    judged = np.array([ACCEPT, REJECT, REJECT, REVIEW], np.int8)
    share = verdict_rate(judged, REJECT, np.array([True, True, False, True]))
    assert share.value == pytest.approx(1 / 3)
    assert share.n == 3
    assert verdict_rate(None, REJECT, np.ones(4, bool)) == UNDEFINED


def test_verdicts_are_spelt_as_rows_spell_them() -> None:
    assert [verdict.word for verdict in Verdict] == ["accept", "review", "reject"]
