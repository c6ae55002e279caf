"""Maps as pictures, and the question that counts: does the model look at the part, or at something else?

Over a labelled split: what share of a map's mass lies inside the box, against the box's share of the picture. A model
that looks at the part has more of it inside than an even map would. One that is right, but has less, has found
something else that gives the class away: a mark, a shadow, the place on the belt. Maps are indirect, so the question is
also asked directly: the box is painted over, and the class should then change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frame_vit.data.examples import Example, Split
from frame_vit.decision.novelty import sample_rows
from frame_vit.errors import UsageError
from frame_vit.explanation.attention import Maps, cover, maps
from frame_vit.images.geometry import Box
from frame_vit.images.measures import measured
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import Preprocessing, placed
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.system.progress import Tick, silent

AT_ONCE = 8
"""Pictures whose maps are computed at once: attention and its gradient take 120 MB a picture in a ViT-L/16."""


@dataclass(frozen=True)
class Looked:
    """attention.json as a dict, and what it was made of: examples, their predictions, maps, and those that stand out.

    `elsewhere` are row numbers of right answers for which the map lies rather outside the box, the worst first.
    """

    facts: dict[str, Any]
    examples: list[Example]
    predictions: list[Prediction]
    maps: Maps
    elsewhere: list[int]


def look(predictor: Predictor, split: Split, limit: int, tick: Tick = silent) -> Looked:
    """Where the model looks in at most `limit` pictures of a split that have a box that it can see.

    Raises `UsageError` where no picture has a box.
    """
    boxed = [row for row, example in enumerate(split.examples) if _seen_box(example, predictor.preprocessing)]
    if not boxed:
        raise UsageError(f"no picture of {split.name} has a box, so nothing can be said of where the model should look")
    rows = [boxed[at] for at in sample_rows(len(boxed), limit)]
    examples = [split.examples[row] for row in rows]
    predictions: list[Prediction] = []
    parts, hidden = [], []
    for start in range(0, len(rows), AT_ONCE):
        pixels = np.asarray(split.pixels[rows[start : start + AT_ONCE]])
        there, answers = examples[start : start + AT_ONCE], predictor.answer(pixels)
        judged = predictor.judge(answers, predictor.novelty_flags(there, answers, measured(pixels)))
        predictions += predictor.predictions([example.key for example in there], judged)
        parts.append(maps(predictor, pixels, judged.predicted))
        hidden += (
            predictor.logits(painted_over(pixels, there, predictor.preprocessing)).mean(axis=1).argmax(axis=1).tolist()
        )
        tick("looking", start + len(there), len(rows), "")
    found = Maps(*(np.concatenate(both) for both in zip(*parts, strict=True)))
    called = [predictor.labels.names[i] for i in hidden]
    return _measured(predictor, split.name, examples, predictions, found, called)


def painted_over(pixels: UInt8, examples: Sequence[Example], preprocessing: Preprocessing) -> UInt8:
    """Pictures (N, height, width, 3) at the model's size, their boxes filled with the median colour of their margins.

    A margin is a quarter of the box wide. Any other colour would leave a patch that shows where the part was.
    """
    covered = pixels.copy()
    for picture, example in zip(covered, examples, strict=True):
        x1, y1, x2, y2 = placed(_box(example), (example.width, example.height), preprocessing)
        left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
        right, bottom = max(math.ceil(x2), left), max(math.ceil(y2), top)
        wide, high = max((right - left) // 4, 1), max((bottom - top) // 4, 1)
        around = np.zeros(picture.shape[:2], bool)
        around[max(top - high, 0) : bottom + high, max(left - wide, 0) : right + wide] = True
        around[top:bottom, left:right] = False
        if around.any():
            picture[top:bottom, left:right] = np.median(picture[around], axis=0)
    return covered


def _measured(
    predictor: Predictor,
    name: str,
    examples: list[Example],
    predictions: list[Prediction],
    found: Maps,
    hidden: list[str],
) -> Looked:
    grid = (found.relevance.shape[1], found.relevance.shape[2])
    covers = np.stack([cover(_box(e), (e.width, e.height), predictor.preprocessing, grid) for e in examples])
    box = covers.mean(axis=(1, 2))
    inside, rolled = ((covers * values).sum(axis=(1, 2)) for values in (found.relevance, found.rollout))
    names = predictor.labels.names
    true = np.array([example.label for example in examples])
    right = np.array([p.label == names[e.label] for p, e in zip(predictions, examples, strict=True)], bool)
    lift = inside / np.maximum(box, 1e-9)
    stays = np.array([p.label == called for p, called in zip(predictions, hidden, strict=True)], bool)
    elsewhere = [int(row) for row in np.argsort(lift, kind="stable") if right[row] and lift[row] < 1]

    def over(part: Any) -> dict[str, Any]:
        return {
            "n": int(part.sum()),
            "inside": float(inside[part].mean()),
            "box": float(box[part].mean()),
            "lift": float(lift[part].mean()),
            "rollout_inside": float(rolled[part].mean()),
            "right": int((right & part).sum()),
            "right_but_elsewhere": int((right & part & (lift < 1)).sum()),
            "right_though_hidden": int((right & part & stays).sum()),
            "by_chance": _by_chance([p.label for p, of in zip(predictions, part, strict=True) if of], hidden),
        }

    every = np.ones(len(examples), bool)
    facts = {
        "split": name,
        "grid": list(grid),
        "cell": [predictor.preprocessing.width / grid[1], predictor.preprocessing.height / grid[0]],
        "views": [view.name for view, _ in predictor.views],
        "all": over(every),
        "per_class": {names[i]: over(true == i) for i in range(len(names)) if (true == i).any()},
        "elsewhere": [
            {
                "file": examples[row].key,
                "label": predictions[row].label,
                "confidence": predictions[row].confidence,
                "inside": float(inside[row]),
                "box": float(box[row]),
                "peak": _peak(found.relevance[row]),
                "hidden": hidden[row],
            }
            for row in elsewhere
        ],
    }
    return Looked(facts, examples, predictions, found, elsewhere)


def _seen_box(example: Example, preprocessing: Preprocessing) -> bool:
    """Whether a picture has a box, and some of it lies in what the model sees."""
    if example.box is None:
        return False
    return float(cover(example.box, (example.width, example.height), preprocessing, (1, 1)).sum()) > 0


def _box(example: Example) -> Box:
    assert example.box is not None
    return example.box


def _by_chance(called: Sequence[str | None], hidden: Sequence[str]) -> float:
    """The share that would stay if what is called without the part had nothing to do with what was called with it."""
    return sum(called.count(name) / len(called) * hidden.count(name) / len(hidden) for name in {*hidden})


def _peak(values: Float32) -> list[float]:
    """The middle of the cell with the most, as shares of the model's input, x and y."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return [(int(column) + 0.5) / values.shape[1], (int(row) + 0.5) / values.shape[0]]
