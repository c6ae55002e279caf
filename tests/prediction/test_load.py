"""`--backend auto` takes what is fastest: by what was measured here, else by a rule; and the next where one fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from frame_vit.backends import choose
from frame_vit.backends.exported_files import weights_sample
from frame_vit.errors import ModelError
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.system.machine import machine
from tests.conftest import run_framevit


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported model that a test may add measurements to; without its int8 model."""
    shutil.copytree(exported / "runs/tiny-001/model", tmp_path / "model")
    (tmp_path / "model" / "model-int8.onnx").unlink(missing_ok=True)
    return tmp_path / "model"


def measured(model: Path, speeds: dict[str, tuple[float, float]], **changed: Any) -> None:
    """Start in seconds and pictures a second of each backend, as `framevit benchmark` stores them."""
    rows = [
        {"backend": name, "numbers": "weights" if name == "torch" else "fp32", "precision": "fp32"}
        | {"start_s": start, "pictures_per_s": rate, "p50_ms": 1000 / rate, "device": "cpu", "agrees": True}
        for name, (start, rate) in speeds.items()
    ]
    facts = {"machine": machine(), "weights": weights_sample(model), "rows": rows} | changed
    (model / "benchmark.json").write_text(json.dumps(facts))


def chosen(model: Path, count: int | None, **options: str) -> str:
    return load_predictor(str(model), PredictorOptions(**options), count).backend.name  # type: ignore[arg-type]


def test_the_measured_backend_that_is_done_first_is_taken(model: Path) -> None:
    measured(model, {"torch": (10.0, 1000.0), "onnxruntime": (0.5, 10.0), "openvino": (2.0, 20.0)})
    assert chosen(model, 1) == "onnxruntime"
    assert chosen(model, 100) == "openvino"
    assert chosen(model, 5000) == "torch"
    assert chosen(model, None) == "torch"


@pytest.mark.parametrize("changed", [{"machine": {"processor": "another"}}, {"weights": "others"}])
def test_measurements_of_another_machine_or_other_weights_do_not_count(model: Path, changed: dict[str, Any]) -> None:
    measured(model, {"torch": (0.0, 1e9), "onnxruntime": (99.0, 1.0)}, **changed)
    assert chosen(model, 1) == "onnxruntime"


def test_a_rule_decides_where_nothing_was_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for card, half, count, expected in [
        (False, False, 1, ("onnxruntime", "openvino", "torch")),
        (False, True, 10_000, ("openvino", "torch", "onnxruntime")),
        (False, False, 10_000, ("openvino", "onnxruntime", "torch")),
        (True, True, 10_000, ("torch", "openvino", "onnxruntime")),
        (True, True, 1, ("onnxruntime", "openvino", "torch")),
    ]:
        monkeypatch.setattr(choose, "has_cuda_card", lambda _, card=card: card)
        monkeypatch.setattr(choose, "cpu_has_bf16", lambda half=half: half)
        wish = choose.BackendRequest(str(model), "auto", "auto", "auto")
        found = choose.fastest_first(wish, choose.possible_backends(wish), count)
        assert tuple(choice.backend for choice in found) == expected


