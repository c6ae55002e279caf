"""OpenVINO runs the exported file as torch runs the weights, and says what is wrong with another file."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from frame_vit.backends import openvino_backend
from frame_vit.backends.backend import BackendAnswer, ModelSource
from frame_vit.backends.openvino_backend import OPENVINO, OpenVino, keep, kept
from frame_vit.backends.torch_backend import Torch
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.thresholds import Claim, OperatingPoint, ThresholdsBasis
from frame_vit.errors import DamagedModelError, ModelError, UsageError
from frame_vit.export.graph import write_onnx
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.system.caches import COMPILED, cache_folder
from tests.backends.models import METADATA, noise, vit


def test_the_answers_are_those_of_torch(onnx_file: Path) -> None:
    backend = OpenVino(onnx_file, precision="fp32")
    assert (backend.name, backend.device, backend.precision) == ("openvino", "cpu", "fp32")
    assert backend.metadata == METADATA
    for count in (1, 5):
        for ours, torchs in zip(backend.run(noise(count)), Torch(vit(), "cpu", "fp32").run(noise(count)), strict=True):
            assert ours is not None
            assert torchs is not None
            assert ours == pytest.approx(torchs, abs=1e-4)


def test_earlier_answers_are_not_written_over_by_later_ones(onnx_file: Path) -> None:
    backend = OpenVino(onnx_file, precision="fp32")
    first, _ = backend.run(noise(2))
    kept = first.copy()
    backend.run(noise(2)[::-1])
    assert np.array_equal(first, kept)


def test_thresholds_beside_the_file_replace_those_inside(onnx_file: Path) -> None:
    point = OperatingPoint(0.1, 0.9, Claim(0.01, 0.95, 300, 0, 0.0099, 299), ThresholdsBasis("val"))
    opened = OPENVINO.open(ModelSource(str(onnx_file), onnx_file, replace(METADATA, operating_point=point)))
    assert opened.metadata.operating_point == point
    with pytest.raises(ModelError, match="of different models"):
        OpenVino(onnx_file, replace(METADATA, preprocessing=Preprocessing(16, 16)))


def test_stored_embeddings_of_another_size_than_the_models_are_refused(onnx_file: Path) -> None:
    novelty = NoveltyReference(4, {"distance": (0.0, 0.5)}, ("RGB",), "review", np.eye(4, 16, dtype=np.float32))
    OpenVino(onnx_file, replace(METADATA, novelty=novelty))
    other = replace(novelty, embeddings=np.eye(4, 7, dtype=np.float32))
    with pytest.raises(DamagedModelError, match="have 7 dimensions, but the model gives 16"):
        OpenVino(onnx_file, replace(METADATA, novelty=other))


def test_a_file_of_another_program_and_a_damaged_one_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    (tmp_path / "torn.onnx").write_bytes(onnx_file.read_bytes()[:2000])
    with pytest.raises(ModelError, match="holds no framevit metadata"):
        OpenVino(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="is not a model that OpenVINO can run"):
        OpenVino(tmp_path / "torn.onnx")


def test_a_precision_that_the_file_is_not_computed_in_is_refused(onnx_file: Path) -> None:
    with pytest.raises(UsageError, match="precision int8: OpenVINO computes this file in"):
        OpenVino(onnx_file, precision="int8")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache in which nothing was kept yet."""
    monkeypatch.setenv("FRAMEVIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_compiled_model_that_was_kept_answers_alike_without_being_compiled(
    onnx_file: Path, one_by_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = OpenVino(onnx_file, precision="fp32", one_by_one=one_by_one)
    folder = keep(onnx_file, "fp32", one_by_one)
    monkeypatch.setattr(openvino_backend, "_compile", None)
    again = OpenVino(onnx_file, precision="fp32", one_by_one=one_by_one)
    assert (again.metadata, again.precision, again.batch_size) == (METADATA, "fp32", compiled.batch_size)
    for ours, theirs in zip(again.run(noise(3)), compiled.run(noise(3)), strict=True):
        assert np.array_equal(ours, theirs)  # type: ignore[arg-type]
    assert folder.is_relative_to(cache_folder() / COMPILED)


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(("file", "at"), [("model.blob", b""), ("facts.json", b"passed"), ("facts.json", b"f32")])
def test_a_damaged_compiled_model_is_compiled_again(onnx_file: Path, file: str, at: bytes) -> None:
    expected = OpenVino(onnx_file, precision="fp32").run(noise(2)).logits
    path = keep(onnx_file, "fp32", True) / "model" / file
    data = bytearray(path.read_bytes())
    data[data.index(at) if at else len(data) // 2] ^= 1
    path.write_bytes(data)
    assert kept(onnx_file, "fp32", True) is None
    assert np.array_equal(OpenVino(onnx_file, precision="fp32").run(noise(2)).logits, expected)


@pytest.mark.usefixtures("own_cache")
def test_what_was_kept_of_another_file_or_for_another_use_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    write_onnx(vit(), file)
    folder = keep(file, "fp32", True)
    assert kept(file, "fp32", True) is not None
    assert kept(file, "fp32", False) is None
    assert kept(file, "auto", True) is None, "it may be bf16 that is meant"
    write_onnx(vit(seed=1), file)
    assert kept(file, "fp32", True) is None
    assert keep(file, "fp32", True) == folder, "it takes the place of the earlier one"
    assert kept(file, "fp32", True) is not None


def test_the_first_answer_of_a_process_is_computed_alone(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that make OpenVINO's tables at once never come back."""
    backend = OpenVino(onnx_file, precision="fp32", one_by_one=False)
    running, most, answers = 0, [], 0

    def answer(pixels: UInt8) -> BackendAnswer:
        nonlocal running, answers
        running += 1
        time.sleep(0.05)  # long enough for the others to begin, were they let
        most.append(running if not answers else 0)
        running, answers = running - 1, answers + 1
        return BackendAnswer(np.zeros((len(pixels), 3), np.float32), None)

    monkeypatch.setattr(openvino_backend, "_has_answered", False)
    monkeypatch.setattr(backend, "_answer", answer)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(backend.run, [noise(2)] * 4))
    assert answers == 8
    assert max(most) == 1
    assert openvino_backend._has_answered
