"""preprocessor_config.json: what it stands for without transformers, and that it must agree with framevit.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import BitImageProcessor, CLIPImageProcessor, ConvNextImageProcessor, ViTImageProcessor

from frame_vit.config.schema import DataConfig
from frame_vit.errors import DamagedModelError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.model.processor import preprocessing_of
from frame_vit.model.processor_config import PROCESSOR_FILE, check_agreement, configured

PLAIN: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 32, "width": 32},
}


def write(folder: Path, settings: dict[str, Any]) -> None:
    (folder / PROCESSOR_FILE).write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessor(size={"height": 48, "width": 64}),
        ViTImageProcessor(do_normalize=False, do_rescale=False),
        BitImageProcessor(size={"shortest_edge": 256}),
        CLIPImageProcessor(),
        ConvNextImageProcessor(size={"shortest_edge": 224}),
        ConvNextImageProcessor(size={"shortest_edge": 384}),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_the_file_of_a_processor_stands_for_what_the_processor_does(tmp_path: Path, processor: Any) -> None:
    preprocessing = preprocessing_of(processor, DataConfig(bit_depth=12, roi=[0.1, 0.1, 0.9, 0.9], max_megapixels=20))
    processor.save_pretrained(tmp_path)
    check_agreement(tmp_path, preprocessing, "framevit.json")
    with pytest.raises(DamagedModelError, match=r"different preprocessing \(mean\)"):
        check_agreement(tmp_path, replace(preprocessing, mean=(0.4, 0.5, 0.6)), "framevit.json")


@pytest.mark.parametrize(
    "changed",
    [
        {"image_mean": [0.5, 0.5, 0.4]},
        {"image_std": [0.5, 0.5, 0.25]},
        {"rescale_factor": 1 / 127.5},
        {"resample": 3},
        {"do_normalize": False},
        {"do_rescale": False},
        {"do_center_crop": True, "crop_size": {"height": 16, "width": 16}},
        {"size": {"height": 32, "width": 64}},
        {"size": {"shortest_edge": 64}},
    ],
    ids=str,
)
def test_every_setting_that_moves_pixels_must_agree(tmp_path: Path, changed: dict[str, Any]) -> None:
    write(tmp_path, PLAIN)
    check_agreement(tmp_path, Preprocessing(32, 32), "framevit.json")
    write(tmp_path, PLAIN | changed)
    with pytest.raises(DamagedModelError, match="different preprocessing") as error:
        check_agreement(tmp_path, Preprocessing(32, 32), "framevit.json")
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"size": None}, {"size": 32}, {"size": {}}, {"image_mean": None}, {"image_mean": [0.5]}, {"image_std": 0.5},
        {"resample": None}, {"resample": "bilinear"}, {"do_resize": False}, {"rescale_factor": None},
        {"do_center_crop": True, "crop_size": None}, {"do_center_crop": True, "crop_size": {"depth": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_that_says_too_little_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    write(tmp_path, PLAIN | changed)
    with pytest.raises(DamagedModelError, match=PROCESSOR_FILE):
        check_agreement(tmp_path, Preprocessing(32, 32), "framevit.json")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"size": NaN}', "[" * 100_000])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / PROCESSOR_FILE).write_text(content)
    with pytest.raises(DamagedModelError, match="damaged"):
        check_agreement(tmp_path, Preprocessing(32, 32), "framevit.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match="is missing"):
        check_agreement(tmp_path, Preprocessing(32, 32), "framevit.json")


def test_grey_pictures_are_named() -> None:
    with pytest.raises(ValueError, match=r"pictures of 1 channel"):
        configured(PLAIN | {"image_mean": [0.5]})
