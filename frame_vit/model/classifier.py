"""A classifier with its label space and its pixel settings, to begin a training with. Safetensors only, no remote code.

Which parameters make up a model's head is not guessed by name: they are those whose shape depends on
the number of classes.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any

import torch

from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.metadata import ModelMetadata


@dataclass(frozen=True)
class Classifier:
    """A model (`module(pixel_values=(N, 3, H, W) float32).logits` is (N, C)) with its metadata.

    `processor` is the image processor to save with it, `revision` the hub's commit that the weights came from.
    """

    module: Any
    metadata: ModelMetadata
    processor: Any = None
    revision: str = ""

    @property
    def labels(self) -> LabelSpace:
        return self.metadata.labels

    @property
    def preprocessing(self) -> Preprocessing:
        return self.metadata.preprocessing


def head_parameters(module: Any) -> list[str]:
    """The names of the parameters whose shape depends on the number of classes; nothing is allocated to find out."""
    twin = copy.deepcopy(module.config)
    twin.num_labels = module.config.num_labels + 1
    with torch.device("meta"):
        other = dict(type(module)(twin).named_parameters())
    return [name for name, parameter in module.named_parameters() if parameter.shape != other[name].shape]


def head_module(module: Any) -> Any:
    """The module that holds the head. Raises `ModelError` where there are several."""
    places = {name.rpartition(".")[0] for name in head_parameters(module)}
    if len(places) != 1:
        raise ModelError(f"{type(module).__name__} has {len(places)} heads", "Train it whole: training.freeze none")
    return module.get_submodule(places.pop())


def blocks(module: Any) -> tuple[str, Any]:
    """The path and the list of the transformer blocks. Raises `ModelError` where the model is not a stack of such."""
    count = getattr(module.config, "num_hidden_layers", None)
    for name, child in module.named_modules():
        if isinstance(child, torch.nn.ModuleList) and len(child) == count:
            return name, child
    raise ModelError(
        f"{type(module).__name__} is not a stack of transformer blocks",
        "Use training.freeze none or backbone, and training.layer_decay 1",
    )


def fingerprint(module: Any) -> str:
    """sha256 over all weights, by name."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).numpy().data)
    return digest.hexdigest()
