"""Tiny models with random weights of every architecture that the help names, each with the processor of its kind."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers import (
    BeitImageProcessor,
    BitImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    SiglipImageProcessor,
    ViTImageProcessor,
)

SIDE = 32
_SQUARE = {"height": SIDE, "width": SIDE}
_LARGER = {"height": SIDE + 4, "width": SIDE + 4}
_BLOCKS: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIDE}
_VIT = _BLOCKS | {"intermediate_size": 16, "patch_size": 8}
_TEXT: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "vocab_size": 10, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 8], "depths": [1, 1]}

ARCHITECTURES: dict[str, tuple[Any, Any, Any]] = {
    "ViT": (hf.ViTConfig(**_VIT), hf.ViTForImageClassification, ViTImageProcessor(size=_SQUARE)),
    "DeiT": (hf.DeiTConfig(**_VIT), hf.DeiTForImageClassification, DeiTImageProcessor(size=_LARGER, crop_size=_SQUARE)),
    "DeiT distilled": (
        hf.DeiTConfig(**_VIT),
        hf.DeiTForImageClassificationWithTeacher,
        DeiTImageProcessor(size=_LARGER, crop_size=_SQUARE),
    ),
    "BEiT": (hf.BeitConfig(**_VIT), hf.BeitForImageClassification, BeitImageProcessor(size=_SQUARE)),
    "Swin": (
        hf.SwinConfig(image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4),
        hf.SwinForImageClassification,
        ViTImageProcessor(size=_SQUARE),
    ),
    "DINOv2": (
        hf.Dinov2Config(**_BLOCKS, patch_size=8, mlp_ratio=2),
        hf.Dinov2ForImageClassification,
        BitImageProcessor(size={"shortest_edge": SIDE + 4}, crop_size=_SQUARE),
    ),
    "SigLIP": (
        hf.SiglipConfig(vision_config=_VIT, text_config=_TEXT),
        hf.SiglipForImageClassification,
        SiglipImageProcessor(size=_SQUARE),
    ),
    "CLIP": (
        hf.CLIPConfig(vision_config=_VIT, text_config=_TEXT, projection_dim=16),
        hf.CLIPForImageClassification,
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=_SQUARE),
    ),
    "ConvNeXt": (
        hf.ConvNextConfig(num_stages=2, **_STAGES),
        hf.ConvNextForImageClassification,
        ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
    "ResNet": (
        hf.ResNetConfig(embedding_size=8, **_STAGES),
        hf.ResNetForImageClassification,
        ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
}
"""By name: config, class of the model, processor."""


def save_base(name: str, folder: Path, **said: Any) -> Path:
    """A model as it could lie on the hub, with its default classes; `said` is set in its config."""
    config, kind, processor = ARCHITECTURES[name]
    torch.manual_seed(0)
    module = kind(copy.deepcopy(config))
    for key, value in said.items():
        setattr(module.config, key, value)
    module.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
