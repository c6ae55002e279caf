"""Where a model looks, as files: attention.json and explanation.html, one file that opens anywhere."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from frame_vit import __version__
from frame_vit.errors import RowError
from frame_vit.explanation.drawing import panels
from frame_vit.explanation.inside_boxes import Looked
from frame_vit.images.decode import open_rgb
from frame_vit.prediction.predictor import Predictor
from frame_vit.report.figures import math_safe
from frame_vit.report.pages import data_uri, page, png
from frame_vit.system.files import write_json, write_text

SHOWN = 12
"""Pictures that the page shows of each kind."""


def write_looked(looked: Looked, predictor: Predictor, folder: Path, facts: dict[str, Any]) -> None:
    """explanation.html with the `facts` of the run and, last, attention.json."""
    folder.mkdir(parents=True, exist_ok=True)
    elsewhere = looked.elsewhere[:SHOWN]
    # Beside those that stand out, one of each class that does not, so that they can be told apart.
    usual = {e.label: row for row, e in enumerate(looked.examples) if row not in looked.elsewhere}
    values = looked.facts | {
        "means_png": data_uri(_means(looked, predictor), "png"),
        "elsewhere_png": [_drawn(looked, predictor, row) for row in elsewhere],
        "usual_png": [_drawn(looked, predictor, row) for _, row in sorted(usual.items())][:SHOWN],
        "about": {"framevit": __version__, "command": shlex.join(["framevit", *sys.argv[1:]])} | facts,
    }
    write_text(folder / "explanation.html", page("explanation.html", values))
    write_json(folder / "attention.json", looked.facts)


def _means(looked: Looked, predictor: Predictor) -> bytes:
    """For each class the mean map of what matters for it, over the pictures that were called so."""
    names = predictor.labels.names
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.8 * rows), layout="constrained")
    panels_ = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in panels_:
        axes.axis("off")
    for axes, name in zip(panels_, names, strict=False):
        called = [row for row, p in enumerate(looked.predictions) if p.label == name]
        axes.set_title(f"{math_safe(name)} ({len(called)})", fontsize=10)
        if called:
            axes.imshow(looked.maps.relevance[called].mean(axis=0), cmap="inferno", vmin=0)
    return png(figure)


def _drawn(looked: Looked, predictor: Predictor, row: int) -> dict[str, str]:
    """The panels of a row as a picture, and what they show in words."""
    example, prediction = looked.examples[row], looked.predictions[row]
    said = f"{example.key}: {prediction.label}"
    try:
        image = open_rgb(example.read(), predictor.preprocessing.bit_depth)
    except RowError:
        return {"picture": "", "said": said}
    both = looked.maps.rollout[row], looked.maps.relevance[row]
    return {"picture": data_uri(png(panels(predictor, image, both, prediction, example.box)), "png"), "said": said}
