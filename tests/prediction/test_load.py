"""A model by name becomes a predictor: the chosen backend, the newest thresholds, and one file that is enough."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frame_vit.backends.availability import BACKENDS
from frame_vit.backends.backend import ON_A_CPU, BackendInfo
from frame_vit.backends.choose import ENDLESS
from frame_vit.errors import ModelError, UsageError
from frame_vit.prediction import load
from frame_vit.prediction.load import PredictorOptions, load_predictor
from tests.backends.models import noise
from tests.processes import environment, run_framevit, run_many
from tests.small import accept_weights

HEAVY = ("torch", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "numpy.ma", "rich")


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported model that a test may change; without its int8 model."""
    shutil.copytree(exported / "runs/tiny-001/model", tmp_path / "model")
    (tmp_path / "model" / "model-int8.onnx").unlink(missing_ok=True)
    return tmp_path / "model"


def test_a_runtime_that_cannot_be_imported_is_passed_over_with_a_warning(
    exported: Path, tmp_path: Path, pictures: Path
) -> None:
    (tmp_path / "broken" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "broken" / "onnxruntime" / "__init__.py").write_text("raise ImportError('a DLL is missing')")
    paths = {"PYTHONPATH": str(tmp_path / "broken")}
    done = run_framevit(exported, "predict", pictures / "Xplus.jpg", "--precision", "fp32", **paths)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime cannot be used (a DLL is missing); using openvino instead" in done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_without_any_runtime_the_weights_answer(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BackendInfo, "installed", property(lambda self: self.name == "torch"))
    assert load_predictor(str(model), count=1).backend.name == "torch"


def test_stale_exports_leave_the_weights_to_torch(model: Path) -> None:
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    accept_weights(model)
    assert load_predictor(str(model), count=1).backend.name == "torch"


