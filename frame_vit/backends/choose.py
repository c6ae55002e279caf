"""Which backend answers for a model, and with which of its files. Without a request, the one that is done first.

What is done first depends on the number of pictures: importing torch and transformers takes seconds, which a thousand
pictures win back and one does not. The measurements of `framevit benchmark` on this machine decide or, where there are
none, a rule. Nothing heavy is imported before a backend is opened.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import NamedTuple

from frame_vit.backends.availability import BACKENDS, backend_named, cpu_has_bf16, has_cuda_card
from frame_vit.backends.backend import FP32, INT8, WEIGHTS, Backend, BackendInfo, ModelSource
from frame_vit.backends.benchmark_record import BenchmarkRow, read_benchmark
from frame_vit.backends.export_record import FileRecord, read_export
from frame_vit.backends.exported_files import FILES, check_whole, usable_files, variant_of
from frame_vit.backends.onnxruntime_backend import ONNXRUNTIME
from frame_vit.errors import DamagedModelError, FrameVitError, UsageError
from frame_vit.model.metadata import METADATA_FILE, ModelMetadata, read_metadata
from frame_vit.system.machine import machine
from frame_vit.system.progress import log

MANY = 200
"""Without measurements: from so many pictures on, a higher speed is worth a longer start."""
MANY_MEASURED = 10_000
"""With measurements: how many pictures are counted with where the number is not known."""
ENDLESS = 0
"""A count: pictures that arrive one by one without an end, so that only the time for one of them matters."""
PICKLED = "pytorch_model.bin"
"""The weights of models from before safetensors. They are a pickle, which is a program; it is never loaded."""
UNKNOWN = ""
"""The variant of an exported file that was named by itself and that no export.json describes."""


class BackendRequest(NamedTuple):
    """The model's place, and which backend, device and precision were requested; `weights` prefers torch.

    `one_by_one` is that of `ModelSource`.
    """

    place: str
    backend: str
    device: str
    precision: str
    one_by_one: bool = True

    @property
    def folder(self) -> Path:
        """The model folder, also of an exported file in it."""
        return Path(self.place).parent if Path(self.place).is_file() else Path(self.place)


class BackendChoice(NamedTuple):
    """A backend that could answer: with which variant of the model, from which exported file, in which precision."""

    backend: str
    variant: str
    file: Path | None
    precision: str


def ordered_choices(request: BackendRequest, count: int | None) -> list[BackendChoice]:
    """The backends to try, the best first, for so many pictures (None: many). Raises `UsageError` if there is none."""
    choices = possible_backends(request)
    if request.backend == WEIGHTS:
        choices = [choice for choice in choices if choice.variant == WEIGHTS] or fastest_first(request, choices, count)
    elif request.backend == "auto":
        choices = fastest_first(request, choices, count)
    else:
        choices = [choice for choice in choices if choice.backend == request.backend]
    if not choices:
        raise UsageError(*explain_refusal(request))
    return choices


def possible_backends(request: BackendRequest) -> list[BackendChoice]:
    """All installed backends that could answer on the requested device in the requested precision."""
    choices = []
    for variant, file in _variants(Path(request.place)).items():
        for info in BACKENDS:
            reads = info.reads_files if variant == UNKNOWN else variant in info.precisions
            computes = info.computes(request.precision, None if variant == UNKNOWN else variant)
            if reads and computes and info.runs_on(request.device) and info.installed:
                choices.append(BackendChoice(info.name, variant, file, request.precision))
    return choices


def _variants(place: Path) -> dict[str, Path | None]:
    """The variants of a model: its weights (also those on the hub), and its exported files."""
    if place.is_file():
        return {variant_of(place) or UNKNOWN: place}
    if not place.is_dir():
        return {WEIGHTS: None}
    weights: dict[str, Path | None] = {WEIGHTS: None} if any(place.glob("*.safetensors*")) else {}
    return weights | usable_files(place)


def fastest_first(request: BackendRequest, choices: list[BackendChoice], count: int | None) -> list[BackendChoice]:
    """The choices by the measurements on this machine, the fastest first; those without one follow, by a rule."""
    rows = [
        row
        for row in read_benchmark(request.folder)
        if row.agrees
        and request.device in ("auto", row.device.partition(":")[0])
        and request.precision in ("auto", row.precision)
    ]
    rule = _order_by_rule(request, count is None or count >= MANY)
    ranked: list[tuple[float, int, BackendChoice]] = []
    for choice in choices:
        key = (choice.backend, choice.variant or FP32)
        rank = rule.index(key) if key in rule else len(rule)
        measured = [row for row in rows if (row.backend, row.variant) == key]
        best = min(measured, key=lambda row: _seconds(row, count), default=None)
        if best is None:
            ranked.append((math.inf, rank, choice))
        else:
            ranked.append((_seconds(best, count), rank, choice._replace(precision=best.precision)))
    return [choice for _, _, choice in sorted(ranked, key=lambda entry: entry[:2])]


def _seconds(row: BenchmarkRow, count: int | None) -> float:
    """How long the pictures take by a row of the benchmark."""
    if count == ENDLESS:
        return row.p50_ms / 1000
    return row.seconds(MANY_MEASURED if count is None else count)


def _order_by_rule(request: BackendRequest, many: bool) -> list[tuple[str, str]]:
    """Backends and variants where nothing was measured, the one that is usually fastest first.

    Few pictures go to what starts soonest; many go to a CUDA card, else to what computes in native bf16, else to the
    fastest on a CPU. int8 comes in only where this machine's export found it not to be slower, and a backend whose
    answers the export found to differ is left out.
    """
    records = read_export(request.folder)
    card, bf16 = has_cuda_card(request.device), cpu_has_bf16()

    def rank(info: BackendInfo) -> tuple[bool, bool, int]:
        if not many:
            return False, False, info.start_rank
        off_card = card and "cuda" not in info.devices
        without_bf16 = bf16 and not info.computes("bf16")
        return off_card, without_bf16, info.cpu_rank

    order: list[tuple[str, str]] = []
    for info in sorted(BACKENDS, key=rank):
        variant = WEIGHTS if info.reads_weights else FP32
        if _proven(info, records):
            order.append((info.name, variant))
    int8 = records.get(FILES[INT8])
    if int8 is not None and int8.machine == machine():
        on_card = [info.name for info in BACKENDS if many and card and "cuda" in info.devices]
        order.insert(len(on_card), (ONNXRUNTIME.name, INT8))  # int8 is timed with ONNX Runtime
    return order


def _proven(info: BackendInfo, records: dict[str, FileRecord]) -> bool:
    """False if the export found that this backend's answers differ; one that was not tried counts as proven."""
    record = records.get(FILES[FP32])
    agreement = record.agreements.get(info.name) if record else None
    return agreement is None or agreement.agrees


