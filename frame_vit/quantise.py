"""An exported model in 8 bits, by ONNX Runtime's quantiser. Whether it is kept is decided in `export`.

Weights get 7 bits (`reduce_range`): with 8, processors without VNNI overflow in between, silently.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from frame_vit.backends import INPUT, OnnxRuntime
from frame_vit.images import UInt8, laid, normalise
from frame_vit.settings import Settings

TURNS = 5
"""So often, in turns, two models are timed."""


def dynamic(fp32: Path, path: Path) -> None:
    """Weights in int8; what goes through the model is rounded as it comes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(fp32, path, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def static(fp32: Path, path: Path, pixels: UInt8, settings: Settings) -> None:
    """All products in int8, by the ranges that pictures (N, height, width, 3) uint8 have, each in one of the views."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            views = [view for view, _ in settings.labels.group()]
            self.left = iter([laid(pixels[i : i + 1], views[i % len(views)]) for i in range(len(pixels))])

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self.left, None)
            return None if picture is None else {INPUT: normalise(picture, settings.pixels)}

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
