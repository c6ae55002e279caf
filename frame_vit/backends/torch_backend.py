"""A model with its weights, in PyTorch: on any device, in the number format that it is really fast in there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from frame_vit.decision.rates import Logits
from frame_vit.errors import ModelError
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.tensors import normalise
from frame_vit.model.classifier import Classifier, head_module
from frame_vit.system.devices import autocast, own_card, resolve_device, resolve_precision


class Torch:
    """The `Backend` of a classifier. What its head is given is its embedding, where that is one vector a picture."""

    name = "torch"

    def __init__(self, classifier: Classifier, device: str = "auto", precision: str = "auto") -> None:
        self.metadata = classifier.metadata
        self.where = own_card(resolve_device(device))
        self.device = str(self.where)
        self.precision = resolve_precision(precision, self.where)
        self.module = classifier.module.to(self.where).eval()
        self._given = Given(self.module)

    @torch.inference_mode()
    def run(self, pixels: UInt8) -> tuple[Logits, Float32 | None]:
        # A view of a picture may run backwards through its memory, which torch cannot.
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.where).permute(0, 3, 1, 2)
        with autocast(self.where, self.precision):
            logits = self.module(pixel_values=normalise(batch, self.metadata.preprocessing)).logits
        embedding = self._given.last
        return _numpy(logits), None if embedding is None else _numpy(embedding)


class Given:
    """Keeps what a module's head was given last, (N, D); None where there are several heads or it is no vector."""

    def __init__(self, module: Any) -> None:
        self.last: torch.Tensor | None = None
        try:
            head = head_module(module)
        except (ModelError, TypeError, AttributeError):  # not a model of transformers: nothing is known of its head
            return
        head.register_forward_pre_hook(self._keep)

    def _keep(self, _: Any, given: tuple[Any, ...]) -> None:
        vector = isinstance(given[0], torch.Tensor) and given[0].ndim == 2
        self.last = given[0].detach() if vector else None


@contextmanager
def written_out(module: Any) -> Iterator[bool]:
    """Attention step by step, for the faster ways do not keep its weights; as it was afterwards.

    Whether the model can do so; nothing changes where it cannot.
    """
    before = getattr(module.config, "_attn_implementation", None)
    try:
        module.set_attn_implementation("eager")
        can = True
    except (ValueError, AttributeError):
        can = False
    try:
        yield can
    finally:
        if can:
            module.set_attn_implementation(before)


def _numpy(tensor: torch.Tensor) -> Float32:
    return np.asarray(tensor.float().cpu().numpy())
