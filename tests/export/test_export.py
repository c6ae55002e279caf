"""One file that is enough: exported by the real command, proven, refused where it differs, passed over when stale."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ConvNextConfig, ConvNextForImageClassification, ViTConfig, ViTForImageClassification

from frame_vit.backends.backend import Backend
from frame_vit.backends.exported_files import exported as usable
from frame_vit.backends.exported_files import weights_sample
from frame_vit.backends.onnx_backends import EXPORTED, OnnxRuntime, OpenVino
from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import ExportConfig
from frame_vit.data.examples import Example, Split
from frame_vit.errors import ModelError, UsageError
from frame_vit.export import export
from frame_vit.export.graph import write_onnx
from frame_vit.export.proof import Proof, difference
from frame_vit.images.pixel_array import PixelArray, UInt8
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.model.saving import save
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.prediction.predictor import Answers, Predictor
from tests.conftest import environment, run_many

SPACE = LabelSpace.build(["passed", "Xplus", "Xminus"], ["passed"], {"hflip": {"Xplus": "Xminus", "Xminus": "Xplus"}})
HEAVY = ("torch", "transformers", "datasets", "sklearn", "scipy", "matplotlib")


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported run that a test may change."""
    shutil.copytree(exported / "runs" / "tiny-001", tmp_path / "runs" / "tiny-001")
    (tmp_path / "runs" / "latest.txt").write_text("tiny-001\n")
    return tmp_path / "runs" / "tiny-001"


def noise(count: int, side: int = 32) -> UInt8:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def small(kind: str = "vit") -> Classifier:
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(SPACE.names)), "label2id": {n: i for i, n in enumerate(SPACE.names)}}
    if kind == "vit":
        sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = ViTConfig(**sizes, intermediate_size=32, image_size=32, patch_size=8, **names)
        return Classifier(ViTForImageClassification(config), ModelMetadata(SPACE, Preprocessing(32, 32)))
    deep = ConvNextConfig(num_stages=2, hidden_sizes=[8, 8], depths=[1, 1], **names)
    return Classifier(ConvNextForImageClassification(deep), ModelMetadata(SPACE, Preprocessing(32, 32)))


def test_the_command_says_what_it_proved_and_stores_the_same(exported: Path) -> None:
    said = json.loads((exported / "said.json").read_text())
    stored = json.loads((exported / "runs/tiny-001/model/export.json").read_text())
    assert said == stored
    proof = said["files"]["model.onnx"]
    assert set(proof["batches"]) == {"1", "8"}
    assert proof["max_logit_difference"] < 1e-4
    assert proof["changed_decisions"] == proof["changed_classes"] == 0
    assert proof["worst"].startswith("demo-1-")
    assert (proof["pictures"], proof["data"]) == (20, "test")
    assert proof["max_distance_difference"] < 1e-3
    assert proof["openvino"]["changed_classes"] <= 20
    assert said["int8"][0]["way"] == "static"
    kept = [tried for tried in said["int8"] if tried["kept"]]
    assert ("model-int8.onnx" in said["files"]) == bool(kept)
    assert all(tried["agrees"] and tried["speed_up"] >= 1 for tried in kept)


def test_all_backends_give_the_same_rows(run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[1])
    from frame_vit.prediction.inputs import expand

    inputs = expand([str(pictures)])
    found = {}
    for backend in ("torch", "onnxruntime", "openvino"):
        predictor = load_predictor(None, PredictorOptions(backend=backend, precision="fp32", device="cpu"))
        assert (predictor.backend.name, predictor.precision) == (backend, "fp32")
        assert predictor.run == Path("runs/tiny-001")
        found[backend] = list(predictor.predict(inputs))
    for rows in found.values():
        for row, expected in zip(rows, found["torch"], strict=True):
            assert (row.file, row.label, row.decision, row.flags) == (
                expected.file,
                expected.label,
                expected.decision,
                expected.flags,
            )
            assert row.score == pytest.approx(expected.score, abs=1e-4)


def test_evaluate_and_calibrate_ask_what_predict_asks(run: Path) -> None:
    work = run.parents[1]
    exact: list[str | Path] = ["--precision", "fp32", "--device", "cpu"]
    torch_, onnx, calibrated = run_many(
        work,
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
    settings = json.loads((run / "model" / "framevit.json").read_text())
    assert settings["usual"]["mode"] == "note"
    assert settings["decision"]["facts"]["backend"] == "onnxruntime"
    assert "exported files keep the thresholds that they had" in calibrated.stderr


@pytest.mark.parametrize("backend", EXPORTED)
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
    distances = [of.distances(of.answer(pixels)) for of in (alone, whole)]
    assert distances[0] is not None
    assert distances[0] == pytest.approx(distances[1], abs=1e-3)


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


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_any_batch_and_any_architecture(tmp_path: Path, kind: str) -> None:
    classifier = small(kind)
    write_onnx(classifier, tmp_path / "m.onnx")
    path = tmp_path / "m.onnx"
    peers: list[Backend] = [Torch(classifier, "cpu", "fp32"), OnnxRuntime(path), OpenVino(path, None, "fp32")]
    for count in (1, 3, 8):
        logits, embeddings = zip(*(peer.run(noise(count)) for peer in peers), strict=True)
        for found, given in zip(logits, embeddings, strict=True):
            assert found.shape == (count, 3)
            assert given.shape[0] == count
            assert found == pytest.approx(logits[0], abs=1e-4)
            assert given == pytest.approx(embeddings[0], abs=1e-4)


def request(folder: Path, **limits: Any) -> export.Request:
    """A small model, saved, to be exported beside its weights and compared on noise."""
    classifier = small()
    save(Classifier(classifier.module, ModelMetadata(SPACE, Preprocessing(32, 32)), _Processor()), folder)
    examples = [Example(f"row {i}", i % 3, (), 32, 32, "", lambda: b"") for i in range(12)]
    split = Split("test", examples, PixelArray.of(noise(12)))
    return export.Request(classifier, folder, folder, split, ExportConfig(**limits), train=split)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_that_answers_otherwise_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    asked = request(tmp_path / "model", tolerance=1e-12)
    before = contents(asked.folder)
    with pytest.raises(ModelError, match="answers otherwise than torch"):
        export.export(asked)
    assert contents(asked.folder) == before


def test_an_int8_model_that_changes_too_much_is_not_kept_nor_is_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tmp_path / "model", int8_changed=0.2)
    export.export(asked)
    (asked.folder / "model-int8.onnx").write_bytes(b"of an earlier export")
    monkeypatch.setattr(Proof, "share", lambda *_: 0.21)
    facts = export.export(replace(asked, int8=True))
    assert [(tried["way"], tried["agrees"], tried["kept"]) for tried in facts["int8"]] == [
        ("static", False, False),
        ("dynamic", False, False),
    ]
    assert set(facts["files"]) == {"model.onnx"}
    assert not list(asked.folder.glob("*int8*"))


