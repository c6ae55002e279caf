"""Novelty (out-of-distribution) detection: does a picture resemble those that the model was trained with?

A classifier answers for a picture of a cat, too, and usually with high confidence. The model therefore carries a
`NoveltyReference`: for each feature of its pictures (size, light, contrast, sharpness, distance of the embedding) the
range from the smallest to the largest value, slightly widened, and the colour modes. A picture outside a range is
flagged. If new pictures come from the same distribution as the n old ones, a value lies beyond the smallest or the
largest of them 2 times in n + 1.

The embedding is the vector that the head receives. It is compared with those of training pictures by the cosine to the
nearest one (Sun et al. 2022). Its limit comes from pictures that the model was not trained on, because training
pictures lie closer. Pure functions over arrays; no files, no torch.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np

from frame_vit.decision.json_values import JsonObject
from frame_vit.images.pixel_array import Float32

KEPT = 512
"""At most this many training embeddings are stored for comparison."""
SLACK = 0.1
"""Each range is widened at both ends by this share of its width."""
EXACT = ("width", "height", "aspect")
"""A camera does not vary these: their ranges are not widened."""
FEATURES = (*EXACT, "light", "contrast", "sharpness", "distance")
"""Everything that has a range."""
MODES = ("review", "note", "off")
"""What can happen to a flagged picture."""
WORDS = {"light": "light", "contrast": "contrast", "sharpness": "sharpness", "distance": "embedding, distance"}

PictureFlags: TypeAlias = dict[str, str]
"""Why one picture is flagged: a text for each flag, by its short name (size, mode, light ...); empty if it is not."""


class PictureFeatures(NamedTuple):
    """Features of N pictures that do not depend on what they show; sizes in pixels before resizing.

    `modes` are Pillow's. `light`, `contrast`, `sharpness` and `distance` are (N,) float32; `distance` is 1 - cosine to
    the nearest training picture, None where there are no embeddings.
    """

    width: Sequence[int]
    height: Sequence[int]
    modes: Sequence[str]
    light: Float32
    contrast: Float32
    sharpness: Float32
    distance: Float32 | None = None

    def of(self, row: int) -> dict[str, float | str]:
        """Those of one picture by name, as they are compared with the ranges; `mode` is the colour mode."""
        sizes: dict[str, float | str] = {"width": self.width[row], "height": self.height[row], "mode": self.modes[row]}
        measured = {name: getattr(self, name) for name in ("light", "contrast", "sharpness", "distance")}
        return sizes | {name: float(values[row]) for name, values in measured.items() if values is not None}


@dataclass(frozen=True)
class NoveltyReference:
    """What new pictures are compared with: inclusive ranges by feature and colour modes of `n` pictures, embeddings.

    `modes` are colour modes. `action` (in JSON: `mode`) says what happens to a flagged picture: `review` (a person
    decides), `note` (the flag is only reported) or `off` (nothing is flagged). `embeddings` (M, D) are those of
    training pictures.
    """

    n: int
    ranges: dict[str, tuple[float, float]]
    modes: tuple[str, ...]
    action: str = "review"
    embeddings: Float32 | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Without the embeddings, which are stored separately (see `packed`)."""
        return {
            "n": self.n,
            "ranges": {key: list(ends) for key, ends in self.ranges.items()},
            "modes": list(self.modes),
            "mode": self.action,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], embeddings: Float32 | None) -> NoveltyReference:
        """Raises `KeyError` or `ValueError` for values that nothing can be compared with."""
        stored = JsonObject(values, "usual")
        found = stored.object("ranges")
        ranges = {key: _ordered(found, key) for key in FEATURES if key in found}
        found.done()
        if 0 < len(ranges.keys() & {*EXACT}) < len(EXACT):  # a picture's size is described by all three
            raise ValueError(f"{stored.path('ranges')} has only some of {', '.join(EXACT)}")
        n, modes, mode = stored.integer("n", 1, 10**12), stored.texts("modes"), stored.text("mode", MODES)
        stored.done()
        return cls(n, ranges, modes, mode, embeddings)

    @property
    def reviewed(self) -> bool:
        """Whether a person decides on flagged pictures, whatever their class."""
        return self.action == "review"


def novelty_reference(
    features: PictureFeatures, held_out: Float32 | None, embeddings: Float32 | None, action: str
) -> NoveltyReference:
    """The reference from the features of all pictures.

    The range of `distance` comes from `held_out`, the distances of pictures that the model was not trained on.
    """
    values = _values(features)
    if held_out is not None and embeddings is not None:
        values["distance"] = held_out
    ranges = {}
    for key, column in values.items():
        low, high = float(column.min()), float(column.max())
        slack = 0.0 if key in EXACT else SLACK * (high - low) + 1e-6
        ranges[key] = (0.0 if key == "distance" else low - slack, high + slack)
    return NoveltyReference(len(features.width), ranges, tuple(sorted({*features.modes})), action, embeddings)


