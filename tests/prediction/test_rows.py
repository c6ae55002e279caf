"""Predictions as rows: complete, in order, and with no cell that a spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.predictor import Prediction
from frame_vit.prediction.rows import (
    NOTHING,
    LabelledPrediction,
    RowWriter,
    csv_header,
    csv_row,
    json_row,
    read_done,
    write_predictions,
)

HOSTILE = LabelSpace.build(["$ok$", "=2+3", "[red]</script>"], ["$ok$"])
ROW = Prediction("a.jpg", "=2+3", 0.75, {"$ok$": 0.25, "=2+3": 0.75, "[red]</script>": 0.0}, "reject")
ROW_VALUES = (ROW.label, ROW.confidence, ROW.probabilities, ROW.decision)


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_cell_never_starts_a_formula(name: str) -> None:
    row = csv_row(Prediction(name, status="error", error=name), HOSTILE)
    assert row[0] == row[csv_header(HOSTILE).index("error")] == "'" + name


def test_numbers_are_written_as_numbers() -> None:
    assert csv_row(ROW, HOSTILE) == [
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
    broken = Prediction("b", status="error", error="empty")
    write_predictions(
        tmp_path / "p.csv", [LabelledPrediction(ROW, "$ok$"), LabelledPrediction(broken, "=2+3")], HOSTILE
    )
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == csv_header(HOSTILE, truth=True)
    assert [len(row) for row in rows] == [13, 13, 13]
    assert [row[1] for row in rows[1:]] == ["$ok$", "'=2+3"]


def written(form: str, *rows: Prediction) -> str:
    file = io.StringIO()
    writer = RowWriter(file, form, HOSTILE)
    for row in rows:
        writer.write(row)
    writer.close()
    return file.getvalue()


def test_a_json_file_is_whole_when_it_is_closed() -> None:
    assert json.loads(written("json")) == []
    values = json.loads(written("json", ROW, ROW))
    assert values == [json_row(ROW)] * 2
    assert list(values[0]) == [
        "file", "label", "confidence", "probabilities", "decision", "status", "error", "score", "reason", "flags",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a\rb.jpg", 'a"b.jpg', "a,b.jpg", "a\nb.jpg", "=a.jpg", "\u2028.jpg"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_are_counted_again_whatever_their_names(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / "rows"
    error = Prediction("b.jpg", status="error", error="empty")
    path.write_text(written(form, Prediction(name, *ROW_VALUES), error), newline="")
    done = read_done(path, form, HOSTILE)
    assert (dict(done.names), done.failed, done.errors) == ({name: 1, "b.jpg": 1}, {"b.jpg"}, 1)
    assert done.end == path.stat().st_size


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_half_a_row_at_the_end_does_not_count(tmp_path: Path, form: str) -> None:
    path, whole = tmp_path / "rows", written(form, ROW)
    path.write_text(whole + written(form, ROW)[-40:].rstrip())
    done = read_done(path, form, HOSTILE)
    assert (sum(done.names.values()), done.end) == (1, len(whole.encode()))


def test_a_file_that_does_not_exist_has_no_rows(tmp_path: Path) -> None:
    assert read_done(tmp_path / "none.csv", "csv", HOSTILE) == NOTHING


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_tested_a_model_with_other_classes_are_refused(tmp_path: Path, form: str) -> None:
    (tmp_path / "rows").write_text(written(form, ROW))
    with pytest.raises(UsageError, match="not those of this model"):
        read_done(tmp_path / "rows", form, LabelSpace.build(["a", "b"]))
