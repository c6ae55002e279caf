"""Tiny models with random weights of every architecture that the help names, each with the processor of its kind."""

from __future__ import annotations

import copy
import json
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
    MobileNetV2ImageProcessor,
    PoolFormerImageProcessor,
    SiglipImageProcessor,
    ViTImageProcessor,
)

SIDE = 32
_SQUARE = {"height": SIDE, "width": SIDE}
_LARGER = {"height": SIDE + 4, "width": SIDE + 4}
_BLOCKS: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE}
_VIT = _BLOCKS | {"intermediate_size": 16, "patch_size": 8}
_TEXT: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "vocab_size": 10, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 1]}

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
    "I-JEPA": (hf.IJepaConfig(**_VIT), hf.IJepaForImageClassification, ViTImageProcessor(size=_SQUARE)),
    "ViT-MSN": (hf.ViTMSNConfig(**_VIT), hf.ViTMSNForImageClassification, ViTImageProcessor(size=_SQUARE)),
    "Data2Vec": (
        hf.Data2VecVisionConfig(**_VIT),
        hf.Data2VecVisionForImageClassification,
        BeitImageProcessor(size=_SQUARE),
    ),
    "Swin V2": (
        hf.Swinv2Config(image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4),
        hf.Swinv2ForImageClassification,
        ViTImageProcessor(size=_SQUARE),
    ),
    "Hiera": (
        hf.HieraConfig(
            image_size=[SIDE, SIDE],
            patch_size=[4, 4],
            patch_stride=[4, 4],
            patch_padding=[1, 1],
            embed_dim=8,
            depths=[1, 1],
            num_heads=[1, 2],
            mlp_ratio=2.0,
            masked_unit_size=[2, 2],
            query_stride=[2, 2],
            num_query_pool=1,
            embed_dim_multiplier=2.0,
        ),
        hf.HieraForImageClassification,
        ViTImageProcessor(size=_SQUARE),
    ),
    "DINOv2 with registers": (
        hf.Dinov2WithRegistersConfig(**_BLOCKS, patch_size=8, mlp_ratio=2, num_register_tokens=2),
        hf.Dinov2WithRegistersForImageClassification,
        BitImageProcessor(size={"shortest_edge": SIDE + 4}, crop_size=_SQUARE),
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
    "MetaCLIP 2": (
        hf.MetaClip2Config(vision_config=_VIT, text_config=_TEXT, projection_dim=16),
        hf.MetaClip2ForImageClassification,
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=_SQUARE),
    ),
    "ConvNeXt V2": (
        hf.ConvNextV2Config(num_stages=2, **_STAGES),
        hf.ConvNextV2ForImageClassification,
        ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
    "RegNet": (
        hf.RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=8),
        hf.RegNetForImageClassification,
        ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
    "PVT v2": (
        hf.PvtV2Config(
            image_size=SIDE,
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 2, 2],
            sr_ratios=[2, 2, 1, 1],
            mlp_ratios=[2, 2, 2, 2],
        ),
        hf.PvtV2ForImageClassification,
        ViTImageProcessor(size=_SQUARE),
    ),
    "PoolFormer": (
        hf.PoolFormerConfig(hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], layer_scale_init_value=1.0),
        hf.PoolFormerForImageClassification,
        PoolFormerImageProcessor(size={"shortest_edge": SIDE}, crop_size=_SQUARE),
    ),
    "MobileNet V2": (
        hf.MobileNetV2Config(image_size=SIDE, depth_multiplier=0.25, initializer_range=0.3),
        hf.MobileNetV2ForImageClassification,
        MobileNetV2ImageProcessor(size={"shortest_edge": SIDE + 4}, crop_size=_SQUARE),
    ),
    "ConvNeXt": (
        hf.ConvNextConfig(num_stages=2, **_STAGES),
        hf.ConvNextForImageClassification,
        ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
    "ResNet": (
        hf.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]),
        hf.ResNetForImageClassification,
        ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
}
"""By name: config, class of the model, processor."""


TIMM = "timm"
"""A ViT in a folder of timm's own: no preprocessor_config.json, other keys in config.json."""


def save_timm(folder: Path, classes: int = 2) -> Path:
    """A tiny ViT as timm saves it; with 0 classes without a head, as timm has DINOv3."""
    import timm
    from timm.models import save_for_hf

    sizes: dict[str, Any] = {"img_size": SIDE, "patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2}
    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", num_classes=classes, **sizes)
    save_for_hf(module, str(folder), model_args=sizes, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_args": sizes, "label_names": ["LABEL_0", "LABEL_1"]} if classes else {"model_args": sizes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


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
