"""Figures as PNG files: the confusion matrix, the curves of a training, samples of the data.

Each function draws what it is given; nothing is computed here. A file appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from frame_vit.data.examples import Split
from frame_vit.images.decode import open_rgb
from frame_vit.images.preprocessing import Preprocessing, region
from frame_vit.labels import LabelSpace
from frame_vit.system.files import replacing


def draw_confusion(path: Path, counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> None:
    """The confusion matrix, true by predicted class: counts, coloured by their share of the true class."""
    matrix = np.array(counts)
    side = max(4.2, 0.75 * len(names) + 2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(matrix):
        # A mistake is red. On the dark blue of a frequent one red cannot be read: there it is white, and bold.
        wrong = i != j and count
        colour = "white" if shares[i, j] > 0.35 else "#b00020" if wrong else "black"
        axes.text(j, i, str(count), ha="center", va="center", color=colour, weight="bold" if wrong else "normal")
    axes.set_xticks(range(len(names)), [math_safe(n) for n in names], rotation=30, ha="right")
    axes.set_yticks(range(len(names)), [math_safe(n) for n in names])
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    _save(figure, path)


def draw_curves(path: Path, rows: list[dict[str, float]], best_step: int) -> None:
    """Loss, validation scores and learning rate over the steps, with a line at the step of the chosen checkpoint.

    A head fitted by logistic regression has a penalty for each fit instead of learning rates.
    """
    fitted = any("penalty" in row for row in rows)
    x = "fit" if fitted else "step"
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, title, keys in zip(
        panels,
        ("loss", "validation", "penalty" if fitted else "learning rate"),
        (("loss", "val_loss"), ("val_accuracy", "val_macro_f1"), ("penalty" if fitted else "learning_rate",)),
        strict=True,
    ):
        for key in keys:
            _curve(axes, rows, key)
        axes.axvline(best_step, color="grey", linestyle=":", label=f"chosen: {x} {best_step}")
        axes.set(title=title, xlabel=x)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    panels[1].set_ylim(-0.02, 1.02)
    if fitted:
        panels[2].set_yscale("log")
    _save(figure, path)


def draw_samples(path: Path, split: Split, labels: LabelSpace, preprocessing: Preprocessing) -> None:
    """The first picture of every class with its boxes, and the region of interest where one is set."""
    columns = min(5, len(labels))
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.1 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    counts = split.counts(len(labels))
    for axes in panels:
        axes.axis("off")
    for index, name in enumerate(labels.names):
        axes = panels[index]
        axes.set_title(f"{math_safe(name)} ({counts[index]} in {split.name})", fontsize=11)
        example = next((e for e in split.examples if e.label == index), None)
        if example is None:
            continue
        picture = open_rgb(example.read(), *preprocessing.decoding)
        axes.imshow(picture)
        for box in example.boxes:
            axes.add_patch(_outline(box, edgecolor="#00c853", linewidth=2))
        if preprocessing.roi is not None:
            axes.add_patch(_outline(region(preprocessing.roi, picture.size), edgecolor="#ffab00", linestyle="--"))
    _save(figure, path)


def _outline(box: Sequence[float], **style: Any) -> Rectangle:
    x1, y1, x2, y2 = box
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style)


def math_safe(name: str) -> str:
    """A class name for matplotlib, in which a dollar sign would start a formula."""
    return name.replace("$", r"\$")


def _curve(axes: Axes, rows: list[dict[str, float]], key: str) -> None:
    points = [(row["step"], row[key]) for row in rows if key in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=key, marker="." if key.startswith("val") else "")


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=110, bbox_inches="tight")
