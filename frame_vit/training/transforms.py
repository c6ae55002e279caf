"""Training's random changes to a batch, on its device: whatever moves the pixels moves labels and boxes by one coin.

Nothing here keeps state. The coins of a picture are a pure function of (seed, step, row of the picture), by a counter-
based hash, so they are the same whatever the batch size, the number of devices, or whether the run was resumed. They
are drawn on the CPU: Python would have to wait for a card to know how a coin on it fell.
Knows nothing of files, splits or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from frame_vit.images.preprocessing import Preprocessing
from frame_vit.images.tensors import shifted, viewed
from frame_vit.labels import LabelledView
from frame_vit.system.devices import send


class Coins(NamedTuple):
    """What happens to each picture: view (N,) int64, shift in pixels (N, 2) int64 x and y, two factors (N,) float32.

    On the CPU, wherever the pictures are.
    """

    view: Tensor
    shift: Tensor
    brightness: Tensor
    contrast: Tensor


@dataclass(frozen=True)
class Augmentation:
    """The views that may be drawn (the untouched picture among them) and the largest mild changes, as shares."""

    views: tuple[LabelledView, ...]
    brightness: float = 0.0
    contrast: float = 0.0
    shift: float = 0.0
    seed: int = 0

    def draw(self, rows: Tensor, step: int, size: int) -> Coins:
        """The coins of the pictures `rows` (N,) int64 at a step, for pictures `size` pixels wide."""
        coins = uniform(self.seed, step, rows, 5)
        view = (coins[:, 0] * len(self.views)).long().clamp_max(len(self.views) - 1)
        shift = ((coins[:, 1:3] * 2 - 1) * self.shift * size).round().long()
        return Coins(view, shift, (coins[:, 3] * 2 - 1) * self.brightness, (coins[:, 4] * 2 - 1) * self.contrast + 1)

    def pixels(self, pixels: Tensor, coins: Coins) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, 3, H, W) float32 in 0..255, its own."""
        moved = shifted(pixels, send(coins.shift, pixels.device)) if self.shift else pixels
        moved = self._viewed(moved, coins.view).to(torch.float32, copy=True)
        if not (self.brightness or self.contrast):
            return moved
        mean = moved.mean(dim=(1, 2, 3), keepdim=True)
        factors = send(torch.stack([coins.contrast, coins.brightness]), pixels.device)
        contrast, brightness = factors[..., None, None, None]
        return moved.mul_(contrast).add_(mean * (1 - contrast) + brightness * 255).clamp_(0, 255)

    def labels(self, labels: Tensor, coins: Coins) -> Tensor:
        """(N,) class ids -> the class ids that the changed pictures show; on the CPU."""
        table = torch.tensor([view.classes for view in self.views])
        return table[coins.view, labels]

    def boxes(self, boxes: Tensor, coins: Coins, width: int, height: int) -> Tensor:
        """(N, 4) xyxy in pixels of a width x height picture -> where they lie in the changed pictures."""
        moved = boxes + coins.shift.repeat(1, 2)
        picture = [
            self.views[v].view.box(tuple(b), width, height)
            for v, b in zip(coins.view.tolist(), moved.tolist(), strict=True)
        ]
        return torch.tensor(picture, dtype=boxes.dtype, device=boxes.device).reshape(-1, 4)

    def _viewed(self, pixels: Tensor, chosen: Tensor) -> Tensor:
        if len(self.views) == 1:
            return pixels
        order = chosen.argsort(stable=True)
        counts = chosen.bincount(minlength=len(self.views)).tolist()
        # Gathered and put back as (N, H, W, 3), as pictures lie in memory: value by value it takes ten times as long.
        picked = torch.split(pixels.permute(0, 2, 3, 1).index_select(0, send(order, pixels.device)), counts)
        turned = [
            viewed(part.permute(0, 3, 1, 2), view).permute(0, 2, 3, 1)
            for part, (view, _) in zip(picked, self.views, strict=True)
        ]
        return torch.cat(turned).index_select(0, send(order.argsort(), pixels.device)).permute(0, 3, 1, 2)


def check_square(views: Sequence[LabelledView], preprocessing: Preprocessing) -> bool:
    """Whether every view keeps the shape of the model's pictures."""
    return preprocessing.height == preprocessing.width or all(view.turns % 2 == 0 for view, _ in views)


def uniform(seed: int, step: int, rows: Tensor, count: int) -> Tensor:
    """(N, count) float32 in [0, 1): SplitMix64 (Steele, Lea, Flood 2014) of (seed, step, row, column)."""
    state = _mix(_mix(_mix(torch.tensor(seed)) + step) + rows.long())
    return (_shift_right(_mix(state[:, None] + torch.arange(count)), 40)).float() / 2**24


def mix(*numbers: int) -> int:
    """One number, as random as they come, of several whole ones; for seeding what keeps a state of its own."""
    state = torch.tensor(0)
    for number in numbers:
        state = _mix(state + number)
    return int(state)


def _mix(x: Tensor) -> Tensor:
    # The constants of SplitMix64 as signed numbers; int64 products wrap around, as the algorithm wants.
    x = x + -0x61C8864680B583EB
    x = (x ^ _shift_right(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift_right(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """A logical shift; `>>` on int64 keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
