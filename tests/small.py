"""The tiny config as objects: a model and the splits of its data, without the command line."""

from __future__ import annotations

from pathlib import Path

import torch

from frame_vit.config.load import load_config
from frame_vit.config.schema import Config
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.model.classifier import Classifier
from frame_vit.model.pretrained import create
from frame_vit.model.processor import load_processor, preprocessing_of
from tests.conftest import TINY


def tiny(tmp_path: Path, *overrides: str) -> Config:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return load_config(tmp_path / "tiny.yaml", ["training.precision=fp32", *overrides])


def begin(config: Config) -> tuple[Classifier, Dataset]:
    processor = load_processor(config.model)
    preprocessing = preprocessing_of(processor)
    dataset = read_dataset(config, preprocessing)
    torch.manual_seed(0)
    return create(config.model, dataset.labels, preprocessing, processor), dataset
