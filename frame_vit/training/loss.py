"""The loss of training and validation: cross entropy with label smoothing and class weights.

Knows labels and logits; no pictures, no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the usual name)
from torch import Tensor

from frame_vit.config.schema import TrainingConfig
from frame_vit.data.examples import Split
from frame_vit.labels import LabelledView


class Loss:
    """Cross entropy, averaged over the pictures of all accumulated batches; the Trainer's `compute_loss_func`.

    With `class_weights: balanced`, all classes of the training split have the same total weight, and the weights
    average 1 over its pictures, so that the learning rate keeps its meaning. Classes are counted as augmentation shows
    them: a mirrored Xplus counts as an Xminus.
    """

    def __init__(self, split: Split, training: TrainingConfig, views: Sequence[LabelledView]) -> None:
        self.smoothing = training.label_smoothing
        self.weight: Tensor | None = None
        if training.class_weights == "balanced":
            classes = np.array([view.classes for view in views])  # (views, classes)
            counts = np.bincount(classes[:, split.labels].ravel(), minlength=classes.shape[1]) / len(views)
            present = np.where(counts > 0, counts, 1)
            weight = np.where(counts > 0, len(split) / ((counts > 0).sum() * present), 0)
            self.weight = torch.tensor(weight, dtype=torch.float32)  # (classes,)

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """`outputs["logits"]` (N, C) and `labels` (N,) -> the sum of the losses / `num_items_in_batch` (default N)."""
        logits = outputs["logits"].float()
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)  # (N,)
        if self.weight is not None:
            # Not cross_entropy's own `weight`: with smoothing it would also weigh the share of the other classes.
            losses = losses * self.weight.to(losses.device)[labels]
        return losses.sum() / (labels.numel() if num_items_in_batch is None else num_items_in_batch)
