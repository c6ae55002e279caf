"""Loading, creating and saving classifiers: heads by name, weights that fit or an error, settings that come back."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from transformers import (
    BitImageProcessor,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from frame_vit.config.schema import ModelConfig, ScratchConfig
from frame_vit.errors import ModelError
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier, head_parameters
from frame_vit.model.pretrained import create, load_pretrained
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.model.saving import load_trained, save

SCRATCH = ModelConfig(
    init="scratch", scratch=ScratchConfig(image_size=32, patch_size=16, hidden_size=16, layers=1, heads=2, mlp_ratio=2)
)
SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"], {"hflip": {"left": "right", "right": "left"}})
PICTURES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def fresh(space: LabelSpace = SPACE) -> Classifier:
    torch.manual_seed(0)
    processor = load_processor(SCRATCH)
    return create(SCRATCH, space, preprocessing_of(processor), processor)


def answers(model: Classifier) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.module.eval()(pixel_values=PICTURES).logits
    return logits


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(fresh(), tmp_path / "model")
    return tmp_path / "model"


def going_on(saved: Path, names: list[str]) -> Classifier:
    start = fresh()
    return load_pretrained(ModelConfig(name=str(saved)), LabelSpace.build(names), start.preprocessing, start.processor)


def test_a_saved_model_comes_back_with_everything(saved: Path) -> None:
    back = load_trained(str(saved))
    assert back.labels == SPACE
    assert back.preprocessing == fresh().preprocessing
    assert torch.equal(answers(back), answers(fresh()))


def test_going_on_with_the_same_names_in_another_order_keeps_the_head(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "framevit"):
        model = going_on(saved, ["right", "ok", "left"])
    assert torch.equal(answers(model), answers(fresh())[:, [2, 0, 1]])
    assert model.module.config.id2label == {0: "right", 1: "ok", 2: "left"}
    assert "re-ordered by name" in caplog.text


@pytest.mark.parametrize("names", [["a", "b", "c"], ["ok", "left", "up", "down"]])
def test_other_names_get_a_new_head_and_it_is_said(
    saved: Path, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "framevit"):
        model = going_on(saved, names)
    assert answers(model).shape == (4, len(names))
    assert model.module.classifier.bias.abs().sum() == 0
    assert torch.equal(model.module.vit.layernorm.weight, fresh().module.vit.layernorm.weight)
    if len(names) == 3:
        assert not torch.allclose(model.module.classifier.weight, fresh().module.classifier.weight)
    assert "a new head" in caplog.text


def test_the_head_is_found_in_other_architectures() -> None:
    sizes = {"hidden_sizes": [8, 8], "depths": [1, 1], "num_labels": 3}
    convnext = ConvNextForImageClassification(ConvNextConfig(num_stages=2, **sizes))
    resnet = ResNetForImageClassification(ResNetConfig(embedding_size=8, **sizes))
    assert head_parameters(convnext) == ["classifier.weight", "classifier.bias"]
    assert head_parameters(resnet) == ["classifier.1.weight", "classifier.1.bias"]


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessor(size={"height": 384, "width": 384}),
        ViTImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]),
        ViTImageProcessor(do_normalize=False),
        ViTImageProcessor(do_rescale=False, do_normalize=False),
        DeiTImageProcessor(),
        BitImageProcessor(size={"shortest_edge": 256}),
        ConvNextImageProcessor(size={"shortest_edge": 224}),
        ConvNextImageProcessor(size={"shortest_edge": 384}),
    ],
    ids=lambda p: type(p).__name__,
)
def test_the_settings_of_common_processors_are_proven_on_probe_pictures(processor: object) -> None:
    assert preprocessing_of(processor).height >= 224


def test_a_processor_that_does_more_is_refused() -> None:
    class Darker(ViTImageProcessor):  # type: ignore[misc]
        def rescale(self, image: object, scale: float, **options: object) -> object:
            return super().rescale(image, scale * 0.5, **options)

        def rescale_and_normalize(self, images: object, *args: object, **options: object) -> object:
            return super().rescale_and_normalize(images, *args, **options) * 0.5

    with pytest.raises(ModelError, match="does not reproduce"):
        preprocessing_of(Darker())


def test_weights_that_do_not_fit_are_an_error_and_never_started_anew(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["num_hidden_layers"] = 2
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="do not fit"):
        load_trained(str(saved))


def test_weights_saved_in_half_precision_are_computed_with_in_fp32(saved: Path) -> None:
    load_trained(str(saved)).module.half().save_pretrained(saved)
    assert load_trained(str(saved)).module.dtype == torch.float32
    assert going_on(saved, ["a", "b", "c"]).module.dtype == torch.float32


def test_truncated_weights_are_one_error(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError):
        load_trained(str(saved))


def test_pickled_weights_are_not_loaded(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    torch.save(fresh().module.state_dict(), saved / "pytorch_model.bin")
    with pytest.raises(ModelError):
        load_trained(str(saved))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 1, "labels": {"nemas": []}, "pixels": {}}',
        '{"format": 99, "framevit": "9.9"}',
    ],
)
def test_damaged_or_newer_settings_are_one_error(saved: Path, content: str) -> None:
    (saved / "framevit.json").write_text(content)
    with pytest.raises(ModelError, match=r"framevit\.json"):
        load_trained(str(saved))


def test_a_model_without_settings_is_used_by_its_own_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = {0: "cat", 1: "dog"}
    config = ViTConfig(image_size=32, patch_size=16, id2label=names, label2id={n: i for i, n in names.items()}, **sizes)
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "framevit"):
        model = load_trained(str(tmp_path))
    assert model.labels == LabelSpace.build(["cat", "dog"])
    assert "is not known" in caplog.text
