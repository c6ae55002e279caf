"""Quantised files: smaller, marked as int8, close to fp32, and kept only where they agree and are not slower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from frame_vit.backends.export_record import Difference
from frame_vit.backends.onnxruntime_backend import OnnxRuntime
from frame_vit.config.schema import ExportConfig
from frame_vit.data.examples import Example, Split
from frame_vit.errors import ModelError
from frame_vit.export import int8
from frame_vit.export.graph import metadata_texts, write_onnx
from frame_vit.export.int8 import (
    Int8Failure,
    Int8Trial,
    quantise,
    quantise_dynamically,
    quantise_statically,
    replace_metadata,
    speed_up,
)
from frame_vit.export.proof import Proof
from frame_vit.images.pixel_array import PixelArray
from frame_vit.system.progress import silent
from tests.backends.models import METADATA, noise, vit

TRIAL = Int8Trial("static", 0.02, 0.02, 1.5, Difference(0.1, "a", 1, 0, 1, 0.01))


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    write_onnx(vit(), path)
    return path


def split(count: int = 12) -> Split:
    examples = [Example(f"row {i}", i % 3, (), 32, 32, "", lambda: b"") for i in range(count)]
    return Split("test", examples, PixelArray.of(noise(count)))


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_a_quantised_file_is_smaller_and_answers_alike(fp32: Path, tmp_path: Path, way: str) -> None:
    path = tmp_path / "int8.onnx"
    if way == "static":
        quantise_statically(fp32, path, noise(8), METADATA)
    else:
        quantise_dynamically(fp32, path)
    replace_metadata(path, metadata_texts(METADATA, "int8"))
    weights = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    backend = OnnxRuntime(path)
    assert (backend.precision, backend.metadata) == ("int8", METADATA)
    ours, exact = backend.run(noise(4)).logits, OnnxRuntime(fp32).run(noise(4)).logits
    assert 0 < np.abs(ours - exact).max() < 0.1 * np.abs(exact).max()
    assert speed_up(fp32, path, noise(2)) > 0


@pytest.mark.parametrize(
    ("changed", "agrees", "kept"),
    [({}, True, True), ({"changed_share": 0.03}, False, False), ({"speed_up": 0.99}, True, False)],
)
def test_a_trial_is_kept_where_it_agrees_and_is_not_slower(changed: dict[str, float], agrees: bool, kept: bool) -> None:
    trial = replace(TRIAL, **changed)  # type: ignore[arg-type]
    assert (trial.agrees, trial.kept) == (agrees, kept)
    assert trial.summary.endswith(": kept") is kept
    assert trial.to_json()["kept"] is kept


def test_a_trial_has_the_keys_of_0_5_0() -> None:
    assert list(TRIAL.to_json()) == [
        *("way", "changed_share", "limit", "speed_up", "agrees", "kept", "max_logit_difference", "worst"),
        *("changed_decisions", "newly_accepted", "changed_classes", "max_distance_difference"),
    ]
    failure = Int8Failure("dynamic", "not finite")
    assert failure.to_json() == {"way": "dynamic", "kept": False, "error": "not finite"}
    assert failure.summary == "not kept: not finite"


def test_the_first_way_that_holds_is_kept_and_the_rest_not_tried(
    fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "speed_up", lambda *_: 2.0)  # of a tiny model int8 may be the slower one
    proof = Proof(vit(), split(), ExportConfig(int8_changed=0.9), silent)
    target = tmp_path / "model-int8.onnx"
    static = quantise(fp32, target, split(), proof)
    assert [trial.way for trial in static.trials] == ["static"]
    assert static.kept is not None
    assert (static.kept.trial, set(static.kept.differences.batches)) == (static.trials[0], {"1", "8"})
    assert OnnxRuntime(target).precision == "int8"
    dynamic = quantise(fp32, target, None, proof)
    assert [trial.way for trial in dynamic.trials] == ["dynamic"], "there are no training pictures"
    assert not list(fp32.parent.glob("*.part"))


def test_a_file_that_does_not_run_is_a_failure_and_the_next_way_is_tried(
    fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ModelError("answers that are not finite")

    monkeypatch.setattr(int8, "quantise_statically", fails)
    monkeypatch.setattr(int8, "speed_up", lambda *_: 0.5)
    proof = Proof(vit(), split(), ExportConfig(int8_changed=0.9), silent)
    found = quantise(fp32, tmp_path / "model-int8.onnx", split(), proof)
    assert found.kept is None
    assert found.trials[0] == Int8Failure("static", "answers that are not finite")
    assert [trial.kept for trial in found.trials] == [False, False]
    assert list(tmp_path.iterdir()) == []
