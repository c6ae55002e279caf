"""The operations on pictures that training and evaluation need as torch tensors, on the tensors' own device.

They do the same as their numpy counterparts in `preprocessing` (`in_view`, `normalise`), which work without torch;
tests compare the two. This module makes no random choices: `training.transforms` decides which view and shift a picture
gets.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from frame_vit.images.geometry import View
from frame_vit.images.preprocessing import Preprocessing

VIEWS_VERSION = 1
"""Raise it with every change of what `View`, `in_view` or `normalise` do: cached activations are keyed by it."""


def in_view(pixels: Tensor, view: View) -> Tensor:
    """Pictures (..., H, W) in a view; in a batch, quarter turns need H == W."""
    turned = torch.rot90(pixels, view.turns, (-2, -1)) if view.turns % 2 else pixels
    # A half turn is two flips, one of which the mirror undoes: one pass over the pictures instead of two.
    flips = {-2, -1} if view.turns == 2 else set()
    return turned.flip(sorted(flips ^ {-1} if view.mirror else flips))


def shifted(pixels: Tensor, shift: Tensor) -> Tensor:
    """Pictures (N, C, H, W) shifted by (N, 2) whole pixels x and y; the gap repeats the edge."""
    count, _, height, width = pixels.shape
    x = (torch.arange(width, device=pixels.device) - shift[:, :1]).clamp(0, width - 1)
    y = (torch.arange(height, device=pixels.device) - shift[:, 1:]).clamp(0, height - 1)
    picture = torch.arange(count, device=pixels.device)[:, None, None]
    return pixels.permute(0, 2, 3, 1)[picture, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(N, 3, H, W) with values 0 to 255, uint8 or float -> float32, normalised: the model's input."""
    return normalise_(pixels.to(torch.float32, copy=True), preprocessing)


def normalise_(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """`normalise` in place: changes the float tensor (N, 3, H, W) and returns it."""
    factor, offset = _factor_and_offset(preprocessing, pixels.shape[-1], pixels.device)
    return pixels.mul_(factor).sub_(offset)


@lru_cache
def _factor_and_offset(preprocessing: Preprocessing, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Both (3, 1, width). Written out along the width, because broadcasting (3, 1, 1) over (H, W, 3) memory is slow."""
    std, mean = torch.tensor(preprocessing.std), torch.tensor(preprocessing.mean)
    factor, offset = (v.expand(width, 3).contiguous().T[:, None] for v in (preprocessing.scale / std, mean / std))
    return factor.to(device), offset.to(device)
