"""`--backend auto` takes what is done first, by measurements here or else by a rule; a refusal says the way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from frame_vit.backends import choose
from frame_vit.backends.availability import BACKENDS
from frame_vit.backends.backend import BackendInfo
from frame_vit.backends.choose import BackendRequest, explain_refusal, open_first_working, ordered_choices
from frame_vit.backends.exported_files import weights_fingerprint
from frame_vit.errors import DamagedModelError, ModelError, UsageError
from frame_vit.system.machine import machine


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported model that a test may add measurements to; without its int8 model."""
    shutil.copytree(exported / "runs/tiny-001/model", tmp_path / "model")
    (tmp_path / "model" / "model-int8.onnx").unlink(missing_ok=True)
    return tmp_path / "model"


def request(place: Path, backend: str = "auto", device: str = "auto", precision: str = "auto") -> BackendRequest:
    return BackendRequest(str(place), backend, device, precision)


def measured(model: Path, speeds: dict[str, tuple[float, float]], **changed: Any) -> None:
    """Start in seconds and pictures a second of each backend, as `framevit benchmark` stores them."""
    rows = [
        {"backend": name, "numbers": "weights" if name == "torch" else "fp32", "precision": "fp32"}
        | {"start_s": start, "pictures_per_s": rate, "p50_ms": 1000 / rate, "device": "cpu", "agrees": True}
        for name, (start, rate) in speeds.items()
    ]
    facts = {"machine": machine().to_json(), "weights": weights_fingerprint(model), "rows": rows} | changed
    (model / "benchmark.json").write_text(json.dumps(facts))


def change_rows(model: Path, key: str, values: dict[str, Any]) -> None:
    """Sets a key in the stored row of each backend."""
    facts = json.loads((model / "benchmark.json").read_text())
    for row in facts["rows"]:
        row[key] = values[row["backend"]]
    (model / "benchmark.json").write_text(json.dumps(facts))


def first(model: Path, count: int | None, **options: str) -> str:
    return ordered_choices(request(model, **options), count)[0].backend


def test_the_measured_backend_that_is_done_first_is_taken(model: Path) -> None:
    measured(model, {"torch": (10.0, 1000.0), "onnxruntime": (0.5, 10.0), "openvino": (2.0, 20.0)})
    assert first(model, 1) == "onnxruntime"
    assert first(model, 100) == "openvino"
    assert first(model, 5000) == "torch"
    assert first(model, None) == "torch"


def test_the_measured_precision_is_taken_along(model: Path) -> None:
    measured(model, {"openvino": (2.0, 20.0)})
    assert ordered_choices(request(model), 1)[0].precision == "fp32"


@pytest.mark.parametrize("changed", [{"machine": {"processor": "another"}}, {"weights": "others"}])
def test_measurements_of_another_machine_or_other_weights_do_not_count(model: Path, changed: dict[str, Any]) -> None:
    measured(model, {"torch": (0.0, 1e9), "onnxruntime": (99.0, 1.0)}, **changed)
    assert first(model, 1) == "onnxruntime"


@pytest.mark.parametrize(
    ("card", "bf16", "count", "expected"),
    [
        (False, False, 1, ("onnxruntime", "openvino", "torch")),
        (False, True, 10_000, ("openvino", "torch", "onnxruntime")),
        (False, False, 10_000, ("openvino", "onnxruntime", "torch")),
        (True, True, 10_000, ("torch", "openvino", "onnxruntime")),
        (True, True, 1, ("onnxruntime", "openvino", "torch")),
        (False, True, choose.ENDLESS, ("onnxruntime", "openvino", "torch")),
        (False, True, None, ("openvino", "torch", "onnxruntime")),
    ],
)
def test_a_rule_decides_where_nothing_was_measured(
    model: Path, monkeypatch: pytest.MonkeyPatch, card: bool, bf16: bool, count: int | None, expected: tuple[str, ...]
) -> None:
    facts = json.loads((model / "export.json").read_text())
    facts["files"]["model.onnx"]["openvino"] = {}  # whether it agrees depends on the processor
    (model / "export.json").write_text(json.dumps(facts))
    monkeypatch.setattr(choose, "has_cuda_card", lambda _: card)
    monkeypatch.setattr(choose, "cpu_has_bf16", lambda: bf16)
    assert tuple(choice.backend for choice in ordered_choices(request(model), count)) == expected


def test_a_backend_that_the_export_found_to_differ_comes_last(model: Path) -> None:
    facts = json.loads((model / "export.json").read_text())
    facts["files"]["model.onnx"]["openvino"] = {"precision": "bf16", "agrees": False}
    (model / "export.json").write_text(json.dumps(facts))
    assert ordered_choices(request(model), 10_000)[-1].backend == "openvino"


