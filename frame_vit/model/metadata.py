"""ModelMetadata: what a model needs besides its weights, as framevit.json.

    framevit.json    labels, preprocessing, temperature, operating point, novelty reference
    embeddings.npy   embeddings of training pictures, float16, where novelty is measured by distance

In a model folder these are files; in an exported file the JSON is embedded. No torch here: the line PC reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frame_vit import __version__
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.thresholds import OperatingPoint
from frame_vit.errors import ConfigError, ModelError
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.system.files import replacing, write_json

FORMAT = 1
METADATA_FILE = "framevit.json"
EMBEDDINGS = "embeddings.npy"


@dataclass(frozen=True)
class ModelMetadata:
    """Labels and preprocessing of a model, and what was measured after its training.

    `temperature` is what the logits were divided by (the division is part of the saved head). `operating_point` holds
    the thresholds, `novelty` what tells pictures that are out of distribution; None where they were not determined.
    """

    labels: LabelSpace
    preprocessing: Preprocessing
    temperature: float = 1.0
    operating_point: OperatingPoint | None = None
    novelty: NoveltyReference | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "framevit": __version__,
            "labels": self.labels.to_json(),
            "pixels": self.preprocessing.to_json(),
            "temperature": self.temperature,
            "decision": self.operating_point.to_json() if self.operating_point else None,
            "usual": self.novelty.to_json() if self.novelty else None,
        }


def parse_metadata(text: str, where: str, embeddings: Float32 | None = None) -> ModelMetadata:
    """The metadata in a JSON text; `where` names it in messages.

    Raises `ModelError` where it is damaged, or written by a newer framevit.
    """
    try:
        values = json.loads(text)
        if values["format"] > FORMAT:
            raise ModelError(
                f"{where}: written by framevit {values['framevit']}, which is newer than this one, {__version__}",
                "Update framevit",
            )
        point, novelty = values.get("decision"), values.get("usual")
        return ModelMetadata(
            LabelSpace.build(**values["labels"]),
            Preprocessing.from_json(values["pixels"]),
            values.get("temperature", 1.0),
            OperatingPoint.from_json(point) if point else None,
            NoveltyReference.from_json(novelty, embeddings) if novelty else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ModelError(f"{where}: damaged: {error}") from None


def read_metadata(folder: Path) -> ModelMetadata:
    """The metadata of a model folder. Raises `ModelError` where it is damaged or missing."""
    try:
        text = (folder / METADATA_FILE).read_text(encoding="utf-8")
        path = folder / EMBEDDINGS
        embeddings = np.load(path, allow_pickle=False) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: damaged: {error}") from None
    return parse_metadata(
        text, str(folder / METADATA_FILE), None if embeddings is None else embeddings.astype(np.float32)
    )


def misses_embeddings(metadata: ModelMetadata) -> bool:
    """Whether novelty needs the embeddings of the training pictures, and embeddings.npy is missing."""
    novelty = metadata.novelty
    return (
        novelty is not None and novelty.action != "off" and "distance" in novelty.ranges and novelty.embeddings is None
    )


def write_metadata(metadata: ModelMetadata, folder: Path) -> None:
    """Writes framevit.json and, where there are embeddings, embeddings.npy; each is complete or as before.

    An embeddings.npy that no longer belongs to the model is deleted.
    """
    embeddings = metadata.novelty.embeddings if metadata.novelty else None
    if embeddings is None:
        (folder / EMBEDDINGS).unlink(missing_ok=True)
    else:
        with replacing(folder / EMBEDDINGS) as part, part.open("wb") as file:
            np.save(file, embeddings.astype(np.float16), allow_pickle=False)
    write_json(folder / METADATA_FILE, metadata.to_json())
