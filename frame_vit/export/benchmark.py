"""How fast a model answers on this machine, by backend and number format; each in a process of its own, in turns.

The process reads encoded pictures and writes rows, as `predict` does: what is measured is the thing that is used.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frame_vit import __version__
from frame_vit.backends.exported_files import SPEEDS, weights_of
from frame_vit.decision.novelty import sample_rows
from frame_vit.errors import FrameVitError
from frame_vit.images.pixel_array import PixelArray
from frame_vit.model.metadata import METADATA_FILE
from frame_vit.prediction.inputs import Input, pictures_in
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import DataRequest, select_split, tested_request
from frame_vit.runs.folder import ModelPlace
from frame_vit.system.files import write_json
from frame_vit.system.machine import machine
from frame_vit.system.progress import Tick, log, silent

LATENCIES = 60
"""One-picture answers that are timed; p99 of so few is their largest."""
AGREES = 0.02
"""`--backend auto` takes no backend that changes the class or the decision of a larger share."""
SECONDS = 4.0
"""For so long, at least, a folder is predicted over and over."""
WAYS = (
    ("torch", "weights", "fp32"),
    ("torch", "weights", "bf16"),
    ("torch", "weights", "fp16"),
    ("onnxruntime", "fp32", "fp32"),
    ("onnxruntime", "int8", "int8"),
    ("openvino", "fp32", "fp32"),
    ("openvino", "fp32", "bf16"),
    ("openvino", "int8", "int8"),
)
"""Backend, numbers of the file, precision. The first is what the others are compared with."""


def benchmark(
    place: str,
    pictures: Sequence[bytes],
    device: str,
    batch_size: int,
    tick: Tick = silent,
    *,
    ways: Sequence[tuple[str, str, str]] = WAYS,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Tries every backend and precision that works here on encoded pictures; rows, the fastest first."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        for number, data in enumerate(pictures):
            (folder / f"{number:05d}.jpg").write_bytes(data)
        for done, (backend, numbers, precision) in enumerate(ways):
            tick("measuring", done, len(ways), f"{backend} {precision}")
            asked: dict[str, Any] = {"place": place, "backend": backend, "precision": precision, "device": device}
            asked |= {
                "batch_size": batch_size,
                "seconds": seconds,
                "folder": str(folder),
                "answers": f"{scratch}/{len(rows)}.npz",
            }
            found = _in_a_process(asked)
            if "reason" in found:
                log.info("%s %s: %s", backend, precision, found["reason"])
                continue
            rows.append({"backend": backend, "numbers": numbers, "precision": precision} | found)
        tick("measuring", len(ways), len(ways), "")
        if not rows:
            raise FrameVitError("nothing here can answer for this model")
        for number, row in enumerate(rows):
            row |= _agreement(Path(scratch) / "0.npz", Path(scratch) / f"{number}.npz")
    rows.sort(key=lambda row: -row["pictures_per_s"])
    for row in rows:
        row["agrees"] = max(row["changed_classes"], row["changed_decisions"]) <= AGREES * len(pictures)
    reference = "torch fp32" if any((r["backend"], r["precision"]) == ("torch", "fp32") for r in rows) else "the first"
    facts = {"framevit": __version__, "machine": machine(), "weights": None, "pictures": len(pictures)}
    return facts | {"batch_size": batch_size, "reference": reference, "rows": rows}


def store(folder: Path, facts: dict[str, Any]) -> None:
    """Writes benchmark.json beside the model, by which `--backend auto` then chooses on this machine."""
    write_json(folder / SPEEDS, facts | {"weights": weights_of(folder)})


def markdown(facts: dict[str, Any]) -> str:
    """The table as people paste it."""
    where = facts["machine"]
    lines = [
        f"{facts['pictures']} pictures, {facts['batch_size']} at once; {where['processor']}, {where['cores']} cores, "
        f"{where['system']}; framevit {facts['framevit']}; compared with {facts['reference']}",
        "",
        "| backend | precision | pictures/s | one picture p50 | p99 | start | memory | largest logit difference "
        "| other class | other decision |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['backend']} | {r['precision']} | {r['pictures_per_s']:.3g} | {r['p50_ms']:.1f} ms "
        f"| {r['p99_ms']:.1f} ms | {r['start_s']:.1f} s | {_memory(r)} | {r['max_logit_difference']:.2g} "
        f"| {r['changed_classes']} | {r['changed_decisions']} |"
        for r in facts["rows"]
    ]
    return "\n".join(lines)


def _memory(row: dict[str, Any]) -> str:
    return "-" if row["memory_mb"] is None else f"{row['memory_mb']:.0f} MB"


def _in_a_process(asked: dict[str, Any]) -> dict[str, Any]:
    """What `measure_here` finds in a fresh process; or the reason why it can't."""
    program = "import json, sys, frame_vit.export.benchmark as b; b.main(json.loads(sys.argv[1]))"
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(asked | {"started": start})], capture_output=True, text=True
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    except (ValueError, IndexError):
        return {"reason": f"ended with {done.returncode}: {done.stderr.strip()[-300:]}"}


