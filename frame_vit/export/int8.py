"""An exported model quantised to 8 bits by ONNX Runtime's quantiser.

Static quantisation comes first: it is calibrated on training pictures and faster. Dynamic quantisation follows where
static changes too many answers. The first that agrees with torch and is not slower than fp32 on this machine is kept.

Weights get 7 bits (`reduce_range`): with 8, processors without VNNI saturate in between, without an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from frame_vit.backends.backend import INPUT, INT8
from frame_vit.backends.export_record import Difference
from frame_vit.backends.onnxruntime_backend import OnnxRuntime
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import sample_rows
from frame_vit.errors import ModelError
from frame_vit.export.graph import metadata_texts
from frame_vit.export.proof import BATCHES, BatchDifferences, Proof
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import in_view, normalise
from frame_vit.model.metadata import ModelMetadata
from frame_vit.system.files import replacing
from frame_vit.system.progress import log

TURNS = 5
"""How often each of two models is timed, in turns."""
CALIBRATED_ON = 32
"""Training pictures that static quantisation takes its value ranges from."""


@dataclass(frozen=True)
class Int8Trial:
    """One way of quantising that ran: the share of changed answers against its limit, and the speed against fp32."""

    way: str
    changed_share: float
    limit: float
    speed_up: float
    difference: Difference

    @property
    def agrees(self) -> bool:
        return self.changed_share <= self.limit

    @property
    def kept(self) -> bool:
        return self.agrees and self.speed_up >= 1

    @property
    def summary(self) -> str:
        """What became of it, in a line."""
        agrees = "agrees" if self.agrees else "does not agree"
        return (
            f"{agrees} ({self.changed_share:.1%} of the answers change, the limit is {self.limit:.1%}), "
            f"{self.speed_up:.2f} times as fast as fp32 on this machine: {'kept' if self.kept else 'not kept'}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "way": self.way,
            "changed_share": self.changed_share,
            "limit": self.limit,
            "speed_up": self.speed_up,
            "agrees": self.agrees,
            "kept": self.kept,
        } | self.difference.to_json()


@dataclass(frozen=True)
class Int8Failure:
    """One way of quantising whose file did not run, or did not answer with finite numbers."""

    way: str
    error: str

    @property
    def kept(self) -> bool:
        return False

    @property
    def summary(self) -> str:
        """What became of it, in a line."""
        return f"not kept: {self.error}"

    def to_json(self) -> dict[str, Any]:
        return {"way": self.way, "kept": self.kept, "error": self.error}


class KeptInt8(NamedTuple):
    """The quantised model that was kept: its trial, and its differences by batch size."""

    trial: Int8Trial
    differences: BatchDifferences


class Quantised(NamedTuple):
    """Every way that was tried, and the one that was kept, if any."""

    trials: list[Int8Trial | Int8Failure]
    kept: KeptInt8 | None


def quantise(fp32: Path, target: Path, train: Split | None, proof: Proof) -> Quantised:
    """Tries static quantisation (with training pictures only), then dynamic; the first that holds becomes `target`."""
    metadata = proof.metadata
    ways: dict[str, Callable[[Path], None]] = {"dynamic": lambda path: quantise_dynamically(fp32, path)}
    if train is not None:
        calibration = np.asarray(train.pixels[sample_rows(len(train), CALIBRATED_ON)])
        ways = {"static": lambda path: quantise_statically(fp32, path, calibration, metadata)} | ways
    trials: list[Int8Trial | Int8Failure] = []
    for way, write in ways.items():
        log.info("int8, %s", way)
        try:
            with replacing(target, large=True) as part:
                write(part)
                replace_metadata(part, metadata_texts(metadata, INT8))
                differences = proof.differences(part, f"int8, {way}")
                share, speed = proof.changed_share(differences.worst), speed_up(fp32, part, proof.pixels[: BATCHES[-1]])
                trial = Int8Trial(way, share, proof.limits.int8_changed, speed, differences.worst)
                trials.append(trial)
                if not trial.kept:
                    raise _NotKept
            return Quantised(trials, KeptInt8(trial, differences))
        except _NotKept:
            continue
        except ModelError as error:  # answers that are not finite, or a file that does not run
            trials.append(Int8Failure(way, error.message))
    return Quantised(trials, None)


class _NotKept(Exception):  # noqa: N818  (leaves the block that would put the file in its place)
    """A quantised model that does not agree, or is slower."""


def quantise_dynamically(fp32: Path, path: Path) -> None:
    """Weights in int8; activations are quantised by the range that each batch happens to have."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _without_advice():
        quantize_dynamic(fp32, path, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def quantise_statically(fp32: Path, path: Path, pixels: UInt8, metadata: ModelMetadata) -> None:
    """Weights and activations in int8, by the ranges over pictures (N, height, width, 3) uint8, each in one view."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            views = [view for view, _ in metadata.labels.group()]
            self.remaining = iter([in_view(pixels[i : i + 1], views[i % len(views)]) for i in range(len(pixels))])

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self.remaining, None)
            return None if picture is None else {INPUT: normalise(picture, metadata.preprocessing)}

    with _without_advice():
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


def replace_metadata(path: Path, texts: dict[str, str]) -> None:
    """Replaces an ONNX file's metadata, of which the quantiser has copied that of the fp32 file."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, path)


def speed_up(fp32: Path, int8: Path, batch: UInt8) -> float:
    """How many times as fast as fp32 the int8 file is for a batch: the ratio of median times, measured in turns."""
    times: dict[Path, list[float]] = {fp32: [], int8: []}
    backends = {path: OnnxRuntime(path, one_by_one=False) for path in times}
    for turn in range(TURNS + 1):
        for path, backend in backends.items():
            start = perf_counter()
            backend.run(batch)
            if turn:  # the first turn warms up
                times[path].append(perf_counter() - start)
    return float(np.median(times[fp32]) / np.median(times[int8]))


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silences the quantiser, which advises on the root logger to run another tool first."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
