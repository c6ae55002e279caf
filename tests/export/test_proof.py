"""The proof finds what changes: a logit, a class although no decision changes, a decision that becomes accept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import ExportConfig
from frame_vit.data.examples import Example, Split
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.export.graph import write_onnx
from frame_vit.export.proof import Proof, difference_between
from frame_vit.images.pixel_array import PixelArray
from frame_vit.prediction.answers import Answers
from frame_vit.prediction.predictor import Predictor
from frame_vit.system.progress import silent
from tests.backends.models import noise, vit

KEYS = [*"abcd"]


def answers(label: int) -> Answers:
    """Four pictures, two views, surely of this class."""
    logits = np.zeros((4, 2, 3), np.float32)
    logits[:, :, label] = 5
    return Answers(logits, None)


def split(count: int) -> Split:
    examples = [Example(f"row {i}", i % 3, (), 32, 32, "", lambda: b"") for i in range(count)]
    return Split("test", examples, PixelArray.of(noise(count)))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Torch(vit(), "cpu", "fp32"))


def test_equal_answers_do_not_differ(predictor: Predictor) -> None:
    found = difference_between(predictor, answers(1), answers(1), KEYS)
    assert found.max_logit_difference == found.max_distance_difference == 0
    assert (found.changed_classes, found.changed_decisions, found.newly_accepted) == (0, 0, 0)


def test_the_picture_with_the_largest_difference_is_named(predictor: Predictor) -> None:
    after = answers(1)
    after.logits[2, 1, 0] += 0.5
    found = difference_between(predictor, answers(1), after, KEYS)
    assert (found.max_logit_difference, found.worst) == (0.5, "c")


def test_a_class_that_changes_counts_also_where_no_decision_does(predictor: Predictor) -> None:
    """Xplus called Xminus is a reject all the same, and would correct the part the wrong way."""
    found = difference_between(predictor, answers(1), answers(2), KEYS)
    assert (found.changed_decisions, found.changed_classes) == (0, 4)
    proof = Proof(vit(), split(4), ExportConfig(), silent)
    assert proof.changed_share(found) == 1.0
    assert proof.changed_share(replace(found, changed_classes=1)) == 0.25
    assert proof.changed_share(replace(found, changed_classes=1, changed_decisions=2)) == 0.5


def test_a_bad_part_that_becomes_accepted_is_counted(predictor: Predictor) -> None:
    found = difference_between(predictor, answers(1), answers(0), KEYS)
    assert (found.changed_decisions, found.newly_accepted) == (4, 4)
    found = difference_between(predictor, answers(0), answers(1), KEYS)
    assert (found.changed_decisions, found.newly_accepted) == (4, 0)


def test_an_embedding_that_moves_away_changes_a_decision() -> None:
    """The logits are the same; only the distance to the training pictures crosses its limit."""
    training = np.array([[1, 0]], np.float32)
    novelty = NoveltyReference(1, {"distance": (0.0, 0.5)}, ("RGB",), "review", training)
    classifier = vit()
    classifier = replace(classifier, metadata=replace(classifier.metadata, novelty=novelty))
    own = Predictor(Torch(classifier, "cpu", "fp32"))
    near = Answers(answers(0).logits, np.array([[1, 0]] * 4, np.float32))
    far = Answers(answers(0).logits, np.array([[1, 0]] * 3 + [[0, 1]], np.float32))
    found = difference_between(own, near, far, KEYS)
    assert (found.changed_decisions, found.newly_accepted, found.changed_classes) == (1, 0, 0)
    assert found.max_distance_difference == pytest.approx(1.0)


def test_a_file_is_compared_at_every_batch_size_and_in_every_backend(tmp_path: Path) -> None:
    classifier = vit()
    write_onnx(classifier, tmp_path / "m.onnx")
    proof = Proof(classifier, split(9), ExportConfig(pictures=9), silent)
    batches, worst = proof.differences(tmp_path / "m.onnx", "fp32")
    assert set(batches) == {"1", "8"}
    assert worst.max_logit_difference == max(each.max_logit_difference for each in batches.values()) < 1e-4
    assert worst.worst in proof.keys
    agreements = proof.agreements(tmp_path / "m.onnx")
    assert set(agreements) == {"openvino"}
    agreement = agreements["openvino"]
    assert agreement is not None
    assert agreement.precision in ("fp32", "bf16")
    assert agreement.agrees == (proof.changed_share(agreement.difference) <= ExportConfig().int8_changed)
