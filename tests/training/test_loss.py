"""The loss: torch's own cross entropy with smoothing, weights by class, and accumulation that adds up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from frame_vit.config.schema import TrainingConfig
from frame_vit.data.examples import Example, Split
from frame_vit.images.pixel_array import PixelArray
from frame_vit.labels import LabelledView, LabelSpace
from frame_vit.training.loss import Loss

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 0, 1, 2])


def split(labels: list[int]) -> Split:
    examples = [Example(str(i), label, (), 4, 4, "", bytes) for i, label in enumerate(labels)]
    return Split("train", examples, PixelArray.of(np.zeros((len(labels), 4, 4, 3), np.uint8)))


def one_view(classes: int) -> tuple[LabelledView, ...]:
    return LabelSpace.build([str(i) for i in range(classes)]).group()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_without_weights_it_is_torchs_cross_entropy(smoothing: float) -> None:
    loss = Loss(split([0, 1, 2]), TrainingConfig(label_smoothing=smoothing), one_view(3))
    expected = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    assert loss({"logits": LOGITS}, LABELS).item() == pytest.approx(expected.item(), abs=1e-6)


def test_without_smoothing_the_weights_are_torchs_weights() -> None:
    """torch divides by the weights of the batch; here they average 1 over the data set, so it is divided by N."""
    loss = Loss(split([0, 0, 0, 1, 1, 2]), TrainingConfig(class_weights="balanced"), one_view(3))
    expected = F.cross_entropy(LOGITS, LABELS, weight=loss.weight, reduction="sum") / len(LABELS)
    assert loss({"logits": LOGITS}, LABELS).item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_weight_counts_for_the_whole_smoothed_loss_of_a_picture() -> None:
    training = TrainingConfig(class_weights="balanced", label_smoothing=0.2)
    loss = Loss(split([0, 0, 0, 1, 1, 2]), training, one_view(3))
    assert loss.weight is not None
    losses = F.cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=0.2)
    expected = (losses * loss.weight[LABELS]).mean()
    assert loss({"logits": LOGITS}, LABELS).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_loss_of_accumulated_parts_adds_up_to_that_of_the_whole_batch() -> None:
    loss = Loss(split([0, 1, 2]), TrainingConfig(label_smoothing=0.1), one_view(3))
    parts = [loss({"logits": LOGITS[rows]}, LABELS[rows], 4) for rows in ([0, 1, 2], [3])]
    assert torch.stack(parts).sum().item() == pytest.approx(
        F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1).item(), abs=1e-6
    )


def test_half_precision_logits_are_taken_as_float32() -> None:
    loss = Loss(split([0, 1, 2]), TrainingConfig(), one_view(3))
    half = loss({"logits": LOGITS.half()}, LABELS)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(F.cross_entropy(LOGITS.half().float(), LABELS).item())


def test_balanced_weights_make_rare_classes_count_as_much_as_common_ones() -> None:
    labels = [0] * 6 + [1] * 3 + [2]
    weight = Loss(split(labels), TrainingConfig(class_weights="balanced"), one_view(4)).weight
    assert weight is not None
    totals = [float(weight[label]) * labels.count(label) for label in range(3)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert float(weight[3]) == 0  # a class without pictures


def test_classes_are_counted_as_the_mirror_shows_them() -> None:
    """Left and right are seen equally often under hflip, whatever the data set has of each."""
    views = LabelSpace.build(["ok", "left", "right"], [], {"hflip": {"left": "right", "right": "left"}}).group()
    weight = Loss(split([0] * 6 + [1] * 4), TrainingConfig(class_weights="balanced"), views).weight
    assert weight is not None
    assert weight.tolist() == pytest.approx([10 / 3 / 6, 10 / 3 / 2, 10 / 3 / 2])