def test_int8_is_taken_only_on_the_machine_where_it_was_tried(exported: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(exported / "runs/tiny-001/model", model)
    facts = json.loads((model / "export.json").read_text())
    shutil.copy(model / "model.onnx", model / "model-int8.onnx")  # its answers do not matter here
    for where, expected in ((machine().to_json(), "int8"), ({"processor": "another"}, "fp32")):
        facts["files"]["model-int8.onnx"] = facts["files"]["model.onnx"] | {"machine": where}
        (model / "export.json").write_text(json.dumps(facts))
        assert ordered_choices(request(model), 1)[0].variant == expected


def test_a_card_goes_before_int8_for_many_pictures(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(exported / "runs/tiny-001/model", model)
    facts = json.loads((model / "export.json").read_text())
    shutil.copy(model / "model.onnx", model / "model-int8.onnx")
    facts["files"]["model-int8.onnx"] = facts["files"]["model.onnx"]
    (model / "export.json").write_text(json.dumps(facts))
    monkeypatch.setattr(choose, "has_cuda_card", lambda _: True)
    order = [(choice.backend, choice.variant) for choice in ordered_choices(request(model), 10_000)]
    assert order[:2] == [("torch", "weights"), ("onnxruntime", "int8")]


def test_what_was_measured_to_differ_is_not_taken_for_its_speed(model: Path) -> None:
    measured(model, {"onnxruntime": (0.5, 10.0), "openvino": (0.1, 1000.0)})
    assert first(model, 100) == "openvino"
    change_rows(model, "agrees", {"onnxruntime": True, "openvino": False})
    assert first(model, 100) == "onnxruntime"


def test_pictures_that_come_one_by_one_go_to_what_answers_one_soonest(model: Path) -> None:
    measured(model, {"onnxruntime": (0.5, 10.0), "openvino": (9.0, 20.0)})
    assert first(model, choose.ENDLESS) == "openvino"
    change_rows(model, "p50_ms", {"onnxruntime": 5.0, "openvino": 7.0})
    assert first(model, choose.ENDLESS) == "onnxruntime"


def test_a_measurement_on_a_card_does_not_count_for_the_processor(model: Path) -> None:
    measured(model, {"torch": (0.0, 1e9), "onnxruntime": (0.5, 10.0)})
    change_rows(model, "device", {"torch": "cuda:0", "onnxruntime": "cpu"})
    assert first(model, 100, device="cpu") == "onnxruntime"


def test_the_weights_are_preferred_where_they_are(model: Path) -> None:
    assert first(model, 1, backend="weights") == "torch"
    (model / "model.safetensors").unlink()
    assert first(model, 1, backend="weights") == "onnxruntime"


def test_a_file_that_fails_is_passed_over_by_auto_only(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    choices = ordered_choices(request(model, precision="fp32"), 1)
    damaged = model.parent / "damaged.onnx"
    damaged.write_bytes(b"no model")
    broken = [choices[0]._replace(file=damaged), *choices[1:]]
    opened = open_first_working(request(model, precision="fp32"), broken)
    assert opened.name == choices[1].backend
    assert "onnxruntime cannot be used" in caplog.text
    with pytest.raises(ModelError):
        open_first_working(request(model, backend="onnxruntime"), broken)


def test_a_damaged_file_is_tried_once_and_torch_answers(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = bytearray((model / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 0x40
    (model / "model.onnx").write_bytes(content)
    choices = ordered_choices(request(model), 1)
    assert [choice.backend for choice in choices] == ["onnxruntime", "openvino", "torch"]
    assert open_first_working(request(model), choices).name == "torch"
    assert caplog.text.count("is not the file that was exported") == 1
    for place in (model, model / "model.onnx"):
        asked = request(place, backend="onnxruntime")
        with pytest.raises(DamagedModelError, match="is not the file that was exported"):
            open_first_working(asked, ordered_choices(asked, 1))


def test_damaged_metadata_is_one_error_whatever_could_answer(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = json.loads((model / "framevit.json").read_text())
    (model / "framevit.json").write_text(json.dumps(facts | {"temperature": 0}))
    with pytest.raises(DamagedModelError, match="temperature"):
        open_first_working(request(model), ordered_choices(request(model), 1))
    assert "cannot be used" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "torch"}, "torch needs the weights"),
        ({"precision": "fp16"}, "precision fp16 needs torch and the weights"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "ONNX Runtime does not compute in bf16"),
        ({"backend": "onnxruntime", "device": "cuda"}, "on the CPU, not on cuda"),
        ({"device": "mps"}, "on the CPU, not on mps"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "int8"}, "cannot be computed in int8"),
    ],
)
def test_what_a_file_cannot_do_is_refused_with_the_way_out(
    exported: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        ordered_choices(request(exported / "runs/tiny-001/model/model.onnx", **options), 1)
    assert error.value.hint


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"backend": "onnxruntime"}, "no exported file that ONNX Runtime could use", "framevit export"),
        ({"backend": "openvino", "precision": "bf16"}, "that OpenVINO could use in bf16", "framevit export"),
        ({"backend": "torch", "precision": "int8"}, "torch does not compute in int8", "onnxruntime or openvino"),
        ({"precision": "int8"}, "no int8 model that may be used", "framevit export --int8"),
    ],
)
def test_a_model_without_an_export_says_how_to_get_one(
    trained: Path, options: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        ordered_choices(request(trained / "runs/tiny-001/model", **options), 1)
    assert hint in error.value.hint


def test_a_folder_without_weights_is_no_model_for_torch(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="holds no weights"):
        ordered_choices(request(model, backend="torch"), 1)


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_pickled_weights_are_refused_with_the_command_that_converts_them(model: Path, backend: str) -> None:
    for file in model.glob("model*"):
        file.unlink()
    (model / "pytorch_model.bin").write_bytes(b"a program")
    with pytest.raises(UsageError, match="only pickled weights") as caught:
        ordered_choices(request(model, backend=backend), 1)
    assert f"from_pretrained({str(model)!r}).save_pretrained(" in caught.value.hint.replace("'\"'\"'", "'")


@pytest.mark.parametrize("info", BACKENDS, ids=lambda info: info.name)
def test_a_backend_that_is_not_installed_says_what_installs_it(
    model: Path, monkeypatch: pytest.MonkeyPatch, info: BackendInfo
) -> None:
    monkeypatch.setattr(BackendInfo, "installed", property(lambda self: self.name != info.name))
    message, hint = explain_refusal(request(model, backend=info.name))
    assert message == f"{info.name} is not installed"
    assert hint == info.install_command
    with pytest.raises(UsageError, match="is not installed"):
        ordered_choices(request(model, backend=info.name), 1)
    assert info.name not in {choice.backend for choice in ordered_choices(request(model), 1)}
