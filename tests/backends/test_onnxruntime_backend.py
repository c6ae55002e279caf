"""ONNX Runtime runs the exported file as torch runs the weights, and says what is wrong with another file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from frame_vit.backends.backend import ModelSource
from frame_vit.backends.onnxruntime_backend import ONNXRUNTIME, OnnxRuntime
from frame_vit.backends.torch_backend import Torch
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.thresholds import Claim, OperatingPoint, ThresholdsBasis
from frame_vit.errors import DamagedModelError, ModelError, UsageError
from frame_vit.images.preprocessing import Preprocessing
from tests.backends.models import METADATA, noise, vit


def test_the_answers_are_those_of_torch(onnx_file: Path) -> None:
    backend = OnnxRuntime(onnx_file, precision="fp32")
    assert (backend.name, backend.device, backend.precision) == ("onnxruntime", "cpu", "fp32")
    assert backend.metadata == METADATA
    for count in (1, 5):
        for ours, torchs in zip(backend.run(noise(count)), Torch(vit(), "cpu", "fp32").run(noise(count)), strict=True):
            assert ours is not None
            assert torchs is not None
            assert ours == pytest.approx(torchs, abs=1e-4)


def test_earlier_answers_are_not_written_over_by_later_ones(onnx_file: Path) -> None:
    backend = OnnxRuntime(onnx_file, precision="fp32")
    first, _ = backend.run(noise(2))
    kept = first.copy()
    backend.run(noise(2)[::-1])
    assert np.array_equal(first, kept)


def test_thresholds_beside_the_file_replace_those_inside(onnx_file: Path) -> None:
    point = OperatingPoint(0.1, 0.9, Claim(0.01, 0.95, 300, 0, 0.0099, 299), ThresholdsBasis("val"))
    opened = ONNXRUNTIME.open(ModelSource(str(onnx_file), onnx_file, replace(METADATA, operating_point=point)))
    assert opened.metadata.operating_point == point
    with pytest.raises(ModelError, match="of different models"):
        OnnxRuntime(onnx_file, replace(METADATA, preprocessing=Preprocessing(16, 16)))


def test_stored_embeddings_of_another_size_than_the_models_are_refused(onnx_file: Path) -> None:
    novelty = NoveltyReference(4, {"distance": (0.0, 0.5)}, ("RGB",), "review", np.eye(4, 16, dtype=np.float32))
    OnnxRuntime(onnx_file, replace(METADATA, novelty=novelty))
    other = replace(novelty, embeddings=np.eye(4, 7, dtype=np.float32))
    with pytest.raises(DamagedModelError, match="have 7 dimensions, but the model gives 16"):
        OnnxRuntime(onnx_file, replace(METADATA, novelty=other))


def test_a_file_of_another_program_and_a_damaged_one_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    (tmp_path / "torn.onnx").write_bytes(onnx_file.read_bytes()[:2000])
    with pytest.raises(ModelError, match="holds no framevit metadata"):
        OnnxRuntime(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="is not a model that ONNX Runtime can run"):
        OnnxRuntime(tmp_path / "torn.onnx")


def test_a_precision_that_the_file_is_not_computed_in_is_refused(onnx_file: Path) -> None:
    with pytest.raises(UsageError, match="precision int8: ONNX Runtime computes this file in"):
        OnnxRuntime(onnx_file, precision="int8")
