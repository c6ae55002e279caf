"""What computes a model's answers: one protocol; here the peers that run an exported file, without torch.

ONNX Runtime and OpenVINO read the same `model.onnx`, in which the model's settings are embedded. The peer that needs
the weights and torch is in `torch_backend`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frame_vit.backends.backend import INPUT, METADATA_KEYS, Backend
from frame_vit.decision.novelty import unpacked
from frame_vit.decision.rates import Logits
from frame_vit.errors import ModelError, UsageError
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import normalise
from frame_vit.model.metadata import METADATA_FILE, ModelMetadata, parse_metadata
from frame_vit.system.machine import cores


class OnnxRuntime:
    """An exported file in ONNX Runtime on the CPU. `beside` are newer settings than those in the file, if any."""

    name, device = "onnxruntime", "cpu"

    def __init__(self, path: Path, beside: ModelMetadata | None = None, precision: str = "auto") -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise ModelError(f"{path} is not a model that ONNX Runtime can run: {_line(error)}") from None
        found = self._session.get_modelmeta().custom_metadata_map
        self.metadata = agreed_metadata(embedded(found, path), beside, path)
        self.precision = _agreed(precision, str(found.get("numbers", "fp32")), ("fp32", "int8"), self.name)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, pixels: UInt8) -> tuple[Logits, Float32 | None]:
        found = self._session.run(self._outputs, {INPUT: normalise(pixels, self.metadata.preprocessing)})
        return found[0], found[1] if len(found) > 1 else None


class OpenVino:
    """The same file in OpenVINO on the CPU, in bf16 where the processor really has it, unless told otherwise."""

    name, device = "openvino", "cpu"

    def __init__(self, path: Path, beside: ModelMetadata | None = None, precision: str = "auto") -> None:
        import openvino

        try:
            core = openvino.Core()
            model = core.read_model(path)
            found = {key: str(model.get_rt_info(["framework", key]).value) for key in _keys(model)}
            can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            int8, fast = found.get("numbers") == "int8", "bf16" if "BF16" in can else "fp32"
            possible = ("int8",) if int8 else (fast, "fp32")
            self.metadata = agreed_metadata(embedded(found, path), beside, path)
            self.precision = _agreed(precision, possible[0], possible, self.name)
            hint = "f32" if self.precision == "fp32" or fast == "fp32" else "bf16"
            options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": cores()}
            self._model = core.compile_model(model, "CPU", options)
        except RuntimeError as error:  # whatever it is, it comes as this
            raise ModelError(f"{path} is not a model that OpenVINO can run: {_line(error)}") from None
        self._count = len(self._model.outputs)

    def run(self, pixels: UInt8) -> tuple[Logits, Float32 | None]:
        found = self._model(normalise(pixels, self.metadata.preprocessing))
        # What it gives back is its own memory, which the next call writes over.
        logits = np.array(found[0], np.float32)
        return logits, np.array(found[1], np.float32) if self._count > 1 else None


EXPORTED: dict[str, Callable[[Path, ModelMetadata | None, str], Backend]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
}


def embedded(found: dict[str, str], path: Path) -> ModelMetadata:
    """The settings in an exported file's metadata. Raises `ModelError` where they are not there."""
    if "framevit" not in found:
        raise ModelError(
            f"{path}: framevit's settings are not in this file, so what its classes mean is not known",
            "Export the model with `framevit export`",
        )
    embeddings = unpacked(found["embeddings"]) if found.get("embeddings") else None
    return parse_metadata(found["framevit"], str(path), embeddings)


def agreed_metadata(inside: ModelMetadata, beside: ModelMetadata | None, path: Path) -> ModelMetadata:
    """The settings in a file, with the thresholds that were chosen for it later and lie beside it.

    Raises `ModelError` where those beside are of another model.
    """
    if beside is None:
        return inside
    same = (inside.labels, inside.preprocessing, inside.temperature) == (
        beside.labels,
        beside.preprocessing,
        beside.temperature,
    )
    if not same:
        raise ModelError(
            f"{path} and the {METADATA_FILE} beside it are of different models: other classes, pixels or temperature",
            "Copy both from the same model folder, or keep the exported file alone",
        )
    novelty = beside.novelty
    if novelty is not None and novelty.embeddings is None and inside.novelty is not None:
        novelty = replace(novelty, embeddings=inside.novelty.embeddings)
    return replace(inside, operating_point=beside.operating_point, novelty=novelty)


def _agreed(asked: str, own: str, possible: tuple[str, ...], name: str) -> str:
    if asked not in ("auto", *possible):
        raise UsageError(
            f"precision {asked}: this file answers in {' or '.join(dict.fromkeys(possible))} in {name} on this machine",
            f"--precision auto takes {own} here",
        )
    return own if asked == "auto" else asked


def _keys(model: Any) -> list[str]:
    return [key for key in METADATA_KEYS if model.has_rt_info(["framework", key])]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
