"""`framevit benchmark`: how fast a model answers on this machine, by backend and number format.

Every combination is measured in a process of its own, one after the other, so that start and memory are its own. The
process reads encoded pictures and makes rows, as `predict` does: what is measured is what is used.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from frame_vit import __version__
from frame_vit.backends.availability import BACKENDS
from frame_vit.backends.benchmark_record import BENCHMARK_FILE, BenchmarkRow
from frame_vit.backends.exported_files import recorded_weights, usable_files
from frame_vit.backends.openvino_backend import OPENVINO, keep
from frame_vit.decision.novelty import sample_rows
from frame_vit.errors import FrameVitError
from frame_vit.export.measurement import (
    Combination,
    Disagreement,
    Measurement,
    MeasureOptions,
    MeasureRequest,
    compare_answers,
    measure_in_process,
)
from frame_vit.model.metadata import METADATA_FILE
from frame_vit.prediction.load import load_predictor
from frame_vit.runs.data import DataRequest, select_split, tested_request
from frame_vit.runs.folder import ModelPlace
from frame_vit.system.files import write_json
from frame_vit.system.machine import Machine, machine
from frame_vit.system.progress import Tick, log, silent

MOST_CHANGED = 0.02
"""`--backend auto` takes no backend that changes the class or the decision of a larger share of the pictures."""


def combinations() -> list[Combination]:
    """All that the backends declare. The first, torch in fp32, is what the others are compared with."""
    return [
        Combination(info.name, variant, precision)
        for info in BACKENDS
        for variant, precisions in info.precisions.items()
        for precision in precisions
    ]


@dataclass(frozen=True)
class BenchmarkResult:
    """benchmark.json: the rows, the fastest first, with where and on what they were measured."""

    rows: list[BenchmarkRow]
    pictures: int
    batch_size: int | None
    reference: str
    machine: Machine
    weights: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "framevit": __version__,
            "machine": self.machine.to_json(),
            "weights": self.weights,
            "pictures": self.pictures,
            "batch_size": self.batch_size,
            "reference": self.reference,
            "rows": [row.to_json() for row in self.rows],
        }


def benchmark(
    place: ModelPlace,
    request: DataRequest,
    count: int,
    device: str = "auto",
    batch_size: int | None = None,
    tick: Tick = silent,
) -> BenchmarkResult:
    """Measures a model on at most `count` of the requested pictures; synthetic frames where there are none.

    Without a `batch_size`, each backend takes its own.
    The result is also written as benchmark.json into a model folder, where `--backend auto` reads it.
    """
    if request.source is None and place.run is None:
        log.warning("this model belongs to no run, so synthetic frames are predicted (--data names a data set)")
        request = replace(request, source="demo")
    metadata = load_predictor(place, count=1, isolated=False).metadata
    examples = select_split(metadata, place.run, tested_request(place.run, request), tick).split.examples
    pictures = [examples[row].read() for row in sample_rows(len(examples), count)]
    result = measure_all(MeasureOptions(place.name, device, batch_size), pictures, combinations(), tick)
    return store(place.folder, result) if (place.folder / METADATA_FILE).is_file() else result


def store(folder: Path, result: BenchmarkResult) -> BenchmarkResult:
    """Writes benchmark.json into a model folder; `--backend auto` then chooses by it on this machine.

    The result with the fingerprint of the folder's weights, as it was written.
    """
    stored = replace(result, weights=recorded_weights(folder))
    write_json(folder / BENCHMARK_FILE, stored.to_json())
    return stored


def markdown(result: BenchmarkResult) -> str:
    """The result as a table that can be pasted into a page or an issue."""
    where, size = result.machine, result.batch_size
    lines = [
        f"{result.pictures} pictures{f', {size} at once' if size else ''}; {where.processor}, {where.cores} cores, "
        f"{where.system}; framevit {__version__}; compared with {result.reference}",
        "",
        "| backend | precision | pictures/s | one picture p50 | p99 | start | memory | largest logit difference "
        "| other class | other decision |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.backend} | {row.precision} | {row.pictures_per_s:.3g} | {row.p50_ms:.1f} ms "
        f"| {row.p99_ms:.1f} ms | {row.start_s:.1f} s | {_memory(row)} | {row.max_logit_difference:.2g} "
        f"| {row.changed_classes} | {row.changed_decisions} |"
        for row in result.rows
    ]
    return "\n".join(lines)


def _memory(row: BenchmarkRow) -> str:
    return "-" if row.memory_mb is None else f"{row.memory_mb:.0f} MB"


def measure_all(
    options: MeasureOptions, pictures: Sequence[bytes], tried: Sequence[Combination], tick: Tick = silent
) -> BenchmarkResult:
    """Tries combinations on encoded pictures. One that does not work here is left out, and its reason is logged.

    Raises `FrameVitError` if none works.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        for number, data in enumerate(pictures):
            (folder / f"{number:05d}.jpg").write_bytes(data)
        answers = {each: Path(scratch) / f"{number}.npz" for number, each in enumerate(tried)}
        measured: dict[Combination, Measurement] = {}
        for done, each in enumerate(tried):
            tick("measuring", done, len(tried), f"{each.backend} {each.precision}")
            outcome = measure_in_process(MeasureRequest(each, options, str(folder), str(answers[each]), time.time()))
            if isinstance(outcome, Measurement):
                measured[each] = outcome
            else:
                log.info("%s %s: %s", each.backend, each.precision, outcome)
        tick("measuring", len(tried), len(tried), "")
        if not measured:
            raise FrameVitError("no backend on this machine can answer for this model")
        reference = next(iter(measured))
        most_changed = MOST_CHANGED * len(pictures)
        rows = [
            _row(each, measurement, compare_answers(answers[reference], answers[each]), most_changed)
            for each, measurement in measured.items()
        ]
    rows.sort(key=lambda row: -row.pictures_per_s)
    fastest = next((row for row in rows if row.agrees), None)
    if fastest is not None and fastest.backend == OPENVINO.name:
        _keep_compiled(options.place, fastest)
    name = f"{reference.backend} {reference.precision}" if reference == combinations()[0] else "the first"
    return BenchmarkResult(rows, len(pictures), options.batch_size, name, machine())


def _keep_compiled(place: str, row: BenchmarkRow) -> None:
    """Keeps what OpenVINO compiles for many pictures, so that it starts sooner; says where, or why it could not."""
    file = Path(place) if Path(place).is_file() else usable_files(Path(place))[row.variant]
    try:
        folder = keep(file, row.precision, one_by_one=False)
    except (FrameVitError, OSError, RuntimeError) as error:  # a cache that cannot be written, no home folder
        log.warning("OpenVINO will compile the model at each start: %s", error)
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    log.info("OpenVINO's compiled model is kept in %s (%.0f MB)", folder, size / 1e6)


def _row(combination: Combination, measured: Measurement, changes: Disagreement, most_changed: float) -> BenchmarkRow:
    changed = max(changes.changed_classes, changes.changed_decisions)
    return BenchmarkRow(
        **combination._asdict(), **asdict(measured), **changes._asdict(), agrees=changed <= most_changed
    )
