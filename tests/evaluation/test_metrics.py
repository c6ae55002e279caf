"""Scores against worked examples, and the JSON form of all metrics."""

from __future__ import annotations

import json

import numpy as np
import pytest

from frame_vit.decision.rates import UNDEFINED, rate
from frame_vit.decision.verdicts import Verdict
from frame_vit.evaluation.metrics import ClassScores, augmentation_metrics, score, score_judged
from frame_vit.labels import LabelSpace
from tests.evaluation.small import judged_parts, one_hot, small_evaluation

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"], {"hflip": {"left": "right", "right": "left"}})


def test_escape_is_bad_accepted_and_overkill_is_good_rejected() -> None:
    scores = score(np.array([0, 0, 0, 0, 1, 1, 2, 2, 2]), one_hot([0, 0, 0, 1, 1, 0, 2, 1, 0]), SPACE)
    assert scores.escape_rate.value == pytest.approx(2 / 5)
    assert scores.overkill_rate.value == pytest.approx(1 / 4)
    assert scores.accuracy == scores.accuracy_interval.value == pytest.approx(5 / 9)
    assert scores.confusion_matrix == [[3, 1, 0], [1, 1, 0], [1, 1, 1]]
    left = scores.per_class["left"]
    assert (left.precision, left.recall, left.f1) == pytest.approx((1 / 3, 1 / 2, 0.4))
    assert left.support == 2


def test_verdicts_decide_instead_of_the_class_where_there_are_any() -> None:
    verdicts = [Verdict.REVIEW, Verdict.REJECT, Verdict.ACCEPT, Verdict.REVIEW]
    judged = judged_parts([0, 0, 1, 1], one_hot([0, 0, 1, 1]), SPACE, verdicts)
    scores = score_judged(judged)
    assert (scores.escape_rate.value, scores.overkill_rate.value, scores.review_rate.value) == (0.5, 0.5, 0.5)
    by_class = score(judged.labels, judged.logits, SPACE)
    assert (by_class.escape_rate.value, by_class.overkill_rate.value, by_class.review_rate.value) == (0, 0, 0)


def test_without_fine_classes_escape_and_overkill_are_not_defined() -> None:
    scores = score(np.array([0, 1]), one_hot([0, 1]), LabelSpace.build(["a", "b", "c"]))
    assert scores.escape_rate == scores.overkill_rate == scores.review_rate == UNDEFINED


def test_a_class_that_does_not_occur_does_not_count_and_is_not_zero() -> None:
    scores = score(np.array([0, 0, 1]), one_hot([0, 0, 1]), SPACE)
    assert scores.macro_f1 == 1.0
    assert scores.per_class["right"] == ClassScores(None, None, None, 0)


def test_a_class_never_predicted_counts_as_zero_f1() -> None:
    assert score(np.array([0, 1]), one_hot([0, 0]), SPACE).macro_f1 == pytest.approx((2 / 3 + 0) / 2)


def test_precision_and_recall_have_their_intervals() -> None:
    scores = score(np.array([0, 0, 0, 0, 1, 1, 2, 2, 2]), one_hot([0, 0, 0, 1, 1, 0, 2, 1, 0]), SPACE)
    left = scores.per_class["left"]
    assert (left.precision_rate, left.recall_rate) == (rate(1, 3), rate(1, 2))
    assert (left.precision_rate.value, left.recall_rate.value) == (left.precision, left.recall)


def test_intervals_of_precision_and_recall_cover_the_truth() -> None:
    """A thousand test sets of 150 parts, drawn from a known distribution of true and predicted classes."""
    truth = np.array([[0.48, 0.015, 0.005], [0.01, 0.285, 0.005], [0.002, 0.018, 0.18]])
    precision, recall = np.diagonal(truth) / truth.sum(axis=0), np.diagonal(truth) / truth.sum(axis=1)
    random, covered = np.random.default_rng(0), np.zeros((1000, 6), bool)
    for row in covered:
        labels, called = np.divmod(random.choice(9, 150, p=truth.ravel()), 3)
        found = score(labels, one_hot(called), SPACE).per_class.values()
        ends = [(of.precision_rate, of.recall_rate) for of in found]
        wanted = zip([end for pair in ends for end in pair], np.stack([precision, recall], 1).ravel(), strict=True)
        row[:] = [end.low <= true <= end.high for end, true in wanted]
    assert (covered.mean(axis=0) >= 0.95).all(), covered.mean(axis=0)


