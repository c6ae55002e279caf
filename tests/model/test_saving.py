"""Model folders: written, read back, refused where weights or metadata do not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from frame_vit.errors import ModelError
from frame_vit.labels import LabelSpace
from frame_vit.model.saving import divide_logits, load_trained, save
from tests.small import PICTURES, THREE_CLASSES, logits_of, tiny_classifier


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tiny_classifier(), tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_comes_back_with_everything(saved: Path) -> None:
    back = load_trained(str(saved))
    assert back.labels == THREE_CLASSES
    assert back.preprocessing == tiny_classifier().preprocessing
    assert torch.equal(logits_of(back), logits_of(tiny_classifier()))


def test_a_model_folder_holds_exactly_these_files(saved: Path) -> None:
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "framevit.json"}
    assert {path.name for path in saved.iterdir()} == names


def test_transformers_alone_reads_the_folder_and_gives_the_same_logits(saved: Path) -> None:
    module = ViTForImageClassification.from_pretrained(saved).eval()
    with torch.no_grad():
        assert torch.equal(module(pixel_values=PICTURES).logits, logits_of(tiny_classifier()))


def test_a_temperature_divides_all_logits() -> None:
    model = tiny_classifier()
    before = logits_of(model)
    divide_logits(model.module, 2.5)
    assert torch.allclose(logits_of(model), before / 2.5, atol=1e-6)


def test_weights_that_do_not_fit_are_an_error_and_never_started_anew(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["num_hidden_layers"] = 2
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="do not fit"):
        load_trained(str(saved))


def test_truncated_weights_are_one_error(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError):
        load_trained(str(saved))


def test_pickled_weights_are_not_loaded(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    torch.save(tiny_classifier().module.state_dict(), saved / "pytorch_model.bin")
    with pytest.raises(ModelError, match="not a usable model folder"):
        load_trained(str(saved))


def test_weights_saved_in_half_precision_are_computed_with_in_fp32(saved: Path) -> None:
    load_trained(str(saved)).module.half().save_pretrained(saved)
    assert load_trained(str(saved)).module.dtype == torch.float32


def test_metadata_of_another_model_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["id2label"] = {"0": "ok", "1": "right", "2": "left"}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json and framevit\.json name different classes"):
        load_trained(str(saved))


def test_a_model_without_metadata_has_its_own_class_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = {0: "cat", 1: "dog"}
    config = ViTConfig(image_size=32, patch_size=16, id2label=names, label2id={n: i for i, n in names.items()}, **sizes)
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "framevit"):
        model = load_trained(str(tmp_path))
    assert model.labels == LabelSpace.build(["cat", "dog"])
    assert "is not known" in caplog.text
