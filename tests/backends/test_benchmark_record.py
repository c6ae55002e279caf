"""benchmark.json is read for this machine and these weights only, also as an older framevit wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frame_vit.backends.benchmark_record import BENCHMARK_FILE, BenchmarkRow, read_benchmark
from frame_vit.system.machine import machine

ROW: dict[str, Any] = {
    "backend": "torch",
    "numbers": "weights",
    "precision": "bf16",
    "device": "cpu",
    "start_s": 6.0,
    "pictures_per_s": 20.0,
    "p50_ms": 51.0,
    "p99_ms": 60.5,
    "memory_mb": None,
    "max_logit_difference": 0.01,
    "changed_classes": 1,
    "changed_decisions": 2,
    "agrees": True,
}
"""As framevit 0.5.0 wrote it."""


def stored(folder: Path, *rows: dict[str, Any], **changed: Any) -> Path:
    facts = {"machine": machine().to_json(), "weights": None, "rows": list(rows)} | changed
    (folder / BENCHMARK_FILE).write_text(json.dumps(facts))
    return folder


def test_a_row_is_read_and_written_without_loss(tmp_path: Path) -> None:
    (row,) = read_benchmark(stored(tmp_path, ROW))
    assert row.to_json() == ROW
    assert list(row.to_json()) == list(ROW)
    assert row.variant == "weights"
    assert row.seconds(100) == pytest.approx(6 + 5)


def test_a_row_without_the_figures_for_people_is_enough_to_choose_by(tmp_path: Path) -> None:
    needed = ("backend", "precision", "device", "start_s", "pictures_per_s", "p50_ms", "agrees")
    short = {key: ROW[key] for key in needed}
    (row,) = read_benchmark(stored(tmp_path, short))
    assert isinstance(row, BenchmarkRow)
    assert (row.variant, row.memory_mb) == ("weights", None)


@pytest.mark.parametrize("changed", [{"machine": {"processor": "another"}}, {"weights": "others"}])
def test_another_machine_and_other_weights_do_not_count(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert read_benchmark(stored(tmp_path, ROW, **changed)) == []


@pytest.mark.parametrize(
    "row",
    [
        {},
        ROW | {"start_s": None},
        ROW | {"pictures_per_s": 0},
        ROW | {"p50_ms": float("nan")},
        {k: v for k, v in ROW.items() if k != "agrees"},
    ],
)
def test_a_damaged_row_makes_it_as_if_nothing_was_measured(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read_benchmark(tmp_path) == []
    assert read_benchmark(stored(tmp_path, ROW, row)) == []
