"""The loss against torch's own, optimizer groups by depth, the optimizer's state as tensors, the moving average."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from frame_vit.config.schema import TrainingConfig
from frame_vit.data.examples import Example, Split
from frame_vit.images.pixel_array import PixelArray
from frame_vit.labels import LabelledView, LabelSpace
from frame_vit.model.classifier import blocks
from frame_vit.training.optimizer import Loss, OptimizerState, WeightAverage, parameter_groups, restore_optimizer

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


def vit() -> ViTForImageClassification:
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(**SIZES, image_size=16, patch_size=8))


def by_name(module: nn.Module, groups: list[dict[str, object]]) -> dict[str, tuple[float, float]]:
    """(rate, decay) of each parameter."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}  # type: ignore


def test_every_parameter_is_in_one_group_and_norms_and_biases_do_not_decay() -> None:
    module = vit()
    groups = parameter_groups(module, TrainingConfig(learning_rate=0.1, weight_decay=0.3), None)
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))
    settings = by_name(module, groups)
    assert {rate for rate, _ in settings.values()} == {0.1}
    for name, (_, decay) in settings.items():
        assert decay == (0.0 if "bias" in name or "layernorm" in name else 0.3), name
    assert len(groups) == 2


def test_rates_fall_by_depth_with_the_embeddings_lowest() -> None:
    module = vit()
    path, layers = blocks(module)
    settings = by_name(module, parameter_groups(module, TrainingConfig(learning_rate=1.0, layer_decay=0.5), path))
    for name, (rate, _) in settings.items():
        if name.startswith(path):
            number = int(name[len(path) + 1 :].split(".")[0])
            assert rate == 0.5 ** (len(layers) - number), name
        elif "embeddings" in name:
            assert rate == 0.5 ** (len(layers) + 1), name
        else:
            assert rate == 1.0, name
    assert {rate for rate, _ in settings.values()} == {1.0, 0.5, 0.25, 0.125, 0.0625}


def test_what_is_frozen_is_in_no_group() -> None:
    module = vit()
    for parameter in module.vit.parameters():
        parameter.requires_grad = False
    assert set(by_name(module, parameter_groups(module, TrainingConfig(learning_rate=1e-3), None))) == {
        "classifier.weight",
        "classifier.bias",
    }


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for seed in range(count):
        pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        module(pixel_values=pictures).logits.square().sum().backward()
        optimizer.step()


def test_an_optimizer_resumes_from_its_tensors_bit_for_bit() -> None:
    training = TrainingConfig(learning_rate=0.01, layer_decay=0.7)
    module = vit()
    path, _ = blocks(module)
    optimizer = torch.optim.AdamW(parameter_groups(module, training, path))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    steps(module, optimizer, 3)
    schedule.step()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    state = OptimizerState.of(optimizer)
    tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    steps(module, optimizer, 2)

    other = vit()
    other.load_state_dict(weights)
    fresh = torch.optim.AdamW(parameter_groups(other, training, path))
    restore_optimizer(fresh, OptimizerState(tensors, state.rates))
    assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in optimizer.param_groups]
    steps(other, fresh, 2)
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_the_average_follows_its_definition() -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0)
    average, expected = WeightAverage(module, 0.9), 0.0
    for step in range(1, 200):
        with torch.no_grad():
            module.weight.fill_(float(step))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert average.state()["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_the_average_is_applied_and_taken_back_bit_for_bit() -> None:
    module = vit()
    average = WeightAverage(module, 0.5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    average.update(1)
    own = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(KeyError), average.applied():
        averaged = module.classifier.weight.clone()
        raise KeyError
    assert torch.equal(module.classifier.weight, own["classifier.weight"])
    assert not torch.equal(averaged, own["classifier.weight"])
    assert not torch.equal(averaged, before["classifier.weight"])
    assert set(average.state()) == {name for name, _ in module.named_parameters()}


# The loss

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
