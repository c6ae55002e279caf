"""from_pretrained: folders and hub names, with errors that say what to do. No network."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

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
