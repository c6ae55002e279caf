"""Classifier: a torch module with the metadata of a model. Also finds its head and its transformer blocks.

The head is not guessed by name: it consists of the parameters whose shape depends on the number of classes. Knows how a
module is built; nothing of files, the hub or training.
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

ONE_CLASS = "single_label_classification"
"""The `problem_type` of a model that gives each picture one class, by softmax."""


@dataclass(frozen=True)
class Classifier:
    """A model with its metadata: `module(pixel_values=(N, 3, H, W) float32).logits` is (N, C).

    `processor` is the Hugging Face image processor that is saved with it (None: it is not saved again), `revision` the
    commit on the hub that the weights came from ("" for a folder). `has_new_head` says that a pretrained model was
    given a head that has learnt nothing yet.
    """

    module: Any
    metadata: ModelMetadata
    processor: Any = None
    revision: str = ""
    has_new_head: bool = False

    @property
    def labels(self) -> LabelSpace:
        return self.metadata.labels

    @property
    def preprocessing(self) -> Preprocessing:
        return self.metadata.preprocessing


def head_parameters(module: Any) -> list[str]:
    """The names of the parameters whose shape depends on the number of classes.

    Found by building the model with one class more, without allocating its weights.
    """
    config = copy.deepcopy(module.config)
    config.num_labels = module.config.num_labels + 1
    with torch.device("meta"):
        one_class_more = dict(type(module)(config).named_parameters())
    return [name for name, parameter in module.named_parameters() if parameter.shape != one_class_more[name].shape]


def head_module(module: Any) -> Any:
    """The submodule that is the head. Raises `ModelError` where there is not exactly one."""
    paths = {name.rpartition(".")[0] for name in head_parameters(module)}
    if len(paths) != 1:
        raise ModelError(f"{type(module).__name__} has {len(paths)} heads", "Train all of it: training.freeze none")
    return module.get_submodule(paths.pop())


def vision_config(config: Any) -> Any:
    """The part of a config that describes the vision model; of CLIP and SigLIP it is one of two."""
    return getattr(config, "vision_config", config)


def blocks(module: Any) -> tuple[str, Any]:
    """The transformer blocks or, of a model in stages, the stages: their path in the module, and the list of them.

    Raises `ModelError` where the model is no such stack.
    """
    config = vision_config(module.config)
    if layers := getattr(config, "num_hidden_layers", None):
        stacks = [(n, m) for n, m in module.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) == layers]
    else:  # stages, or one of timm's models, whose configs do not say how many blocks there are
        stages = len(getattr(config, "depths", None) or ())
        lists = [(n, m) for n, m in module.named_modules() if _holds_most(m, module)]
        stacks = [(n, m) for n, m in lists if len(m) == stages or (not stages and _is_uniform(m))]
    if stacks:
        return max(stacks, key=lambda stack: _size(stack[1]))
    raise ModelError(
        f"{type(module).__name__} is not a stack of blocks",
        "Use training.freeze none or backbone, and training.layer_decay 1",
    )


def _holds_most(child: Any, module: Any) -> bool:
    """Whether `child` is a list of modules with most of the weights of `module`."""
    return isinstance(child, (torch.nn.ModuleList, torch.nn.Sequential)) and _size(child) > _size(module) / 2


def _is_uniform(modules: Any) -> bool:
    return len(modules) > 1 and len({type(each) for each in modules}) == 1


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def fingerprint(module: Any) -> str:
    """The sha256 of all weights and their names, as hex digits."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).numpy().data)
    return digest.hexdigest()
