"""What a training was like, as rows: history.csv. Standard library only."""

from __future__ import annotations

import csv
import os
from pathlib import Path

COLUMNS = ("step", "epoch", "loss", "grad_norm", "learning_rate", "val_loss", "val_accuracy", "val_macro_f1")


def history_rows(log_history: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row a step that was logged or validated, under the names in COLUMNS, from the Trainer's log."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log_history:
        row = rows.setdefault(int(entry["step"]), {"step": entry["step"], "epoch": entry["epoch"]})
        named = {key.replace("eval_", "val_"): value for key, value in entry.items()}
        row.update({key: value for key, value in named.items() if key in COLUMNS})
    return list(rows.values())


def write_history(path: Path, log_history: list[dict[str, float]]) -> None:
    """history.csv, anew each time: a resumed run thus has the steps before the interruption too. Whole or as before."""
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(history_rows(log_history))
    aside.replace(path)


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of history.csv, without the empty cells."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]
