"""Parameters in groups for the optimizer, its state as tensors and JSON, and the moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import Trainer

from frame_vit.config.schema import TrainingConfig


def groups(module: nn.Module, training: TrainingConfig, path: str | None) -> list[dict[str, Any]]:
    """Optimizer groups, the head's first: a learning rate by depth, and no weight decay on norms and biases.

    `path` names the list of blocks in `module` (None: there is none). The rate of what lies d blocks below the head is
    learning_rate * layer_decay ** d, with the embeddings below the lowest block (Clark et al. 2020; Bao et al. 2021).
    """
    decayed = set(Trainer.get_decay_parameter_names(None, module))
    top = _depth_of_top(module, path)
    found: dict[tuple[int, bool], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            below = 0 if training.layer_decay == 1 else top - _depth(name, path, top)
            found.setdefault((below, name in decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": training.learning_rate * training.layer_decay**below,
            "weight_decay": training.weight_decay if decay else 0.0,
        }
        for (below, decay), parameters in sorted(found.items(), key=lambda item: (item[0][0], not item[0][1]))
    ]


def _depth_of_top(module: nn.Module, path: str | None) -> int:
    layers = module.get_submodule(path) if path else None
    return 1 + len(layers) if isinstance(layers, nn.ModuleList) else 0


def _depth(name: str, path: str | None, top: int) -> int:
    """0 for the embeddings, i + 1 for block i, `top` for what comes after the blocks."""
    if path and name.startswith(path + "."):
        return 1 + int(name[len(path) + 1 :].split(".", 1)[0])
    return 0 if "embeddings." in name else top


def optimizer_state(optimizer: Any) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Its tensors by "<parameter number>.<name>", and the rates of its groups."""
    state = optimizer.state_dict()
    tensors = {f"{i}.{key}": value for i, slot in state["state"].items() for key, value in slot.items()}
    return tensors, [{key: group[key] for key in ("lr", "initial_lr")} for group in state["param_groups"]]


def restore_optimizer(optimizer: Any, tensors: Mapping[str, Tensor], rates: Sequence[Mapping[str, float]]) -> None:
    """Puts back what `optimizer_state` gave, into an optimizer with the same groups."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        slots.setdefault(int(number), {})[key] = tensor
    settings = optimizer.state_dict()["param_groups"]
    for group, saved in zip(settings, rates, strict=True):
        group.update(saved)
    optimizer.load_state_dict({"state": slots, "param_groups": settings})


class Average:
    """An exponential moving average of a module's trained weights; early steps weigh more, as nothing is known yet."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        self._live = [module.get_parameter(name) for name in self._names]
        self._mean = [parameter.detach().clone() for parameter in self._live]

    def update(self, step: int) -> None:
        """Takes in the weights after a step (1 is the first)."""
        follow = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        follow(self._mean, [parameter.detach() for parameter in self._live], None)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self._mean, strict=True))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, mean in zip(self._names, self._mean, strict=True):
            mean.copy_(tensors[name])

    @contextmanager
    def worn(self) -> Iterator[None]:
        """The module with the averaged weights; afterwards its own are back, bit for bit."""
        own = [parameter.detach().clone() for parameter in self._live]
        self._put(self._mean)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._live, values, strict=True):
            parameter.copy_(value)