def test_escapes_are_counted_by_class() -> None:
    verdicts = [Verdict.ACCEPT, Verdict.ACCEPT, Verdict.REJECT, Verdict.REVIEW, Verdict.ACCEPT]
    judged = judged_parts([0, 1, 1, 1, 0], one_hot([0, 1, 1, 1, 0]), SPACE, verdicts)
    scores = score_judged(judged)
    assert scores.escape_by_class == {"left": rate(1, 3), "right": UNDEFINED}
    assert scores.escape_rate == rate(1, 3)
    assert score(np.array([0, 1]), one_hot([0, 1]), LabelSpace.build(["a", "b", "c"])).escape_by_class == dict.fromkeys(
        "abc", UNDEFINED
    )


def test_test_time_augmentation_is_compared_with_the_untouched_picture() -> None:
    """The untouched picture is wrong on the second part, the average is right."""
    averaged = judged_parts([0, 1], np.array([[2, 0, 0], [0, 2, 1]], np.float32), SPACE)
    single = judged_parts([0, 1], one_hot([0, 2]), SPACE)
    both = type(averaged)(**{**averaged.__dict__, "single_logits": single.logits})
    tta = augmentation_metrics(both, ["identity", "hflip"], asked=1.25, declared=2)
    assert tta.views_per_picture == 1.25
    assert tta.used is True
    assert tta.with_tta is not None
    assert tta.with_tta.accuracy == score_judged(both).accuracy == 1.0
    assert tta.without_tta.accuracy == 0.5
    alone = augmentation_metrics(single, ["identity"], asked=1, declared=2)
    assert (alone.used, alone.with_tta, alone.without_tta.accuracy) == (False, None, 0.5)


KEYS = [
    "split", "n", "labels", "confusion_matrix", "accuracy", "accuracy_interval", "macro_f1", "escape_rate",
    "overkill_rate", "review_rate", "per_class", "escape_by_class", "macro_f1_interval", "kappa", "tta", "device",
    "precision", "backend", "unlike", "decision", "calibration", "directions", "slices", "repeatability", "suspects",
    "skipped",
]  # fmt: skip


def test_the_json_form_has_the_keys_of_metrics_json_in_their_order() -> None:
    evaluation, predictor = small_evaluation()
    values = json.loads(json.dumps(evaluation.metrics.to_json()))
    assert list(values) == KEYS
    assert (values["backend"], values["precision"], values["device"]) == ("torch", "fp32", "cpu")
    assert list(values["tta"]) == ["used", "views", "views_per_picture", "with_tta", "without_tta"]
    assert list(values["decision"]) == [
        "point", "by_class", "independent", "as_chosen", "chosen_by_others", "review_share", "verdicts",
    ]  # fmt: skip
    assert predictor.metadata.operating_point is not None
    assert values["decision"]["point"] == predictor.metadata.operating_point.to_json()
    assert list(values["calibration"]["after"]) == [
        "ece", "nll", "mean_confidence", "accuracy", "bins", "ece_interval",
    ]  # fmt: skip
    assert list(values["per_class"]["Xplus"]) == [
        "precision", "recall", "f1", "support", "precision_rate", "recall_rate",
    ]  # fmt: skip
    assert list(values["escape_by_class"]) == ["Xplus", "Xminus", "Yplus", "Yminus"]
    assert values["macro_f1_interval"]["value"] == values["macro_f1"]
    ends = values["kappa"], values["calibration"]["after"]["ece_interval"], values["escape_by_class"]["Xplus"]
    assert all(list(end) == list(values["escape_rate"]) for end in ends)
    assert list(values["directions"]["cost"]) == list(values["escape_rate"]) == ["value", "low", "high", "n"]
    assert list(values["slices"][0]) == [
        "by", "value", "n", "accuracy", "escape_rate", "overkill_rate", "stands_out",
    ]  # fmt: skip
    assert (values["unlike"], values["skipped"]) == (None, 0)


def test_the_model_card_gets_the_headline_numbers() -> None:
    metrics = small_evaluation()[0].metrics
    card = metrics.for_card()
    assert (card.split, card.n, card.accuracy) == ("test", 60, metrics.scores.accuracy)
    assert (card.escape_rate, card.overkill_rate) == (metrics.scores.escape_rate, metrics.scores.overkill_rate)
