"""What is minimised. Knows labels and logits; no pictures, no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (everybody's name for it)
from torch import Tensor

from frame_vit.config.schema import TrainingConfig
from frame_vit.data.examples import Split
from frame_vit.labels import LabelledView


class Loss:
    """Cross entropy with label smoothing and class weights, averaged over the pictures of the accumulated batch.

    Weights are scaled so that they average 1 over the training pictures: the learning rate keeps its meaning. How often
    a class is seen is counted as augmentation shows it: a mirrored Xplus is seen as an Xminus.
    """

    def __init__(self, split: Split, training: TrainingConfig, views: Sequence[LabelledView]) -> None:
        self.smoothing = training.label_smoothing
        self.weight: Tensor | None = None
        if training.class_weights == "balanced":
            seen = np.array([view.classes for view in views])
            counts = np.bincount(seen[:, split.labels].ravel(), minlength=seen.shape[1]) / len(views)
            present = np.where(counts > 0, counts, 1)
            weight = np.where(counts > 0, len(split) / ((counts > 0).sum() * present), 0)
            self.weight = torch.tensor(weight, dtype=torch.float32)

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"].float()
        each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)
        if self.weight is not None:
            # Not cross_entropy's own weight: with smoothing it would weigh the share of the other classes too.
            each = each * self.weight.to(each.device)[labels]
        return each.sum() / (labels.numel() if num_items_in_batch is None else num_items_in_batch)
