"""OpenVINO: runs the same exported file on the CPU, by default in bf16 where the processor computes it natively."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from frame_vit.backends.backend import (
    FP32,
    INT8,
    METADATA_KEYS,
    ON_A_CPU,
    BackendAnswer,
    BackendInfo,
    ModelSource,
    agreed_precision,
    one_line,
)
from frame_vit.errors import ModelError
from frame_vit.system.machine import cores

if TYPE_CHECKING:
    from frame_vit.images.pixel_array import UInt8
    from frame_vit.model.metadata import ModelMetadata


class OpenVino:
    """An exported file in OpenVINO. `metadata` and `one_by_one` are those of `ModelSource`.

    Raises `ModelError` for a file that OpenVINO cannot run or that framevit did not write.
    """

    name, device = "openvino", "cpu"

    def __init__(
        self, path: Path, metadata: ModelMetadata | None = None, precision: str = "auto", one_by_one: bool = True
    ) -> None:
        import openvino

        from frame_vit.backends.exported_files import embedded_metadata, merged_metadata
        from frame_vit.backends.side_by_side import SideBySide
        from frame_vit.model.metadata import check_embeddings

        try:
            core = openvino.Core()
            model = core.read_model(path)
            texts = _metadata_texts(model)
            native_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            self.metadata = merged_metadata(embedded_metadata(texts, path), metadata, path)
            int8 = texts.get("numbers") == INT8
            possible = (INT8,) if int8 else ("bf16", "fp32") if native_bf16 else ("fp32",)
            self.precision = agreed_precision(precision, possible, OPENVINO.title)
            # An int8 file has layers that stay in floating point, too; they follow the hint.
            hint = "bf16" if native_bf16 and self.precision != "fp32" else "f32"
            streams = 1 if one_by_one else cores()
            options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": cores(), "NUM_STREAMS": streams}
            compiled = core.compile_model(model, "CPU", options)
            self._idle: SimpleQueue[Any] = SimpleQueue()
            for _ in range(streams):
                self._idle.put(compiled.create_infer_request())
            self._has_embedding = len(model.outputs) > 1
            size = model.outputs[1].get_partial_shape()[1].get_length() if self._has_embedding else None
        except RuntimeError as error:  # the only type that OpenVINO raises
            raise ModelError(f"{path} is not a model that OpenVINO can run: {one_line(error)}") from None
        check_embeddings(self.metadata, size, str(path))
        self.run, self.batch_size = self._compute, ON_A_CPU
        if not one_by_one:
            parallel = SideBySide(self._compute)
            self.run, self.batch_size = parallel.run, parallel.batch_size

    def _compute(self, pixels: UInt8) -> BackendAnswer:
        import numpy as np

        from frame_vit.images.preprocessing import normalise

        request = self._idle.get()
        try:
            outputs = request.infer([normalise(pixels, self.metadata.preprocessing)])
            # OpenVINO returns its own memory, which the next call overwrites, so it is copied.
            logits = np.array(outputs[0], np.float32)
            return BackendAnswer(logits, np.array(outputs[1], np.float32) if self._has_embedding else None)
        finally:
            self._idle.put(request)


def _metadata_texts(model: Any) -> dict[str, str]:
    keys = [key for key in METADATA_KEYS if model.has_rt_info(["framework", key])]
    return {key: str(model.get_rt_info(["framework", key]).value) for key in keys}


def _open(source: ModelSource) -> OpenVino:
    assert source.file is not None
    return OpenVino(source.file, source.metadata, source.precision, source.one_by_one)


OPENVINO = BackendInfo(
    name=OpenVino.name,
    title="OpenVINO",
    library="openvino",
    extra="openvino",
    precisions={FP32: ("fp32", "bf16"), INT8: ("int8",)},
    devices=("cpu",),
    start_rank=1,
    cpu_rank=0,
    open=_open,
)
