"""Predictions as rows: complete, in order, and with no cell that a spreadsheet runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from frame_vit.labels import LabelSpace
from frame_vit.prediction.predictor import Prediction
from frame_vit.prediction.rows import csv_header, csv_row, write_predictions

ODD = LabelSpace.build(["$ok$", "=2+3", "[red]</script>"], ["$ok$"])
ROW = Prediction("a.jpg", "=2+3", 0.75, {"$ok$": 0.25, "=2+3": 0.75, "[red]</script>": 0.0}, "reject")


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_cell_never_starts_a_formula(name: str) -> None:
    row = csv_row(Prediction(name, status="error", error=name), ODD)
    assert row[0] == row[csv_header(ODD).index("error")] == "'" + name


def test_numbers_are_written_as_numbers() -> None:
    assert csv_row(ROW, ODD) == [
        "a.jpg",
        "'=2+3",
        "0.750000",
        "0.250000",
        "0.750000",
        "0.000000",
        "reject",
        "ok",
        "",
        "",
        "",
        "",
    ]


def test_a_predictions_table_reads_back(tmp_path: Path) -> None:
    write_predictions(
        tmp_path / "p.csv", [(ROW, "$ok$"), (Prediction("b", status="error", error="empty"), "=2+3")], ODD
    )
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == csv_header(ODD, truth=True)
    assert [len(row) for row in rows] == [13, 13, 13]
    assert [row[1] for row in rows[1:]] == ["$ok$", "'=2+3"]
