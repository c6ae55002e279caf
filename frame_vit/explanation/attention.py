"""Where a Vision Transformer looks: attention rollout, and a map of what speaks for one class.

- Rollout (Abnar and Zuidema 2020): attention of all heads averaged, half of it kept for the residual path, multiplied
  through the blocks. It says what reaches the class token, whatever the class.
- Relevance (after Chefer, Gur and Wolf 2021): attention weighted by the gradient of one class's lead over the others,
  added up through the blocks. It says what matters for that class, for it or against it: they keep the positive part
  of one logit's gradient only, which misses a class that a model knows by none of the others being there.

Both are coarse: one number a patch. Where the model is averaged over views, so are the maps, each laid back first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from frame_vit.backends.torch_backend import Torch, written_out
from frame_vit.errors import ModelError
from frame_vit.images.geometry import Box, View
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import Preprocessing, laid, placed
from frame_vit.images.tensors import normalise
from frame_vit.prediction.predictor import Predictor


class Maps(NamedTuple):
    """Of N pictures: (N, rows, columns) float32 each, one number a patch, adding up to 1."""

    rollout: Float32
    relevance: Float32


def maps(predictor: Predictor, pixels: UInt8, classes: NDArray[np.int64]) -> Maps:
    """The maps of pictures (N, height, width, 3) uint8 for the class ids (N,), averaged over the predictor's views.

    Raises `ModelError` for a model without a class token that attends to all patches.
    """
    backend = predictor.backend
    assert isinstance(backend, Torch), "maps need the weights"
    found = []
    with written_out(backend.module):
        for view, moved in predictor.views:
            shown = torch.tensor([moved[i] for i in classes])
            there = _maps(backend, laid(pixels, view), shown)
            found.append([_laid_back(values, view) for values in there])
    averaged = [np.mean([view[i] for view in found], axis=0) for i in range(2)]
    return Maps(*(np.asarray(values / values.sum(axis=(1, 2), keepdims=True), np.float32) for values in averaged))


def cover(box: Box, size: tuple[int, int], preprocessing: Preprocessing, grid: tuple[int, int]) -> Float32:
    """What share of each cell of a (rows, columns) grid over the model's input a box covers, (rows, columns).

    The box is xyxy in pixels of an upright picture of this (width, height).
    """
    x1, y1, x2, y2 = placed(box, size, preprocessing)
    rows, columns = grid
    across = _overlap(x1, x2, preprocessing.width, columns)
    down = _overlap(y1, y2, preprocessing.height, rows)
    return np.asarray(down[:, None] * across[None, :], np.float32)


def _overlap(start: float, end: float, side: int, cells: int) -> NDArray[np.float64]:
    """The share of each of so many cells along a side that lies between start and end."""
    edges = np.linspace(0, side, cells + 1)
    inside = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    return np.asarray(np.clip(inside, 0, None) / (side / cells))


def _maps(backend: Torch, pixels: UInt8, classes: torch.Tensor) -> tuple[Float32, Float32]:
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(backend.where).permute(0, 3, 1, 2)
    given = normalise(batch, backend.metadata.preprocessing).requires_grad_(True)
    with torch.enable_grad():
        answer = backend.module(pixel_values=given, output_attentions=True)
        attentions: Sequence[Any] = answer.get("attentions") or ()
        grid = _grid(backend.module, backend.metadata.preprocessing, attentions)
        own = answer.logits.gather(1, classes.to(backend.where)[:, None])[:, 0]
        lead = own - (answer.logits.sum(dim=1) - own) / (answer.logits.shape[1] - 1)
        gradients = torch.autograd.grad(lead.sum(), attentions)
    with torch.no_grad():
        count = attentions[0].shape[-1]
        one = torch.eye(count, device=backend.where).expand(len(pixels), count, count)
        rollout, relevance = one, one
        for attention, gradient in zip(attentions, gradients, strict=True):
            kept = attention.float().mean(dim=1) + one
            rollout = (kept / kept.sum(dim=-1, keepdim=True)) @ rollout
            relevance = relevance + (attention * gradient).float().abs().mean(dim=1) @ relevance
    first = count - grid[0] * grid[1]  # class token, and in some models others, before the patches
    shape = (len(pixels), *grid)
    both = [values[:, 0, first:].reshape(shape).cpu().numpy() for values in (rollout, relevance)]
    return _shares(both[0]), _shares(both[1])


def _shares(values: Float32) -> Float32:
    """Each map divided by its sum; an even one where nothing speaks for the class."""
    total = values.sum(axis=(1, 2), keepdims=True)
    even = np.full_like(values, 1 / (values.shape[1] * values.shape[2]))
    return np.asarray(np.where(total > 0, values / np.where(total > 0, total, 1), even), np.float32)


def _grid(module: Any, preprocessing: Preprocessing, attentions: Sequence[Any]) -> tuple[int, int]:
    """Rows and columns of patches."""
    patch = getattr(module.config, "patch_size", None)
    alike = attentions and all(a.ndim == 4 and a.shape == attentions[0].shape for a in attentions)
    if isinstance(patch, int) and alike:
        rows, columns = preprocessing.height // patch, preprocessing.width // patch
        if attentions[0].shape[-1] > rows * columns:
            return rows, columns
    raise ModelError(
        f"{type(module).__name__} has no class token that attends to all patches, so there is no map of it",
        "Maps are drawn of ViT, DeiT, DINOv2 and the like",
    )


def _laid_back(values: Float32, view: View) -> Float32:
    """(N, rows, columns) of a picture that was laid as the view says, as it was before."""
    straight = values[:, :, ::-1] if view.mirror else values
    return np.rot90(straight, -view.turns, axes=(1, 2))
