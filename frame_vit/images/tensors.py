"""Training's random changes to a batch, on its device: whatever moves the pixels moves labels and boxes by one coin.

Nothing here keeps state. The coins of a picture are a pure function of (seed, step, row of the picture), by a counter-
based hash, so they are the same whatever the batch size, the number of devices, or whether the run was resumed. They
are drawn on the CPU: Python would have to wait for a card to know how a coin on it fell.
Knows nothing of files, splits or models.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from frame_vit.images.geometry import View
from frame_vit.images.preprocessing import Preprocessing

VIEWS_VERSION = 1
"""Raise it with every change of what `View`, `viewed` or `normalise` do: cached activations are keyed by it."""


def viewed(pixels: Tensor, view: View) -> Tensor:
    """(..., H, W) laid as the view says; quarter turns need H == W to stay in a batch."""
    turned = torch.rot90(pixels, view.turns, (-2, -1)) if view.turns % 2 else pixels
    # A half turn is both flips, and one of them is undone by the mirror: two passes over the pictures become one.
    flips = {-2, -1} if view.turns == 2 else set()
    return turned.flip(sorted(flips ^ {-1} if view.mirror else flips))


def shifted(pixels: Tensor, shift: Tensor) -> Tensor:
    """(N, C, H, W) moved by (N, 2) whole pixels x and y; the margin repeats the edge."""
    count, _, height, width = pixels.shape
    x = (torch.arange(width, device=pixels.device) - shift[:, :1]).clamp(0, width - 1)
    y = (torch.arange(height, device=pixels.device) - shift[:, 1:]).clamp(0, height - 1)
    picture = torch.arange(count, device=pixels.device)[:, None, None]
    return pixels.permute(0, 2, 3, 1)[picture, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(N, 3, H, W) 0..255, uint8 or float -> float32 as the model reads it; `images.normalise` on the device."""
    return normalise_(pixels.to(torch.float32, copy=True), preprocessing)


def normalise_(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """`normalise` in place: what was given is changed."""
    factor, offset = _factor_and_offset(preprocessing, pixels.shape[-1], pixels.device)
    return pixels.mul_(factor).sub_(offset)


@lru_cache
def _factor_and_offset(preprocessing: Preprocessing, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(3, 1, width), written out along the width: over pictures that lie as (H, W, 3), three values alone are slow."""
    std, mean = torch.tensor(preprocessing.std), torch.tensor(preprocessing.mean)
    factor, offset = (v.expand(width, 3).contiguous().T[:, None] for v in (preprocessing.scale / std, mean / std))
    return factor.to(device), offset.to(device)
