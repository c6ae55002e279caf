"""OpenVINO: runs the same exported file on the CPU, by default in bf16 where the processor computes it natively.

Compiling a model takes a second or more at each start. If OpenVINO is the fastest here, `framevit benchmark` keeps the
model as it is compiled for many pictures in framevit's cache (`keep`), in place of what it kept of that file before.

    CACHE/compiled/KEY/model/   model.blob  facts.json
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

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
from frame_vit.system.machine import cores, processor_name

if TYPE_CHECKING:
    from frame_vit.images.pixel_array import UInt8
    from frame_vit.model.metadata import ModelMetadata


BLOB, FACTS = "model.blob", "facts.json"
_FIRST_ANSWER, _has_answered = Lock(), False
"""The first answer of a process is computed alone: OpenVINO then makes tables, and two threads that do so at once wait
for each other for ever, one with Python's lock and the other with that of the table."""


class OpenVino:
    """An exported file in OpenVINO. `metadata` and `one_by_one` are those of `ModelSource`.

    Raises `ModelError` for a file that OpenVINO cannot run or that framevit did not write.
    """

    name, device = "openvino", "cpu"

    def __init__(
        self, path: Path, metadata: ModelMetadata | None = None, precision: str = "auto", one_by_one: bool = True
    ) -> None:
        from queue import SimpleQueue

        from frame_vit.backends.exported_files import embedded_metadata, merged_metadata
        from frame_vit.backends.side_by_side import SideBySide
        from frame_vit.model.metadata import check_embeddings

        self.file: Path | None = path
        try:
            self._compiled = kept(path, precision, one_by_one) or _compile(path, precision, one_by_one)
            model = self._compiled.model
            self.metadata = merged_metadata(embedded_metadata(self._compiled.texts, path), metadata, path)
            self.precision = self._compiled.precision
            self._idle: SimpleQueue[Any] = SimpleQueue()
            for _ in range(_streams(one_by_one)):
                self._idle.put(model.create_infer_request())
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
        global _has_answered
        if _has_answered:
            return self._answer(pixels)
        with _FIRST_ANSWER:
            answer = self._answer(pixels)
            _has_answered = True
        return answer

    def _answer(self, pixels: UInt8) -> BackendAnswer:
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


class Compiled(NamedTuple):
    """A compiled model, the metadata of its exported file, its precision, and the options it was compiled with."""

    model: Any
    texts: dict[str, str]
    precision: str
    options: dict[str, Any]


def _compile(path: Path, precision: str, one_by_one: bool) -> Compiled:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    texts = _metadata_texts(model)
    native_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    possible = (INT8,) if texts.get("numbers") == INT8 else ("bf16", "fp32") if native_bf16 else ("fp32",)
    agreed = agreed_precision(precision, possible, OPENVINO.title)
    # An int8 file has layers that stay in floating point, too; they follow the hint.
    hint = "bf16" if native_bf16 and agreed != "fp32" else "f32"
    streams = {"INFERENCE_NUM_THREADS": cores(), "NUM_STREAMS": _streams(one_by_one)}
    options = {"INFERENCE_PRECISION_HINT": hint} | streams
    return Compiled(core.compile_model(model, "CPU", options), texts, agreed, options)


def _streams(one_by_one: bool) -> int:
    return 1 if one_by_one else cores()


def keep(path: Path, precision: str, one_by_one: bool) -> Path:
    """Keeps the compiled model of an exported file in framevit's cache, so that OpenVINO starts sooner.

    The folder that it is kept in. Raises `UsageError` where the cache cannot be written.
    """
    from frame_vit.system.caches import building, new_entry
    from frame_vit.system.files import write_json

    compiled = _compile(path, precision, one_by_one)
    data, folder = compiled.model.export_model().getvalue(), _place(path, compiled.precision, one_by_one)
    with building(folder), new_entry(folder / "model") as part:
        (part / BLOB).write_bytes(data)
        facts = compiled._asdict() | {"model": BLOB, "made_of": _origin(path)}
        write_json(part / FACTS, facts | {"sha256": _digest(compiled, data)})
    return folder


def kept(path: Path, precision: str, one_by_one: bool) -> Compiled | None:
    """The compiled model that was kept of this very file on this machine; None if there is none, or it is damaged."""
    if precision == "auto":
        # In fp32 only where that is asked for: `auto` takes bf16 where the processor computes it.
        return kept(path, INT8, one_by_one) or kept(path, "bf16", one_by_one)
    import openvino

    from frame_vit.system.files import read_facts

    with suppress(OSError, RuntimeError, KeyError, TypeError):
        entry = _place(path, precision, one_by_one) / "model"
        facts = read_facts(entry / FACTS)
        if facts.get("made_of") != _origin(path):
            return None
        data = (entry / BLOB).read_bytes()
        compiled = Compiled(None, facts["texts"], facts["precision"], facts["options"])
        if _digest(compiled, data) == facts["sha256"]:
            # Without its options the model would compute in another precision than it was compiled for.
            return compiled._replace(model=openvino.Core().import_model(data, "CPU", compiled.options))
    return None


def _digest(compiled: Compiled, data: bytes) -> str:
    """The sha256 of a compiled model as bytes and of all that is kept with it."""
    import json
    from hashlib import sha256

    digest = sha256(data)
    digest.update(json.dumps([compiled.texts, compiled.precision, compiled.options], sort_keys=True).encode())
    return digest.hexdigest()


def _place(path: Path, precision: str, one_by_one: bool) -> Path:
    """The folder in the cache for an exported file and how it is computed."""
    from hashlib import sha256

    from frame_vit.system.caches import COMPILED, cache_folder

    key = f"{path.resolve()} {precision} {one_by_one}".encode(errors="surrogateescape")
    return cache_folder() / COMPILED / sha256(key).hexdigest()[:24]


def _origin(path: Path) -> dict[str, str | int]:
    """What a compiled model was made of and where: with another of these it is of no use."""
    import openvino

    from frame_vit.model.digests import file_digest

    where = {"openvino": openvino.__version__, "processor": processor_name(), "cores": cores()}
    return {"file": file_digest(path)} | where


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
