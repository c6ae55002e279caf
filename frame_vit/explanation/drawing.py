"""Attention maps as pictures: each frame as it is, under the rollout, and under what matters for its class."""

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

from frame_vit.errors import RowError
from frame_vit.explanation.attention import PictureMaps, maps
from frame_vit.images.decode import open_rgb, read_bytes
from frame_vit.images.geometry import Box
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing, placed, seen
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.report.figures import math_safe
from frame_vit.system.files import make_folder, replacing
from frame_vit.system.texts import printable


class Explainer:
    """Draws the maps of pictures into a folder, in files named after the pictures."""

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        self.predictor, self.folder = predictor, make_folder(folder, "--explain or -o/--output")

    def each(self, rows: Iterable[Prediction], inputs: Sequence[Input]) -> Iterator[Prediction]:
        """Passes the rows on, each after its picture has been drawn. Rows that are errors are not drawn."""
        for row, source in zip(rows, inputs, strict=True):
            self.draw(row, source)
            yield row

    def draw(self, row: Prediction, source: Input) -> Path | None:
        """Draws the maps of a row's picture, and returns the file; None for a row that is an error."""
        if row.label is None:
            return None
        try:
            image = open_rgb(read_bytes(source.source), *self.predictor.preprocessing.decoding)
        except RowError:  # the file was removed after it had been predicted
            return None
        label = np.array([self.predictor.labels.names.index(row.label)])
        drawn = maps(self.predictor, seen(image, self.predictor.preprocessing)[None], label)
        path = self.folder / _file_name(source.name)
        with replacing(path) as part:
            panels(self.predictor, image, drawn.of(0), row).savefig(part, format="png", dpi=110)
        return path


def panels(
    predictor: Predictor, image: Image.Image, both: PictureMaps, row: Prediction, box: Box | None = None
) -> Figure:
    """Three panels: the picture, the rollout over it, and the relevance for the row's class over it.

    The box is xyxy in pixels of the picture, and drawn in green.
    """
    figure = Figure(figsize=(12, 4 * image.height / image.width + 1), layout="constrained")
    axes = figure.subplots(1, 3)
    rows, columns = both.rollout.shape
    preprocessing = predictor.preprocessing
    cell = f"{preprocessing.width / columns:g} x {preprocessing.height / rows:g}"
    label = math_safe(row.label or "")
    confidence = f"{row.confidence:.3f}" if row.confidence is not None else ""
    decision = f", {row.decision}" if row.decision else ""
    figure.suptitle(
        f"{math_safe(printable(row.file))}: {label} {confidence}{decision}\n"
        f"maps of {columns} x {rows} cells, each {cell} pixels of the {preprocessing.size_text} that the model sees; "
        f"answered by {predictor.backend.name} in {predictor.precision}",
        fontsize=10,
    )
    titles = ("picture", "attention rollout, the same for every class", f"relevance: what matters for {label}")
    for panel, title, values in zip(axes, titles, (None, *both), strict=True):
        _draw_panel(panel, image, values, preprocessing, box)
        panel.set_title(title, fontsize=10)
    return figure


def _draw_panel(
    axes: Axes, image: Image.Image, values: Float32 | None, preprocessing: Preprocessing, box: Box | None
) -> None:
    """The picture, or its grey version under a map (rows, columns)."""
    axes.axis("off")
    axes.imshow(image if values is None else image.convert("L"), cmap=None if values is None else "gray")
    if values is not None:
        x1, y1, x2, y2 = _seen_area(image.size, preprocessing)
        # Cells are drawn as they are: smoothed, a map would pretend to a resolution that it does not have.
        overlay = axes.imshow(
            100 * values, cmap="inferno", alpha=0.6, extent=(x1, x2, y2, y1), interpolation="nearest", vmin=0
        )
        axes.figure.colorbar(overlay, ax=axes, shrink=0.7, format="%.3g %%", label="share of the map in a cell")
    if box is not None:
        x1, y1, x2, y2 = box
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="#00c853", linewidth=2))
    axes.set(xlim=(0, image.width), ylim=(image.height, 0))


def _seen_area(size: tuple[int, int], preprocessing: Preprocessing) -> Box:
    """The area of a picture of this (width, height) that the model sees, xyxy in pixels of the picture."""
    x1, y1, x2, y2 = placed((0, 0, *size), size, preprocessing)
    width, height = size
    across, down = width / (x2 - x1), height / (y2 - y1)
    return -x1 * across, -y1 * down, (preprocessing.width - x1) * across, (preprocessing.height - y1) * down


def _file_name(source: str) -> str:
    """The file for a picture's maps: the picture's name, and a hash of its path that tells equal names apart."""
    slug = re.sub(r"[^\w.-]+", "-", printable(Path(source).stem)).strip("-.")[-60:]
    return f"{slug or 'picture'}-{hashlib.sha256(printable(source).encode()).hexdigest()[:16]}.png"
