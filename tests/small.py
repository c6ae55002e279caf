"""Small objects without the command line: the tiny config, its model and splits; a tinier model of three classes."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from frame_vit.config.load import load_config
from frame_vit.config.schema import Config, ModelConfig, ScratchConfig
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.digests import file_digest
from frame_vit.model.metadata import METADATA_FILE
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


SCRATCH = ModelConfig(
    init="scratch", scratch=ScratchConfig(image_size=32, patch_size=16, hidden_size=16, layers=1, heads=2, mlp_ratio=2)
)
THREE_CLASSES = LabelSpace.build(["ok", "left", "right"], ["ok"], {"hflip": {"left": "right", "right": "left"}})
PICTURES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))  # (4, 3, H, W), normalised


def tiny_classifier(labels: LabelSpace = THREE_CLASSES) -> Classifier:
    """An untrained ViT, always with the same weights."""
    torch.manual_seed(0)
    processor = load_processor(SCRATCH)
    return create(SCRATCH, labels, preprocessing_of(processor), processor)


def accept_weights(folder: Path) -> None:
    """Makes framevit.json belong to the weights in the folder, whatever they have become."""
    metadata = json.loads((folder / METADATA_FILE).read_text())
    metadata["weights"] = {path.name: file_digest(path) for path in folder.glob("*.safetensors")}
    (folder / METADATA_FILE).write_text(json.dumps(metadata))


def logits_of(model: Classifier) -> torch.Tensor:
    """(4, C) logits of PICTURES."""
    with torch.no_grad():
        logits: torch.Tensor = model.module.eval()(pixel_values=PICTURES).logits
    return logits
