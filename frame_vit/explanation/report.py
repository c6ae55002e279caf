"""Where a model looks, as files: attention.json with the numbers, and the page explanation.html, one file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from frame_vit import __version__
from frame_vit.errors import RowError
from frame_vit.explanation.drawing import panels
from frame_vit.explanation.inside_boxes import Explanation
from frame_vit.images.decode import open_rgb
from frame_vit.prediction.predictor import Predictor
from frame_vit.report.figures import math_safe
from frame_vit.report.pages import data_uri, page, png
from frame_vit.runs.environment import RunFacts
from frame_vit.system.files import make_folder, write_json, write_text

SHOWN = 12
"""Pictures of each kind on the page."""


class ShownPicture(NamedTuple):
    """A picture with its maps as a data URI (empty: the file is gone), and a caption."""

    picture: str
    caption: str


def write_explanation(explanation: Explanation, predictor: Predictor, folder: Path, facts: RunFacts) -> None:
    """Writes explanation.html, then attention.json; `facts` say on the page where the numbers come from."""
    make_folder(folder)
    # The page also shows one picture of each class whose map lies inside the box, for comparison.
    inside = {
        example.label: row for row, example in enumerate(explanation.examples) if row not in explanation.elsewhere_rows
    }
    values = {
        "explanation": explanation,
        "means_png": data_uri(_mean_maps(explanation, predictor), "png"),
        "elsewhere_shown": [_shown(explanation, predictor, row) for row in explanation.elsewhere_rows[:SHOWN]],
        "inside_shown": [_shown(explanation, predictor, row) for _, row in sorted(inside.items())][:SHOWN],
        "about": {"framevit": __version__, "command": shlex.join(["framevit", *sys.argv[1:]])} | facts.to_json(),
    }
    write_text(folder / "explanation.html", page("explanation.html", values))
    write_json(folder / "attention.json", explanation.to_json())


def _mean_maps(explanation: Explanation, predictor: Predictor) -> bytes:
    """For each class the mean relevance map over the pictures that the model called so, as a PNG file."""
    names = predictor.labels.names
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.8 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, name in zip(grid, names, strict=False):
        called = [row for row, prediction in enumerate(explanation.predictions) if prediction.label == name]
        axes.set_title(f"{math_safe(name)} ({len(called)})", fontsize=10)
        if called:
            axes.imshow(explanation.maps.relevance[called].mean(axis=0), cmap="inferno", vmin=0)
    return png(figure)


def _shown(explanation: Explanation, predictor: Predictor, row: int) -> ShownPicture:
    example, prediction = explanation.examples[row], explanation.predictions[row]
    caption = f"{example.key}: {prediction.label}"
    try:
        image = open_rgb(example.read(), predictor.preprocessing.bit_depth)
    except RowError:
        return ShownPicture("", caption)
    figure = panels(predictor, image, explanation.maps.of(row), prediction, example.box)
    return ShownPicture(data_uri(png(figure), "png"), caption)
