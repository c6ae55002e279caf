"""What a training will take, told before it has taken it: memory before the first step, time after the first few.

Memory is not guessed from the name of an architecture: a forward pass of one and of two pictures shows what PyTorch
keeps for the backward pass of this model, in this precision, on this device. Knows modules and numbers; no data, no
Trainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frame_vit.system.devices import autocast
from frame_vit.system.files import size
from frame_vit.system.machine import free_memory

MOMENTS = 2
"""Numbers that AdamW keeps for each weight that is trained."""
FORWARD_SHARE = 1 / 3
"""Share of a training step that its forward pass takes: the backward pass has twice as many products of matrices."""


TEMPORARIES = 1.25
"""Activations with what the backward pass needs besides them, as a multiple of what the forward pass keeps: 1.1 to 1.25
for DINOv2-small at 98 and 224 pixels, batches of 16 and 32, bf16 and fp32, on a CPU."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes: the weights with their gradients and what the optimizer and an average keep; and a batch."""

    weights: int
    batch: int

    @property
    def total(self) -> int:
        return self.weights + self.batch


def estimate_memory(
    module: nn.Module, pictures: Tensor, batch_size: int, precision: str, has_average: bool = False
) -> MemoryEstimate:
    """The memory of training `module` on batches like `pictures`, the inputs (2, ...) of two, on their device."""
    trained = sum(p.nbytes for p in module.parameters() if p.requires_grad)
    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    # Copies: a part of a tensor keeps all of it.
    one, two = (_kept_for_backward(module, pictures[:count].clone(), precision) for count in (1, 2))
    activations = one + (batch_size - 1) * max(0, two - one)
    return MemoryEstimate(weights + (1 + MOMENTS + has_average) * trained, round(TEMPORARIES * activations))


def _kept_for_backward(module: nn.Module, pictures: Tensor, precision: str) -> int:
    """Bytes that a forward pass keeps besides the weights; those are cast to half precision once for all pictures."""
    own = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    module.eval()  # batch normalisation must not count these pictures
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.enable_grad(), hooks, autocast(pictures.device, precision):
        outputs: Any = module(pixel_values=pictures)
    del outputs  # until here the graph holds what is counted, so no two of them share a place
    return sum(kept.values())


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device now; None where the system does not tell."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for its next use
        return torch.cuda.mem_get_info(device)[0] + kept
    return free_memory() if device.type == "cpu" else None


def in_words(estimate: MemoryEstimate, batch_size: int, precision: str) -> str:
    """One line for a person."""
    return (
        f"memory: about {size(estimate.total)}, {size(estimate.weights)} for weights, gradients and optimizer and "
        f"{size(estimate.batch)} for a batch of {batch_size} in {precision}"
    )


@dataclass(frozen=True)
class Work:
    """What a training has to do: pictures in each step, in each validation, and the pictures that pass forward once
    where only the head is trained (None: there is no such choice)."""

    of_step: int
    of_validation: int
    of_frozen: int | None = None

    def seconds(self, steps: int, validations: int, rate: float) -> float:
        """The time of so many steps and validations at `rate` trained pictures a second."""
        return (steps * self.of_step + validations * self.of_validation * FORWARD_SHARE) / rate

    def frozen_seconds(self, rate: float) -> float | None:
        """The time of fitting only the head, at that rate; the fit itself takes seconds and is left out."""
        return None if self.of_frozen is None else self.of_frozen * FORWARD_SHARE / rate


def duration(seconds: float) -> str:
    """A time as a person says it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
