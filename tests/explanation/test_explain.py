"""`framevit explain` and `predict --explain`, by the real commands: maps of pictures, and a report of a split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from frame_vit.explanation.explain import explain
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.runs.data import DataRequest, evaluation_config
from tests.processes import run_many


def test_the_commands_draw_what_they_say(trained: Path, tmp_path: Path, pictures: Path) -> None:
    for name in ("Xminus", "Yminus", "Yplus", "passed"):
        (pictures / f"{name}.jpg").unlink()
    (pictures / "bad.jpg").write_text("no")
    (pictures / "note 1.png").write_bytes((pictures / "Xplus.jpg").read_bytes())
    rows, drawn, measured, refused = run_many(
        trained,
        [
            ["predict", pictures, "--explain", tmp_path / "maps", "--format", "jsonl", "-o", tmp_path / "rows.jsonl"],
            ["explain", pictures / "Xplus.jpg", "-o", tmp_path / "explained"],
            ["explain", "--split", "test", "--limit", "6", "-o", tmp_path / "report"],
            ["predict", pictures, "--explain", tmp_path / "x", "--backend", "onnxruntime"],
        ],
    )
    assert (rows.returncode, drawn.returncode, measured.returncode, refused.returncode) == (3, 0, 0, 2), rows.stderr
    stems = [path.name[:-21] for path in sorted((tmp_path / "maps").iterdir())]
    assert stems == ["Xplus", "note-1"]
    with Image.open(next((tmp_path / "explained").glob("Xplus-*.png"))) as shown:
        assert shown.width > 1000
        assert np.asarray(shown.convert("RGB")).std() > 20
    facts = json.loads((tmp_path / "report" / "attention.json").read_text())
    assert facts["all"]["n"] == 6
    assert facts["grid"] == [2, 2]
    assert "maps of 2 x 2 cells, each 16 x 16 pixels" in measured.stdout
    assert "with the box painted over" in measured.stdout
    assert "needs the weights" in refused.stderr


def test_the_report_lies_in_the_run_unless_a_folder_is_named(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "tiny-001"
    shutil.copytree(trained / "runs" / "tiny-001", run)
    predictor = load_predictor(str(run), PredictorOptions("torch", "cpu", "fp32"))
    request = DataRequest(evaluation_config(run, None, []))
    explained = explain(predictor, request, 4)
    assert explained.folder == run / "explanation" / "test"
    written = json.loads((explained.folder / "attention.json").read_text())
    assert written == explained.explanation.to_json()
    assert written["all"]["n"] == 4
    assert explain(predictor, request, 2, tmp_path / "named").folder == tmp_path / "named"
    assert (tmp_path / "named" / "explanation.html").is_file()
