"""One forward pass before any work: what does not fit is one error, and the model is as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.model.probe import check_numbers, check_shapes, trains_on_one_picture
from tests.small import logits_of, tiny_classifier

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
RIGHT = Preprocessing(32, 32)


def resnet(stages: int) -> Any:
    """Its last map is 32 / 2 ** (stages + 1) pixels wide."""
    sizes = {"hidden_sizes": [8] * stages, "depths": [1] * stages, "num_labels": 3}
    return ResNetForImageClassification(ResNetConfig(embedding_size=8, **sizes))


def test_the_size_of_the_heads_input_is_found_and_nothing_changes() -> None:
    model = tiny_classifier()
    before = logits_of(model)
    assert check_shapes(model.module, RIGHT, "here") == 16
    assert torch.equal(logits_of(model), before)
    assert not list(model.module.classifier._forward_pre_hooks)


def test_a_model_with_two_heads_has_no_single_input() -> None:
    config = DeiTConfig(image_size=32, patch_size=16, num_labels=3, **SIZES)
    assert check_shapes(DeiTForImageClassificationWithTeacher(config), RIGHT, "here") is None


def test_pictures_of_another_size_are_refused_with_both_numbers() -> None:
    with pytest.raises(ModelError, match=r"(?s)^here.*pictures of 64 x 48.*32\*32"):
        check_shapes(tiny_classifier().module, Preprocessing(height=48, width=64), "here")


def test_a_model_without_allocated_weights_is_probed_too() -> None:
    with torch.device("meta"):
        module = ViTForImageClassification(ViTConfig(image_size=32, patch_size=16, **SIZES))
    assert check_shapes(module, RIGHT, "here") == 16
    with pytest.raises(ModelError, match="does not take"):
        check_shapes(module, Preprocessing(64, 64), "here")


@pytest.mark.parametrize("channels", [1, 4])
def test_a_model_of_other_channels_is_refused(channels: int) -> None:
    module = ViTForImageClassification(ViTConfig(image_size=32, patch_size=16, num_channels=channels, **SIZES))
    with pytest.raises(ModelError, match=f"reads pictures of {channels} channels"):
        check_shapes(module, RIGHT, "here")


def test_weights_that_are_no_numbers_are_refused() -> None:
    module = tiny_classifier().module
    check_numbers(module, RIGHT, "here")
    with torch.no_grad():
        module.classifier.bias[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        check_numbers(module, RIGHT, "here")


@pytest.mark.parametrize(("stages", "trains"), [(2, True), (4, False)])
def test_whether_batch_normalisation_takes_one_picture_depends_on_its_map(stages: int, trains: bool) -> None:
    module = resnet(stages).eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert trains_on_one_picture(module, RIGHT) is trains
    assert not module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_without_batch_normalisation_one_picture_is_enough() -> None:
    assert trains_on_one_picture(tiny_classifier().module, RIGHT)
