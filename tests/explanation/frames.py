"""Small models and pictures for tests of maps: a part whose place and colour are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import ViTConfig, ViTForImageClassification

from frame_vit.backends.torch_backend import Torch
from frame_vit.data.examples import Example, Split
from frame_vit.images.geometry import Box
from frame_vit.images.pixel_array import PixelArray, UInt8
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Predictor

SIDE, CELL = 32, 8
NAMES = ["passed", "Xplus", "Xminus"]
SPACE = LabelSpace.build(NAMES, ["passed"], {"hflip": {"Xplus": "Xminus", "Xminus": "Xplus"}})
PLAIN = LabelSpace.build(NAMES, ["passed"])


def predictor(space: LabelSpace, **options: Any) -> Predictor:
    """A ViT with random weights and 4 x 4 patches."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = ViTConfig(**sizes, intermediate_size=64, image_size=SIDE, patch_size=CELL, num_labels=3)
    classifier = Classifier(ViTForImageClassification(config), ModelMetadata(space, Preprocessing(SIDE, SIDE)))
    return Predictor(Torch(classifier, "cpu", "fp32"), **options)


def noise(count: int) -> UInt8:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def drawn(count: int, marked: bool, seed: int) -> tuple[UInt8, NDArray[np.int64], list[Box]]:
    """A part whose colour gives the class; or, `marked`, a part of any colour and a mark in the corner that does."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = random.integers(0, 3, count)
    boxes = []
    for picture, label in zip(pixels, labels, strict=True):
        x, y = (int(v) for v in random.integers(1, 3, 2) * CELL)
        shades = [(250, 60, 60), (60, 250, 60), (60, 60, 250)]
        picture[y : y + CELL, x : x + CELL] = shades[int(random.integers(3)) if marked else label]
        boxes.append((float(x), float(y), float(x + CELL), float(y + CELL)))
        if marked:
            picture[:4, -4:] = shades[label]
    return pixels, labels.astype(np.int64), boxes


def split(pixels: UInt8, labels: NDArray[np.int64], boxes: list[Box]) -> Split:
    examples = [
        Example(f"row {i}", int(label), (box,), SIDE, SIDE, "", lambda: b"")
        for i, (label, box) in enumerate(zip(labels, boxes, strict=True))
    ]
    return Split("test", examples, PixelArray.of(pixels))
