"""One combination in a process of its own: it gets a request as JSON, and answers with figures or a reason."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from frame_vit.data import demo
from frame_vit.export import measurement
from frame_vit.export.measurement import (
    Combination,
    Measurement,
    MeasureOptions,
    MeasureRequest,
    compare_answers,
    measure,
    measure_in_process,
)

FP32 = Combination("onnxruntime", "fp32", "fp32")


def request(place: Path, folder: Path) -> MeasureRequest:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "one.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", 0)))
    options = MeasureOptions(str(place), "cpu", 2, seconds=0.01)
    return MeasureRequest(FP32, options, str(folder / "pictures"), str(folder / "answers.npz"), time.time())


def test_a_request_survives_its_way_into_the_process(tmp_path: Path) -> None:
    asked = request(tmp_path, tmp_path)
    assert MeasureRequest.from_json(asked.to_json()) == asked


def test_the_program_measures_and_leaves_its_answers(exported: Path, tmp_path: Path) -> None:
    """Were the program's import wrong, the outcome would be the reason, not a measurement."""
    outcome = measure_in_process(request(exported / "runs/tiny-001/model", tmp_path))
    assert isinstance(outcome, Measurement), outcome
    assert outcome.device == "cpu"
    with np.load(tmp_path / "answers.npz") as answers:
        assert answers["logits"].shape == (1, 4, 5)
        assert answers["decisions"].shape == (1,)


def test_what_a_person_could_mend_comes_as_its_message(tmp_path: Path) -> None:
    outcome = measure_in_process(request(tmp_path, tmp_path))
    assert outcome == f"{tmp_path}: neither a run folder nor a model folder"


def test_a_process_that_dies_is_a_reason_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "PROGRAM", "import sys; sys.exit('no room left')")
    assert measure_in_process(request(tmp_path, tmp_path)) == "ended with 1: no room left"


def test_figures_are_of_the_requested_precision(exported: Path, tmp_path: Path) -> None:
    found = measure(request(exported / "runs/tiny-001/model", tmp_path))
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.pictures_per_s > 0
    assert found.start_s > 0


def test_answers_are_compared_by_logit_class_and_decision(tmp_path: Path) -> None:
    logits = np.zeros((3, 2, 2), np.float32)
    logits[:, :, 0] = 1
    np.savez(tmp_path / "a.npz", logits=logits, decisions=np.array([0, 0, 0]))
    logits[1, :, 1] = 1.5
    np.savez(tmp_path / "b.npz", logits=logits, decisions=np.array([0, 2, 2]))
    assert compare_answers(tmp_path / "a.npz", tmp_path / "b.npz") == (1.5, 1, 2)
    assert json.loads(json.dumps(compare_answers(tmp_path / "a.npz", tmp_path / "a.npz"))) == [0.0, 0, 0]
