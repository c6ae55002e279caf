"""history.csv: one row a step, written again as a whole, read back as numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.runs.history import COLUMNS, history_rows, read_history, write_history

LOG: list[dict[str, float]] = [
    {"step": 2, "epoch": 0.5, "loss": 1.25, "grad_norm": 3.0, "learning_rate": 0.1},
    {"step": 4, "epoch": 1.0, "loss": 0.5, "grad_norm": 2.0, "learning_rate": 0.05},
    {"step": 4, "epoch": 1.0, "eval_loss": 0.75, "eval_accuracy": 0.5, "eval_macro_f1": 0.25, "eval_runtime": 9.0},
    {"step": 4, "epoch": 1.0, "train_runtime": 100.0},
]
"""As the Trainer logs: training and validation of a step apart, and times that nobody draws."""


def test_training_and_validation_of_a_step_are_one_row() -> None:
    first, second = history_rows(LOG)
    assert first == {"step": 2, "epoch": 0.5, "loss": 1.25, "grad_norm": 3.0, "learning_rate": 0.1}
    assert (second["loss"], second["val_loss"], second["val_accuracy"], second["val_macro_f1"]) == (
        0.5,
        0.75,
        0.5,
        0.25,
    )
    assert set(second) <= set(COLUMNS)


def test_what_was_written_comes_back_without_the_empty_cells(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", LOG)
    assert read_history(tmp_path / "history.csv") == history_rows(LOG)
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_it_is_written_anew_and_an_error_leaves_it_as_it_was(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", LOG)
    write_history(tmp_path / "history.csv", LOG[:1])
    assert len(read_history(tmp_path / "history.csv")) == 1
    with pytest.raises(KeyError):
        write_history(tmp_path / "history.csv", [{"loss": 1.0}])
    assert len(read_history(tmp_path / "history.csv")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
