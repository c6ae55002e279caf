"""The head and the blocks of several architectures, found without guessing names; fingerprints of weights."""

from __future__ import annotations

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


def test_a_model_without_blocks_is_refused() -> None:
    resnet = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1]))
    with pytest.raises(ModelError, match="not a stack of transformer blocks"):
        blocks(resnet)


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
