"""ONNX Runtime: runs an exported file on the CPU, in the number format that the file is stored in.

It starts soonest of all backends, and an export is proven with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from frame_vit.backends.backend import (
    FP32,
    INPUT,
    INT8,
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


class OnnxRuntime:
    """An exported file in ONNX Runtime. `metadata` and `one_by_one` are those of `ModelSource`.

    Raises `ModelError` for a file that ONNX Runtime cannot run or that framevit did not write.
    """

    name, device = "onnxruntime", "cpu"

    def __init__(
        self, path: Path, metadata: ModelMetadata | None = None, precision: str = "auto", one_by_one: bool = True
    ) -> None:
        import onnxruntime

        from frame_vit.backends.exported_files import embedded_metadata, merged_metadata
        from frame_vit.backends.side_by_side import SideBySide
        from frame_vit.model.metadata import check_embeddings

        self.file: Path | None = path
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores() if one_by_one else 1
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise ModelError(f"{path} is not a model that ONNX Runtime can run: {one_line(error)}") from None
        texts = self._session.get_modelmeta().custom_metadata_map
        self.metadata = merged_metadata(embedded_metadata(texts, path), metadata, path)
        possible = ONNXRUNTIME.precisions.get(str(texts.get("numbers", FP32)), (FP32,))
        self.precision = agreed_precision(precision, possible, ONNXRUNTIME.title)
        outputs = self._session.get_outputs()
        self._outputs = [output.name for output in outputs]
        check_embeddings(self.metadata, outputs[1].shape[-1] if len(outputs) > 1 else None, str(path))
        self.run, self.batch_size = self._compute, ON_A_CPU
        if not one_by_one:
            parallel = SideBySide(self._compute)
            self.run, self.batch_size = parallel.run, parallel.batch_size

    def _compute(self, pixels: UInt8) -> BackendAnswer:
        from frame_vit.images.preprocessing import normalise

        logits, *further = self._session.run(self._outputs, {INPUT: normalise(pixels, self.metadata.preprocessing)})
        return BackendAnswer(logits, next(iter(further), None))


def _open(source: ModelSource) -> OnnxRuntime:
    assert source.file is not None
    return OnnxRuntime(source.file, source.metadata, source.precision, source.one_by_one)


ONNXRUNTIME = BackendInfo(
    name=OnnxRuntime.name,
    title="ONNX Runtime",
    library="onnxruntime",
    extra="export",
    precisions={FP32: ("fp32",), INT8: ("int8",)},
    devices=("cpu",),
    start_rank=0,
    cpu_rank=1,
    open=_open,
)
