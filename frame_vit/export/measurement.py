"""One combination of backend, variant and precision, measured in a process of its own.

The process is a fresh Python, so that its start and its memory are those of this backend alone. It gets a
`MeasureRequest` as JSON, predicts encoded pictures as `predict` does, prints a `Measurement` as JSON, and leaves its
answers in a file, by which combinations are compared.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frame_vit.backends.backend import WEIGHTS
from frame_vit.backends.choose import ENDLESS
from frame_vit.errors import FrameVitError
from frame_vit.images.pixel_array import PixelArray
from frame_vit.prediction.inputs import Input, expand
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.prediction.predictor import Predictor

LATENCIES = 60
"""How many single pictures are timed. The p99 of so few is their largest."""
SECONDS = 4.0
"""How long the pictures are predicted over and over, at least."""
PROGRAM = "import sys; from frame_vit.export.measurement import main; main(sys.argv[1])"
"""What a measuring process runs."""


class Combination(NamedTuple):
    """A backend, the variant of the model that it reads, and the precision that it computes in."""

    backend: str
    variant: str
    precision: str


@dataclass(frozen=True)
class MeasureOptions:
    """How a model is measured: its place, device, batch size (None: each backend's own), and the least seconds."""

    place: str
    device: str = "auto"
    batch_size: int | None = None
    seconds: float = SECONDS


@dataclass(frozen=True)
class Measurement:
    """What a measuring process found: seconds from its start to its first row, speed, latencies, memory in MB."""

    device: str
    start_s: float
    pictures_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mb: float | None


class Disagreement(NamedTuple):
    """How the answers of one combination differ from those of the reference: a logit, and numbers of pictures.

    Decisions are those that follow from the answers alone, as in the proof of an export.
    """

    max_logit_difference: float
    changed_classes: int
    changed_decisions: int


@dataclass(frozen=True)
class MeasureRequest:
    """What a measuring process is to do: pictures from `folder`, answers to the file `answers`; when it was started."""

    combination: Combination
    options: MeasureOptions
    folder: str
    answers: str
    started: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> MeasureRequest:
        values = json.loads(text)
        combination, options = Combination(*values.pop("combination")), MeasureOptions(**values.pop("options"))
        return cls(combination, options, **values)


def measure_in_process(request: MeasureRequest) -> Measurement | str:
    """What `measure` finds in a fresh process, or the reason why it cannot."""
    command = [sys.executable, "-c", PROGRAM, request.to_json()]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        values = json.loads(done.stdout.splitlines()[-1])
        return str(values["reason"]) if "reason" in values else Measurement(**values)
    except (ValueError, IndexError):
        return f"ended with {done.returncode}: {done.stderr.strip()[-300:]}"


def main(text: str) -> None:
    """The measuring process: prints its `Measurement`, or the reason of a failure, as one line of JSON."""
    try:
        print(json.dumps(asdict(measure(MeasureRequest.from_json(text)))))
    except FrameVitError as error:
        print(json.dumps({"reason": error.message}))


def measure(request: MeasureRequest) -> Measurement:
    """Measures one combination in this process, and writes its answers to a file."""
    options, tried = request.options, request.combination
    chosen = PredictorOptions(tried.backend, options.device, tried.precision, batch_size=options.batch_size)
    predictor = load_predictor(options.place, chosen)
    inputs = expand([request.folder])
    list(predictor.predict(inputs[:1]))
    start_s = time.time() - request.started
    speed = _speed(predictor, inputs, options.seconds)
    _write_answers(predictor, inputs, Path(request.answers))
    memory_mb = _peak_mb()
    device = predictor.device
    if tried.variant != WEIGHTS:  # all cores share a picture only where pictures come one by one
        del predictor
        gc.collect()  # there is not always room for two
        predictor = load_predictor(options.place, chosen, ENDLESS)
    p50, p99 = np.quantile(_latencies(predictor, inputs), (0.5, 0.99), method="higher") * 1000
    return Measurement(device, start_s, speed, float(p50), float(p99), memory_mb)


def _latencies(predictor: Predictor, inputs: list[Input]) -> list[float]:
    """How long single pictures take, one after the other, in seconds."""
    latencies = []
    list(predictor.rows([(inputs[0], predictor.read(inputs[0]))]))
    for turn in range(LATENCIES):
        picture = inputs[turn % len(inputs)]
        start = time.perf_counter()
        list(predictor.rows([(picture, predictor.read(picture))]))
        latencies.append(time.perf_counter() - start)
    return latencies


def _speed(predictor: Predictor, inputs: list[Input], seconds: float) -> float:
    """Pictures per second: the median over passes through all inputs, for so many seconds at least."""
    speeds: list[float] = []
    begin = time.perf_counter()
    while not speeds or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        rows = sum(1 for _ in predictor.predict(inputs))
        speeds.append(rows / (time.perf_counter() - start))
    return float(np.median(speeds))


def _write_answers(predictor: Predictor, inputs: list[Input], path: Path) -> None:
    pictures = [predictor.read(each) for each in inputs]
    pixels = [picture.pixels for picture in pictures if not isinstance(picture, str)]
    answers = predictor.answer_all(PixelArray.of(np.stack(pixels)), all_views=True)
    decisions = predictor.verdicts_by_answers(predictor.as_asked(answers))
    np.savez(path, logits=answers.logits, decisions=np.zeros(0) if decisions is None else decisions)


def compare_answers(reference: Path, other: Path) -> Disagreement:
    """How the answers in two files differ: logits (N, views, classes) and decisions (N,)."""
    with np.load(reference) as first, np.load(other) as second:
        first_classes, second_classes = (answers["logits"].mean(axis=1).argmax(axis=1) for answers in (first, second))
        return Disagreement(
            float(np.abs(first["logits"] - second["logits"]).max()),
            int((first_classes != second_classes).sum()),
            int((first["decisions"] != second["decisions"]).sum()),
        )


def _peak_mb() -> float | None:
    """The most memory that this process has used, in MB; None where the system does not say.

    `ru_maxrss` does not serve: on Linux a process inherits it from the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)
