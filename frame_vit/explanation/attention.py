"""Where a Vision Transformer looks: attention rollout, and a map of what matters for one class.

- Rollout (Abnar and Zuidema 2020): attention averaged over the heads, mixed half and half with the residual path, and
  multiplied through the blocks. It shows what reaches the answer, whatever the class.
- Relevance (after Chefer, Gur and Wolf 2021): attention weighted by a gradient and accumulated through the blocks. The
  gradient is that of the class's lead, its logit minus the mean of the others, and its sign is dropped: evidence for
  and against the class both matter. The paper keeps the positive part of one logit's gradient only, which misses a
  class that a model knows by the absence of the others.

What counts is what reaches the tokens that the head reads: the class token in a ViT, the patches in BEiT, CLIP, SigLIP
and I-JEPA, both in DINOv2. A token weighs as much as the gradient at it: of the lead and, for rollout, of all logits.

Both maps have one value a patch. With test-time augmentation they are averaged over the views, each turned back first.

Shapes: N pictures, H heads, T tokens (class token, in some models further ones, then the patches row by row),
R x C patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frame_vit.backends.torch_backend import Torch, eager_attention
from frame_vit.errors import ModelError
from frame_vit.images.geometry import Box, View
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import Preprocessing, in_view, placed
from frame_vit.images.tensors import normalise
from frame_vit.model.classifier import vision_config
from frame_vit.prediction.predictor import Predictor


class PictureMaps(NamedTuple):
    """The two maps of one picture, (R, C) float32 each, one value a patch; each adds up to 1."""

    rollout: Float32
    relevance: Float32


class Maps(NamedTuple):
    """The maps of N pictures, (N, R, C) float32 each, one value a patch; each map adds up to 1."""

    rollout: Float32
    relevance: Float32

    def of(self, row: int) -> PictureMaps:
        return PictureMaps(self.rollout[row], self.relevance[row])


def maps(predictor: Predictor, pixels: UInt8, classes: NDArray[np.int64]) -> Maps:
    """The maps of pictures (N, height, width, 3) uint8 for the class ids (N,), averaged over the predictor's views.

    Raises `ModelError` for a model whose tokens do not attend to all patches in every block.
    """
    backend = predictor.backend
    assert isinstance(backend, Torch), "maps need the weights"
    rollouts, relevances = [], []
    with eager_attention(backend.module):
        for view, class_in_view in predictor.views:
            seen_as = torch.tensor([class_in_view[label] for label in classes])
            view_maps = _maps_of_view(backend, in_view(pixels, view), seen_as)
            rollouts.append(_back_from_view(view_maps.rollout, view))
            relevances.append(_back_from_view(view_maps.relevance, view))
    return Maps(_averaged(rollouts), _averaged(relevances))


def _averaged(views: Sequence[Float32]) -> Float32:
    """The mean of the views' maps, (N, R, C), each map scaled to add up to 1 again."""
    mean = np.mean(views, axis=0)
    return np.asarray(mean / mean.sum(axis=(1, 2), keepdims=True), np.float32)


def cover(box: Box, size: tuple[int, int], preprocessing: Preprocessing, grid: tuple[int, int]) -> Float32:
    """The share of each cell that a box covers, 0 to 1, for a grid of (R, C) cells over the model's input: (R, C).

    The box is xyxy in pixels of an upright picture of this (width, height).
    """
    x1, y1, x2, y2 = placed(box, size, preprocessing)
    rows, columns = grid
    across = _overlap(x1, x2, preprocessing.width, columns)  # (C,)
    down = _overlap(y1, y2, preprocessing.height, rows)  # (R,)
    return np.asarray(down[:, None] * across[None, :], np.float32)


def _overlap(start: float, end: float, side: int, cells: int) -> NDArray[np.float64]:
    """The share of each of so many cells along a side that lies between start and end, (cells,)."""
    edges = np.linspace(0, side, cells + 1)
    inside = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    return np.asarray(np.clip(inside, 0, None) / (side / cells))


