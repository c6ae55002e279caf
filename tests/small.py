"""The tiny config as objects: a model and prepared splits, without the command line."""

from __future__ import annotations

from pathlib import Path

import torch

from frame_vit import model as models
from frame_vit.config import load_config
from frame_vit.data.prepare import Prepared, prepare
from frame_vit.schema import Config
from tests.conftest import TINY


def tiny(tmp_path: Path, *overrides: str) -> Config:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return load_config(tmp_path / "tiny.yaml", ["training.precision=fp32", *overrides])


def begin(config: Config) -> tuple[models.Classifier, Prepared]:
    processor = models.load_processor(config.model)
    pixels = models.pixels_of(processor)
    prepared = prepare(config, pixels)
    torch.manual_seed(0)
    return models.create(config.model, prepared.labels, pixels, processor), prepared
