"""Classifiers to start a training with: a pretrained one with a head for the labels, or an untrained ViT.

A pretrained head is kept where the model knows the same class names, and re-ordered to their order here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageClassification, ViTConfig

from frame_vit.config.schema import ModelConfig
from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import ONE_CLASS, Classifier, head_parameters
from frame_vit.model.hub import class_names, from_hub
from frame_vit.model.metadata import ModelMetadata
from frame_vit.model.positions import check_size, resized
from frame_vit.model.probe import check_numbers, check_shapes
from frame_vit.model.processor import describe_to_timm
from frame_vit.system.progress import log


def create(model: ModelConfig, labels: LabelSpace, preprocessing: Preprocessing, processor: Any) -> Classifier:
    """An untrained ViT of the sizes in `model.scratch`; its weights depend on torch's global seed."""
    sizes = model.scratch
    config = ViTConfig(
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.hidden_size * sizes.mlp_ratio,
        hidden_dropout_prob=sizes.dropout,
    )
    _say_meaning(config, labels)
    return Classifier(
        AutoModelForImageClassification.from_config(config), ModelMetadata(labels, preprocessing), processor
    )


def check_base(model: ModelConfig, preprocessing: Preprocessing) -> None:
    """Raises `ModelError` where the model `model.name` cannot take such pictures; its weights are not loaded.

    Reading a large data set takes minutes, so this is asked first.
    """
    config, _ = from_hub(AutoConfig, model.name)
    class_names(config, model.name)
    if hasattr(config, "pretrained_cfg"):
        describe_to_timm(config, preprocessing)
    config.num_labels = config.num_labels or 2  # timm has models without a head
    try:
        with torch.device("meta"):
            module = AutoModelForImageClassification.from_config(config)
    except Exception as error:  # whatever the architecture makes of a config.json that does not fit it
        raise ModelError(f"model {model.name} cannot be made: {' '.join(str(error).split())[:300]}") from None
    if model.image_size is not None:
        check_size(module, model.image_size, model.name)
        module = resized(module, model.image_size, model.name)
    check_shapes(module, preprocessing, model.name)


def load_pretrained(model: ModelConfig, labels: LabelSpace, preprocessing: Preprocessing, processor: Any) -> Classifier:
    """The model `model.name` with a head for these labels.

    Its own head is kept where it knows the same class names, else a new one is initialised. Raises `ModelError` or
    `UsageError` where the model cannot be loaded.
    """
    config, revision = from_hub(AutoConfig, model.name)
    names = class_names(config, model.name)
    same_names = sorted(names) == sorted(labels.names)
    options: dict[str, Any] = (
        {}
        if same_names
        else {
            **_label_maps(labels),
            "num_labels": len(labels),  # a config of timm's also has a number of its own
            "ignore_mismatched_sizes": True,
        }
    )
    (module, info), _ = from_hub(
        AutoModelForImageClassification,
        model.name,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    if model.image_size is not None:
        module = resized(module, model.image_size, model.name)
    head = head_parameters(module)
    missing = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])} - {*head})
    if missing:
        log.warning("%s has no weights for %s: they are initialised at random", model.name, ", ".join(missing))
    has_new_head = not same_names or bool({*head} & {*info["missing_keys"]})
    if not has_new_head:
        _reorder(module, head, [names.index(name) for name in labels.names])
        log.info(
            "%s knows these classes: its head is kept%s",
            model.name,
            "" if names == [*labels.names] else ", re-ordered by name",
        )
    else:
        _initialise(module, head)
        log.info("%s: a new head for %d classes (%s)", model.name, len(labels), _why_new(names, labels))
    _say_meaning(module.config, labels)
    if hasattr(module.config, "pretrained_cfg"):
        describe_to_timm(module.config, preprocessing)
    check_shapes(module, preprocessing, model.name)
    check_numbers(module, preprocessing, model.name)
    return Classifier(module, ModelMetadata(labels, preprocessing), processor, revision, has_new_head)


def _label_maps(labels: LabelSpace) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels.names)), "label2id": {name: i for i, name in enumerate(labels.names)}}


def _say_meaning(config: Any, labels: LabelSpace) -> None:
    """Sets everything in a model's config that decides what its answers mean, whatever its base said there.

    One class of these for each picture, by softmax: transformers' pipeline takes a sigmoid where `problem_type` says
    so. Code of the base's repository is never run, so the saved model does not ask for it either.
    """
    for key, value in _label_maps(labels).items():
        setattr(config, key, value)
    if hasattr(config, "label_names"):  # where timm's configs name the classes
        config.label_names = [*labels.names]
    config.problem_type = ONE_CLASS
    config.return_dict, config.output_hidden_states, config.output_attentions = True, False, False
    for key in ("function_to_apply", "task_specific_params", "auto_map", "custom_pipelines"):
        vars(config).pop(key, None)


def _reorder(module: Any, head: Sequence[str], order: list[int]) -> None:
    """Row i of each head parameter becomes the old row order[i]."""
    with torch.no_grad():
        for name in head:
            parameter = module.get_parameter(name)
            parameter.copy_(parameter[order].clone())


def _initialise(module: Any, head: Sequence[str]) -> None:
    """Initialises a head as ViT does, also where weights of the same shape were loaded for other classes."""
    with torch.no_grad():
        for name in head:
            parameter = module.get_parameter(name)
            if parameter.ndim > 1:
                torch.nn.init.trunc_normal_(parameter, std=0.02)
            else:
                parameter.zero_()


def _why_new(names: list[str], labels: LabelSpace) -> str:
    if len(names) != len(labels):
        return f"the old one has {len(names)}"
    return "the old one has others: " + ", ".join(name for name in names if name not in labels.names)