def test_a_class_that_changes_counts_also_where_no_decision_does() -> None:
    """Xplus called Xminus is a reject all the same, and would correct the part the wrong way."""
    predictor = Predictor(Torch(small(), "cpu", "fp32"))
    logits = np.zeros((4, 2, 3), np.float32)
    logits[:, :, 1] = 5
    swapped = logits[:, :, [0, 2, 1]]
    found = difference(predictor, Answers(logits, None), Answers(swapped, None), [*"abcd"])
    assert (found["changed_decisions"], found["changed_classes"]) == (0, 4)
    proof = SimpleNamespace(pixels=noise(4))
    assert Proof.share(proof, found) == 1.0  # type: ignore[arg-type]


def test_a_folder_with_the_weights_of_another_model_is_not_written_to(tmp_path: Path) -> None:
    asked, other = request(tmp_path / "model"), request(tmp_path / "other")
    before = contents(other.folder)
    with pytest.raises(UsageError, match="weights of another model"):
        export.export(replace(asked, folder=other.folder))
    assert contents(other.folder) == before
    export.export(replace(asked, folder=tmp_path / "line"))
    told = json.loads((tmp_path / "line" / "export.json").read_text())
    assert told["files"]["model.onnx"]["weights"] == weights_sample(asked.folder)


def test_an_export_of_other_weights_is_passed_over_and_said(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = run / "model"
    assert set(usable(model)) >= {"fp32"}
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # the last tensor's last byte: small tensors are sampled whole
    (model / "model.safetensors").write_bytes(weights)
    assert usable(model) == {}
    assert "other weights" in caplog.text
    predictor = load_predictor(str(run))
    assert predictor.backend.name == "torch"


def test_a_file_that_nothing_tells_of_is_not_used(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "model" / "export.json").unlink()
    assert usable(run / "model") == {}
    assert "export the model again" in caplog.text


def test_a_change_of_any_tensor_changes_the_sample(tmp_path: Path) -> None:
    classifier = small()
    save(Classifier(classifier.module, ModelMetadata(SPACE, Preprocessing(32, 32)), _Processor()), tmp_path)
    samples = {weights_sample(tmp_path)}
    for parameter in classifier.module.parameters():
        with torch.no_grad():
            parameter *= 1.5
            parameter += 0.1
        save(Classifier(classifier.module, ModelMetadata(SPACE, Preprocessing(32, 32)), _Processor()), tmp_path)
        samples.add(weights_sample(tmp_path))
    assert len(samples) == 1 + sum(1 for _ in classifier.module.parameters())


class _Processor:
    def save_pretrained(self, folder: Path) -> None:
        """Not what is looked at here."""


@pytest.mark.parametrize("backend", EXPORTED)
def test_a_file_of_another_program_or_damaged_is_one_error(tmp_path: Path, backend: str) -> None:
    import onnx

    write_onnx(small(), tmp_path / "m.onnx")
    plain = onnx.load(tmp_path / "m.onnx")
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    (tmp_path / "torn.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:2000])
    with pytest.raises(ModelError, match="settings are not in this file"):
        load_predictor(str(tmp_path / "plain.onnx"), PredictorOptions(backend=backend))
    with pytest.raises(ModelError, match="is not a model that"):
        load_predictor(str(tmp_path / "torn.onnx"), PredictorOptions(backend=backend))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": "torch"}, "torch needs the weights"),
        ({"precision": "fp16"}, "needs torch on a CUDA card"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "does not compute in bf16"),
        ({"backend": "onnxruntime", "device": "cuda"}, "not on cuda"),
        ({"device": "mps"}, "not on mps"),
        ({"precision": "int8"}, "precision int8"),
    ],
)
def test_what_a_file_cannot_do_is_said_with_the_way_out(exported: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        load_predictor(str(exported / "runs/tiny-001/model/model.onnx"), PredictorOptions(**options))  # type: ignore[arg-type]
    assert error.value.hint


def test_a_model_without_an_export_says_how_to_get_one(trained: Path) -> None:
    with pytest.raises(UsageError, match="no exported file") as error:
        load_predictor(str(trained / "runs/tiny-001"), PredictorOptions(backend="onnxruntime"))
    assert "framevit export" in error.value.hint
