"""What a step minimises and how: the loss, the optimizer's parameter groups and state, a moving average of the weights.

Learning rates fall with depth (`layer_decay`); norms and biases have no weight decay. The state is taken apart into
named tensors and rates, so that a checkpoint needs no pickle. Knows labels, logits, modules and optimizers; no pictures
and no files.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the usual name)
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import Trainer

from frame_vit.config.schema import TrainingConfig
from frame_vit.data.examples import Split
from frame_vit.errors import ModelError
from frame_vit.labels import LabelledView
from frame_vit.model.classifier import Classifier, blocks
from frame_vit.system.progress import log


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


class _Kind(NamedTuple):
    """What the parameters of a group share: how many blocks they lie below the head, and whether they decay."""

    below: int
    decay: bool


def parameter_groups(module: nn.Module, training: TrainingConfig, blocks_path: str | None) -> list[dict[str, Any]]:
    """Groups for torch's optimizers (`params`, `lr`, `weight_decay`), the head's first.

    `blocks_path` is the path of the list of blocks in `module`; None where there is no such list. Parameters d blocks
    below the head learn at learning_rate * layer_decay ** d; what comes before the blocks counts as one block below the
    lowest (Clark et al. 2020; Bao et al. 2021). Norms and biases have no weight decay, frozen parameters no group.
    """
    decayed = set(Trainer.get_decay_parameter_names(None, module))
    below = _blocks_below(module, blocks_path)
    members: dict[_Kind, list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            kind = _Kind(0 if training.layer_decay == 1 else below[name], name in decayed)
            members.setdefault(kind, []).append(parameter)
    return [
        {
            "params": members[kind],
            "lr": float(training.learning_rate) * training.layer_decay**kind.below,
            "weight_decay": training.weight_decay if kind.decay else 0.0,
        }
        for kind in sorted(members, key=lambda kind: (kind.below, not kind.decay))
    ]


def blocks_path(model: Classifier, training: TrainingConfig) -> str | None:
    """The path of the blocks whose learning rates differ; None where all parameters learn at the same rate."""
    if training.layer_decay == 1:
        return None
    try:
        path, _ = blocks(model.module)
    except ModelError as error:
        log.warning("%s: training.layer_decay is not used, all parameters learn at the same rate", error.message)
        return None
    return path


def _blocks_below(module: nn.Module, blocks_path: str | None) -> dict[str, int]:
    """How many blocks each parameter lies below the head: 0 for what comes after the blocks, such as the head itself.

    Modules are registered in the order of computation, so what comes before the blocks is named before them.
    """
    names = [name for name, _ in module.named_parameters()]
    if blocks_path is None:
        return dict.fromkeys(names, 0)
    count, start = len(list(module.get_submodule(blocks_path).children())), f"{blocks_path}."
    before = {*itertools.takewhile(lambda name: not name.startswith(start), names)}
    inside = {name: int(name[len(start) :].split(".", 1)[0]) for name in names if name.startswith(start)}
    return {name: count + 1 if name in before else count - inside.get(name, count) for name in names}


class OptimizerState(NamedTuple):
    """`tensors` by "<parameter number>.<name>", as safetensors holds them; `rates` of each group, as JSON does."""

    tensors: Mapping[str, Tensor]
    rates: Sequence[Mapping[str, float]]

    @classmethod
    def of(cls, optimizer: Any) -> OptimizerState:
        """The state of a torch optimizer; the tensors are its own, not copies."""
        state = optimizer.state_dict()
        tensors = {f"{i}.{key}": value for i, slot in state["state"].items() for key, value in slot.items()}
        return cls(tensors, [{key: group[key] for key in ("lr", "initial_lr")} for group in state["param_groups"]])


def restore_optimizer(optimizer: Any, state: OptimizerState) -> None:
    """Loads a state into an optimizer that has the same parameter groups."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.tensors.items():
        number, _, key = name.partition(".")
        slots.setdefault(int(number), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    for group, rates in zip(groups, state.rates, strict=True):
        group.update(rates)
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


class WeightAverage:
    """An exponential moving average (EMA) of a module's trained weights.

    The decay rises towards its final value, (1 + step) / (10 + step), so that the first steps do not count for long.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        self._live = [module.get_parameter(name) for name in self._names]
        self._mean = [parameter.detach().clone() for parameter in self._live]

    def update(self, step: int) -> None:
        """Adds the weights after a step; the first step is 1."""
        average_in = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        average_in(self._mean, [parameter.detach() for parameter in self._live], None)

    def state(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return dict(zip(self._names, self._mean, strict=True))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `state` gave."""
        for name, mean in zip(self._names, self._mean, strict=True):
            mean.copy_(tensors[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averaged weights inside the block, and afterwards its own again, bit for bit."""
        own = [parameter.detach().clone() for parameter in self._live]
        self._copy_in(self._mean)
        try:
            yield
        finally:
            self._copy_in(own)

    @torch.no_grad()
    def _copy_in(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._live, values, strict=True):
            parameter.copy_(value)
