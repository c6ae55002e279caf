"""torch with a model's weights: answers, embeddings, and attention that can be read for a while."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from frame_vit.backends.backend import ModelSource
from frame_vit.backends.torch_backend import TORCH, HeadInput, Torch, eager_attention
from frame_vit.errors import UsageError
from tests.backends.models import NAMES, SIDE, convnext, noise, saved, vit


def test_logits_and_the_head_input_come_for_every_picture() -> None:
    backend = Torch(vit(), "cpu", "fp32")
    logits, embedding = backend.run(noise(3))
    assert (backend.name, backend.device, backend.precision) == ("torch", "cpu", "fp32")
    assert logits.shape == (3, len(NAMES))
    assert embedding is not None
    assert embedding.shape == (3, 16)
    assert logits.dtype == embedding.dtype == np.float32
    head = backend.module.classifier
    with torch.no_grad():
        assert head(torch.from_numpy(embedding)).numpy() == pytest.approx(logits, abs=1e-5)


def test_a_mirrored_view_is_read_as_it_lies() -> None:
    """Its strides are negative, which torch refuses unless it is copied."""
    backend = Torch(vit(), "cpu", "fp32")
    mirrored = noise(2)[:, :, ::-1]
    assert np.array_equal(backend.run(mirrored).logits, backend.run(mirrored.copy()).logits)
    assert tuple(backend.batch(mirrored).shape) == (2, 3, SIDE, SIDE)
    assert np.array_equal(backend.batch(mirrored).permute(0, 2, 3, 1).numpy(), mirrored)


def test_a_saved_model_is_opened_by_its_place(tmp_path: Path) -> None:
    opened = TORCH.open(ModelSource(str(saved(tmp_path / "model")), device="cpu", precision="fp32"))
    assert np.array_equal(opened.run(noise(2)).logits, Torch(vit(), "cpu", "fp32").run(noise(2)).logits)


def test_what_the_device_cannot_compute_is_refused() -> None:
    with pytest.raises(UsageError, match="precision fp16 on cpu"):
        Torch(vit(), "cpu", "fp16")


def test_a_model_of_another_library_has_no_known_head() -> None:
    module = torch.nn.Linear(2, 2)
    watched = HeadInput(module)
    module(torch.zeros(1, 2))
    assert watched.last is None


def test_attention_is_eager_inside_the_block_only() -> None:
    module = vit().module
    before = module.config._attn_implementation
    assert before != "eager"
    with pytest.raises(KeyError), eager_attention(module) as switched:
        assert switched
        assert module.config._attn_implementation == "eager"
        raise KeyError
    assert module.config._attn_implementation == before


def test_a_convolutional_model_has_an_embedding_too() -> None:
    _, embedding = Torch(convnext(), "cpu", "fp32").run(noise(2))
    assert embedding is not None
    assert embedding.shape == (2, 8)
