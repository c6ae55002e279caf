"""Maps as pictures, and the question that counts: does the model look at the part, or at something else?

Over a labelled split: what share of a map's mass lies inside the box, against the box's share of the picture. A model
that looks at the part has more of it inside than an even map would. One that is right, but has less, has found
something else that gives the class away: a mark, a shadow, the place on the belt. Maps are indirect, so the question is
also asked directly: the box is painted over, and the class should then change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from frame_vit.errors import RowError, UsageError
from frame_vit.explanation.attention import maps
from frame_vit.images.decode import open_rgb, read_bytes
from frame_vit.images.geometry import Box
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import placed, seen
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.report.figures import math_safe
from frame_vit.system.texts import printable


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
            image = open_rgb(read_bytes(given.source), self.predictor.preprocessing.bit_depth)
        except RowError:  # it was there a moment ago
            return None
        shown = np.array([self.predictor.labels.names.index(row.label)])
        found = maps(self.predictor, seen(image, self.predictor.preprocessing)[None], shown)
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
    preprocessing = predictor.preprocessing
    cell = f"{preprocessing.width / columns:g} x {preprocessing.height / rows:g}"
    sure = f"{row.confidence:.3f}" if row.confidence is not None else ""
    decision = f", {row.decision}" if row.decision else ""
    figure.suptitle(
        f"{math_safe(printable(row.file))}: {math_safe(row.label or '')} {sure}{decision}\n"
        f"maps of {columns} x {rows} cells, each {cell} of the model's {preprocessing.size_text} pixels; "
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
    preprocessing = predictor.preprocessing
    x1, y1, x2, y2 = placed((0, 0, *size), size, preprocessing)
    across, down = size[0] / (x2 - x1), size[1] / (y2 - y1)
    return -x1 * across, -y1 * down, (preprocessing.width - x1) * across, (preprocessing.height - y1) * down


def _name(source: str) -> str:
    """A file's name for the maps of a picture: that of the picture, and a word that tells equal ones apart."""
    slug = re.sub(r"[^\w.-]+", "-", printable(Path(source).stem)).strip("-.")[-60:]
    return f"{slug or 'picture'}-{hashlib.sha256(printable(source).encode()).hexdigest()[:16]}.png"
