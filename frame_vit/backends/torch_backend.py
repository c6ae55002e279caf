"""PyTorch: runs a model's own weights on any device, by default in the number format that is fastest there.

Only this backend has the weights, so training, attention maps and the export use it directly. As in the other backends,
the library is imported when it is needed: the command line reads `TORCH` for its help.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from frame_vit.backends.backend import ON_A_CARD, ON_A_CPU, WEIGHTS, BackendAnswer, BackendInfo, ModelSource
from frame_vit.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from frame_vit.images.pixel_array import Float32, UInt8
    from frame_vit.model.classifier import Classifier


class Torch:
    """The backend of a classifier with its weights. The embedding is the input of its head, if that is one vector."""

    name = "torch"

    def __init__(self, classifier: Classifier, device: str = "auto", precision: str = "auto") -> None:
        from frame_vit.system.devices import own_card, resolve_device, resolve_precision

        self.metadata = classifier.metadata
        self.file: Path | None = None
        self.torch_device = own_card(resolve_device(device))
        self.device = str(self.torch_device)
        self.batch_size = ON_A_CPU if self.device == "cpu" else ON_A_CARD
        self.precision = resolve_precision(precision, self.torch_device)
        self.module = classifier.module.to(self.torch_device).eval()
        self._head_input = HeadInput(self.module)

    def run(self, pixels: UInt8) -> BackendAnswer:
        import torch

        from frame_vit.images.tensors import normalise
        from frame_vit.system.devices import autocast

        with torch.inference_mode(), autocast(self.torch_device, self.precision):
            logits = self.module(pixel_values=normalise(self.batch(pixels), self.metadata.preprocessing)).logits
        embedding = self._head_input.last
        return BackendAnswer(_numpy(logits), None if embedding is None else _numpy(embedding))

    def batch(self, pixels: UInt8) -> torch.Tensor:
        """(N, height, width, 3) uint8 -> (N, 3, height, width) uint8 on the device."""
        import numpy as np
        import torch

        # torch accepts neither the negative strides of a mirrored view nor, without a warning, a read-only picture.
        return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self.torch_device).permute(0, 3, 1, 2)


class HeadInput:
    """Keeps the last input of a model's head, (N, D). `last` is None for several heads, or if it is no vector."""

    def __init__(self, module: Any) -> None:
        from frame_vit.model.classifier import head_module

        self.last: torch.Tensor | None = None
        try:
            head = head_module(module)
        except (ModelError, TypeError, AttributeError):  # not a model of transformers, so its head is not known
            return
        head.register_forward_pre_hook(self._keep)

    def _keep(self, _: Any, inputs: tuple[Any, ...]) -> None:
        import torch

        is_vector = isinstance(inputs[0], torch.Tensor) and inputs[0].ndim == 2
        self.last = inputs[0].detach() if is_vector else None


@contextmanager
def eager_attention(module: Any) -> Iterator[bool]:
    """Computes attention step by step inside the block, and as before after it; yields whether the model can do that.

    Fused attention is faster, but does not return the attention weights.
    """
    before = getattr(module.config, "_attn_implementation", None)
    try:
        module.set_attn_implementation("eager")
        switched = True
    except (ValueError, AttributeError):
        switched = False
    try:
        yield switched
    finally:
        if switched:
            module.set_attn_implementation(before)


def _numpy(tensor: torch.Tensor) -> Float32:
    import numpy as np

    return np.asarray(tensor.float().cpu().numpy())


def _open(source: ModelSource) -> Torch:
    from frame_vit.model.saving import load_trained

    return Torch(load_trained(source.model), source.device, source.precision)


TORCH = BackendInfo(
    name=Torch.name,
    title="torch",
    library="torch",
    extra=None,
    precisions={WEIGHTS: ("fp32", "bf16", "fp16")},
    devices=("cpu", "cuda", "mps"),
    start_rank=2,
    cpu_rank=2,
    open=_open,
)