def _maps_of_view(backend: Torch, pixels: UInt8, classes: Tensor) -> Maps:
    """The maps of pictures (N, height, width, 3) uint8, each in one view, for class ids (N,)."""
    inputs = normalise(backend.batch(pixels), backend.metadata.preprocessing).requires_grad_(True)  # (N, 3, H, W)
    with torch.enable_grad():
        try:
            outputs = backend.module(pixel_values=inputs, output_attentions=True, output_hidden_states=True)
        except ValueError:
            if not hasattr(backend.module.config, "pretrained_cfg"):
                raise
            raise _has_no_maps(backend.module, "does not return its attention") from None  # a model of timm
        attentions: Sequence[Any] = outputs.get("attentions") or ()  # a block each: (N, H, T, T), rows add up to 1
        grid = _grid(backend.module, backend.metadata.preprocessing, attentions)
        logits = outputs.logits  # (N, classes)
        own = logits.gather(1, classes.to(backend.torch_device)[:, None])[:, 0]  # (N,)
        lead = own - (logits.sum(dim=1) - own) / (logits.shape[1] - 1)  # (N,)
        tokens = outputs.hidden_states[-1]  # (N, T, D): what the head reads, of some or of all of them
        (for_all,) = torch.autograd.grad(logits.square().sum(), tokens, retain_graph=True)
        for_class, *gradients = torch.autograd.grad(lead.sum(), [tokens, *attentions])
    with torch.no_grad():
        rollout, relevance = _accumulated(attentions, gradients)
    return Maps(_patch_shares(rollout, for_all, grid), _patch_shares(relevance, for_class, grid))


def _accumulated(attentions: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rollout and relevance through all blocks, (N, T, T): how much each token (rows) takes from each (columns)."""
    count, _, tokens, _ = attentions[0].shape
    identity = torch.eye(tokens, device=attentions[0].device).expand(count, tokens, tokens)  # the residual path
    rollout, relevance = identity, identity
    for attention, gradient in zip(attentions, gradients, strict=True):
        mixed = attention.float().mean(dim=1) + identity  # (N, T, T)
        rollout = (mixed / mixed.sum(dim=-1, keepdim=True)) @ rollout
        weighted = (attention * gradient).float().abs().mean(dim=1)  # (N, T, T)
        relevance = relevance + weighted @ relevance
    return rollout, relevance


def _patch_shares(tokens: Tensor, gradients: Tensor, grid: tuple[int, int]) -> Float32:
    """What the head takes from each patch through the tokens that it reads: (N, R, C), each map divided by its sum.

    `tokens` (N, T, T) is how much each token takes from each, `gradients` (N, T, D) are those at the head's inputs.
    A map is even if no patch matters for the class.
    """
    rows, columns = grid
    first_patch = tokens.shape[-1] - rows * columns
    taken = torch.einsum("nt,nts->ns", gradients.float().norm(dim=-1), tokens)[:, first_patch:]
    values = taken.reshape(len(tokens), rows, columns).cpu().numpy()
    total = values.sum(axis=(1, 2), keepdims=True)
    even = np.full_like(values, 1 / (rows * columns))
    return np.asarray(np.where(total > 0, values / np.where(total > 0, total, 1), even), np.float32)


def _grid(module: Any, preprocessing: Preprocessing, attentions: Sequence[Any]) -> tuple[int, int]:
    """(R, C), the rows and columns of patches. Raises `ModelError` for a model of another kind."""
    patch = getattr(vision_config(module.config), "patch_size", None)
    whole = attentions and all(
        isinstance(a, Tensor) and a.ndim == 4 and a.shape == attentions[0].shape for a in attentions
    )
    if isinstance(patch, int) and whole and attentions[0].shape[-2] == attentions[0].shape[-1]:
        rows, columns = preprocessing.height // patch, preprocessing.width // patch
        if attentions[0].shape[-1] >= rows * columns:
            return rows, columns
    returned = any(isinstance(attention, Tensor) for attention in attentions)
    raise _has_no_maps(
        module, "has tokens that do not attend to all patches" if returned else "does not return its attention"
    )


def _has_no_maps(module: Any, why: str) -> ModelError:
    return ModelError(
        f"{type(module).__name__} {why}, so there is no attention map of it",
        "Maps are drawn for ViT, DeiT, BEiT, DINOv2, SigLIP, CLIP, I-JEPA and similar models",
    )


def _back_from_view(values: Float32, view: View) -> Float32:
    """Undoes a view: maps (N, R, C) of pictures in it -> maps of the pictures as they were."""
    straight = values[:, :, ::-1] if view.mirror else values
    return np.rot90(straight, -view.turns, axes=(1, 2))
