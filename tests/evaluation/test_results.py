"""One evaluation: its numbers agree with its rows, and it says what they prove."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from frame_vit.config.schema import CostsConfig
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.rates import rate
from frame_vit.decision.thresholds import AnsweredBy, Claim, OperatingPoint, ThresholdsBasis
from frame_vit.evaluation.metrics import Metrics
from frame_vit.evaluation.results import Evaluation, evaluate_split, sample_size, slice_words
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import pictures_fingerprint
from tests.evaluation.small import DEMO, small_backend, small_evaluation, small_predictor, small_split

CLAIM = Claim(0.005, 0.95, 598, 0, 0.0049971, 598)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return small_evaluation()[0]


def test_the_numbers_are_those_of_the_rows(evaluation: Evaluation) -> None:
    scores, decision = evaluation.metrics.scores, evaluation.metrics.decision
    bad = [row.prediction.decision for row in evaluation.rows if row.true != "passed"]
    assert scores.escape_rate.value == pytest.approx(bad.count("accept") / len(bad))
    good = [row.prediction.decision for row in evaluation.rows if row.true == "passed"]
    assert scores.overkill_rate.value == pytest.approx(good.count("reject") / len(good))
    assert decision.verdicts is not None
    assert decision.verdicts == {word: (bad + good).count(word) for word in ("accept", "review", "reject")}
    assert evaluation.judged.scores is not None
    assert [row.prediction.score for row in evaluation.rows] == evaluation.judged.scores.tolist()
    labels = [row.prediction.label for row in evaluation.rows]
    assert labels == [DEMO.names[i] for i in evaluation.judged.predicted]


def test_parts_and_slices_come_from_the_examples(evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    assert {row.by for row in metrics.slices} == {"slice_by", "light"}, "all have one size"
    assert metrics.repeatability is not None
    assert metrics.repeatability.parts == 30
    assert metrics.suspects == [evaluation.split.examples[row].key for row in evaluation.inspect.suspects]


def test_many_sizes_are_sliced_by_their_area() -> None:
    split = small_split(count=12)
    examples = [replace(example, width=100 + 10 * row) for row, example in enumerate(split.examples)]
    few, many = (
        slice_words(replace(split, examples=chosen), np.zeros(len(chosen), np.float32))["size"]
        for chosen in (examples[:8], examples)
    )
    assert few[0] == f"100 x {examples[0].height}"
    assert len({*many}) == 4


@pytest.mark.parametrize("mode", ["note", "review"])
def test_the_rates_count_what_is_flagged_as_shown_to_a_person(mode: str) -> None:
    """As `predict` decides: a bad part that is flagged has not escaped, and a good one is not scrapped."""
    split = small_split()
    middle = float(np.median(small_predictor().judge_split(split).light))
    reference = NoveltyReference(60, {"light": (0.0, middle)}, ("",), mode)
    evaluation = evaluate_split(Predictor(small_backend(DEMO, novelty=reference), tta=False), split, CostsConfig())
    metrics, decisions = evaluation.metrics, [row.prediction.decision for row in evaluation.rows]
    flagged = 30 if mode == "review" else 0
    assert metrics.novelty is not None
    assert (metrics.novelty.flagged, metrics.novelty.by) == (30, {"light": 30})
    assert metrics.novelty.reviewed == (mode == "review")
    assert metrics.decision.verdicts is not None
    assert metrics.decision.verdicts["review"] == decisions.count("review") == flagged
    assert metrics.scores.review_rate.value == pytest.approx(flagged / 60)
    bad = [row.prediction.decision for row in evaluation.rows if row.true != "passed"]
    assert metrics.scores.escape_rate.value == pytest.approx(bad.count("accept") / len(bad))
    assert evaluation.inspect.escaped is not None
    assert len(evaluation.inspect.escaped) == bad.count("accept")


def with_basis(**basis: Any) -> Metrics:
    point = OperatingPoint(0.3, 0.7, CLAIM, ThresholdsBasis("val", **basis))
    return evaluate_split(small_predictor(point=point), small_split(), CostsConfig()).metrics


def test_the_pictures_that_thresholds_were_chosen_on_are_known_again() -> None:
    assert with_basis(pictures_fingerprint=pictures_fingerprint(small_split())).decision.independent is False
    assert with_basis(pictures_fingerprint="others").decision.independent is True


def test_answers_of_another_backend_or_other_views_are_named() -> None:
    same = with_basis(backend="torch", precision="fp32", views=("identity",)).decision
    assert (same.chosen_by_others, same.as_chosen) == (None, True)
    other = with_basis(backend="onnxruntime", precision="int8", views=("identity", "hflip")).decision
    assert (other.chosen_by_others, other.as_chosen) == (AnsweredBy("onnxruntime", "int8"), False)
    assert with_basis().decision.chosen_by_others is None, "an old model does not say"


def test_the_share_in_review_is_that_of_the_line_where_its_bad_share_is_declared() -> None:
    assert with_basis().decision.review_share is None
    shares = [with_basis(bad_share=share).decision.review_share for share in (0.0001, 0.9999)]
    judged = small_evaluation()[0].judged
    decided = small_predictor(point=OperatingPoint(0.3, 0.7, CLAIM)).judge_split(small_split()).verdicts
    assert decided is not None
    expected = [(decided[parts] == 1).mean() for parts in (judged.good, ~judged.good)]
    assert shares == pytest.approx(expected, abs=1e-3)


def test_what_the_split_alone_does_not_tell_is_added(evaluation: Evaluation) -> None:
    assert evaluation.completed(3).metrics.skipped == 3
    assert evaluation.metrics.skipped == 0
    assert evaluation.completed(3).rows is evaluation.rows


def said(metrics: Metrics, hits: int, n: int, **decision: Any) -> str:
    scores = replace(metrics.scores, escape_rate=rate(hits, n))
    values = {"independent": True, "as_chosen": True} | decision
    decided = replace(metrics.decision, **values)
    return sample_size(replace(metrics, scores=scores, decision=decided, repeatability=None))


def test_what_so_few_parts_can_prove_is_said(evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    assert "at least 598 bad parts must be tested" in said(metrics, 0, 597)
    assert "which meets the target of 0.50%" in said(metrics, 0, 598), "as many as it asks for are enough"
    assert "does not prove the target of 0.50%" in said(metrics, 10, 1000)
    assert "not defined" in said(metrics, 0, 0)
    assert "the predicted class decides" in said(metrics, 0, 598, point=None)


def test_a_target_for_every_class_is_said_by_class(evaluation: Evaluation) -> None:
    """Of three classes, one has too few parts, and one has too many escapes."""
    basis = ThresholdsBasis("val", per_class={})
    point = OperatingPoint(0.3, 0.7, CLAIM, basis)
    escapes = {"a": rate(0, 1000), "b": rate(0, 100), "c": rate(3, 1000)}
    scores = replace(evaluation.metrics.scores, escape_by_class=escapes)
    text = said(replace(evaluation.metrics, scores=scores), 3, 2100, point=point)
    assert "do not prove it for b (4.01%), c (0.93%). That takes at least 817 parts of each" in text
    fine = replace(evaluation.metrics, scores=replace(scores, escape_by_class={"a": rate(0, 1000), "b": rate(0, 900)}))
    assert "In every defect class it is at most 0.41%" in said(fine, 0, 1900, point=point)
    assert "every defect class" not in said(fine, 0, 1900)


@pytest.mark.parametrize(
    ("decision", "limit"),
    [
        ({"independent": False}, "proves nothing about others"),
        ({"as_chosen": False}, "so the promise does not hold"),
        ({"chosen_by_others": AnsweredBy("onnxruntime", "int8")}, "chosen on answers of onnxruntime in int8"),
    ],
)
def test_what_weakens_the_promise_is_said_only_where_it_applies(
    evaluation: Evaluation, decision: dict[str, Any], limit: str
) -> None:
    assert limit in said(evaluation.metrics, 0, 598, **decision)
    assert limit not in said(evaluation.metrics, 0, 598)


def test_several_pictures_of_a_part_make_the_intervals_too_narrow(evaluation: Evaluation) -> None:
    assert "they are too narrow" in sample_size(evaluation.metrics)
    assert "they are too narrow" not in said(evaluation.metrics, 0, 598)
