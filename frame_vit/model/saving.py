"""A trained model as a folder: an ordinary Hugging Face one with `framevit.json` beside the weights.

So `transformers.pipeline` loads it too, and is as sure: what calibrates the answers is folded into the head.
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
from frame_vit.model.metadata import EMBEDDINGS, METADATA_FILE, ModelMetadata, read_metadata, write_metadata
from frame_vit.model.pretrained import from_hub, quiet
from frame_vit.model.processor import own_processor, preprocessing_of
from frame_vit.system.progress import log


def load_trained(place: str) -> Classifier:
    """A model to predict with: a folder that framevit saved, or another image classifier, by folder or hub name.

    Nothing is invented: weights that are missing or do not fit are a `ModelError`.
    """
    (module, info), revision = from_hub(
        AutoModelForImageClassification, place, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    wrong = [*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])]
    if wrong:
        raise ModelError(f"{place}: the weights do not fit the model's config.json: {', '.join(wrong[:5])}")
    folder = _settings_folder(place)
    if folder is None:
        processor = own_processor(place)
        names = [module.config.id2label[i] for i in range(module.config.num_labels)]
        log.warning(
            "%s has no %s: which classes are fine and what a mirrored picture shows is not known", place, METADATA_FILE
        )
        metadata = ModelMetadata(LabelSpace.build(names), preprocessing_of(processor))
        return Classifier(module, metadata, processor, revision)
    metadata = read_metadata(folder)
    if [*module.config.id2label.values()] != [*metadata.labels.names]:
        raise ModelError(f"{place}: config.json and {METADATA_FILE} name different classes")
    return Classifier(module, metadata, None, revision)


def save(classifier: Classifier, folder: Path) -> None:
    """Writes config.json, model.safetensors, preprocessor_config.json and, last, what `settings` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    classifier.module.save_pretrained(folder)
    classifier.processor.save_pretrained(folder)
    write_metadata(classifier.metadata, folder)


def divide_logits(module: Any, temperature: float) -> None:
    """Folds a temperature into the head, whose last layer is linear: from now on all logits come divided by it."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name in head_parameters(module):
            parameters[name] /= temperature


def _settings_folder(place: str) -> Path | None:
    """Where framevit.json lies, here or in the hub's cache; None where the model was not made by framevit."""
    if Path(place).is_dir():
        return Path(place) if (Path(place) / METADATA_FILE).is_file() else None
    name, _, revision = place.partition("@")
    try:
        found = Path(hf_hub_download(name, METADATA_FILE, revision=revision or None))
    except EntryNotFoundError:  # also where the cache is all there is, and has none
        return None
    with contextlib.suppress(EntryNotFoundError):
        hf_hub_download(name, EMBEDDINGS, revision=revision or None)
    return found.parent
