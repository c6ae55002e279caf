"""What all backends share: the same rows for the same model, and one way to agree on a precision."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frame_vit.backends.availability import BACKENDS
from frame_vit.backends.backend import BackendInfo, agreed_precision, one_line
from frame_vit.backends.onnxruntime_backend import ONNXRUNTIME
from frame_vit.backends.openvino_backend import OPENVINO
from frame_vit.backends.torch_backend import TORCH
from frame_vit.errors import UsageError
from frame_vit.prediction.inputs import expand
from frame_vit.prediction.load import PredictorOptions, load_predictor


def test_all_backends_give_the_same_rows(
    exported: Path, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    inputs, rows = expand([str(pictures)]), {}
    for info in BACKENDS:
        options = PredictorOptions(backend=info.name, precision="fp32", device="cpu")
        predictor = load_predictor(None, options)
        assert (predictor.backend.name, predictor.precision) == (info.name, "fp32")
        assert predictor.run == Path("runs/tiny-001")
        rows[info.name] = list(predictor.predict(inputs))
    for found in rows.values():
        for row, expected in zip(found, rows["torch"], strict=True):
            assert (row.file, row.label, row.decision) == (expected.file, expected.label, expected.decision)
            assert row.flags == expected.flags
            assert row.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize(
    ("info", "precision", "variant", "expected"),
    [
        (TORCH, "auto", "weights", True),
        (TORCH, "fp16", None, True),
        (TORCH, "int8", None, False),
        (ONNXRUNTIME, "bf16", None, False),
        (ONNXRUNTIME, "int8", "fp32", False),
        (ONNXRUNTIME, "int8", None, True),
        (OPENVINO, "bf16", "fp32", True),
        (OPENVINO, "auto", "int8", True),
    ],
)
def test_a_backend_computes_what_it_declares(
    info: BackendInfo, precision: str, variant: str | None, expected: bool
) -> None:
    assert info.computes(precision, variant) is expected


def test_only_torch_reads_weights_and_runs_on_a_card() -> None:
    assert [info.reads_weights for info in BACKENDS] == [info is TORCH for info in BACKENDS]
    assert [info.reads_files for info in BACKENDS] == [info is not TORCH for info in BACKENDS]
    assert [info.runs_on("cuda:1") for info in BACKENDS] == [info is TORCH for info in BACKENDS]
    assert all(info.runs_on("auto") and info.runs_on("cpu") for info in BACKENDS)


def test_the_requested_precision_is_used_or_refused_with_the_one_that_works() -> None:
    assert agreed_precision("auto", ("bf16", "fp32"), "OpenVINO") == "bf16"
    assert agreed_precision("fp32", ("bf16", "fp32"), "OpenVINO") == "fp32"
    with pytest.raises(UsageError, match="int8: OpenVINO computes this file in bf16 or fp32") as error:
        agreed_precision("int8", ("bf16", "fp32"), "OpenVINO")
    assert "bf16" in error.value.hint


def test_a_long_message_becomes_one_short_line() -> None:
    assert one_line(RuntimeError("a\n  b\tc")) == "a b c"
    assert len(one_line(RuntimeError("x" * 999))) == 300
