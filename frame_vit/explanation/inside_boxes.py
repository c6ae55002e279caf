"""Does the model look at the part? Measured over labelled pictures with boxes, in two ways.

The indirect way: the share of a map that lies inside the box, against the box's share of the picture. A model that
looks at the part has more of the map inside the box than an even map would have. A model that is right with less has
found something else that gives the class away: a mark, a shadow, the place on the belt.

The direct way: the box is painted over, and the class should change. Some classes stay the same by chance, so the share
that would is given, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.examples import Example, Split
from frame_vit.decision.novelty import sample_rows
from frame_vit.errors import UsageError
from frame_vit.explanation.attention import Maps, cover, maps
from frame_vit.images.geometry import Box
from frame_vit.images.measures import measured
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import Preprocessing, padded_areas, placed
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.system.progress import Tick, silent

AT_ONCE = 8
"""Pictures whose maps are computed at once: attention and its gradient take 120 MB a picture in a ViT-L/16."""


@dataclass(frozen=True)
class BoxFigures:
    """Means and counts over `n` pictures.

    `inside` and `rollout_inside` are the shares of the relevance and rollout maps inside the box, `box` is the box's
    share of the picture, and `lift` is inside / box. `right` counts right answers; among them `right_but_elsewhere`
    those with a lift below 1, and `right_though_hidden` those that stay when the box is painted over. `by_chance` is
    the share that would stay if the answers with and without the part were independent.
    """

    n: int
    inside: float
    box: float
    lift: float
    rollout_inside: float
    right: int
    right_but_elsewhere: int
    right_though_hidden: int
    by_chance: float


@dataclass(frozen=True)
class ElsewhereAnswer:
    """A right answer whose map lies rather outside the box.

    `peak` is the middle of the map's largest cell, (x, y) as shares of the model's input; `hidden` is the class that
    the model answers with the box painted over.
    """

    file: str
    label: str | None
    confidence: float | None
    inside: float
    box: float
    peak: tuple[float, float]
    hidden: str


@dataclass(frozen=True)
class Explanation:
    """Where a model looks in the pictures of a split.

    `grid` is (rows, columns) of a map, `cell` a cell's (width, height) in pixels of the model's input, `views` the
    names of the averaged views. `examples`, `predictions` and `maps` belong together row by row; `elsewhere_rows` are
    the rows of `elsewhere`, the smallest lift first.
    """

    split: str
    grid: tuple[int, int]
    cell: tuple[float, float]
    views: list[str]
    all: BoxFigures
    per_class: dict[str, BoxFigures]
    elsewhere: list[ElsewhereAnswer]
    examples: list[Example]
    predictions: list[Prediction]
    maps: Maps
    elsewhere_rows: list[int]

    def to_json(self) -> dict[str, Any]:
        """attention.json."""
        return {
            "split": self.split,
            "grid": list(self.grid),
            "cell": list(self.cell),
            "views": self.views,
            "all": asdict(self.all),
            "per_class": {name: asdict(figures) for name, figures in self.per_class.items()},
            "elsewhere": [asdict(answer) | {"peak": list(answer.peak)} for answer in self.elsewhere],
        }


@dataclass(frozen=True)
class _Answers:
    """The model's answers for the examples: predictions and maps, and the class of each with the box painted over."""

    examples: list[Example]
    predictions: list[Prediction]
    maps: Maps
    hidden: list[str]


def look_inside_boxes(predictor: Predictor, split: Split, limit: int, tick: Tick = silent) -> Explanation:
    """Where the model looks in at most `limit` pictures of a split that have a box in what the model sees.

    Raises `UsageError` if no picture has a box.
    """
    boxed = [row for row, example in enumerate(split.examples) if _has_visible_box(example, predictor.preprocessing)]
    if not boxed:
        raise UsageError(
            f"no picture of {split.name} has a box, so there is nothing to compare the model's attention with",
            "Name pictures to see their maps only: framevit explain PATH...",
        )
    rows = [boxed[index] for index in sample_rows(len(boxed), limit)]
    return _measured(predictor, split.name, _answers(predictor, split, rows, tick))


def _answers(predictor: Predictor, split: Split, rows: list[int], tick: Tick) -> _Answers:
    predictions: list[Prediction] = []
    parts: list[Maps] = []
    hidden: list[str] = []
    names = predictor.labels.names
    for start in range(0, len(rows), AT_ONCE):
        batch_rows = rows[start : start + AT_ONCE]
        pixels = np.asarray(split.pixels[batch_rows])  # (n, height, width, 3) uint8
        examples, answers = [split.examples[row] for row in batch_rows], predictor.answer(pixels)
        measures = measured(pixels, padded_areas(examples, predictor.preprocessing))
        judged = predictor.judge(answers, predictor.novelty_flags(examples, answers, measures))
        predictions += predictor.predictions([example.key for example in examples], judged)
        parts.append(maps(predictor, pixels, judged.predicted))
        without_part = predictor.logits(painted_over(pixels, examples, predictor.preprocessing)).mean(axis=1)
        hidden += [names[label] for label in without_part.argmax(axis=1)]
        tick("looking", start + len(examples), len(rows), "")
    rollouts, relevances = zip(*parts, strict=True)
    joined = Maps(np.concatenate(rollouts), np.concatenate(relevances))
    return _Answers([split.examples[row] for row in rows], predictions, joined, hidden)