def main(asked: dict[str, Any]) -> None:
    """The measuring process: one JSON object on stdout."""
    try:
        print(json.dumps(measure_here(**asked)))
    except FrameVitError as error:
        print(json.dumps({"reason": error.message}))


def measure_here(
    place: str,
    backend: str,
    precision: str,
    device: str,
    batch_size: int,
    seconds: float,
    folder: str,
    answers: str,
    started: float,
) -> dict[str, Any]:
    """Start (process to first row), pictures a second, one-picture latencies, memory; the answers go to a file."""
    options = PredictorOptions(backend, device, precision, batch_size=batch_size)
    predictor = load_predictor(place, options)
    inputs = [Input(str(path), path) for path in pictures_in(Path(folder))[0]]
    list(predictor.predict(inputs[:1]))
    start_s = time.time() - started
    latencies = []
    for turn in range(LATENCIES):
        begin = time.perf_counter()
        list(predictor.rows([(inputs[turn % len(inputs)], predictor.read(inputs[turn % len(inputs)]))]))
        latencies.append(time.perf_counter() - begin)
    rates: list[float] = []
    begin = time.perf_counter()
    while not rates or time.perf_counter() - begin < seconds:
        once = time.perf_counter()
        rows = sum(1 for _ in predictor.predict(inputs))
        rates.append(rows / (time.perf_counter() - once))
    _keep_answers(predictor, inputs, Path(answers))
    p50, p99 = np.quantile(latencies, (0.5, 0.99), method="higher") * 1000
    return {
        "device": predictor.device,
        "start_s": start_s,
        "pictures_per_s": float(np.median(rates)),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "memory_mb": _peak_mb(),
    }


def _keep_answers(predictor: Predictor, inputs: list[Input], path: Path) -> None:
    found = [predictor.read(given) for given in inputs]
    pixels = [picture.pixels for picture in found if not isinstance(picture, str)]
    answers = predictor.answer_all(PixelArray.of(np.stack(pixels)))
    judged = predictor.verdicts(answers.averaged, [{} for _ in pixels])
    np.savez(path, logits=answers.logits, judged=np.zeros(0) if judged is None else judged)


def _agreement(reference: Path, other: Path) -> dict[str, Any]:
    with np.load(reference) as one, np.load(other) as two:
        means = one["logits"].mean(axis=1).argmax(axis=1), two["logits"].mean(axis=1).argmax(axis=1)
        return {
            "max_logit_difference": float(np.abs(one["logits"] - two["logits"]).max()),
            "changed_classes": int((means[0] != means[1]).sum()),
            "changed_decisions": int((one["judged"] != two["judged"]).sum()),
        }


def _peak_mb() -> float | None:
    """The most memory that this process has had, in megabytes; None where the system does not say.

    Not `ru_maxrss`: on Linux a process inherits that of the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)


def benchmark_model(
    place: ModelPlace, request: DataRequest, count: int, device: str, batch_size: int, tick: Tick
) -> dict[str, Any]:
    """How fast a model is here, on at most `count` of the pictures that are asked for; without any, on drawn frames."""
    if request.source is None and place.run is None:
        log.warning("this model belongs to no run: drawn frames are predicted (--data names a data set)")
        request = replace(request, source="demo")
    metadata = load_predictor(place, count=1).metadata
    examples = select_split(metadata, place.run, tested_request(place.run, request), tick).split.examples
    pictures = [examples[row].read() for row in sample_rows(len(examples), count)]
    facts = benchmark(place.name, pictures, device, batch_size, tick)
    if (place.folder / METADATA_FILE).is_file():
        store(place.folder, facts)
    return facts