def test_what_answers_is_logged(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load_predictor(str(model), PredictorOptions(precision="fp32"), 1)
    assert f"model: {model} (onnxruntime, cpu, fp32)" in caplog.text


@pytest.mark.parametrize("name", ["", "model.onnx"])
def test_thresholds_beside_the_weights_are_newer_than_those_in_the_file(model: Path, name: str) -> None:
    metadata = json.loads((model / "framevit.json").read_text())
    metadata["decision"]["accept_below"] = 0.123
    (model / "framevit.json").write_text(json.dumps(metadata))
    predictor = load_predictor(str(model / name), count=1)
    assert predictor.metadata.operating_point is not None
    assert (predictor.backend.name, predictor.metadata.operating_point.accept_below) == ("onnxruntime", 0.123)


def test_metadata_of_another_model_beside_a_file_is_refused(model: Path) -> None:
    metadata = json.loads((model / "framevit.json").read_text())
    for key, value in (
        ("labels", metadata["labels"] | {"names": metadata["labels"]["names"][::-1]}),
        ("temperature", 7),
    ):
        (model / "framevit.json").write_text(json.dumps(metadata | {key: value}))
        with pytest.raises(ModelError, match="of different models"):
            load_predictor(str(model), PredictorOptions(backend="onnxruntime"), 1)


def test_embeddings_that_are_missing_beside_the_file_are_taken_from_it(model: Path) -> None:
    (model / "embeddings.npy").unlink()
    predictor = load_predictor(str(model), count=1)
    assert predictor.metadata.novelty is not None
    assert predictor.metadata.novelty.embeddings is not None


def test_embeddings_that_are_missing_for_the_weights_are_warned_of(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (model / "embeddings.npy").unlink()
    load_predictor(str(model), PredictorOptions(backend="torch", device="cpu"), 1)
    assert "embeddings.npy is missing" in caplog.text


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


@pytest.mark.parametrize(
    ("count", "batch_size", "one_by_one", "together"),
    [
        (1, None, None, True),
        (ENDLESS, None, None, True),
        (100, 1, None, True),
        (100, None, None, False),
        (None, None, None, False),
        (None, None, True, True),
        (1, None, False, False),
    ],
)
def test_cores_share_a_picture_where_there_are_not_enough_for_all(
    exported: Path,
    count: int | None,
    batch_size: int | None,
    one_by_one: bool | None,
    together: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "cores", lambda: 4)
    options = PredictorOptions(backend="onnxruntime", precision="fp32", batch_size=batch_size)
    predictor = load_predictor(str(exported / "runs/tiny-001"), options, count, one_by_one=one_by_one)
    assert (predictor.backend.batch_size == ON_A_CPU) == together


@pytest.mark.parametrize("backend", [info.name for info in BACKENDS if info.reads_files])
def test_the_one_file_is_enough(exported: Path, tmp_path: Path, backend: str) -> None:
    model = exported / "runs/tiny-001/model"
    shutil.copy(model / "model.onnx", tmp_path / "anything.onnx")
    whole = load_predictor(str(model), PredictorOptions(backend=backend, precision="fp32"))
    alone = load_predictor(str(tmp_path / "anything.onnx"), PredictorOptions(backend=backend, precision="fp32"))
    assert alone.run is None
    assert alone.labels == whole.labels
    assert alone.metadata == whole.metadata
    pixels = noise(3)
    for one, other in zip(alone.answer(pixels), whole.answer(pixels), strict=True):
        assert one is not None
        assert other is not None
        assert np.array_equal(one, other)
    distances = [predictor.distances(predictor.answer(pixels)) for predictor in (alone, whole)]
    assert distances[0] is not None
    assert distances[0] == pytest.approx(distances[1], abs=1e-3)


def test_a_file_and_a_model_that_are_not_there_are_one_error_each(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_predictor(str(tmp_path / "gone.onnx"))
    with pytest.raises(UsageError, match="no exported file"):
        load_predictor(str(trained / "runs/tiny-001"), PredictorOptions(backend="onnxruntime"))


def test_predict_with_an_exported_model_imports_nothing_heavy(exported: Path, pictures: Path) -> None:
    program = (
        "import sys\nfrom frame_vit.__main__ import main\n"
        f"sys.argv = ['framevit', 'predict', {str(pictures / 'Xplus.jpg')!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=exported,
        env=environment(exported),
        capture_output=True,
        text=True,
        timeout=60,
    )
    row, loaded = done.stdout.splitlines()
    assert json.loads(row)["status"] == "ok", done.stderr
    assert loaded == "LOADED []"
    assert "onnxruntime" in done.stderr


def test_evaluate_and_calibrate_use_the_backend_that_predict_uses(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "runs" / "tiny-001", tmp_path / "runs" / "tiny-001")
    (tmp_path / "runs" / "latest.txt").write_text("tiny-001\n")
    exact: list[str | Path] = ["--precision", "fp32", "--device", "cpu"]
    torch_, onnx, calibrated = run_many(
        tmp_path,
        [
            ["evaluate", "--json", "--backend", "torch", *exact],
            ["evaluate", "--json", "--backend", "onnxruntime", *exact],
            ["calibrate", "--backend", "onnxruntime", *exact, "--set", "decision.unlike=note"],
        ],
    )
    assert torch_.returncode == onnx.returncode == calibrated.returncode == 0, onnx.stderr + calibrated.stderr
    one, other = json.loads(torch_.stdout), json.loads(onnx.stdout)
    assert (one["backend"], other["backend"]) == ("torch", "onnxruntime")
    for key in ("confusion_matrix", "escape_rate", "overkill_rate", "review_rate", "unlike"):
        assert one[key] == other[key]
    metadata = json.loads((tmp_path / "runs/tiny-001/model/framevit.json").read_text())
    assert metadata["usual"]["mode"] == "note"
    assert metadata["decision"]["facts"]["backend"] == "onnxruntime"
    assert "exported files keep the thresholds that they had" in calibrated.stderr
