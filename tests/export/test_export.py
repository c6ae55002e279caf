"""`framevit export`: proven, written whole or not at all, and kept apart from other models."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frame_vit.backends.exported_files import weights_fingerprint
from frame_vit.config.schema import ExportConfig
from frame_vit.data.examples import Example, Split
from frame_vit.errors import ModelError, UsageError
from frame_vit.export import export
from frame_vit.export.export import ExportJob, write_export
from frame_vit.export.int8 import Int8Trial
from frame_vit.export.proof import Proof
from frame_vit.images.pixel_array import PixelArray
from frame_vit.prediction.load import load_predictor
from frame_vit.runs.data import DataRequest, evaluation_config
from frame_vit.runs.folder import ModelPlace, find_model
from tests.backends.models import noise, saved, vit


def job(folder: Path, **limits: Any) -> ExportJob:
    """A small model, saved, to be exported beside its weights and compared on noise."""
    saved(folder)
    examples = [Example(f"row {i}", i % 3, (), 32, 32, "", lambda: b"") for i in range(12)]
    split = Split("test", examples, PixelArray.of(noise(12)))
    return ExportJob(vit(), folder, folder, split, ExportConfig(**limits), train=split)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_command_prints_what_it_stores(exported: Path) -> None:
    printed = json.loads((exported / "said.json").read_text())
    stored = json.loads((exported / "runs/tiny-001/model/export.json").read_text())
    assert printed == stored
    proof = printed["files"]["model.onnx"]
    assert set(proof["batches"]) == {"1", "8"}
    assert proof["max_logit_difference"] < 1e-4
    assert proof["changed_decisions"] == proof["changed_classes"] == 0
    assert proof["worst"].startswith("demo-1-")
    assert (proof["pictures"], proof["data"]) == (20, "test")
    assert proof["max_distance_difference"] < 1e-3
    assert proof["openvino"]["changed_classes"] <= 20
    assert printed["int8"][0]["way"] == "static"
    kept = [trial for trial in printed["int8"] if trial["kept"]]
    assert ("model-int8.onnx" in printed["files"]) == bool(kept)
    assert all(trial["agrees"] and trial["speed_up"] >= 1 for trial in kept)


def test_an_exported_run_is_exported_into_another_folder_for_the_line(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "runs" / "tiny-001", tmp_path / "tiny-001")
    place = find_model(str(tmp_path / "tiny-001"))
    request = DataRequest(evaluation_config(place.run, None, []))
    result = export.export(place, request, tmp_path / "line")
    assert set(contents(tmp_path / "line")) == {"model.onnx", "export.json", "framevit.json", "embeddings.npy"}
    assert result.to_json() == json.loads((tmp_path / "line" / "export.json").read_text())
    assert "int8" not in result.to_json()
    assert load_predictor(str(tmp_path / "line"), count=1).backend.name == "onnxruntime"


def test_a_model_that_answers_differently_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    refused = job(tmp_path / "model", tolerance=1e-12)
    before = contents(refused.folder)
    with pytest.raises(ModelError, match="answers differ from torch's") as error:
        write_export(refused)
    assert "export.tolerance" in error.value.hint
    assert contents(refused.folder) == before


def test_an_int8_model_that_changes_too_much_is_not_kept_nor_is_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp32 = job(tmp_path / "model", int8_changed=0.2)
    write_export(fp32)
    (fp32.folder / "model-int8.onnx").write_bytes(b"of an earlier export")
    monkeypatch.setattr(Proof, "changed_share", lambda *_: 0.21)
    result = write_export(replace(fp32, int8=True))
    assert result.int8 is not None
    assert [(trial.way, isinstance(trial, Int8Trial) and trial.agrees, trial.kept) for trial in result.int8] == [
        ("static", False, False),
        ("dynamic", False, False),
    ]
    assert set(result.files) == {"model.onnx"}
    assert not list(fp32.folder.glob("*int8*"))


@pytest.mark.parametrize("same_weights", [True, False])
def test_an_earlier_int8_model_stays_only_if_it_is_of_the_same_weights(tmp_path: Path, same_weights: bool) -> None:
    again = job(tmp_path / "model")
    result = write_export(again)
    (again.folder / "model-int8.onnx").write_bytes(b"of an earlier export")
    facts = result.to_json()
    entry = facts["files"]["model.onnx"] | {"bytes": 20, "way": "static", "speed_up": 2.0}
    facts["files"]["model-int8.onnx"] = entry if same_weights else entry | {"weights": "others"}
    (again.folder / "export.json").write_text(json.dumps(facts))
    files = write_export(again).to_json()["files"]
    assert (again.folder / "model-int8.onnx").is_file() is same_weights
    assert files.get("model-int8.onnx") == (entry if same_weights else None)


def test_a_folder_with_the_weights_of_another_model_is_not_written_to(tmp_path: Path) -> None:
    own, other = job(tmp_path / "model"), job(tmp_path / "other")
    before = contents(other.folder)
    with pytest.raises(UsageError, match="weights of another model"):
        write_export(replace(own, folder=other.folder))
    assert contents(other.folder) == before
    write_export(replace(own, folder=tmp_path / "line"))
    facts = json.loads((tmp_path / "line" / "export.json").read_text())
    assert facts["files"]["model.onnx"]["weights"] == weights_fingerprint(own.folder)


def test_without_a_place_or_weights_nothing_is_exported(tmp_path: Path, exported: Path) -> None:
    request = DataRequest(evaluation_config(None, None, []))
    with pytest.raises(UsageError, match="no place to write to"):
        export.export(ModelPlace("owner/name"), request)
    with pytest.raises(UsageError, match="holds no weights to export"):
        export.export(ModelPlace(str(tmp_path)), request)


def test_a_missing_exporter_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "NEEDED", ("onnx", "no_such_module"))
    with pytest.raises(UsageError, match="export needs no_such_module") as error:
        export.check_installed()
    assert "framevit[export]" in error.value.hint
