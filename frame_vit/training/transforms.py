"""Augmentation of training batches, on their device. One random draw moves pixels, labels and boxes together.

Nothing here keeps state. What is drawn for a picture is a pure function of (seed, step, row of the picture), by a
counter-based hash: it does not depend on the batch size, the number of devices, or whether the run was resumed. The
numbers are drawn on the CPU, because Python would have to wait for a card to read them there.
Knows nothing of files, splits or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from frame_vit.config.schema import Config
from frame_vit.errors import ConfigError
from frame_vit.images.geometry import GENERATORS
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.images.tensors import in_view, shifted
from frame_vit.labels import LabelledView, LabelSpace
from frame_vit.system.devices import send


class Draws(NamedTuple):
    """What is drawn for each picture of a batch; on the CPU, wherever the pictures are.

    `view` (N,) int64 is an index into the views of the augmentation; `shift` (N, 2) int64 is in pixels, x and y;
    `brightness` and `contrast` are (N,) float32: an offset as a share of 255, and a factor.
    """

    view: Tensor
    shift: Tensor
    brightness: Tensor
    contrast: Tensor


@dataclass(frozen=True)
class Augmentation:
    """The views that may be drawn, the unchanged picture first, and the largest other changes, as shares."""

    views: tuple[LabelledView, ...]
    brightness: float = 0.0
    contrast: float = 0.0
    shift: float = 0.0
    seed: int = 0

    def draw(self, rows: Tensor, step: int, size: int) -> Draws:
        """The draws for the pictures `rows` (N,) int64 at a step; the pictures are `size` pixels wide."""
        numbers = uniform(self.seed, step, rows, 5)  # (N, 5)
        view = (numbers[:, 0] * len(self.views)).long().clamp_max(len(self.views) - 1)
        shift = ((numbers[:, 1:3] * 2 - 1) * self.shift * size).round().long()
        brightness = (numbers[:, 3] * 2 - 1) * self.brightness
        contrast = (numbers[:, 4] * 2 - 1) * self.contrast + 1
        return Draws(view, shift, brightness, contrast)

    def pixels(self, pixels: Tensor, draws: Draws) -> Tensor:
        """(N, 3, H, W) uint8 -> a new (N, 3, H, W) float32, in 0..255."""
        moved = shifted(pixels, send(draws.shift, pixels.device)) if self.shift else pixels
        moved = self._viewed(moved, draws.view).to(torch.float32, copy=True)
        if not (self.brightness or self.contrast):
            return moved
        mean = moved.mean(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
        factors = send(torch.stack([draws.contrast, draws.brightness]), pixels.device)  # (2, N)
        contrast, brightness = factors[..., None, None, None]
        return moved.mul_(contrast).add_(mean * (1 - contrast) + brightness * 255).clamp_(0, 255)

    def labels(self, labels: Tensor, draws: Draws) -> Tensor:
        """(N,) class ids -> (N,) class ids that the augmented pictures show; on the CPU."""
        classes = torch.tensor([view.classes for view in self.views])  # (views, classes)
        return classes[draws.view, labels]

    def boxes(self, boxes: Tensor, draws: Draws, width: int, height: int) -> Tensor:
        """(N, 4) xyxy, pixels of a width x height picture -> (N, 4) in the augmented pictures."""
        shifted_boxes = boxes + draws.shift.repeat(1, 2)
        viewed_boxes = [
            self.views[index].view.box(tuple(box), width, height)
            for index, box in zip(draws.view.tolist(), shifted_boxes.tolist(), strict=True)
        ]
        return torch.tensor(viewed_boxes, dtype=boxes.dtype, device=boxes.device).reshape(-1, 4)

    def _viewed(self, pixels: Tensor, views: Tensor) -> Tensor:
        """Each picture of (N, 3, H, W) in its own view (N,): grouped by view, turned group by group, put back."""
        if len(self.views) == 1:
            return pixels
        order = views.argsort(stable=True)
        counts = views.bincount(minlength=len(self.views)).tolist()
        # Gathered and put back as (N, H, W, 3), as pictures lie in memory: value by value it takes ten times as long.
        groups = torch.split(pixels.permute(0, 2, 3, 1).index_select(0, send(order, pixels.device)), counts)
        turned = [
            in_view(group.permute(0, 3, 1, 2), view).permute(0, 2, 3, 1)
            for group, (view, _) in zip(groups, self.views, strict=True)
        ]
        return torch.cat(turned).index_select(0, send(order.argsort(), pixels.device)).permute(0, 3, 1, 2)


def augmentation(config: Config, labels: LabelSpace, preprocessing: Preprocessing) -> Augmentation:
    """The augmentation that a config asks for: its `augment` section over the symmetries of the labels.

    Raises `ConfigError` where quarter turns would change the shape of the model's pictures.
    """
    # A symmetry that is set to false is never drawn, even where others combine to it.
    excluded = [GENERATORS[key] for key in GENERATORS if getattr(config.augment, key) is False]
    views = tuple(view for view in labels.group(config.flips()) if view.view not in excluded)
    if not keep_shape(views, preprocessing):
        raise ConfigError(
            f"augment.rot90: the model's pictures are {preprocessing.size_text}, not square",
            "Set augment.rot90 to false and leave rot90 out of labels.symmetries",
        )
    augment = config.augment
    return Augmentation(views, augment.brightness, augment.contrast, augment.shift, config.training.seed)


def keep_shape(views: Sequence[LabelledView], preprocessing: Preprocessing) -> bool:
    """Whether every view keeps the height and width of the model's pictures."""
    return preprocessing.height == preprocessing.width or all(view.turns % 2 == 0 for view, _ in views)


def uniform(seed: int, step: int, rows: Tensor, count: int) -> Tensor:
    """(N, count) float32 in [0, 1): SplitMix64 (Steele, Lea, Flood 2014) of (seed, step, row, column)."""
    state = _mix(_mix(_mix(torch.tensor(seed)) + step) + rows.long())  # (N,)
    return (_shift_right(_mix(state[:, None] + torch.arange(count)), 40)).float() / 2**24


def derive_seed(*numbers: int) -> int:
    """One seed made of several whole numbers by SplitMix64, for torch's own generators."""
    state = torch.tensor(0)
    for number in numbers:
        state = _mix(state + number)
    return int(state)


def _mix(x: Tensor) -> Tensor:
    # The constants of SplitMix64 as signed numbers; products of int64 wrap around, as the algorithm requires.
    x = x + -0x61C8864680B583EB
    x = (x ^ _shift_right(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift_right(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """A logical shift; `>>` on int64 would copy the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
