"""Maps as pictures, and the question that counts: does the model look at the part, or at something else?

Over a labelled split: what share of a map's mass lies inside the box, against the box's share of the picture. A model
that looks at the part has more of it inside than an even map would. One that is right, but has less, has found
something else that gives the class away: a mark, a shadow, the place on the belt. Maps are indirect, so the question is
also asked directly: the box is painted over, and the class should then change.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from frame_vit.attention import Maps, cover, maps
from frame_vit.data.examples import Example, Split
from frame_vit.data.measures import measured
from frame_vit.errors import RowError, UsageError
from frame_vit.geometry import Box
from frame_vit.images import Float32, Pixels, UInt8, open_rgb, placed, read_bytes, seen
from frame_vit.inputs import Input
from frame_vit.predictor import Prediction, Predictor, judge
from frame_vit.progress import Tick, silent
from frame_vit.report import math_safe
from frame_vit.texts import printable
from frame_vit.unlike import some

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
    boxed = [row for row, example in enumerate(split.examples) if _seen_box(example, predictor.pixels)]
    if not boxed:
        raise UsageError(f"no picture of {split.name} has a box, so nothing can be said of where the model should look")
    rows = [boxed[at] for at in some(len(boxed), limit)]
    examples = [split.examples[row] for row in rows]
    predictions: list[Prediction] = []
    parts, hidden = [], []
    for start in range(0, len(rows), AT_ONCE):
        pixels = np.asarray(split.pixels[rows[start : start + AT_ONCE]])
        there, answers = examples[start : start + AT_ONCE], predictor.ask(pixels)
        logits, odd = answers.logits.mean(axis=1), predictor.odd(there, answers, measured(pixels))
        predictions += [
            judge(e.key, answer, predictor.labels, predictor.point, of, predictor.usual)
            for e, answer, of in zip(there, logits, odd, strict=True)
        ]
        parts.append(maps(predictor, pixels, logits.argmax(axis=1)))
        hidden += predictor.logits(painted_over(pixels, there, predictor.pixels)).mean(axis=1).argmax(axis=1).tolist()
        tick("looking", start + len(there), len(rows), "")
    found = Maps(*(np.concatenate(both) for both in zip(*parts, strict=True)))
    called = [predictor.labels.names[i] for i in hidden]
    return _measured(predictor, split.name, examples, predictions, found, called)


def painted_over(pixels: UInt8, examples: Sequence[Example], settings: Pixels) -> UInt8:
    """Pictures (N, height, width, 3) at the model's size, their boxes filled with the median colour of their margins.

    A margin is a quarter of the box wide. Any other colour would leave a patch that shows where the part was.
    """
    covered = pixels.copy()
    for picture, example in zip(covered, examples, strict=True):
        x1, y1, x2, y2 = placed(_box(example), (example.width, example.height), settings)
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
    covers = np.stack([cover(_box(e), (e.width, e.height), predictor.pixels, grid) for e in examples])
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
        "cell": [predictor.pixels.width / grid[1], predictor.pixels.height / grid[0]],
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


def _seen_box(example: Example, settings: Pixels) -> bool:
    """Whether a picture has a box, and some of it lies in what the model sees."""
    if example.box is None:
        return False
    return float(cover(example.box, (example.width, example.height), settings, (1, 1)).sum()) > 0


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


class Explainer:
    """Draws the maps of pictures into a folder, named after them."""

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        self.predictor, self.folder = predictor, folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None

    def each(self, rows: Iterable[Prediction], inputs: Sequence[Input]) -> Iterator[Prediction]:
        """The rows, each passed on when its picture has been drawn; rows of errors have none."""
        for row, given in zip(rows, inputs, strict=True):
            self.draw(row, given)
            yield row

    def draw(self, row: Prediction, given: Input) -> Path | None:
        """The picture of a row, and where it was drawn; None for an error."""
        if row.label is None:
            return None
        try:
            image = open_rgb(read_bytes(given.source), self.predictor.pixels.bit_depth)
        except RowError:  # it was there a moment ago
            return None
        shown = np.array([self.predictor.labels.names.index(row.label)])
        found = maps(self.predictor, seen(image, self.predictor.pixels)[None], shown)
        path = self.folder / _name(given.name)
        figure = panels(self.predictor, image, (found.rollout[0], found.relevance[0]), row)
        figure.savefig(path, dpi=110)
        return path


def panels(
    predictor: Predictor, image: Image.Image, both: tuple[Float32, Float32], row: Prediction, box: Box | None = None
) -> Figure:
    """The picture as it is, under the rollout, and under what matters for its class; the box, where there is one."""
    figure = Figure(figsize=(12, 4 * image.height / image.width + 1), layout="constrained")
    axes = figure.subplots(1, 3)
    rows, columns = both[0].shape
    pixels = predictor.pixels
    cell = f"{pixels.width / columns:g} x {pixels.height / rows:g}"
    sure = f"{row.confidence:.3f}" if row.confidence is not None else ""
    decision = f", {row.decision}" if row.decision else ""
    figure.suptitle(
        f"{math_safe(printable(row.file))}: {math_safe(row.label or '')} {sure}{decision}\n"
        f"maps of {columns} x {rows} cells, each {cell} of the model's {pixels.width} x {pixels.height} pixels; "
        f"answered by {predictor.backend.name} in {predictor.precision}",
        fontsize=10,
    )
    titles = ("picture", "attention rollout: whatever the class", f"what matters for {math_safe(row.label or '')}")
    for panel, title, values in zip(axes, titles, (None, *both), strict=True):
        _panel(panel, image, values, predictor, box)
        panel.set_title(title, fontsize=10)
    return figure


def _panel(axes: Axes, image: Image.Image, values: Float32 | None, predictor: Predictor, box: Box | None) -> None:
    axes.axis("off")
    axes.imshow(image if values is None else image.convert("L"), cmap=None if values is None else "gray")
    if values is not None:
        x1, y1, x2, y2 = _seen(image.size, predictor)
        # Cells as they are: smoothed, the map would seem to see more than it does.
        drawn = axes.imshow(
            100 * values, cmap="inferno", alpha=0.6, extent=(x1, x2, y2, y1), interpolation="nearest", vmin=0
        )
        axes.figure.colorbar(drawn, ax=axes, shrink=0.7, format="%.3g %%", label="of the map, in a cell")
    if box is not None:
        corner, width, height = (box[0], box[1]), box[2] - box[0], box[3] - box[1]
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="#00c853", linewidth=2))
    axes.set(xlim=(0, image.width), ylim=(image.height, 0))


def _seen(size: tuple[int, int], predictor: Predictor) -> Box:
    """What of a picture of this (width, height) the model sees, xyxy."""
    pixels = predictor.pixels
    x1, y1, x2, y2 = placed((0, 0, *size), size, pixels)
    across, down = size[0] / (x2 - x1), size[1] / (y2 - y1)
    return -x1 * across, -y1 * down, (pixels.width - x1) * across, (pixels.height - y1) * down


def _name(source: str) -> str:
    """A file's name for the maps of a picture: that of the picture, and a word that tells equal ones apart."""
    slug = re.sub(r"[^\w.-]+", "-", printable(Path(source).stem)).strip("-.")[-60:]
    return f"{slug or 'picture'}-{hashlib.sha256(printable(source).encode()).hexdigest()[:16]}.png"