def test_int8_is_taken_only_where_it_was_tried(exported: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(exported / "runs/tiny-001/model", model)
    facts = json.loads((model / "export.json").read_text())
    shutil.copy(model / "model.onnx", model / "model-int8.onnx")  # what it answers is not looked at here
    for where, expected in ((machine(), "int8"), ({"processor": "another"}, "fp32")):
        facts["files"]["model-int8.onnx"] = facts["files"]["model.onnx"] | {"machine": where}
        (model / "export.json").write_text(json.dumps(facts))
        wish = choose.BackendRequest(str(model), "auto", "auto", "auto")
        assert choose.fastest_first(wish, choose.possible_backends(wish), 1)[0].numbers == expected


def test_what_was_measured_to_answer_otherwise_is_not_taken_for_its_speed(model: Path) -> None:
    measured(model, {"onnxruntime": (0.5, 10.0), "openvino": (0.1, 1000.0)})
    assert chosen(model, 100) == "openvino"
    facts = json.loads((model / "benchmark.json").read_text())
    for row in facts["rows"]:
        row["agrees"] = row["backend"] != "openvino"
    (model / "benchmark.json").write_text(json.dumps(facts))
    assert chosen(model, 100) == "onnxruntime"


def test_pictures_that_come_one_by_one_are_answered_by_what_answers_one_soonest(model: Path) -> None:
    measured(model, {"onnxruntime": (0.5, 10.0), "openvino": (9.0, 20.0)})
    facts = json.loads((model / "benchmark.json").read_text())
    assert chosen(model, choose.ENDLESS) == "openvino"
    for row in facts["rows"]:
        row["p50_ms"] = {"onnxruntime": 5.0, "openvino": 7.0}[row["backend"]]
    (model / "benchmark.json").write_text(json.dumps(facts))
    assert chosen(model, choose.ENDLESS) == "onnxruntime"


def test_a_card_is_no_measure_for_the_processor(model: Path) -> None:
    measured(model, {"torch": (0.0, 1e9), "onnxruntime": (0.5, 10.0)})
    facts = json.loads((model / "benchmark.json").read_text())
    for row in facts["rows"]:
        row["device"] = "cuda:0" if row["backend"] == "torch" else "cpu"
    (model / "benchmark.json").write_text(json.dumps(facts))
    assert chosen(model, 100, device="cpu") == "onnxruntime"


def test_a_runtime_that_cannot_be_imported_is_passed_over_and_said(
    exported: Path, tmp_path: Path, pictures: Path
) -> None:
    (tmp_path / "broken" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "broken" / "onnxruntime" / "__init__.py").write_text("raise ImportError('a DLL is missing')")
    paths = {"PYTHONPATH": str(tmp_path / "broken")}
    done = run_framevit(exported, "predict", pictures / "Xplus.jpg", "--precision", "fp32", **paths)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime cannot be used (a DLL is missing); going on with openvino" in done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_without_any_runtime_the_weights_answer(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "is_installed", lambda name: name == "torch")
    assert chosen(model, 1) == "torch"


@pytest.mark.parametrize("name", ["", "model.onnx"])
def test_thresholds_beside_the_weights_are_newer_than_those_in_the_file(model: Path, name: str) -> None:
    settings = json.loads((model / "framevit.json").read_text())
    settings["decision"]["accept_below"] = 0.123
    (model / "framevit.json").write_text(json.dumps(settings))
    predictor = load_predictor(str(model / name), count=1)
    assert predictor.metadata.operating_point is not None
    assert (predictor.backend.name, predictor.metadata.operating_point.accept_below) == ("onnxruntime", 0.123)


def test_settings_of_another_model_beside_a_file_are_refused(model: Path) -> None:
    settings = json.loads((model / "framevit.json").read_text())
    for key, value in (
        ("labels", settings["labels"] | {"names": settings["labels"]["names"][::-1]}),
        ("temperature", 7),
    ):
        (model / "framevit.json").write_text(json.dumps(settings | {key: value}))
        with pytest.raises(ModelError, match="of different models"):
            load_predictor(str(model), PredictorOptions(backend="onnxruntime"), 1)


def test_embeddings_that_are_missing_beside_the_file_are_taken_from_it(model: Path) -> None:
    (model / "embeddings.npy").unlink()
    predictor = load_predictor(str(model), count=1)
    assert predictor.metadata.novelty is not None
    assert predictor.metadata.novelty.embeddings is not None


def test_a_folder_for_the_line_needs_no_weights(model: Path, tmp_path: Path) -> None:
    line = tmp_path / "line"
    line.mkdir()
    for name in ("model.onnx", "export.json", "framevit.json", "embeddings.npy"):
        shutil.copy(model / name, line)
    predictor = load_predictor(str(line), PredictorOptions(precision="fp32"), 10_000)
    assert predictor.run is None
    assert predictor.backend.name != "torch"
    assert predictor.metadata.novelty is not None
    assert predictor.metadata.novelty.embeddings is not None
