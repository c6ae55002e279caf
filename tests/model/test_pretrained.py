"""Models to start a training with: heads that are kept, re-ordered or new; weights of every precision."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from frame_vit.config.schema import ModelConfig
from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.pretrained import check_base, create, load_pretrained
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.model.saving import load_trained, save
from tests.small import SCRATCH, THREE_CLASSES, logits_of, tiny_classifier


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tiny_classifier(), tmp_path / "model")
    return tmp_path / "model"


def start_from(saved: Path, names: list[str]) -> Classifier:
    start = tiny_classifier()
    return load_pretrained(ModelConfig(name=str(saved)), LabelSpace.build(names), start.preprocessing, start.processor)


def test_going_on_with_the_same_names_in_another_order_keeps_the_head(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "framevit"):
        model = start_from(saved, ["right", "ok", "left"])
    assert torch.equal(logits_of(model), logits_of(tiny_classifier())[:, [2, 0, 1]])
    assert model.module.config.id2label == {0: "right", 1: "ok", 2: "left"}
    assert "re-ordered by name" in caplog.text


@pytest.mark.parametrize("names", [["a", "b", "c"], ["ok", "left", "up", "down"]])
def test_other_names_get_a_new_head_and_it_is_said(
    saved: Path, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "framevit"):
        model = start_from(saved, names)
    assert logits_of(model).shape == (4, len(names))
    assert model.module.classifier.bias.abs().sum() == 0
    assert torch.equal(model.module.vit.layernorm.weight, tiny_classifier().module.vit.layernorm.weight)
    if len(names) == 3:
        assert not torch.allclose(model.module.classifier.weight, tiny_classifier().module.classifier.weight)
    assert "a new head" in caplog.text


def test_weights_missing_below_the_head_are_initialised_and_named(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with caplog.at_level(logging.WARNING, "framevit"):
        model = start_from(saved, ["ok", "left", "right"])
    assert "has no weights for vit." in caplog.text
    assert "initialised at random" in caplog.text
    assert torch.equal(model.module.classifier.weight, tiny_classifier().module.classifier.weight)


def test_weights_saved_in_half_precision_are_trained_in_fp32(saved: Path) -> None:
    load_trained(str(saved)).module.half().save_pretrained(saved)
    assert start_from(saved, ["a", "b", "c"]).module.dtype == torch.float32


def test_an_untrained_model_has_the_configured_sizes_and_follows_the_seed() -> None:
    processor = load_processor(SCRATCH)
    torch.manual_seed(1)
    model = create(SCRATCH, THREE_CLASSES, preprocessing_of(processor), processor)
    config = model.module.config
    assert (config.image_size, config.patch_size, config.hidden_size) == (32, 16, 16)
    assert (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) == (1, 2, 32)
    assert config.id2label == dict(enumerate(THREE_CLASSES.names))
    assert logits_of(model).shape == (4, 3)
    assert not torch.equal(logits_of(model), logits_of(tiny_classifier()))
    assert torch.equal(logits_of(tiny_classifier()), logits_of(tiny_classifier()))


@pytest.mark.parametrize("names", [["ok", "left", "right"], ["a", "b"]], ids=["head kept", "new head"])
def test_what_a_base_says_of_its_answers_is_set_anew(saved: Path, tmp_path: Path, names: list[str]) -> None:
    config = json.loads((saved / "config.json").read_text())
    theirs = {
        "problem_type": "multi_label_classification",
        "function_to_apply": "sigmoid",
        "output_hidden_states": True,
        "auto_map": {"AutoModelForImageClassification": "code.Model"},
    }
    (saved / "config.json").write_text(json.dumps(config | theirs))
    save(start_from(saved, names), tmp_path / "own")
    written = json.loads((tmp_path / "own" / "config.json").read_text())
    assert written["problem_type"] == "single_label_classification"
    assert written["id2label"] == {str(i): name for i, name in enumerate(names)}
    assert not written.get("output_hidden_states")
    assert not {"function_to_apply", "auto_map"} & set(written)


def test_an_untrained_model_says_what_its_answers_are() -> None:
    assert tiny_classifier().module.config.problem_type == "single_label_classification"


def test_a_base_that_does_not_take_the_pictures_is_refused_before_its_weights_are_read(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    check_base(ModelConfig(name=str(saved)), Preprocessing(32, 32))
    with pytest.raises(ModelError, match=r"pictures of 64 x 64"):
        check_base(ModelConfig(name=str(saved)), Preprocessing(64, 64))


def test_a_base_whose_ids_have_a_gap_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"id2label": {"1": "a", "2": "b", "3": "c"}}))
    with pytest.raises(ModelError, match="its ids are 1, 2, 3"):
        check_base(ModelConfig(name=str(saved)), Preprocessing(32, 32))
    with pytest.raises(ModelError, match="its ids are 1, 2, 3"):
        start_from(saved, ["a", "b", "c"])


def test_a_base_with_weights_that_are_no_numbers_is_refused(saved: Path) -> None:
    module = load_trained(str(saved)).module
    with torch.no_grad():
        module.vit.layernorm.weight[0] = float("nan")
    module.save_pretrained(saved)
    with pytest.raises(ModelError, match="not finite"):
        start_from(saved, ["a", "b"])
