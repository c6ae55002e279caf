"""Small models with random weights, for tests of backends, exports and maps: two seconds to export, none to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.model.saving import save

SIDE = 32
NAMES = ["passed", "Xplus", "Xminus"]
SPACE = LabelSpace.build(NAMES, ["passed"], {"hflip": {"Xplus": "Xminus", "Xminus": "Xplus"}})
METADATA = ModelMetadata(SPACE, Preprocessing(SIDE, SIDE))


def noise(count: int, side: int = SIDE) -> UInt8:
    """(count, side, side, 3) uint8, always the same."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def vit(seed: int = 0) -> Classifier:
    """A ViT of two blocks with 4 x 4 patches; its head is given the class token."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = ViTConfig(**sizes, intermediate_size=32, image_size=SIDE, patch_size=8, **_names())
    return Classifier(
        ViTForImageClassification(config), METADATA, ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    )


def convnext() -> Classifier:
    """A model without attention and without a class token."""
    torch.manual_seed(0)
    config = ConvNextConfig(num_stages=2, hidden_sizes=[8, 8], depths=[1, 1], **_names())
    return Classifier(
        ConvNextForImageClassification(config), METADATA, ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    )


def saved(folder: Path) -> Path:
    """The ViT in a model folder of its own."""
    save(vit(), folder)
    return folder


def _names() -> dict[str, Any]:
    return {"id2label": dict(enumerate(NAMES)), "label2id": {name: label for label, name in enumerate(NAMES)}}