def open_first_working(request: BackendRequest, choices: list[BackendChoice]) -> Backend:
    """Opens the first choice or, for `--backend auto`, the next one where a runtime or file fails, with a warning.

    Raises `ModelError` where none is left; a damaged file is tried once, not by every backend.
    """
    metadata, remaining = _metadata_beside(request, choices), [*choices]
    while True:
        choice = remaining.pop(0)
        try:
            return _open(request, choice, metadata)
        except (ImportError, OSError, FrameVitError) as error:
            if isinstance(error, DamagedModelError):
                remaining = [other for other in remaining if other.file != choice.file]
            if request.backend != "auto" or not remaining or isinstance(error, UsageError):
                raise
            log.warning("%s cannot be used (%s); using %s instead", choice.backend, error, remaining[0].backend)


def _metadata_beside(request: BackendRequest, choices: list[BackendChoice]) -> ModelMetadata | None:
    """The framevit.json beside an exported file. Where it is damaged, no backend can answer, so it is read once.

    Beside a file that export.json does not describe, it may belong to another model, and is not read.
    """
    described = any(choice.file is not None and choice.variant != UNKNOWN for choice in choices)
    return read_metadata(request.folder) if described and (request.folder / METADATA_FILE).is_file() else None


def _open(request: BackendRequest, choice: BackendChoice, beside: ModelMetadata | None) -> Backend:
    info = backend_named(choice.backend)
    assert info is not None
    metadata = None if choice.file is None or choice.variant == UNKNOWN else beside
    if choice.file is not None:
        check_whole(choice.file)
    device, precision = request.device, choice.precision
    return info.open(ModelSource(request.place, choice.file, metadata, device, precision, request.one_by_one))


