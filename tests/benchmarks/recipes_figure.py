"""The tables and the picture of a study of recipes (`recipes.py`), from the rows of its CSV file."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLOURS = {
    "notebook": "#b00020",
    "usual script": "#e07b39",
    "plain": "#777777",
    "head, views": "#7b5ea7",
    "flips": "#2f7ed8",
    "flips, views": "#2e7d32",
}
NAMES = {
    "notebook": "the notebook's recipe",
    "usual script": "the usual script",
    "plain": "framevit without augmentation",
    "head, views": "framevit, `freeze: backbone`",
    "flips": "framevit, labelled flips",
    "flips, views": "framevit, labelled flips, averaged views",
}
"""What a reader sees of a recipe."""
USUAL_PICTURES, USUAL_EPOCHS = 300, 5
"""The study has two axes, and each is followed at the usual place on the other."""


@dataclass(frozen=True)
class Row:
    """One line of the CSV file. `seconds` is the training alone, on one of `workers` processes side by side."""

    data: str
    recipe: str
    pictures: int
    epochs: int
    seed: int
    accuracy: float
    macro_f1: float
    escape_rate: float
    overkill_rate: float
    tested: int
    seconds: float


def show(rows: Sequence[Row]) -> None:
    """Prints a markdown table: the mean over the seeds, with the smallest and the largest."""
    print("| data | pictures to train on | epochs | recipe | accuracy | escape rate | overkill rate |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    places = sorted({(row.data, row.pictures, row.epochs, row.recipe) for row in rows}, key=_order)
    for data, pictures, epochs, recipe in places:
        found = _at(rows, data=data, pictures=pictures, epochs=epochs, recipe=recipe)
        accuracy = [row.accuracy for row in found]
        escape, overkill = (
            statistics.mean(getattr(row, name) for row in found) for name in ("escape_rate", "overkill_rate")
        )
        spread = f"{statistics.mean(accuracy):.3f} ({min(accuracy):.3f} to {max(accuracy):.3f})"
        print(f"| {data} | {pictures} | {epochs or '-'} | {recipe} | {spread} | {escape:.3f} | {overkill:.3f} |")


def accuracies(rows: Sequence[Row], data: str) -> list[str]:
    """The lines of a markdown table of one data set: mean accuracies, a recipe a line, pictures and epochs across.

    The head that is fitted without epochs stands where the epochs are the usual ones.
    """
    places = sorted({(row.pictures, row.epochs) for row in _at(rows, data=data) if row.epochs})
    heads = [f"{pictures:,} pictures, {epochs} epochs" for pictures, epochs in places]
    lines = [f"| {data} | {' | '.join(heads)} |", f"| --- |{' --- |' * len(places)}"]
    for recipe, name in NAMES.items():
        cells = []
        for pictures, epochs in places:
            found = _at(rows, data=data, recipe=recipe, pictures=pictures, epochs=epochs)
            if recipe == "head, views" and epochs == USUAL_EPOCHS:
                found = _at(rows, data=data, recipe=recipe, pictures=pictures)
            cells.append(f"{statistics.mean(row.accuracy for row in found):.3f}" if found else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def draw(rows: Sequence[Row], path: Path) -> None:
    """Accuracy over the epochs and over the number of pictures; the mean of the seeds, and what they span."""
    names = sorted({row.data for row in rows}, key=("frames", "boards").index)
    figure = Figure(figsize=(10, 3.6 * len(names)), layout="constrained")
    for (left, right), data in zip(figure.subplots(len(names), 2, sharey=True, squeeze=False), names, strict=True):
        left.set(title=f"{data}, {USUAL_PICTURES} pictures to train on", xlabel="epochs", ylabel="test accuracy")
        right.set(title=f"{data}, {USUAL_EPOCHS} epochs", xlabel="pictures to train on", xscale="log")
        for recipe, colour in COLOURS.items():
            found = _at(rows, data=data, recipe=recipe)
            _line(left, [row for row in found if row.pictures == USUAL_PICTURES], "epochs", recipe, colour)
            _line(right, [row for row in found if row.epochs in (0, USUAL_EPOCHS)], "pictures", recipe, colour)
        for axes, key in ((left, "epochs"), (right, "pictures")):
            places = sorted({getattr(row, key) for row in _at(rows, data=data)} - {0})
            axes.set_xticks(places, [str(place) for place in places])
            axes.minorticks_off()
            axes.set_ylim(0, 1.02)
            axes.grid(alpha=0.3)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=130)


def _line(axes: Any, rows: Sequence[Row], key: str, recipe: str, colour: str) -> None:
    places = sorted({getattr(row, key) for row in rows})
    spans = [[row.accuracy for row in rows if getattr(row, key) == place] for place in places]
    if not places:
        return
    means = [statistics.mean(span) for span in spans]
    if places == [0]:
        axes.axhline(means[0], color=colour, linestyle=":")
        return
    axes.plot(places, means, marker="o", markersize=4, color=colour, label=NAMES[recipe].replace("`", ""))
    axes.fill_between(places, [min(s) for s in spans], [max(s) for s in spans], color=colour, alpha=0.15, linewidth=0)


def _at(rows: Sequence[Row], **place: Any) -> list[Row]:
    return [row for row in rows if all(getattr(row, key) == value for key, value in place.items())]


def _order(place: tuple[str, int, int, str]) -> tuple[Any, ...]:
    data, pictures, epochs, recipe = place
    return data != "frames", pictures, epochs, list(COLOURS).index(recipe)
