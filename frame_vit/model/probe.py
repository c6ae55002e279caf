"""One forward pass of a model over empty pictures, before any work is done with it.

A processor of another size than the model, a model that reads grey pictures, weights that are no numbers: all of that
shows in a single pass. The shapes are tried on torch's `meta` device, which computes no values, so that this takes a
fraction of a second for a large model, too. Knows modules; nothing of files, the hub or training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.model.classifier import head_module


def check_shapes(module: Any, preprocessing: Preprocessing, place: str) -> int | None:
    """The size of the vector that the model's head is given; None where its input is not one vector a picture.

    Raises `ModelError` where the model does not take the pictures that the preprocessing makes, or does not give one
    logit for each class.
    """
    module.eval()
    head = _HeadSize(module)
    try:
        logits = _pass(module, _pictures(2, preprocessing))
    except Exception as error:  # a model may raise anything for pictures that it was not made for
        raise _misfit(module, preprocessing, place, error) from None
    finally:
        head.remove()
    classes = module.config.num_labels
    if logits.shape != (2, classes):
        raise ModelError(
            f"{place}: {type(module).__name__} gives {tuple(logits.shape)[1:]} numbers for a picture, "
            f"but config.json names {classes} classes"
        )
    return head.size


@torch.inference_mode()
def check_numbers(module: Any, preprocessing: Preprocessing, place: str) -> None:
    """Raises `ModelError` where the logits of a grey picture are not finite numbers."""
    module.eval()
    logits = module(pixel_values=_pictures(1, preprocessing).to(module.device)).logits
    if not torch.isfinite(logits).all():
        raise ModelError(f"{place}: the weights give logits that are not finite", "Use another copy of the model")


def trains_on_one_picture(module: Any, preprocessing: Preprocessing) -> bool:
    """Whether a training step can take a single picture.

    Batch normalisation cannot where each channel then has one value, as before the head of a small ResNet.
    """
    if not any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        return True
    was_training = module.training
    try:
        _pass(module.train(), _pictures(1, preprocessing))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return False
    finally:
        module.train(was_training)
    return True


def _pass(module: Any, pictures: Tensor) -> Tensor:
    """The logits, on `meta`; a model that cannot be computed there is computed where its weights are."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    empty = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    with torch.no_grad():
        try:
            logits = torch.func.functional_call(module, empty, (), {"pixel_values": pictures.to("meta")}).logits
        except (NotImplementedError, RuntimeError):
            if module.device.type == "meta":
                raise
            # In training mode batch normalisation counts the pictures that it sees; copies keep that from the model.
            counted = {name: buffer.clone() for name, buffer in module.named_buffers()}
            inputs = {"pixel_values": pictures.to(module.device)}
            logits = torch.func.functional_call(module, counted, (), inputs).logits
    assert isinstance(logits, Tensor)
    return logits


def _pictures(count: int, preprocessing: Preprocessing) -> Tensor:
    """(count, 3, height, width) float32, all zero: grey, where the preprocessing centres pixel values."""
    return torch.zeros(count, 3, preprocessing.height, preprocessing.width)


def _misfit(module: Any, preprocessing: Preprocessing, place: str, error: Exception) -> ModelError:
    first = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is not None and first.in_channels != 3:
        return ModelError(
            f"{place}: this model reads pictures of {first.in_channels} channels (num_channels in config.json); "
            "framevit gives pictures of 3, in RGB",
            "Use a model that reads RGB pictures",
        )
    reason = " ".join(str(error).split())[:300]
    return ModelError(
        f"{place}: {type(module).__name__} does not take the pictures of {preprocessing.size_text} that its processor "
        f"makes: {reason}",
        "The sizes in preprocessor_config.json and config.json must agree",
    )


class _HeadSize:
    """Notes the size of the vector that a module's head is given."""

    def __init__(self, module: Any) -> None:
        self.size: int | None = None
        try:
            self._handle: Any = head_module(module).register_forward_pre_hook(self._note)
        except ModelError:  # several heads
            self._handle = None

    def _note(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.size = inputs[0].shape[1] if inputs[0].ndim == 2 else None

    def remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