def explain_refusal(request: BackendRequest) -> tuple[str, str]:
    """Why no backend can answer as requested: the message, and what to do."""
    place, precision, is_file = request.place, request.precision, Path(request.place).is_file()
    info = backend_named(request.backend)
    if info is not None and not info.installed:
        return f"{info.name} is not installed", info.install_command
    if info is not None and not info.reads_files and is_file:
        return f"{place} is an exported file, and {info.title} needs the weights", "Name the model folder with --model"
    if wrong_device := _device_refusal(request, info):
        return wrong_device
    if wrong_precision := _precision_refusal(request, info):
        return wrong_precision
    if (info is None or info.reads_weights) and (Path(place) / PICKLED).is_file():
        return f"{place} holds only pickled weights ({PICKLED}), which can run code when they are loaded", _converting(
            place
        )
    if info is not None and info.reads_weights and Path(place).is_dir():
        return f"{place} holds no weights (*.safetensors), which {info.title} needs", "Name the model folder of the run"
    if precision == INT8 and not is_file:
        return f"{place} has no int8 model that may be used", "framevit export --int8 makes one"
    if is_file and precision != "auto":
        return f"{place} cannot be computed in {precision}", "Use --precision auto"
    if info is not None and info.reads_files:
        suffix = "" if precision == "auto" else f" in {precision}"
        return f"{place} has no exported file that {info.title} could use{suffix}", "framevit export makes one"
    if is_file:
        return f"nothing that could run {place} is installed", f"{ONNXRUNTIME.install_command} brings ONNX Runtime"
    return f"{place}: no backend can answer here", "It takes weights and torch, or an exported file and ONNX Runtime"


def _device_refusal(request: BackendRequest, info: BackendInfo | None) -> tuple[str, str] | None:
    device = request.device
    kinds = tuple(dict.fromkeys(kind for each in BACKENDS for kind in each.devices))
    if device != "auto" and device.partition(":")[0] not in kinds:
        return f"unknown device {device!r}", f"Use auto, {', '.join(kinds)}, or cuda:N for one of several cards"
    candidates = [info] if info else [each for each in BACKENDS if each.reads_files]
    if (info or Path(request.place).is_file()) and not any(each.runs_on(device) for each in candidates):
        return f"an exported file is computed on the CPU, not on {device}", "Leave out --device, or use the weights"
    return None


def _precision_refusal(request: BackendRequest, info: BackendInfo | None) -> tuple[str, str] | None:
    precision = request.precision
    others = [each.name for each in BACKENDS if each.computes(precision)]
    if info is not None and not info.computes(precision):
        return (
            f"{info.title} does not compute in {precision}",
            f"Use --backend {' or '.join(others)}, or --precision auto",
        )
    if Path(request.place).is_file() and not any(each.reads_files and each.computes(precision) for each in BACKENDS):
        needed = " or ".join(others)
        return f"precision {precision} needs {needed} and the weights, not an exported file", "Use --precision auto"
    return None


def _converting(place: str) -> str:
    """The command that makes safetensors of pickled weights."""
    convert = f"AutoModelForImageClassification.from_pretrained({place!r}).save_pretrained({place!r})"
    return f"If you trust them: python -c {shlex.quote(f'from transformers import *; {convert}')}"
