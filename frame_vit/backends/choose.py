"""A model by name -> a predictor: which backend answers, and why. The fastest that is there, where nothing is asked.

With an exported file torch is not imported. What is fastest depends on how many pictures there are: importing torch
and transformers takes seconds, which a thousand pictures win back and one does not. `framevit benchmark` measures; what
it found on this machine is used, and without it a rule.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from frame_vit.backends.availability import CAN, cpu_has_bf16, extra_of, has_cuda_card, is_installed
from frame_vit.backends.backend import Backend
from frame_vit.backends.exported_files import PROOF, exported, speeds, told_of
from frame_vit.backends.onnx_backends import EXPORTED
from frame_vit.errors import FrameVitError, UsageError
from frame_vit.model.metadata import METADATA_FILE, ModelMetadata, read_metadata
from frame_vit.system.files import read_facts
from frame_vit.system.machine import machine
from frame_vit.system.progress import log

MANY = 200
"""Without measurements: from so many pictures on, what answers faster is worth a longer start."""
ENDLESS = 0
"""A count: pictures that come one by one, for ever, so that only the time for one counts."""


class BackendChoice(NamedTuple):
    """A backend that could answer, the numbers of its file (weights: it has none; empty: not known), where, how."""

    backend: str
    numbers: str
    file: Path | None
    precision: str


class BackendRequest(NamedTuple):
    """What is asked for: a model's place, and backend (weights: torch, if they are there), device and precision."""

    place: str
    backend: str
    device: str
    precision: str

    @property
    def folder(self) -> Path:
        """The model folder, also of a file in it."""
        return Path(self.place).parent if Path(self.place).is_file() else Path(self.place)


def possible_backends(wish: BackendRequest) -> list[BackendChoice]:
    """All that could answer, as asked. Raises nothing: what is missing is found out by what is left."""
    path = Path(wish.place)
    weights = not path.is_file() and (not path.is_dir() or any(path.glob("*.safetensors*")))
    files = {told_of(path) or "": path} if path.is_file() else exported(path) if path.is_dir() else {}
    torch = weights and wish.precision != "int8" and is_installed("torch")
    found = [BackendChoice("torch", "weights", None, wish.precision)] if torch else []
    if wish.device not in ("auto", "cpu") or wish.precision == "fp16":
        return found
    for numbers, file in files.items():
        for name in EXPORTED:
            can = wish.precision == "auto" or not numbers or wish.precision in CAN[name, numbers]
            found += [BackendChoice(name, numbers, file, wish.precision)] if can and is_installed(name) else []
    return found


def fastest_first(wish: BackendRequest, choices: list[BackendChoice], count: int | None) -> list[BackendChoice]:
    """By what was measured here, and by a rule where nothing was."""
    facts = read_facts(wish.folder / PROOF)
    measured = [row for row in speeds(wish.folder) if wish.device in ("auto", row["device"].partition(":")[0])]
    order = _by_rule(facts, wish.device, count is None or count >= MANY)
    ranked: list[tuple[float, int, BackendChoice]] = []
    for choice in choices:
        what = (choice.backend, choice.numbers or "fp32")
        rows = [row for row in measured if (row["backend"], row["numbers"]) == what]
        rows = [row for row in rows if wish.precision in ("auto", row["precision"]) and row["agrees"]]
        best = min(rows, key=lambda row: _seconds(row, count), default=None)
        place = order.index(what) if what in order else len(order)
        if best is None:
            ranked.append((math.inf, place, choice))
        else:
            ranked.append((_seconds(best, count), place, choice._replace(precision=best["precision"])))
    return [choice for _, _, choice in sorted(ranked, key=lambda of: of[:2])]


def _seconds(row: dict[str, Any], count: int | None) -> float:
    """How long pictures take by a row of the benchmark, with the start."""
    if count == ENDLESS:
        return float(row["p50_ms"]) / 1000
    return float(row["start_s"] + (10_000 if count is None else count) / row["pictures_per_s"])


