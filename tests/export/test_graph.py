"""The exported graph answers as the model does, for any batch and architecture, and carries the model's metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from frame_vit.backends.backend import Backend
from frame_vit.backends.exported_files import embedded_metadata
from frame_vit.backends.onnxruntime_backend import OnnxRuntime
from frame_vit.backends.openvino_backend import OpenVino
from frame_vit.backends.torch_backend import Torch
from frame_vit.errors import ModelError
from frame_vit.export import graph
from frame_vit.export.graph import write_onnx
from frame_vit.model.classifier import Classifier
from tests.backends.models import METADATA, NAMES, convnext, noise, vit


@pytest.mark.parametrize("build", [vit, convnext])
def test_any_batch_and_any_architecture(tmp_path: Path, build: Callable[[], Classifier]) -> None:
    classifier, path = build(), tmp_path / "m.onnx"
    opset = write_onnx(classifier, path)
    assert {each.version for each in onnx.load(path).opset_import if each.domain == ""} == {opset}
    backends: list[Backend] = [Torch(classifier, "cpu", "fp32"), OnnxRuntime(path), OpenVino(path, None, "fp32")]
    for count in (1, 3, 8):
        answers = [backend.run(noise(count)) for backend in backends]
        for logits, embedding in answers:
            assert logits.shape == (count, len(NAMES))
            assert embedding is not None
            assert embedding.shape[0] == count
            assert logits == pytest.approx(answers[0][0], abs=1e-4)
            assert embedding == pytest.approx(answers[0][1], abs=1e-4)


def test_the_file_says_what_it_is_and_the_model_is_as_before(tmp_path: Path) -> None:
    classifier = vit()
    before = classifier.module.config._attn_implementation
    write_onnx(classifier, tmp_path / "m.onnx")
    assert classifier.module.config._attn_implementation == before
    texts = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert texts["numbers"] == "fp32"
    assert embedded_metadata(texts, tmp_path / "m.onnx") == METADATA


def test_the_file_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    for number, build in enumerate((vit, convnext)):
        write_onnx(build(), tmp_path / f"{number}.onnx")
        content = (tmp_path / f"{number}.onnx").read_bytes()
        assert b"site-packages" not in content
        assert str(Path.cwd()).encode() not in content


def test_a_model_that_no_single_file_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="cannot have more than 2 GB"):
        write_onnx(vit(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
