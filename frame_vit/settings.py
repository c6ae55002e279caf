"""What a model carries beside its weights: label space, pixels, temperature, thresholds, what its pictures were like.

In a model folder it is `framevit.json` (and `embeddings.npy`); in an exported file it is embedded. No torch here: the
line PC reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frame_vit import __version__
from frame_vit.decision import Operating
from frame_vit.errors import ConfigError, ModelError
from frame_vit.images import Float32, Pixels
from frame_vit.labels import LabelSpace
from frame_vit.runs import write_json
from frame_vit.unlike import Usual

FORMAT = 1
SETTINGS = "framevit.json"
EMBEDDINGS = "embeddings.npy"


@dataclass(frozen=True)
class Settings:
    """`point` says which answers are accepted, where that was chosen; `temperature` is what the head was divided by.

    `usual` is what new pictures are held against, where that is known.
    """

    labels: LabelSpace
    pixels: Pixels
    temperature: float = 1.0
    point: Operating | None = None
    usual: Usual | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "framevit": __version__,
            "labels": self.labels.to_json(),
            "pixels": self.pixels.to_json(),
            "temperature": self.temperature,
            "decision": self.point.to_json() if self.point else None,
            "usual": self.usual.to_json() if self.usual else None,
        }


def parse_settings(text: str, where: str, embeddings: Float32 | None = None) -> Settings:
    """Settings from their JSON. Raises `ModelError` where it is damaged, or written by a newer framevit."""
    try:
        values = json.loads(text)
        if values["format"] > FORMAT:
            raise ModelError(f"{where}: written by framevit {values['framevit']}, this is {__version__}", "Update it")
        point, usual = values.get("decision"), values.get("usual")
        return Settings(
            LabelSpace.build(**values["labels"]),
            Pixels.from_json(values["pixels"]),
            values.get("temperature", 1.0),
            Operating.from_json(point) if point else None,
            Usual.from_json(usual, embeddings) if usual else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ModelError(f"{where}: damaged: {error}") from None


def read_settings(folder: Path) -> Settings:
    """The settings of a model folder. Raises `ModelError` where they are damaged or missing."""
    try:
        text = (folder / SETTINGS).read_text(encoding="utf-8")
        found = (folder / EMBEDDINGS).is_file()
        embeddings = np.load(folder / EMBEDDINGS, allow_pickle=False) if found else None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: damaged: {error}") from None
    return parse_settings(text, str(folder / SETTINGS), None if embeddings is None else embeddings.astype(np.float32))


def misses_embeddings(settings: Settings) -> bool:
    """Whether embeddings should be compared, but those of the training pictures are not there."""
    usual = settings.usual
    return usual is not None and usual.mode != "off" and "distance" in usual.ranges and usual.embeddings is None


def write_settings(settings: Settings, folder: Path) -> None:
    """Writes embeddings.npy, where there are any, and framevit.json anew, each whole or not at all."""
    embeddings = settings.usual.embeddings if settings.usual else None
    if embeddings is None:
        (folder / EMBEDDINGS).unlink(missing_ok=True)
    else:
        aside = folder / f"{EMBEDDINGS}.part"
        with aside.open("wb") as file:
            np.save(file, embeddings.astype(np.float16), allow_pickle=False)
        aside.replace(folder / EMBEDDINGS)
    write_json(folder / SETTINGS, settings.to_json())
