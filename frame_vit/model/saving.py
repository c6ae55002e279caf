"""Trained models as folders: ordinary Hugging Face models, with framevit.json beside the weights.

    config.json  model.safetensors  preprocessor_config.json   what transformers reads
    framevit.json  embeddings.npy                              see `metadata`

`transformers.pipeline` loads such a folder, too, and gives the same confidences: the temperature is part of the head.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from transformers import AutoModelForImageClassification

from frame_vit.errors import ModelError
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier, head_parameters
from frame_vit.model.hub import from_hub, silence_transformers
from frame_vit.model.metadata import EMBEDDINGS, METADATA_FILE, ModelMetadata, read_metadata, write_metadata
from frame_vit.model.processor import own_processor, preprocessing_of
from frame_vit.system.hub import HubName
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
    folder = _metadata_folder(place)
    if folder is None:
        processor = own_processor(place)
        names = [module.config.id2label[i] for i in range(module.config.num_labels)]
        log.warning(
            "%s has no %s: which classes are good parts and how labels change under mirroring is not known",
            place,
            METADATA_FILE,
        )
        metadata = ModelMetadata(LabelSpace.build(names), preprocessing_of(processor))
        return Classifier(module, metadata, processor, revision)
    metadata = read_metadata(folder)
    if [*module.config.id2label.values()] != [*metadata.labels.names]:
        raise ModelError(f"{place}: config.json and {METADATA_FILE} name different classes")
    return Classifier(module, metadata, None, revision)


def save(classifier: Classifier, folder: Path) -> None:
    """Writes a model folder, framevit.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    silence_transformers()
    classifier.module.save_pretrained(folder)
    classifier.processor.save_pretrained(folder)
    write_metadata(classifier.metadata, folder)


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
    try:
        path = Path(hf_hub_download(name, METADATA_FILE, revision=revision))
    except EntryNotFoundError:  # also raised offline, where the cache does not have it
        return None
    with contextlib.suppress(EntryNotFoundError):
        hf_hub_download(name, EMBEDDINGS, revision=revision)
    return path.parent
