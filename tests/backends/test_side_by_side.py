"""Pictures that are computed side by side get the answers that they get together, each its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.backends.backend import Backend, BackendAnswer, ModelSource
from frame_vit.backends.onnxruntime_backend import ONNXRUNTIME, OnnxRuntime
from frame_vit.backends.openvino_backend import OPENVINO, OpenVino
from frame_vit.backends.side_by_side import SideBySide
from frame_vit.images.pixel_array import UInt8
from tests.backends.models import noise

Open = Callable[..., Backend]
BACKENDS = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}


def numbered(count: int) -> UInt8:
    """Pictures of one pixel that have their row's number as their colour."""
    return np.repeat(np.arange(count, dtype=np.uint8), 3).reshape(count, 1, 1, 3)


@settings(deadline=None)
@given(count=st.integers(1, 40), with_embedding=st.booleans())
def test_every_picture_gets_its_own_answer(count: int, with_embedding: bool) -> None:
    def compute(pixels: UInt8) -> BackendAnswer:
        answers = pixels[:, 0, 0].astype(np.float32)
        return BackendAnswer(answers, answers[:, :1] if with_embedding else None)

    logits, embedding = SideBySide(compute).run(numbered(count))
    assert logits[:, 0].tolist() == [*range(count)]
    assert embedding is None if not with_embedding else embedding is not None and len(embedding) == count


def test_an_error_of_one_picture_is_that_of_the_batch() -> None:
    def compute(pixels: UInt8) -> BackendAnswer:
        raise RuntimeError("no memory is left")

    with pytest.raises(RuntimeError, match="no memory is left"):
        SideBySide(compute).run(numbered(3))


@pytest.mark.parametrize("opened", BACKENDS.values(), ids=BACKENDS)
def test_answers_are_those_of_pictures_that_share_the_cores(opened: Open, onnx_file: Path) -> None:
    together = opened(onnx_file, precision="fp32").run(noise(5))
    apart = opened(onnx_file, precision="fp32", one_by_one=False).run(noise(5))
    for expected, found in zip(together, apart, strict=True):
        assert expected is not None
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("opened", BACKENDS.values(), ids=BACKENDS)
def test_several_threads_may_ask_one_backend(opened: Open, onnx_file: Path) -> None:
    backend = opened(onnx_file, precision="fp32", one_by_one=False)
    expected, ready = backend.run(noise(5)).logits, threading.Barrier(4)

    def ask(_: int) -> bool:
        ready.wait()
        return all(np.allclose(backend.run(noise(5)).logits, expected, atol=1e-5) for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))


@pytest.mark.parametrize("info", [ONNXRUNTIME, OPENVINO], ids=lambda info: info.name)
def test_a_backend_is_opened_as_the_pictures_come(info: object, onnx_file: Path) -> None:
    source = ModelSource(str(onnx_file), onnx_file)
    assert isinstance(info, type(ONNXRUNTIME))
    alone, many = info.open(source), info.open(source._replace(one_by_one=False))
    assert many.batch_size > alone.batch_size
    assert many.run(noise(3)).logits == pytest.approx(alone.run(noise(3)).logits, abs=1e-4)
