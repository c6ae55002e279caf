"""The benchmark measures what is used, in processes of their own, and `auto` can read what it stores."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from frame_vit.backends.exported_files import speeds
from frame_vit.data import demo
from frame_vit.export import benchmark
from frame_vit.export.benchmark import markdown, store
from frame_vit.system.machine import machine


@pytest.fixture(scope="module")
def facts(exported: Path) -> dict[str, Any]:
    ways = [way for way in benchmark.WAYS if way[2] == "fp32" and way[0] != "torch"]
    pictures = [demo.jpeg(demo.sample(name, seed)) for seed, name in enumerate(demo.NAMES)]
    place = str(exported / "runs/tiny-001/model")
    return benchmark.benchmark(place, pictures, "cpu", 4, ways=ways, seconds=0.1)


def test_every_way_is_measured_and_compared_with_the_first(facts: dict[str, Any]) -> None:
    rows = {row["backend"]: row for row in facts["rows"]}
    assert set(rows) == {"onnxruntime", "openvino"}
    assert rows["onnxruntime"]["max_logit_difference"] == 0
    assert facts["reference"] == "the first"
    for row in rows.values():
        assert row["max_logit_difference"] < 1e-4
        assert row["changed_classes"] == row["changed_decisions"] == 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["pictures_per_s"] > 1
        assert 0 < row["start_s"] < 60
    assert facts["machine"] == machine()
    rates = [row["pictures_per_s"] for row in facts["rows"]]
    assert rates == sorted(rates, reverse=True)


def test_memory_is_that_of_the_measured_process(facts: dict[str, Any]) -> None:
    memory = {row["backend"]: row["memory_mb"] for row in facts["rows"]}
    import resource

    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    assert all(of is None or 20 < of < here / 2 for of in memory.values()), "it is that of the tests, which have torch"


def test_the_table_can_be_pasted(facts: dict[str, Any]) -> None:
    lines = io.StringIO(markdown(facts)).read().splitlines()
    assert "5 pictures, 4 at once" in lines[0]
    assert len({line.count("|") for line in lines[2:]}) == 1
    assert len(lines) == 4 + 2


def test_what_is_stored_is_known_again_for_these_weights_only(facts: dict[str, Any], tmp_path: Path) -> None:
    store(tmp_path, facts)
    assert [row["backend"] for row in speeds(tmp_path)] == [row["backend"] for row in facts["rows"]]
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert speeds(tmp_path) == []
    json.loads((tmp_path / "benchmark.json").read_text())
