"""Trained models as folders: ordinary Hugging Face models, with framevit.json beside the weights.

    config.json  model.safetensors  preprocessor_config.json   what transformers reads
    framevit.json  embeddings.npy                              see `metadata`

`transformers.pipeline` loads such a folder, too, and gives the same confidences: the temperature is part of the head.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import EntryNotFoundError
from transformers import AutoModelForImageClassification

from frame_vit.errors import ConfigError, DamagedModelError, ModelError
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import ONE_CLASS, Classifier, head_parameters
from frame_vit.model.digests import file_digest
from frame_vit.model.hub import class_names, from_hub, silence_transformers
from frame_vit.model.metadata import (
    EMBEDDINGS,
    METADATA_FILE,
    ModelMetadata,
    check_embeddings,
    check_weights,
    read_metadata,
    write_metadata,
)
from frame_vit.model.probe import check_shapes
from frame_vit.model.processor import own_processor, preprocessing_of
from frame_vit.model.processor_config import PROCESSOR_FILE
from frame_vit.system.hub import HubName, asking_hub
from frame_vit.system.progress import log


def load_trained(place: str) -> Classifier:
    """A model to predict with, by folder or hub name: one that framevit saved, or any other image classifier.

    Raises `ModelError` where weights are missing or do not fit; no weights are ever initialised at random.
    """
    (module, info), revision = from_hub(
        AutoModelForImageClassification, place, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    misfits = [*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])]
    if misfits:
        raise ModelError(f"{place}: the weights do not fit the model's config.json: {', '.join(misfits[:5])}")
    names = class_names(module.config, place)
    folder, unused = _metadata_folder(place), sorted(info["unexpected_keys"])
    if folder is None:
        if unused:
            log.warning("%s: its config.json has no place for the weights %s", place, ", ".join(unused[:5]))
        return _foreign(module, names, place, revision)
    if unused:  # a config.json of a smaller model would leave out blocks
        raise DamagedModelError(
            f"{place}: the model of config.json has no place for the weights {', '.join(unused[:5])}"
        )
    metadata = read_metadata(folder)
    if names != [*metadata.labels.names]:
        raise DamagedModelError(f"{place}: config.json and {METADATA_FILE} name different classes")
    check_weights(metadata, folder)
    check_embeddings(metadata, check_shapes(module, metadata.preprocessing, place), place)
    # framevit trains one class for each picture; 0.5.0 saved what the base had said instead.
    module.config.problem_type = ONE_CLASS
    return Classifier(module, metadata, None, revision)


def _foreign(module: Any, names: list[str], place: str, revision: str) -> Classifier:
    """The classifier of a model that framevit did not save: its own names and processor, nothing else is known."""
    if module.config.problem_type not in (None, ONE_CLASS):
        raise ModelError(
            f"{place}: config.json says problem_type {module.config.problem_type}, so its answers are not the "
            "probabilities of one class for each picture",
            "Train it on your data with model.name, which gives it that meaning",
        )
    try:
        labels = LabelSpace.build(names)
    except ConfigError as error:
        raise DamagedModelError(f"{place}: id2label in config.json cannot be used: {error.message}") from None
    processor = own_processor(place)
    preprocessing = preprocessing_of(processor)
    check_shapes(module, preprocessing, place)
    log.warning(
        "%s has no %s: which classes are good parts and how labels change under mirroring is not known",
        place,
        METADATA_FILE,
    )
    return Classifier(module, ModelMetadata(labels, preprocessing), processor, revision)


def save(classifier: Classifier, folder: Path) -> None:
    """Writes a model folder, framevit.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    silence_transformers()
    classifier.module.save_pretrained(folder)
    classifier.processor.save_pretrained(folder)
    weights = {path.name: file_digest(path) for path in sorted(folder.glob("*.safetensors"))}
    write_metadata(replace(classifier.metadata, weights=weights), folder)


def divide_logits(module: Any, temperature: float) -> None:
    """Divides the head's weights by a temperature: its last layer is linear, so all logits are divided, too."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name in head_parameters(module):
            parameters[name] /= temperature


def _metadata_folder(place: str) -> Path | None:
    """The folder of framevit.json, in the model folder or the hub's cache; None for a model of other software."""
    if Path(place).is_dir():
        return Path(place) if (Path(place) / METADATA_FILE).is_file() else None
    name, revision = HubName.of(place)
    with asking_hub(huggingface_hub, f"model {place}"):
        try:
            path = Path(huggingface_hub.hf_hub_download(name, METADATA_FILE, revision=revision))
        except EntryNotFoundError:  # also raised offline, where the cache does not have it
            return None
        for file in (EMBEDDINGS, PROCESSOR_FILE):  # a missing one is reported when the metadata is read
            with contextlib.suppress(EntryNotFoundError):
                huggingface_hub.hf_hub_download(name, file, revision=revision)
    return path.parent