def painted_over(pixels: UInt8, examples: Sequence[Example], preprocessing: Preprocessing) -> UInt8:
    """Pictures (N, height, width, 3) uint8 with each box filled with the median colour of the margin around it.

    The margin is a quarter of the box wide. Any other colour would leave a patch that shows where the part was.
    """
    painted = pixels.copy()
    for picture, example in zip(painted, examples, strict=True):
        x1, y1, x2, y2 = placed(_box(example), (example.width, example.height), preprocessing)
        left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
        right, bottom = max(math.ceil(x2), left), max(math.ceil(y2), top)
        margin_x, margin_y = max((right - left) // 4, 1), max((bottom - top) // 4, 1)
        margin = np.zeros(picture.shape[:2], bool)  # (height, width)
        margin[max(top - margin_y, 0) : bottom + margin_y, max(left - margin_x, 0) : right + margin_x] = True
        margin[top:bottom, left:right] = False
        if margin.any():
            picture[top:bottom, left:right] = np.median(picture[margin], axis=0)
    return painted


def _measured(predictor: Predictor, split: str, answers: _Answers) -> Explanation:
    examples, predictions, names = answers.examples, answers.predictions, predictor.labels.names
    relevance, preprocessing = answers.maps.relevance, predictor.preprocessing
    _, map_rows, map_columns = relevance.shape
    grid = (map_rows, map_columns)
    covers = np.stack([cover(_box(e), (e.width, e.height), preprocessing, grid) for e in examples])  # (N, R, C)
    columns = _Columns(
        inside=(covers * relevance).sum(axis=(1, 2)),
        rollout_inside=(covers * answers.maps.rollout).sum(axis=(1, 2)),
        box=covers.mean(axis=(1, 2)),
        right=np.array([p.label == names[e.label] for p, e in zip(predictions, examples, strict=True)], bool),
        called=np.array([p.label for p in predictions], object),
        hidden=np.array(answers.hidden, object),
    )
    labels = np.array([example.label for example in examples])
    per_class = {name: columns.figures(labels == label) for label, name in enumerate(names) if (labels == label).any()}
    lift = columns.lift
    elsewhere = [int(row) for row in np.argsort(lift, kind="stable") if columns.right[row] and lift[row] < 1]
    return Explanation(
        split=split,
        grid=grid,
        cell=(preprocessing.width / map_columns, preprocessing.height / map_rows),
        views=[view.name for view, _ in predictor.views],
        all=columns.figures(np.ones(len(examples), bool)),
        per_class=per_class,
        elsewhere=[
            ElsewhereAnswer(
                examples[row].key,
                predictions[row].label,
                predictions[row].confidence,
                float(columns.inside[row]),
                float(columns.box[row]),
                _peak(relevance[row]),
                answers.hidden[row],
            )
            for row in elsewhere
        ],
        examples=examples,
        predictions=predictions,
        maps=answers.maps,
        elsewhere_rows=elsewhere,
    )


@dataclass(frozen=True)
class _Columns:
    """One value a picture, each (N,): see `BoxFigures`. `called` and `hidden` are class names with and without part."""

    inside: Float32
    rollout_inside: Float32
    box: Float32
    right: NDArray[np.bool_]
    called: NDArray[np.object_]
    hidden: NDArray[np.object_]

    @property
    def lift(self) -> Float32:
        return np.asarray(self.inside / np.maximum(self.box, 1e-9))

    def figures(self, part: NDArray[np.bool_]) -> BoxFigures:
        """Over the pictures that are True in `part`, (N,)."""
        lift, right = self.lift, self.right & part
        return BoxFigures(
            n=int(part.sum()),
            inside=float(self.inside[part].mean()),
            box=float(self.box[part].mean()),
            lift=float(lift[part].mean()),
            rollout_inside=float(self.rollout_inside[part].mean()),
            right=int(right.sum()),
            right_but_elsewhere=int((right & (lift < 1)).sum()),
            right_though_hidden=int((right & (self.called == self.hidden)).sum()),
            by_chance=_by_chance(self.called[part].tolist(), self.hidden.tolist()),
        )


def _has_visible_box(example: Example, preprocessing: Preprocessing) -> bool:
    """Whether a picture has a box, at least part of which lies in what the model sees."""
    if example.box is None:
        return False
    return float(cover(example.box, (example.width, example.height), preprocessing, (1, 1)).sum()) > 0


def _box(example: Example) -> Box:
    assert example.box is not None
    return example.box


def _by_chance(called: Sequence[str | None], hidden: Sequence[str]) -> float:
    """The share of answers that would stay if those without the part were independent of those with it."""
    return sum(called.count(name) / len(called) * hidden.count(name) / len(hidden) for name in {*hidden})


def _peak(values: Float32) -> tuple[float, float]:
    """The middle of the largest cell of a map (R, C): x and y as shares of the model's input."""
    rows, columns = values.shape
    row, column = divmod(int(values.argmax()), columns)
    return (column + 0.5) / columns, (row + 0.5) / rows
