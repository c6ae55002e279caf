"""history.csv: loss, learning rate and validation scores over the steps of a training. Standard library only.

The Trainer logs training and validation values of a step in separate entries; here they become one row a step, which a
spreadsheet can draw. `report.figures` draws curves.png from the same rows.
"""

from __future__ import annotations

import csv
from pathlib import Path

from frame_vit.system.files import replacing

COLUMNS = ("step", "epoch", "loss", "grad_norm", "learning_rate", "val_loss", "val_accuracy", "val_macro_f1", "penalty")
"""`penalty` is that of a head fitted by logistic regression, whose rows are one fit each; such rows have no rate."""


def history_rows(log_history: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row for each step that was logged or validated, from the Trainer's log. A missing value is a missing key."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log_history:
        row = rows.setdefault(int(entry["step"]), {"step": entry["step"], "epoch": entry["epoch"]})
        renamed = {key.replace("eval_", "val_"): value for key, value in entry.items()}
        row.update({key: value for key, value in renamed.items() if key in COLUMNS})
    return list(rows.values())


def write_history(path: Path, log_history: list[dict[str, float]]) -> None:
    """Writes history.csv from the whole log, which in a resumed run also holds the steps before the interruption."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(history_rows(log_history))


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of history.csv as numbers by column; an empty cell is a missing key."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]
