"""An exported model in 8 bits, by ONNX Runtime's quantiser. Whether it is kept is decided in `export`.

Weights get 7 bits (`reduce_range`): with 8, processors without VNNI overflow in between, silently.

---
A trained model as one ONNX file for a PC without torch, proven against torch on real pictures before it is kept.

torch's own exporter draws the graph; metadata, embeddings and what the numbers are go into the file's metadata. int8 is
ONNX Runtime's quantisation: static, calibrated on training pictures, where that answers alike, else dynamic.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from frame_vit.backends.backend import INPUT
from frame_vit.backends.exported_files import FILES
from frame_vit.backends.onnx_backends import OnnxRuntime
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import sample_rows
from frame_vit.errors import ModelError
from frame_vit.export.graph import metadata_texts
from frame_vit.export.proof import BATCHES, Proof
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import laid, normalise
from frame_vit.model.metadata import ModelMetadata
from frame_vit.system.files import replacing
from frame_vit.system.progress import log

TURNS = 5
"""So often, in turns, two models are timed."""


def dynamic(fp32: Path, path: Path) -> None:
    """Weights in int8; what goes through the model is rounded as it comes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(fp32, path, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def static(fp32: Path, path: Path, pixels: UInt8, metadata: ModelMetadata) -> None:
    """All products in int8, by the ranges that pictures (N, height, width, 3) uint8 have, each in one of the views."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            views = [view for view, _ in metadata.labels.group()]
            self.left = iter([laid(pixels[i : i + 1], views[i % len(views)]) for i in range(len(pixels))])

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self.left, None)
            return None if picture is None else {INPUT: normalise(picture, metadata.preprocessing)}

    with _quiet():
        quantize_static(
            fp32,
            path,
            Pictures(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        )


def mark(path: Path, metadata: dict[str, str]) -> None:
    """Writes into a quantised file what it is; whatever metadata it took over goes."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def speed_up(fp32: Path, int8: Path, batch: UInt8) -> float:
    """How many times as fast int8 is here on a batch, medians of turns."""
    backends = [OnnxRuntime(path) for path in (fp32, int8)]
    times: list[list[float]] = [[], []]
    for turn in range(TURNS + 1):
        for backend, of in zip(backends, times, strict=True):
            start = perf_counter()
            backend.run(batch)
            if turn:  # the first warms up
                of.append(perf_counter() - start)
    return float(np.median(times[0]) / np.median(times[1]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice, through the root logger, to use another tool first."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


CALIBRATED_ON = 32
"""Training pictures that static quantisation takes its ranges from."""


def quantised(
    fp32: Path, target: Path, train: Split | None, proof: Proof
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Static, then dynamic: the first that agrees and is not slower than fp32 here becomes `target`.

    What was found of every way that was tried, and the proof of the one that is kept (empty: none).
    """
    metadata, limits = proof.metadata, proof.limits
    ways: dict[str, Callable[[Path], None]] = {"dynamic": lambda path: dynamic(fp32, path)}
    if train is not None:
        calibrating = np.asarray(train.pixels[sample_rows(len(train), CALIBRATED_ON)])
        ways = {"static": lambda path: static(fp32, path, calibrating, metadata)} | ways
    tried: list[dict[str, Any]] = []
    path = fp32.with_name(f"{FILES['int8']}.part")
    for way, quantise in ways.items():
        log.info("int8, %s", way)
        try:
            quantise(path)
            mark(path, metadata_texts(metadata, "int8"))
            found = proof.of(path, f"int8, {way}")
            share, speed = proof.share(found), speed_up(fp32, path, proof.pixels[: BATCHES[-1]])
            keep = share <= limits.int8_changed and speed >= 1
            told = {"way": way, "changed_share": share, "limit": limits.int8_changed, "speed_up": speed}
            told |= {"agrees": share <= limits.int8_changed, "kept": keep}
            tried.append(told | {key: value for key, value in found.items() if key != "batches"})
            if keep:
                with replacing(target) as part:
                    path.rename(part)
                return tried, found | {"way": way, "speed_up": speed}
        except ModelError as error:  # answers that are no numbers, or a file that does not run
            tried.append({"way": way, "kept": False, "error": error.message})
        finally:
            path.unlink(missing_ok=True)
    return tried, {}
