"""Pretrained models for pictures of another size than they were trained with: `model.image_size`.

Many architectures take any size. The others hold a table with one position embedding for each patch; it is replaced by
what the model itself interpolates for the new size, once, before the training. So the saved model is an ordinary model
of the new size, for transformers' pipeline and for an export, too. That it answers as the old one does with
`interpolate_pos_encoding` is tested on a random picture.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from frame_vit.errors import ModelError, UsageError
from frame_vit.model.classifier import vision_config

TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest, between the new model and the old one's interpolation."""


def check_size(module: Any, side: int, place: str) -> None:
    """Raises `UsageError` where pictures of `side` x `side` pixels are no whole number of the model's patches."""
    patch = getattr(vision_config(module.config), "patch_size", None)
    if isinstance(patch, int) and side % patch:
        below, above = side // patch * patch, (side // patch + 1) * patch
        near = " or ".join(str(size) for size in (below, above) if size)
        raise UsageError(
            f"model.image_size: {side} is not a multiple of {patch}, the side of a patch of {place}",
            f"Set it to {near}",
        )


def takes(module: Any, side: int, **options: Any) -> bool:
    """Whether a model gives logits for pictures of `side` x `side` pixels."""
    try:
        _logits(module, torch.zeros(1, 3, side, side, device=module.device), **options)
    except Exception:  # whatever an architecture makes of pictures of another size
        return False
    return True


def resized(module: Any, side: int, place: str) -> Any:
    """The model for pictures of `side` x `side` pixels: itself, or one of the same weights with new positions.

    Raises `ModelError` where its positions cannot be interpolated. A module on torch's `meta` device is only checked.
    """
    if takes(module, side):
        return module
    if not takes(module, side, interpolate_pos_encoding=True):
        raise ModelError(
            f"{place}: {type(module).__name__} takes pictures of one size only, so model.image_size cannot be {side}",
            "Leave model.image_size out",
        )
    config = copy.deepcopy(module.config)
    vision = vision_config(config)
    vision.image_size = side if isinstance(vision.image_size, int) else [side, side]
    with torch.device(module.device):
        new = type(module)(config)
    weights, shapes = module.state_dict(), {name: tensor.shape for name, tensor in new.state_dict().items()}
    try:
        changed = {name: _interpolated(module, name, shape, side)
                   for name, shape in shapes.items() if weights[name].shape != shape}  # fmt: skip
        new.load_state_dict(weights | changed)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(f"{place}: its position embeddings cannot be interpolated: {error}") from None
    if module.device.type != "meta":
        _check_same(module.eval(), new.eval(), side, place)
    return new


@torch.no_grad()
def _interpolated(module: Any, name: str, shape: torch.Size, side: int) -> Tensor:
    """The table of positions `name` for the new size, as the module that owns it interpolates it."""
    path = name.rpartition(".")[0]
    while path and not hasattr(module.get_submodule(path), "interpolate_pos_encoding"):
        path = path.rpartition(".")[0]
    owner, table = module.get_submodule(path), module.state_dict()[name]
    tokens = torch.zeros(1, *shape[-2:], device=table.device)  # only their number counts
    own = (tokens, table) if "pos_embeds" in owner.interpolate_pos_encoding.__code__.co_varnames else (tokens,)
    found = owner.interpolate_pos_encoding(*own, side, side)
    assert isinstance(found, Tensor)
    return found.reshape(shape)


def _check_same(old: Any, new: Any, side: int, place: str) -> None:
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted, found = _logits(old, picture, interpolate_pos_encoding=True), _logits(new, picture)
    if not torch.allclose(wanted, found, rtol=0, atol=TOLERANCE * max(1.0, float(wanted.abs().max()))):
        raise ModelError(
            f"{place}: with interpolated positions {type(old).__name__} does not answer as it should",
            "Leave model.image_size out",
        )


@torch.no_grad()
def _logits(module: Any, pictures: Tensor, **options: Any) -> Tensor:
    logits = module.eval()(pixel_values=pictures, **options).logits
    assert isinstance(logits, Tensor)
    return logits
