"""Two models on the same parts: McNemar by a textbook, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.decision.rates import Ids, Logits
from frame_vit.decision.thresholds import ACCEPT, REJECT, REVIEW
from frame_vit.evaluation.compare import compare_arrays, mcnemar
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])


def logits(predicted: Ids) -> Logits:
    return np.asarray(np.eye(3, dtype=np.float32)[predicted])


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """Eleven to one: p = 2 * (1 + 12) / 2**12."""
    one = np.array([True] * 11 + [False] + [True] * 50 + [False] * 8)
    other = np.array([False] * 11 + [True] + [True] * 50 + [False] * 8)
    assert mcnemar(one, other) == {"only_a": 11, "only_b": 1, "p": pytest.approx(2 * 13 / 4096)}
    assert mcnemar(one, one) == {"only_a": 0, "only_b": 0, "p": 1.0}


def test_of_equally_good_models_a_difference_is_seldom_claimed() -> None:
    random = np.random.default_rng(0)
    claims = 0
    for _ in range(400):
        one, other = random.random(200) < 0.9, random.random(200) < 0.9
        claims += mcnemar(one, other)["p"] < 0.05
    assert claims / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_a_better_model_is_named_with_what_it_is_better_at() -> None:
    labels = np.arange(300) % 3
    poor = labels.copy()
    poor[(np.arange(300) % 10 == 1) & (labels == 1)] = 0
    poor[:20] = labels[:20]
    judged = [np.where(each == 0, ACCEPT, REJECT).astype(np.int8) for each in (poor, labels)]
    found = compare_arrays(labels, (logits(poor), logits(labels)), (judged[0], judged[1]), SPACE)
    wrong = int((poor != labels).sum())
    assert wrong >= 8
    assert (found["accuracy"]["only_a"], found["accuracy"]["only_b"]) == (0, wrong)
    assert found["verdict"].startswith("B names the class more often rightly")
    assert "B lets fewer bad parts escape" in found["verdict"]
    assert found["overkill_rate"]["p"] == found["review_rate"]["p"] == 1
    assert [row["row"] for row in found["changed"]] == np.flatnonzero(poor != labels).tolist()
    assert {(row["a"], row["b"]) for row in found["changed"]} == {("accept", "reject")}


def test_no_difference_is_said_to_be_none_shown() -> None:
    labels = np.arange(30) % 3
    found = compare_arrays(labels, (logits(labels), logits(labels)), (None, None), SPACE)
    assert found["verdict"].startswith("No difference can be shown on these 30 pictures")
    assert "changed" not in found


def test_a_model_that_sends_everything_to_people_is_not_simply_better() -> None:
    labels = np.arange(200) % 2
    said = labels.copy()
    said[:20] = 1 - labels[:20]
    judged = np.where(said == 0, ACCEPT, REJECT).astype(np.int8)
    found = compare_arrays(labels, (logits(said), logits(said)), (np.full(200, REVIEW, np.int8), judged), SPACE)
    assert "A lets fewer bad parts escape" in found["verdict"]
    assert "B sends fewer parts to review" in found["verdict"]
