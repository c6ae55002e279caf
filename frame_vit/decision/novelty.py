"""Is a picture like those the model was trained on? Size, colour mode, light, contrast, sharpness, embedding.

A model answers for a cat, too, and mostly surely. So what its pictures were like is stored with it, as ranges: from the
smallest to the largest value of all of them, a little wider. Were new pictures drawn as the n old ones were, a value
beyond the smallest or largest of n would come up 2 times in n + 1. The embedding (what the head is given) is compared
with those of training pictures, by the cosine to the nearest (Sun et al. 2022); its limit is from pictures that
the model was not trained on, for those it was trained on lie nearer. Pure functions over arrays, no torch.
"""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from frame_vit.images.pixel_array import Float32

KEPT = 512
"""At most so many embeddings are kept to compare with."""
SLACK = 0.1
"""So much wider than it was, as a share of its width, is a range."""
EXACT = ("width", "height", "aspect")
"""What a camera does not vary: these ranges are not widened."""
WORDS = {"light": "light", "contrast": "contrast", "sharpness": "sharpness", "distance": "embedding, distance"}


class PictureFeatures(NamedTuple):
    """What can be seen of N pictures without knowing what they show, each (N,): sizes in pixels before resizing.

    `modes` are Pillow's; `distance` is 1 - cosine to the nearest training picture, None where no embedding is given.
    """

    width: Sequence[int]
    height: Sequence[int]
    modes: Sequence[str]
    light: Float32
    contrast: Float32
    sharpness: Float32
    distance: Float32 | None = None


@dataclass(frozen=True)
class NoveltyReference:
    """How the pictures were: `n` of them; inclusive ranges by name; colour modes; what embeddings are compared with.

    `mode` says what becomes of a picture unlike them: review, note (it is only told of) or off (not looked for).
    """

    n: int
    ranges: dict[str, tuple[float, float]]
    modes: tuple[str, ...]
    mode: str = "review"
    embeddings: Float32 | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Without the embeddings, which are stored beside: see `packed`."""
        return {
            "n": self.n,
            "ranges": {key: list(ends) for key, ends in self.ranges.items()},
            "modes": list(self.modes),
            "mode": self.mode,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], embeddings: Float32 | None) -> NoveltyReference:
        ranges = {key: (float(low), float(high)) for key, (low, high) in values["ranges"].items()}
        return cls(int(values["n"]), ranges, tuple(values["modes"]), str(values["mode"]), embeddings)

    @property
    def reviewed(self) -> bool:
        return self.mode == "review"


def usual(looks: PictureFeatures, apart: Float32 | None, embeddings: Float32 | None, mode: str) -> NoveltyReference:
    """What to hold new pictures against: ranges of all pictures, distances of those `apart` from the training."""
    values = _values(looks)
    if apart is not None and embeddings is not None:
        values["distance"] = apart
    ranges = {}
    for key, found in values.items():
        low, high = float(found.min()), float(found.max())
        slack = 0.0 if key in EXACT else SLACK * (high - low) + 1e-6
        ranges[key] = (0.0 if key == "distance" else low - slack, high + slack)
    return NoveltyReference(len(looks.width), ranges, tuple(sorted({*looks.modes})), mode, embeddings)


def unlike(looks: PictureFeatures, was: NoveltyReference | None) -> list[dict[str, str]]:
    """For each picture what is unusual about it, in words, by a short name; empty where nothing is."""
    found: list[dict[str, str]] = [{} for _ in looks.width]
    if was is None or was.mode == "off":
        return found
    for row, mode in enumerate(looks.modes):
        if mode not in was.modes:
            found[row]["mode"] = f"colour mode {mode}, theirs {' '.join(was.modes)}"
    for key, values in _values(looks).items():
        if key not in was.ranges:
            continue
        low, high = was.ranges[key]
        for odd in np.flatnonzero((values < low) | (values > high)).tolist():
            if key in EXACT:
                found[odd]["size"] = _size(looks, odd, was)
            else:
                found[odd][key] = f"{WORDS[key]} {_range(key, values[odd], low, high)}"
    return found


def distances(embeddings: Float32 | None, was: Float32 | None) -> Float32 | None:
    """1 - cosine of each embedding (N, D) to the nearest of (M, D): (N,) float32 in 0..2; None without either."""
    if embeddings is None or was is None:
        return None
    return np.asarray(1 - (_unit(embeddings) @ _unit(was).T).max(axis=1), np.float32)


def some(count: int, kept: int = KEPT) -> list[int]:
    """At most `kept` of so many rows, always the same, in order.

    Drawn, not every n-th: where classes or cameras alternate, every n-th row may leave one out.
    """
    return sorted(random.Random(0).sample(range(count), min(count, kept)))


def packed(embeddings: Float32) -> str:
    """Embeddings as text: float16, as numpy stores an array, in base64."""
    buffer = io.BytesIO()
    np.save(buffer, embeddings.astype(np.float16), allow_pickle=False)
    return base64.b64encode(buffer.getvalue()).decode()


def unpacked(text: str) -> Float32:
    """What `packed` made text of."""
    return np.asarray(np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False), np.float32)


def _unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _values(looks: PictureFeatures) -> dict[str, Float32]:
    width, height = np.asarray(looks.width, np.float32), np.asarray(looks.height, np.float32)
    values = {"width": width, "height": height, "aspect": np.asarray(width / height, np.float32)}
    values |= {"light": looks.light, "contrast": looks.contrast, "sharpness": looks.sharpness}
    return values if looks.distance is None else values | {"distance": looks.distance}


def _size(looks: PictureFeatures, row: int, was: NoveltyReference) -> str:
    ends = [(round(low), round(high)) for low, high in (was.ranges["width"], was.ranges["height"])]
    width, height = (str(low) if low == high else f"{low} to {high}" for low, high in ends)
    return f"{looks.width[row]} x {looks.height[row]} pixels, theirs {width} x {height}"


def _range(key: str, value: float, low: float, high: float) -> str:
    digits = 1 if key in ("light", "contrast") else 3
    if key == "distance":
        return f"{value:.{digits}f}, theirs up to {high:.{digits}f}"
    return f"{value:.{digits}f}, theirs {max(low, 0):.{digits}f} to {high:.{digits}f}"
