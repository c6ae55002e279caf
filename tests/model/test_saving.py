"""Model folders: written, read back, refused where weights or metadata do not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from frame_vit.errors import DamagedModelError, ModelError
from frame_vit.labels import LabelSpace
from frame_vit.model.saving import divide_logits, load_trained, save
from tests.small import PICTURES, THREE_CLASSES, accept_weights, logits_of, tiny_classifier


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


def test_weights_that_would_be_left_out_are_an_error(saved: Path) -> None:
    change(saved, "config.json", num_hidden_layers=0)
    with pytest.raises(DamagedModelError, match=r"no place for the weights vit\."):
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
    with pytest.raises(ModelError, match=r"model\.safetensors is not the file that framevit\.json belongs to"):
        load_trained(str(saved))
    accept_weights(saved)
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


def change(folder: Path, file: str, **values: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_gap_in_the_ids_of_config_json_is_refused(saved: Path) -> None:
    change(saved, "config.json", id2label={"0": "ok", "1": "left", "7": "right"})
    with pytest.raises(DamagedModelError, match="its ids are 0, 1, 7"):
        load_trained(str(saved))
    (saved / "framevit.json").unlink()
    with pytest.raises(DamagedModelError, match="its ids are 0, 1, 7"):
        load_trained(str(saved))


def test_classes_in_another_order_by_id_are_refused(saved: Path) -> None:
    """Their order in the file does not matter, only their ids do."""
    change(saved, "config.json", id2label={"1": "left", "0": "ok", "2": "right"})
    load_trained(str(saved))
    change(saved, "config.json", id2label={"1": "ok", "0": "left", "2": "right"})
    with pytest.raises(DamagedModelError, match="different classes"):
        load_trained(str(saved))


@pytest.mark.parametrize("names", [{"0": "a", "1": "A", "2": "b"}, {"0": "a", "1": "", "2": "b"}])
def test_a_foreign_model_with_the_same_name_twice_is_refused(saved: Path, names: dict[str, str]) -> None:
    change(saved, "config.json", id2label=names)
    (saved / "framevit.json").unlink()
    with pytest.raises(DamagedModelError, match="id2label"):
        load_trained(str(saved))


def test_preprocessing_of_another_size_than_the_model_is_refused(saved: Path) -> None:
    pixels = json.loads((saved / "framevit.json").read_text())["pixels"]
    change(saved, "framevit.json", pixels=pixels | {"height": 64, "width": 64})
    change(saved, "preprocessor_config.json", size={"height": 64, "width": 64})
    with pytest.raises(ModelError, match="does not take the pictures of 64 x 64"):
        load_trained(str(saved))


def test_embeddings_of_another_size_than_the_models_are_refused(saved: Path) -> None:
    values = {"n": 4, "ranges": {"distance": [0.0, 0.5]}, "modes": ["RGB"], "mode": "review"}
    change(saved, "framevit.json", usual=values)
    np.save(saved / "embeddings.npy", np.eye(4, 16, dtype=np.float16))
    assert load_trained(str(saved)).metadata.novelty is not None
    np.save(saved / "embeddings.npy", np.eye(4, 7, dtype=np.float16))
    with pytest.raises(DamagedModelError, match="have 7 dimensions, but the model gives 16"):
        load_trained(str(saved))


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_answers_that_are_no_probabilities_of_one_class_are_refused(saved: Path, kind: str) -> None:
    change(saved, "config.json", problem_type=kind)
    assert load_trained(str(saved)).module.config.problem_type == "single_label_classification", "framevit trained it"
    (saved / "framevit.json").unlink()
    with pytest.raises(ModelError, match=kind):
        load_trained(str(saved))
