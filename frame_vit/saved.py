"""A trained model as a folder: an ordinary Hugging Face one with `framevit.json` beside the weights.

So `transformers.pipeline` loads it too, and is as sure: what calibrates the answers is folded into the head.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from transformers import AutoModelForImageClassification

from frame_vit import __version__
from frame_vit.decision import Operating
from frame_vit.errors import ModelError
from frame_vit.images import Pixels
from frame_vit.labels import LabelSpace
from frame_vit.model import Classifier, from_hub, head_parameters, own_processor, pixels_of, quiet
from frame_vit.progress import log
from frame_vit.runs import write_json

FORMAT = 1
SETTINGS = "framevit.json"


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
    path = _settings_file(place)
    if path is None:
        processor = own_processor(place)
        names = [module.config.id2label[i] for i in range(module.config.num_labels)]
        log.warning(
            "%s has no %s: which classes are fine and what a mirrored picture shows is not known", place, SETTINGS
        )
        return Classifier(module, LabelSpace.build(names), pixels_of(processor), processor, revision)
    settings = _settings(path)
    if [*module.config.id2label.values()] != [*settings["labels"].names]:
        raise ModelError(f"{place}: config.json and {SETTINGS} name different classes")
    return Classifier(module, revision=revision, **settings)


def save(classifier: Classifier, folder: Path) -> None:
    """Writes config.json, model.safetensors, preprocessor_config.json and, last, framevit.json."""
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    classifier.module.save_pretrained(folder)
    classifier.processor.save_pretrained(folder)
    save_settings(classifier, folder)


def save_settings(classifier: Classifier, folder: Path) -> None:
    """Writes framevit.json anew."""
    settings = {
        "format": FORMAT,
        "framevit": __version__,
        "labels": classifier.labels.to_json(),
        "pixels": classifier.pixels.to_json(),
        "temperature": classifier.temperature,
        "decision": classifier.point.to_json() if classifier.point else None,
    }
    write_json(folder / SETTINGS, settings)


def divide_logits(module: Any, temperature: float) -> None:
    """Folds a temperature into the head, whose last layer is linear: from now on all logits come divided by it."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name in head_parameters(module):
            parameters[name] /= temperature


def _settings_file(place: str) -> Path | None:
    """framevit.json of a folder or of a hub repository; None where the model was not made by framevit."""
    if Path(place).is_dir():
        path = Path(place) / SETTINGS
        return path if path.is_file() else None
    name, _, revision = place.partition("@")
    try:
        return Path(hf_hub_download(name, SETTINGS, revision=revision or None))
    except EntryNotFoundError:  # also where the cache is all there is, and has none
        return None


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings["format"] > FORMAT:
            raise ModelError(f"{path}: written by framevit {settings['framevit']}, this is {__version__}", "Update it")
        point = settings.get("decision")
        return {
            "labels": LabelSpace.build(**settings["labels"]),
            "pixels": Pixels.from_json(settings["pixels"]),
            "point": Operating.from_json(point) if point else None,
            "temperature": settings.get("temperature", 1.0),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: damaged: {error}") from None