def _by_rule(facts: dict[str, Any], device: str, many: bool) -> list[tuple[str, str]]:
    """Backends and numbers, what is fastest as a rule first.

    int8 only where it was found not to be slower, and OpenVINO only where it was found to agree (or was not tried).
    """
    files = facts.get("files", {})
    torch, runtime = ("torch", "weights"), ("onnxruntime", "fp32")
    tried_here = files.get("model-int8.onnx", {}).get("machine") == machine()
    int8 = [("onnxruntime", "int8")] if tried_here else []
    agrees = files.get("model.onnx", {}).get("openvino", {}).get("agrees", True)
    openvino = [("openvino", "fp32")] if agrees else []
    if not many:
        return [*int8, runtime, *openvino, torch]
    if has_cuda_card(device):
        return [torch, *int8, *openvino, runtime]
    return [*int8, *openvino, torch, runtime] if cpu_has_bf16() else [*int8, *openvino, runtime, torch]


def open_first_working(wish: BackendRequest, choices: list[BackendChoice]) -> Backend:
    for choice, following in zip(choices, [*choices[1:], None], strict=True):
        try:
            return _opened(wish, choice)
        except (ImportError, OSError, FrameVitError) as error:
            if wish.backend != "auto" or following is None or isinstance(error, UsageError):
                raise
            log.warning("%s cannot be used (%s); going on with %s", choice.backend, error, following.backend)
    raise AssertionError("the last one is used or raises")


def _opened(wish: BackendRequest, choice: BackendChoice) -> Backend:
    if choice.file is not None:
        # What lies beside a file that is not told of there may be of another model.
        beside = _beside(wish.folder) if choice.numbers else None
        return EXPORTED[choice.backend](choice.file, beside, choice.precision)
    from frame_vit.backends.torch_backend import Torch
    from frame_vit.model.saving import load_trained

    return Torch(load_trained(wish.place), wish.device, choice.precision)


def _beside(folder: Path) -> ModelMetadata | None:
    """The settings in a model folder, which may be newer than those in an exported file; None for others."""
    return read_metadata(folder) if (folder / METADATA_FILE).is_file() else None


def why_not(wish: BackendRequest) -> tuple[str, str]:
    """What to say where nothing can answer as asked: message and way out."""
    place, backend, device, precision = wish
    is_file = Path(place).is_file()
    if backend in EXPORTED and not is_installed(backend):
        return f"{backend} is not installed", f"pip install 'framevit[{extra_of(backend)}]'"
    if backend == "torch" and is_file:
        return f"{place} is an exported file, and torch needs the weights", "Name the model folder with --model"
    if device not in ("auto", "cpu") and (is_file or backend in EXPORTED):
        return f"an exported file is run on the CPU here, not on {device}", "Leave out --device, or use the weights"
    if precision == "fp16" and (is_file or backend in EXPORTED):
        return "precision fp16 needs torch on a CUDA card", "Use --precision auto"
    if precision == "int8" and backend == "torch":
        return "torch does not compute in int8 here", "Use --backend onnxruntime or openvino"
    if (backend, precision) == ("onnxruntime", "bf16"):
        return "ONNX Runtime does not compute in bf16 here", "Use --backend openvino or torch, or --precision fp32"
    if backend == "torch" and Path(place).is_dir():
        return f"{place} holds no weights (*.safetensors), and torch needs them", "Name the model folder of the run"
    if precision == "int8" and not is_file:
        return f"{place}: there is no int8 model that may be used", "framevit export --int8 makes one"
    if is_file and precision != "auto":
        return f"precision {precision}: {place} does not answer in it", "Use --precision auto"
    if backend in EXPORTED:
        what = f"{place}: there is no exported file that {backend} could use"
        return what + ("" if precision == "auto" else f" in {precision}"), "framevit export makes one"
    if is_file:
        return f"nothing that could run {place} is installed", "pip install 'framevit[export]' brings ONNX Runtime"
    return f"{place}: no backend can answer here", "Needed are weights and torch, or an exported file and ONNX Runtime"
