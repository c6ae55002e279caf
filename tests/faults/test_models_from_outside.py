"""Models of every architecture, as people find them: what is saved of them answers alike in transformers and here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, DINOv3ViTConfig, Siglip2Config, pipeline

from frame_vit.backends.backend import Backend
from frame_vit.backends.onnxruntime_backend import OnnxRuntime
from frame_vit.backends.openvino_backend import OpenVino
from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import ModelConfig
from frame_vit.errors import ModelError
from frame_vit.export.graph import write_onnx
from frame_vit.model.classifier import Classifier, head_parameters
from frame_vit.model.hub import from_hub
from frame_vit.model.pretrained import check_base, load_pretrained
from frame_vit.model.processor import describe_to_timm, load_processor, own_processor, preprocessing_of
from frame_vit.model.saving import load_trained, save
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.load import PredictorOptions, load_predictor
from tests.faults.architectures import ARCHITECTURES, SIDE, save_base, save_timm
from tests.small import THREE_CLASSES


def started_from(base: Path) -> Classifier:
    """What a training starts with; the new head's weights are made large, so that the classes differ."""
    model = ModelConfig(name=str(base))
    processor = load_processor(model)
    classifier = load_pretrained(model, THREE_CLASSES, preprocessing_of(processor), processor)
    with torch.no_grad():
        for name in head_parameters(classifier.module):
            parameter = classifier.module.get_parameter(name)
            parameter *= 50 if parameter.ndim > 1 else 1
    return classifier


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_transformers_and_framevit_give_the_same_confidences(tmp_path: Path, name: str) -> None:
    """Also where the base says that its answers are those of several labels, which pipelines compute by a sigmoid."""
    base = save_base(name, tmp_path / "base", problem_type="multi_label_classification")
    save(started_from(base), tmp_path / "model")
    picture = tmp_path / "picture.png"
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(picture)
    answers = pipeline("image-classification", str(tmp_path / "model"), device="cpu", top_k=None)(str(picture))
    theirs = {answer["label"]: answer["score"] for answer in answers}
    options = PredictorOptions("torch", "cpu", "fp32", tta=False)
    (row,) = load_predictor(str(tmp_path / "model"), options).predict([Input("picture", picture)])
    assert row.probabilities is not None
    assert sum(theirs.values()) == pytest.approx(1)
    assert max(theirs.values()) - min(theirs.values()) > 0.1, "the classes differ"
    assert row.probabilities == pytest.approx(theirs, abs=0.01)


@pytest.mark.parametrize("name", ["CLIP", "SigLIP"])
def test_what_trains_is_exported(tmp_path: Path, name: str) -> None:
    """In CLIP and SigLIP a constant has the name of an output, `embedding`. ViT and ConvNeXt: tests/export."""
    classifier = started_from(save_base(name, tmp_path / "base"))
    write_onnx(classifier, tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    expected = Torch(classifier, "cpu", "fp32").run(pixels)
    others: list[Backend] = [OnnxRuntime(tmp_path / "model.onnx"), OpenVino(tmp_path / "model.onnx", None, "fp32")]
    for backend in others:
        answer = backend.run(pixels)
        assert answer.logits == pytest.approx(expected.logits, abs=1e-3)
        assert (answer.embedding is None) == (expected.embedding is None)
        if expected.embedding is not None:
            assert answer.embedding == pytest.approx(expected.embedding, abs=1e-4)


@pytest.mark.parametrize("name", ["ViT", "CLIP", "ResNet"])
def test_a_foreign_model_is_asked_with_its_own_classes(tmp_path: Path, name: str) -> None:
    base = save_base(name, tmp_path / "base")
    assert [*load_trained(str(base)).labels.names] == ["LABEL_0", "LABEL_1"]
    assert json.loads((base / "config.json").read_text()).get("problem_type") is None


@pytest.mark.parametrize("classes", [2, 0])
def test_a_model_of_timm_is_trained_saved_and_answers_alike_in_transformers(tmp_path: Path, classes: int) -> None:
    """It has no processor: one is made of timm's settings, and what replaces the cut is told to timm again."""
    base = save_timm(tmp_path / "base", classes)
    model = ModelConfig(name=str(base))
    check_base(model, preprocessing_of(load_processor(model)))
    save(started_from(base), tmp_path / "model")
    picture = tmp_path / "picture.png"
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(picture)
    answers = pipeline("image-classification", str(tmp_path / "model"), device="cpu", top_k=None)(str(picture))
    options = PredictorOptions("torch", "cpu", "fp32", tta=False)
    (row,) = load_predictor(str(tmp_path / "model"), options).predict([Input("picture", picture)])
    assert row.probabilities == pytest.approx({answer["label"]: answer["score"] for answer in answers}, abs=0.01)
    with pytest.raises(ModelError, match="cannot be given padded pictures"):
        check_base(model, preprocessing_of(load_processor(model, "pad")))


@pytest.mark.parametrize(("mode", "resize"), [("center", 35), ("squash", (35, 35))])
def test_timms_own_cut_can_be_kept(tmp_path: Path, mode: str, resize: object) -> None:
    """crop_pct 0.9 of 32 pixels; what the saved model tells timm gives the same pictures again."""
    path = save_timm(tmp_path) / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"]["crop_mode"] = mode
    path.write_text(json.dumps(config))
    preprocessing = preprocessing_of(load_processor(ModelConfig(name=str(tmp_path)), "processor"))
    assert (preprocessing.resize, preprocessing.height) == (resize, SIDE)
    told = AutoConfig.from_pretrained(tmp_path)
    describe_to_timm(told, preprocessing)
    told.save_pretrained(tmp_path)
    assert preprocessing_of(own_processor(str(tmp_path))) == preprocessing


def test_timm_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_timm(tmp_path / "base")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match="is a model of timm, which is not installed") as caught:
        from_hub(Broken, str(base))
    assert caught.value.hint == "Install it: pip install timm"


class Broken:
    """Says what transformers says where timm is missing."""

    @classmethod
    def from_pretrained(cls, *_: object, **__: object) -> object:
        raise ImportError("TimmWrapperForImageClassification requires the timm library")


def test_models_that_are_no_image_classifiers_are_refused_in_one_line(tmp_path: Path) -> None:
    dino = DINOv3ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    dino.save_pretrained(tmp_path / "dino")
    with pytest.raises(ModelError, match="transformers has no image classifier for dinov3_vit") as caught:
        load_processor(ModelConfig(name=str(tmp_path / "dino")))
    assert "timm/vit_small_patch16_dinov3" in caught.value.hint
    Siglip2Config().save_pretrained(tmp_path / "siglip2")
    with pytest.raises(ModelError, match="takes lists of patches, not pictures"):
        load_processor(ModelConfig(name=str(tmp_path / "siglip2")))
