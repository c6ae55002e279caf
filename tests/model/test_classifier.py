"""The head and the blocks of several architectures, found without guessing names; fingerprints of weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    ResNetConfig,
    ResNetForImageClassification,
)

from frame_vit.errors import ModelError
from frame_vit.model.classifier import blocks, fingerprint, head_module, head_parameters
from tests.faults.architectures import ARCHITECTURES
from tests.small import THREE_CLASSES, logits_of, tiny_classifier


def test_the_head_is_found_in_other_architectures() -> None:
    sizes = {"hidden_sizes": [8, 8], "depths": [1, 1], "num_labels": 3}
    convnext = ConvNextForImageClassification(ConvNextConfig(num_stages=2, **sizes))
    resnet = ResNetForImageClassification(ResNetConfig(embedding_size=8, **sizes))
    assert head_parameters(convnext) == ["classifier.weight", "classifier.bias"]
    assert head_parameters(resnet) == ["classifier.1.weight", "classifier.1.bias"]


def test_the_head_gives_the_logits() -> None:
    """(N, hidden) -> (N, C): what the head is given in a forward pass, it turns into the model's logits."""
    model = tiny_classifier()
    head = head_module(model.module)
    inputs: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    logits = logits_of(model)
    handle.remove()
    assert inputs[0].shape == (4, 16)
    assert torch.equal(head(inputs[0]), logits)


def test_a_model_with_two_heads_has_no_single_head() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    module = DeiTForImageClassificationWithTeacher(DeiTConfig(image_size=32, patch_size=16, num_labels=3, **sizes))
    with pytest.raises(ModelError, match="has 2 heads"):
        head_module(module)


def test_the_blocks_are_found_by_their_number() -> None:
    module = tiny_classifier().module
    path, layers = blocks(module)
    assert isinstance(layers, nn.ModuleList)
    assert len(layers) == module.config.num_hidden_layers
    assert module.get_submodule(path) is layers


def test_a_model_in_stages_has_them_for_blocks() -> None:
    resnet = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]))
    assert blocks(resnet) == ("resnet.encoder.stages", resnet.resnet.encoder.stages)


def test_the_vision_part_of_two_counts() -> None:
    """SigLIP's config has a text model and a vision model; only the latter is in the classifier."""
    config, kind, _ = ARCHITECTURES["SigLIP"]
    path, layers = blocks(kind(config))
    assert path.endswith("encoder.layers")
    assert len(layers) == 2


class Other(nn.Module):
    """A classifier whose config does not say how many blocks there are."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.config = SimpleNamespace()
        self.parts = nn.ModuleList(parts)


def test_a_stack_that_no_config_tells_of_is_the_one_with_most_of_the_weights() -> None:
    small, large = (nn.Sequential(nn.Linear(size, size), nn.Linear(size, size)) for size in (2, 8))
    module = Other(nn.Conv2d(3, 2, 1), small, large)
    assert blocks(module) == ("parts.2", large)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(ModelError, match="Other is not a stack of blocks"):
        blocks(Other(nn.Linear(2, 2), nn.Conv2d(3, 3, 1)))


def test_a_fingerprint_changes_with_any_weight() -> None:
    module = tiny_classifier().module
    before = fingerprint(module)
    assert before == fingerprint(tiny_classifier().module)
    with torch.no_grad():
        module.classifier.bias[1] += 1e-6
    assert fingerprint(module) != before


def test_labels_and_preprocessing_are_those_of_the_metadata() -> None:
    model = tiny_classifier()
    assert model.labels is model.metadata.labels
    assert model.labels == THREE_CLASSES
    assert model.preprocessing is model.metadata.preprocessing
