"""ModelMetadata: what a model needs besides its weights, as framevit.json.

    framevit.json    labels, preprocessing, temperature, operating point, novelty reference, sha256 of the weights
    embeddings.npy   embeddings of training pictures, float16, where novelty is measured by distance

In a model folder these are files; in an exported file the JSON is embedded. No torch here: the line PC reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from frame_vit import __version__
from frame_vit.decision.json_values import JsonObject, parsed
from frame_vit.decision.novelty import NoveltyReference, read_embeddings, write_embeddings
from frame_vit.decision.thresholds import JUST_ABOVE_1, OperatingPoint
from frame_vit.errors import ConfigError, DamagedModelError, ModelError
from frame_vit.images.decode import MAX_MEGAPIXELS
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.digests import file_digest
from frame_vit.model.processor_config import check_agreement
from frame_vit.system.files import replacing, write_json

FORMAT = 1
METADATA_FILE = "framevit.json"
EMBEDDINGS = "embeddings.npy"
LARGEST_SIDE = 1 << 14
"""No model reads pictures of more pixels a side."""


@dataclass(frozen=True)
class ModelMetadata:
    """Labels and preprocessing of a model, and what was measured after its training.

    `temperature` is what the logits were divided by (the division is part of the saved head). `operating_point` holds
    the thresholds, `novelty` what tells pictures that are out of distribution; None where they were not determined.
    `settling_limit` is the doubt below which one view answers for all (`decision.tta: auto`), None where all views do.
    `weights` is the sha256 of each file of weights by its name; None for a model of framevit 0.5.0.
    """

    labels: LabelSpace
    preprocessing: Preprocessing
    temperature: float = 1.0
    operating_point: OperatingPoint | None = None
    novelty: NoveltyReference | None = None
    weights: dict[str, str] | None = None
    settling_limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        values = {
            "format": FORMAT,
            "framevit": __version__,
            "labels": self.labels.to_json(),
            "pixels": self.preprocessing.to_json(),
            "temperature": self.temperature,
            "decision": self.operating_point.to_json() if self.operating_point else None,
            "usual": self.novelty.to_json() if self.novelty else None,
            "weights": self.weights,
        }
        # Only where it is needed: a framevit that would average over all views does not know the key, and refuses it.
        return values if self.settling_limit is None else values | {"settling_limit": self.settling_limit}


def parse_metadata(text: str, where: str, embeddings: Float32 | None = None) -> ModelMetadata:
    """The metadata in a JSON text; `where` names it in messages.

    Raises `DamagedModelError` where a value makes no sense or a key is not known, and `ModelError` where it was written
    by a newer framevit.
    """
    try:
        values = parsed(text)
        if values.integer("format", 1, 10**6) > FORMAT:
            raise ModelError(
                f"{where}: written by framevit {values.text('framevit')}, which is newer than this one, {__version__}",
                "Update framevit",
            )
        if "framevit" in values:
            values.text("framevit")
        metadata = ModelMetadata(
            _labels(values.object("labels")),
            _preprocessing(values.object("pixels")),
            values.number("temperature", 1e-6, 1e6) if "temperature" in values else 1.0,
            OperatingPoint.from_json(values.values["decision"]) if "decision" in values else None,
            NoveltyReference.from_json(values.values["usual"], embeddings) if "usual" in values else None,
            _texts(values.object("weights")) if "weights" in values else None,
            values.number("settling_limit", 0, JUST_ABOVE_1) if "settling_limit" in values else None,
        )
        values.done()
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise damaged(where, error) from None
    return metadata


def damaged(where: str, error: Exception) -> DamagedModelError:
    """The error for a file of a model that cannot be believed."""
    reason = str(error.args[0]) if error.args else type(error).__name__
    return DamagedModelError(
        f"{where}: damaged: {reason}", f"Copy the whole model folder again; {METADATA_FILE} is not meant to be edited"
    )


def _labels(values: JsonObject) -> LabelSpace:
    """Raises `ValueError` or `ConfigError` for classes that contradict each other."""
    names = values.texts("names")
    ok = values.texts("ok") if "ok" in values else ()
    symmetries, aliases = {}, {}
    if "symmetries" in values:
        declared = values.object("symmetries")
        symmetries = {key: _texts(declared.object(key)) for key in declared.values}
    if "aliases" in values:
        aliases = _texts(values.object("aliases"))
    values.done()
    return LabelSpace.build(names, ok, symmetries, aliases)


def _texts(values: JsonObject) -> dict[str, str]:
    return {key: values.text(key) for key in values.values}


def _preprocessing(values: JsonObject) -> Preprocessing:
    preprocessing = Preprocessing(
        height=values.integer("height", 1, LARGEST_SIDE),
        width=values.integer("width", 1, LARGEST_SIDE),
        mean=values.numbers("mean", 3, -1e6, 1e6),
        std=values.numbers("std", 3, 1e-6, 1e6),
        scale=values.number("scale", 1e-6, 1e6),
        resample=values.integer("resample", 0, max(Image.Resampling)),
        resize=_resize(values),
        bit_depth=values.integer("bit_depth", 8, 16) if "bit_depth" in values else 8,
        roi=_roi(values),
        max_megapixels=values.number("max_megapixels", 1e-6, 1e4) if "max_megapixels" in values else MAX_MEGAPIXELS,
        pad=values.flag("pad") if "pad" in values else False,
    )
    values.done()
    return preprocessing


def _resize(values: JsonObject) -> tuple[int, int] | int | None:
    if "resize" not in values:
        return None
    if not isinstance(values.values["resize"], list):
        return values.integer("resize", 1, LARGEST_SIDE)
    height, width = values.numbers("resize", 2, 1, LARGEST_SIDE)
    if int(height) != height or int(width) != width:
        raise ValueError(f"{values.path('resize')} is not a number of pixels: {height:g}, {width:g}")
    return int(height), int(width)


def _roi(values: JsonObject) -> tuple[float, float, float, float] | None:
    if "roi" not in values:
        return None
    x1, y1, x2, y2 = values.numbers("roi", 4, 0, 1e6)
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"{values.path('roi')} is empty: {x1:g}, {y1:g}, {x2:g}, {y2:g}")
    return x1, y1, x2, y2


def read_metadata(folder: Path) -> ModelMetadata:
    """The metadata of a model folder.

    Raises `DamagedModelError` where it is damaged or missing, or where the preprocessor_config.json beside weights
    describes other preprocessing.
    """
    path, embeddings = folder / METADATA_FILE, None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DamagedModelError(f"{folder}: damaged: {error}") from None
    if (folder / EMBEDDINGS).is_file():
        try:
            with (folder / EMBEDDINGS).open("rb") as file:
                embeddings = read_embeddings(file)
        except (OSError, ValueError) as error:
            raise damaged(str(folder / EMBEDDINGS), error) from None
    metadata = parse_metadata(text, str(path), embeddings)
    if any(folder.glob("*.safetensors")):
        check_agreement(folder, metadata.preprocessing, METADATA_FILE)
    return metadata


def check_weights(metadata: ModelMetadata, folder: Path) -> None:
    """Raises `DamagedModelError` where a file of weights in the folder is not the one that the metadata belongs to.

    The thresholds were chosen with those weights, and a changed bit in them shows nowhere else.
    """
    for name, digest in (metadata.weights or {}).items():
        if not (folder / name).is_file() or file_digest(folder / name) != digest:
            raise DamagedModelError(
                f"{folder / name} is not the file that {METADATA_FILE} belongs to: its sha256 is another",
                "Copy the whole model folder again; to train these weights further, name the folder in model.name",
            )


def check_embeddings(metadata: ModelMetadata, size: int | None, where: str) -> None:
    """Raises `DamagedModelError` where the model's own embeddings of `size` dimensions do not fit the stored ones.

    `size` is None for a model that gives no embeddings.
    """
    stored = metadata.novelty.embeddings if metadata.novelty else None
    if stored is None or stored.shape[1] == size:
        return
    own = "gives none" if size is None else f"gives {size}"
    raise DamagedModelError(
        f"{where}: the embeddings of its training pictures have {stored.shape[1]} dimensions, but the model {own}",
        f"Copy the model folder again: {EMBEDDINGS} belongs to another model",
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
            write_embeddings(file, embeddings)
    write_json(folder / METADATA_FILE, metadata.to_json())
