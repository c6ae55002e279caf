"""from_pretrained: folders and hub names, with errors that say what to do. No network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForImageClassification

from frame_vit.errors import ModelError
from frame_vit.model.hub import from_hub
from frame_vit.model.saving import save
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


def test_weights_that_do_not_fit_the_config_are_told_without_a_report_that_nobody_sees(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"the weights do not fit config\.json: another number of classes") as caught:
        from_hub(AutoModelForImageClassification, str(saved))
    assert "report" not in caught.value.message + caught.value.hint
