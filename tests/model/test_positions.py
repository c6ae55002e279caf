"""Pretrained models at another picture size: what they answer, what is saved, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from frame_vit.config.schema import ModelConfig
from frame_vit.errors import ModelError, UsageError
from frame_vit.model.classifier import Classifier
from frame_vit.model.positions import check_size, resized, takes
from frame_vit.model.pretrained import check_base, load_pretrained
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.model.saving import load_trained, save
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.load import PredictorOptions, load_predictor
from tests.faults.architectures import ARCHITECTURES, save_base
from tests.small import THREE_CLASSES, tiny_classifier

LARGER = 48


def started(base: Path, side: int) -> Classifier:
    model = ModelConfig(name=str(base), image_size=side)
    processor = load_processor(model)
    preprocessing = preprocessing_of(processor)
    check_base(model, preprocessing)
    return load_pretrained(model, THREE_CLASSES, preprocessing, processor)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_takes_larger_pictures_and_agrees_with_transformers(tmp_path: Path, name: str) -> None:
    classifier = started(save_base(name, tmp_path / "base"), LARGER)
    save(classifier, tmp_path / "model")
    assert load_trained(str(tmp_path / "model")).preprocessing.size_text == "48 x 48"
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = tmp_path / "picture.png"
    Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(picture)
    answers = pipeline("image-classification", str(tmp_path / "model"), device="cpu", top_k=None)(str(picture))
    options = PredictorOptions("torch", "cpu", "fp32", tta=False)
    (row,) = load_predictor(str(tmp_path / "model"), options).predict([Input("picture", picture)])
    assert row.probabilities == pytest.approx({answer["label"]: answer["score"] for answer in answers}, abs=0.01)


@pytest.mark.parametrize("name", ["ViT", "DeiT", "DeiT distilled", "SigLIP", "CLIP"])
def test_tables_of_positions_become_what_the_model_itself_interpolates(tmp_path: Path, name: str) -> None:
    config, kind, _ = ARCHITECTURES[name]
    torch.manual_seed(0)
    old = kind(config).eval()
    assert not takes(old, LARGER)
    new = resized(old, LARGER, "here")
    assert takes(new, LARGER)
    picture = torch.rand(2, 3, LARGER, LARGER)
    with torch.no_grad():
        wanted = old(pixel_values=picture, interpolate_pos_encoding=True).logits
        assert torch.allclose(new.eval()(pixel_values=picture).logits, wanted, atol=1e-6)


def test_a_size_that_the_model_takes_changes_nothing() -> None:
    module = tiny_classifier().module
    assert resized(module, 32, "here") is module


def test_a_size_that_is_no_whole_number_of_patches_names_the_nearest_ones() -> None:
    with pytest.raises(UsageError, match="50 is not a multiple of 16") as caught:
        check_size(tiny_classifier().module, 50, "here")
    assert caught.value.hint == "Set it to 48 or 64"


def test_a_model_of_one_size_only_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny_classifier().module
    original = module.forward
    monkeypatch.setattr(module, "forward", lambda pixel_values: original(pixel_values=pixel_values))
    with pytest.raises(ModelError, match="takes pictures of one size only"):
        resized(module, LARGER, "here")
