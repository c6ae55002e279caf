"""from_pretrained: folders and hub names, with errors that say what to do. No network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForImageClassification, ViTConfig

from frame_vit.errors import DamagedModelError, Interrupted, ModelError
from frame_vit.model.hub import class_names, from_hub
from frame_vit.model.saving import load_trained, save
from tests.small import tiny_classifier


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tiny_classifier(), tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_is_loaded_and_has_no_revision(saved: Path) -> None:
    config, revision = from_hub(AutoConfig, str(saved))
    assert config.num_labels == 3
    assert revision == ""


def test_a_folder_whose_name_has_an_at_sign_is_a_folder(saved: Path) -> None:
    """Only hub names have a revision after an at sign."""
    place = saved.rename(saved.with_name("model@7"))
    assert from_hub(AutoConfig, str(place)).value.num_labels == 3


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a usable model folder"):
        from_hub(AutoConfig, str(tmp_path))


def test_classes_are_named_in_the_order_of_their_ids() -> None:
    assert class_names(ViTConfig(id2label={1: "b", 0: "a"}), "here") == ["a", "b"]


@pytest.mark.parametrize(
    "names", [{0: "a", 1: "b", 7: "c"}, {1: "a", 2: "b"}, {0: "a", 2: "b"}, {-1: "a", 0: "b"}, {0: "a", 1: 5}], ids=str
)
def test_ids_that_do_not_count_from_0_are_refused(names: dict[int, Any]) -> None:
    config = ViTConfig()
    config.id2label = names
    with pytest.raises(DamagedModelError, match=r"^here: id2label .* 0 to"):
        class_names(config, "here")


@pytest.mark.parametrize(
    "changed",
    [{"hidden_size": None}, {"hidden_size": "large"}, {"num_hidden_layers": -1}, {"id2label": {"a": "b"}},
     {"id2label": [1]}, {"model_type": 3}, {"model_type": "unheard"}, {"num_attention_heads": 0}],
    ids=str,
)  # fmt: skip
def test_a_damaged_config_is_one_error(saved: Path, changed: dict[str, Any]) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(ModelError):
        load_trained(str(saved))


def test_an_interruption_is_not_taken_for_a_damaged_model(saved: Path) -> None:
    class Interrupting:
        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> None:
            raise Interrupted(2, "stopped")

    with pytest.raises(Interrupted):
        from_hub(Interrupting, str(saved))


def test_weights_that_do_not_fit_the_config_are_told_without_a_report_that_nobody_sees(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"the weights do not fit config\.json: another number of classes") as caught:
        from_hub(AutoModelForImageClassification, str(saved))
    assert "report" not in caught.value.message + caught.value.hint