def novelty_flags(features: PictureFeatures, reference: NoveltyReference | None) -> list[PictureFlags]:
    """The flags of each of N pictures. Without a reference, or with the action `off`, nothing is flagged."""
    flags: list[PictureFlags] = [{} for _ in features.width]
    if reference is None or reference.action == "off":
        return flags
    for row, mode in enumerate(features.modes):
        if mode not in reference.modes:
            flags[row]["mode"] = f"colour mode {mode}, in training {' '.join(reference.modes)}"
    for key, values in _values(features).items():
        if key not in reference.ranges:
            continue
        low, high = reference.ranges[key]
        for row in np.flatnonzero((values < low) | (values > high)).tolist():
            if key in EXACT:
                flags[row]["size"] = _size(features, row, reference)
            else:
                flags[row][key] = f"{WORDS[key]} {_range(key, values[row], low, high)}"
    return flags


def distances(embeddings: Float32 | None, reference: Float32 | None) -> Float32 | None:
    """1 - cosine of each embedding (N, D) to the nearest of (M, D): (N,) float32 in 0..2; None without either."""
    if embeddings is None or reference is None:
        return None
    nearest = (_unit(embeddings) @ _unit(reference).T).max(axis=1)
    # Rounding makes the cosine of equal vectors a little larger than 1; below 0 a distance would count as unusual.
    return np.asarray(np.maximum(1 - nearest, 0), np.float32)


def sample_rows(count: int, kept: int = KEPT) -> list[int]:
    """At most `kept` of `count` row numbers, drawn with a fixed seed, in ascending order.

    Every n-th row would not do: where classes or cameras alternate, it can leave one out.
    """
    return sorted(random.Random(0).sample(range(count), min(count, kept)))


def packed(embeddings: Float32) -> str:
    """Embeddings as text: a float16 .npy file in base64."""
    buffer = io.BytesIO()
    write_embeddings(buffer, embeddings)
    return base64.b64encode(buffer.getvalue()).decode()


def unpacked(text: str) -> Float32:
    """The embeddings that `packed` turned into text, as float32. Raises `ValueError` where they are damaged."""
    return read_embeddings(io.BytesIO(base64.b64decode(text, validate=True)))


def write_embeddings(file: IO[bytes], embeddings: Float32) -> None:
    """Writes embeddings (M, D) as a float16 .npy file.

    Only their directions are compared, so those that are too long for float16 are shortened.
    """
    longest = float(np.abs(embeddings).max(initial=0))
    fits = longest <= float(np.finfo(np.float16).max)
    np.save(file, (embeddings if fits else _unit(embeddings)).astype(np.float16), allow_pickle=False)


def read_embeddings(file: IO[bytes]) -> Float32:
    """What `write_embeddings` wrote, as float32. Raises `ValueError` where it is damaged."""
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, SyntaxError) as error:
        raise ValueError(f"the embeddings cannot be read: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise ValueError("the embeddings are not an array of floating-point numbers")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"the embeddings have the shape {array.shape}, not (pictures, dimensions)")
    if not np.isfinite(array).all():  # such a number would switch the comparison off
        raise ValueError("the embeddings hold a number that is not finite")
    return array.astype(np.float32)


def _ordered(ranges: JsonObject, key: str) -> tuple[float, float]:
    """The two ends of a range, finite and in order."""
    low, high = ranges.numbers(key, 2, -1e30, 1e30)
    if low > high:
        raise ValueError(f"{ranges.path(key)} ends before it begins: {low:g} to {high:g}")
    return float(low), float(high)


def _unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _values(features: PictureFeatures) -> dict[str, Float32]:
    width, height = np.asarray(features.width, np.float32), np.asarray(features.height, np.float32)
    values = {"width": width, "height": height, "aspect": np.asarray(width / height, np.float32)}
    values |= {"light": features.light, "contrast": features.contrast, "sharpness": features.sharpness}
    return values if features.distance is None else values | {"distance": features.distance}


def _size(features: PictureFeatures, row: int, reference: NoveltyReference) -> str:
    ends = [(round(low), round(high)) for low, high in (reference.ranges["width"], reference.ranges["height"])]
    width, height = (str(low) if low == high else f"{low} to {high}" for low, high in ends)
    return f"{features.width[row]} x {features.height[row]} pixels, in training {width} x {height}"


def _range(key: str, value: float, low: float, high: float) -> str:
    digits = 1 if key in ("light", "contrast") else 3
    if key == "distance":
        return f"{value:.{digits}f}, in training up to {high:.{digits}f}"
    return f"{value:.{digits}f}, in training {max(low, 0):.{digits}f} to {high:.{digits}f}"
