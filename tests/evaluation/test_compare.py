"""Two models on the same parts: McNemar by a textbook, and by simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frame_vit.config.schema import Config
from frame_vit.decision.verdicts import Verdict
from frame_vit.errors import UsageError
from frame_vit.evaluation.compare import compare, compare_judged, mcnemar
from frame_vit.labels import LabelSpace
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.runs.data import DataRequest
from tests.evaluation.small import judged_parts, one_hot, small_predictor

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """Eleven to one: p = 2 * (1 + 12) / 2**12."""
    one = np.array([True] * 11 + [False] + [True] * 50 + [False] * 8)
    other = np.array([False] * 11 + [True] + [True] * 50 + [False] * 8)
    assert mcnemar(one, other)[:2] == (11, 1)
    assert mcnemar(one, other).p == pytest.approx(2 * 13 / 4096)
    assert mcnemar(one, one) == (0, 0, 1.0)


def test_of_equally_good_models_a_difference_is_seldom_claimed() -> None:
    random = np.random.default_rng(0)
    claims = 0
    for _ in range(400):
        one, other = random.random(200) < 0.9, random.random(200) < 0.9
        claims += mcnemar(one, other).p < 0.05
    assert claims / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_a_better_model_is_named_with_what_it_is_better_at() -> None:
    labels = np.arange(300) % 3
    poor = labels.copy()
    poor[(np.arange(300) % 10 == 1) & (labels == 1)] = 0
    poor[:20] = labels[:20]
    a, b = (
        judged_parts(labels, one_hot(predicted), SPACE, np.where(predicted == 0, Verdict.ACCEPT, Verdict.REJECT))
        for predicted in (poor, labels)
    )
    files = [f"{row}.jpg" for row in range(300)]
    comparison = compare_judged(a, b, "test", files)
    wrong = int((poor != labels).sum())
    assert wrong >= 8
    assert (comparison.accuracy.only_a, comparison.accuracy.only_b) == (0, wrong)
    assert comparison.conclusion.startswith("B is right more often")
    assert "B lets fewer bad parts escape" in comparison.conclusion
    assert comparison.overkill_rate is not None
    assert comparison.review_rate is not None
    assert comparison.overkill_rate.p == comparison.review_rate.p == 1
    assert comparison.changed is not None
    assert [row.file for row in comparison.changed] == [files[row] for row in np.flatnonzero(poor != labels)]
    assert {(row.a, row.b, row.true) for row in comparison.changed} == {("accept", "reject", "left")}


def test_without_verdicts_only_the_classes_are_compared_and_no_difference_is_said_to_be_none_shown() -> None:
    labels = np.arange(30) % 3
    same = judged_parts(labels, one_hot(labels), SPACE)
    comparison = compare_judged(same, same, "val", [""] * 30)
    assert comparison.conclusion.startswith("No difference can be shown on these 30 pictures")
    assert list(comparison.to_json()) == ["split", "n", "accuracy", "verdict"]


def test_a_model_that_sends_everything_to_people_is_not_simply_better() -> None:
    labels = np.arange(200) % 2
    predicted = labels.copy()
    predicted[:20] = 1 - labels[:20]
    decided = np.where(predicted == 0, Verdict.ACCEPT, Verdict.REJECT)
    a = judged_parts(labels, one_hot(predicted), SPACE, np.full(200, Verdict.REVIEW))
    comparison = compare_judged(a, judged_parts(labels, one_hot(predicted), SPACE, decided), "test", [""] * 200)
    assert "A lets fewer bad parts escape" in comparison.conclusion
    assert "B sends fewer parts to review" in comparison.conclusion


def test_the_json_form_has_the_keys_of_the_command() -> None:
    labels = np.array([0, 1, 2])
    a = judged_parts(labels, one_hot(labels), SPACE, [Verdict.ACCEPT, Verdict.REJECT, Verdict.REVIEW])
    b = judged_parts(labels, one_hot(labels), SPACE, [Verdict.ACCEPT, Verdict.REJECT, Verdict.REJECT])
    values = json.loads(json.dumps(compare_judged(a, b, "test", ["x", "y", "z"]).to_json()))
    assert list(values) == [
        "split", "n", "accuracy", "escape_rate", "overkill_rate", "review_rate", "changed", "verdict",
    ]  # fmt: skip
    assert list(values["accuracy"]) == ["a", "b", "only_a", "only_b", "p"]
    assert list(values["accuracy"]["a"]) == ["value", "low", "high", "n"]
    assert values["changed"] == [{"a": "review", "b": "reject", "file": "z", "true": "right"}]


def test_models_with_other_classes_are_not_compared() -> None:
    one, other = (small_predictor(LabelSpace.build(names, ["a"])) for names in (["a", "b"], ["a", "c"]))
    with pytest.raises(UsageError, match="know different classes"):
        compare(one, other, DataRequest(Config(), None, "test"))


def test_a_model_does_not_differ_from_itself_whatever_the_order_of_its_classes(trained: Path) -> None:
    model = str(trained / "runs" / "tiny-001")
    one = load_predictor(model, PredictorOptions(backend="torch", device="cpu", precision="fp32"))
    other = load_predictor(model, PredictorOptions(backend="torch", device="cpu", precision="fp32"))
    order = [4, 2, 0, 1, 3]
    names = [one.labels.names[i] for i in order]
    backend = other.backend
    backend.metadata = replace(backend.metadata, labels=LabelSpace.build(names, one.labels.ok, one.labels.symmetries))
    answer = backend.run
    backend.run = lambda pixels: answer(pixels)._replace(logits=answer(pixels).logits[:, order])  # type: ignore[method-assign]
    comparison = compare(one, type(one)(backend, place=other.place), DataRequest(Config(), "demo"))
    assert comparison.n == 500
    assert comparison.changed == []
    assert comparison.accuracy.only_a == comparison.accuracy.only_b == 0
