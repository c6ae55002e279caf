"""The benchmark measures what is used, compares it with the reference, and `auto` can read what it stores."""

from __future__ import annotations

import io
import json
import resource
from pathlib import Path

import pytest

from frame_vit.backends.benchmark_record import read_benchmark
from frame_vit.backends.openvino_backend import kept
from frame_vit.data import demo
from frame_vit.errors import FrameVitError
from frame_vit.export.benchmark import BenchmarkResult, combinations, markdown, measure_all, store
from frame_vit.export.measurement import Combination, MeasureOptions
from frame_vit.system.machine import machine


@pytest.fixture(scope="module")
def result(exported: Path) -> BenchmarkResult:
    tried = [each for each in combinations() if each.precision == "fp32" and each.backend != "torch"]
    pictures = [demo.jpeg(demo.sample(name, seed)) for seed, name in enumerate(demo.NAMES)]
    return measure_all(MeasureOptions(str(exported / "runs/tiny-001/model"), "cpu", 4, seconds=0.1), pictures, tried)


def test_the_combinations_are_those_of_0_5_0_with_torch_in_fp32_first() -> None:
    assert combinations() == [
        ("torch", "weights", "fp32"),
        ("torch", "weights", "bf16"),
        ("torch", "weights", "fp16"),
        ("onnxruntime", "fp32", "fp32"),
        ("onnxruntime", "int8", "int8"),
        ("openvino", "fp32", "fp32"),
        ("openvino", "fp32", "bf16"),
        ("openvino", "int8", "int8"),
    ]


def test_every_combination_is_measured_and_compared_with_the_first(result: BenchmarkResult) -> None:
    rows = {row.backend: row for row in result.rows}
    assert set(rows) == {"onnxruntime", "openvino"}
    assert rows["onnxruntime"].max_logit_difference == 0
    assert result.reference == "the first"
    for row in rows.values():
        assert row.variant == row.precision == "fp32"
        assert row.max_logit_difference < 1e-4
        assert row.changed_classes == row.changed_decisions == 0
        assert row.agrees
        assert 0 < row.p50_ms <= row.p99_ms
        assert row.pictures_per_s > 1
        assert 0 < row.start_s < 60
    assert result.machine == machine()
    speeds = [row.pictures_per_s for row in result.rows]
    assert speeds == sorted(speeds, reverse=True)


def test_memory_is_that_of_the_measured_process(result: BenchmarkResult) -> None:
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    for row in result.rows:
        assert row.memory_mb is None or 20 < row.memory_mb < here / 2, "it is that of the tests, which have torch"


def test_the_table_can_be_pasted(result: BenchmarkResult) -> None:
    lines = io.StringIO(markdown(result)).read().splitlines()
    assert "5 pictures, 4 at once" in lines[0]
    assert len({line.count("|") for line in lines[2:]}) == 1
    assert len(lines) == 4 + 2


def test_what_is_stored_counts_for_these_weights_only(result: BenchmarkResult, tmp_path: Path) -> None:
    store(tmp_path, result)
    assert read_benchmark(tmp_path) == result.rows
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert read_benchmark(tmp_path) == []
    assert list(json.loads((tmp_path / "benchmark.json").read_text())) == [
        *("framevit", "machine", "weights", "pictures", "batch_size", "reference", "rows")
    ]


def test_where_nothing_can_answer_that_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with pytest.raises(FrameVitError, match="no backend on this machine"):
        measure_all(MeasureOptions(str(tmp_path)), [b""], [Combination("onnxruntime", "fp32", "fp32")])
    assert f"onnxruntime fp32: {tmp_path}: neither a run folder nor a model folder" in caplog.text


def test_where_openvino_is_the_fastest_what_it_compiled_is_kept(
    result: BenchmarkResult, exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = exported / "runs/tiny-001/model"
    combination = Combination("openvino", "fp32", "fp32")
    picture = [demo.jpeg(demo.sample("passed", 0))]
    with caplog.at_level("INFO", "framevit"):
        (row,) = measure_all(MeasureOptions(str(place), "cpu", 4, seconds=0.1), picture, [combination]).rows
    assert row.backend == "openvino"
    assert "OpenVINO's compiled model is kept in" in caplog.text
    assert kept(place / "model.onnx", "fp32", one_by_one=False) is not None


def test_a_cache_that_cannot_be_written_costs_no_measurement(
    result: BenchmarkResult,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FRAMEVIT_CACHE", str(tmp_path / "file"))
    place, picture = exported / "runs/tiny-001/model", [demo.jpeg(demo.sample("passed", 0))]
    combination = Combination("openvino", "fp32", "fp32")
    assert measure_all(MeasureOptions(str(place), "cpu", 4, seconds=0.1), picture, [combination]).rows
    assert "OpenVINO will compile the model at each start" in caplog.text
