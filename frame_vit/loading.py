"""A model by name -> a predictor: which backend answers, and why. The fastest that is there, where nothing is asked.

With an exported file torch is not imported. What is fastest depends on how many pictures there are: importing torch
and transformers takes seconds, which a thousand pictures win back and one does not. `framevit benchmark` measures; what
it found on this machine is used, and without it a rule.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from frame_vit.backends import EXPORTED, Backend
from frame_vit.errors import FrameVitError, UsageError
from frame_vit.exported import PROOF, exported, machine, processor_flags, read_facts, speeds
from frame_vit.predictor import Predictor
from frame_vit.progress import log
from frame_vit.runs import find_model
from frame_vit.settings import SETTINGS, Settings, read_settings

MANY = 200
"""Without measurements: from so many pictures on, what answers faster is worth a longer start."""


CAN = {
    ("onnxruntime", "fp32"): ("fp32",),
    ("onnxruntime", "int8"): ("int8",),
    ("openvino", "fp32"): ("fp32", "bf16"),
    ("openvino", "int8"): ("int8",),
}
"""The precisions that an exported file of some numbers can be computed in."""


class Choice(NamedTuple):
    """A backend that could answer: its name, the numbers it computes in (auto: the fastest it has), its file."""

    backend: str
    numbers: str
    file: Path | None


def load_predictor(
    place: str | None,
    count: int | None = None,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    tta: bool = True,
    batch_size: int = 32,
) -> tuple[Predictor, Path | None]:
    """The predictor of a run, a model folder, an exported file, a hub name or (None) the latest run; and the run.

    `count` is how many pictures it will be asked about (None: many); it decides where the backend is `auto`.
    """
    found, run = find_model(place)
    choices = _possible(found, device, precision)
    if backend != "auto":
        choices = [choice for choice in choices if choice.backend == backend]
        if not choices:
            raise UsageError(*_why_not(found, backend, device, precision))
    else:
        choices = _fastest_first(found, choices, device, precision, count)
    loaded = _first_that_works(found, choices, device, precision, backend == "auto")
    log.info("model: %s (%s, %s, %s)", found, loaded.name, loaded.device, loaded.precision)
    _say_if_chosen_otherwise(loaded)
    return Predictor(loaded, tta, batch_size), run


def _say_if_chosen_otherwise(backend: Backend) -> None:
    point = backend.settings.point
    if point is None:
        return
    before = point.facts.get("backend", "torch"), point.facts.get("precision", backend.precision)
    if before != (backend.name, backend.precision):
        log.info("the thresholds were chosen on answers of %s in %s; these differ a little", *before)


def folder_settings(place: str) -> Settings | None:
    """The settings beside the weights, which may be newer than those in an exported file; None for others."""
    folder = Path(place)
    return read_settings(folder) if (folder / SETTINGS).is_file() else None


def _possible(place: str, device: str, precision: str) -> list[Choice]:
    """All that could answer, as asked. Raises nothing: what is missing is found out by what is left."""
    path = Path(place)
    weights = not path.is_file() and (not path.is_dir() or any(path.glob("*.safetensors*")))
    files = {"": path} if path.is_file() else exported(path) if path.is_dir() else {}
    found = [Choice("torch", precision, None)] if weights and precision != "int8" and _installed("torch") else []
    if device not in ("auto", "cpu") or precision == "fp16":
        return found
    for numbers, file in files.items():
        for name in EXPORTED:
            can = precision == "auto" or not numbers or precision in CAN[name, numbers]
            found += [Choice(name, numbers, file)] if can and _installed(name) else []
    return found


def _fastest_first(place: str, choices: list[Choice], device: str, precision: str, count: int | None) -> list[Choice]:
    """By what was measured here, and by a rule where nothing was."""
    folder = Path(place)
    measured = speeds(folder) if folder.is_dir() else []
    order = _by_rule(folder, device, count is None or count >= MANY)

    def rank(choice: Choice) -> tuple[float, int]:
        what = (choice.backend, "weights" if choice.file is None else choice.numbers or "fp32")
        rows = [row for row in measured if (row["backend"], row["numbers"]) == what]
        rows = [row for row in rows if precision in ("auto", row["precision"])]
        seconds = min((row["start_s"] + (count or 10_000) / row["pictures_per_s"] for row in rows), default=math.inf)
        return seconds, order.index(what) if what in order else len(order)

    return sorted(choices, key=rank)


def _by_rule(folder: Path, device: str, many: bool) -> list[tuple[str, str]]:
    """Backends and numbers, what is fastest as a rule first. int8 only where it was found not to be slower."""
    torch, openvino, runtime = ("torch", "weights"), ("openvino", "fp32"), ("onnxruntime", "fp32")
    tried_here = read_facts(folder / PROOF).get("machine") == machine()
    int8 = [("onnxruntime", "int8")] if tried_here else []
    if not many:
        return [*int8, runtime, openvino, torch]
    if _has_card(device):
        return [torch, *int8, openvino, runtime]
    return [*int8, openvino, torch, runtime] if _half_precision() else [*int8, openvino, runtime, torch]


def _first_that_works(place: str, choices: list[Choice], device: str, precision: str, or_the_next: bool) -> Backend:
    if not choices:
        raise UsageError(*_why_not(place, "auto", device, precision))
    for choice, following in zip(choices, [*choices[1:], None], strict=True):
        try:
            return _opened(place, choice, device, precision)
        except (ImportError, OSError, FrameVitError) as error:
            if not or_the_next or following is None or isinstance(error, UsageError):
                raise
            log.warning("%s cannot be used (%s); going on with %s", choice.backend, error, following.backend)
    raise AssertionError("the last one is used or raises")


def _opened(place: str, choice: Choice, device: str, precision: str) -> Backend:
    if choice.file is not None:
        settings = folder_settings(place) if Path(place).is_dir() else None
        return EXPORTED[choice.backend](choice.file, settings, precision)
    from frame_vit.saved import load_trained
    from frame_vit.torch_backend import Torch

    return Torch(load_trained(place), device, precision)


def _why_not(place: str, backend: str, device: str, precision: str) -> tuple[str, str]:
    """What to say where nothing can answer as asked: message and way out."""
    is_file = Path(place).is_file()
    if backend in EXPORTED and not _installed(backend):
        return f"{backend} is not installed", f"pip install 'framevit[{_extra(backend)}]'"
    if backend == "torch" and is_file:
        return f"{place} is an exported file, and torch needs the weights", "Name the model folder with --model"
    if device not in ("auto", "cpu") and backend in EXPORTED:
        return f"{backend} runs on the CPU here, not on {device}", "Leave out --device, or use --backend torch"
    if precision == "fp16" and (is_file or backend in EXPORTED):
        return "precision fp16 needs torch on a CUDA card", "Use --precision auto"
    if precision == "int8" and not is_file:
        return f"{place}: there is no int8 model that may be used", "framevit export --int8 makes one"
    if backend in EXPORTED:
        what = f"{place}: there is no exported file that {backend} could use"
        return what + ("" if precision == "auto" else f" in {precision}"), "framevit export makes one"
    if is_file:
        return f"nothing that could run {place} is installed", "pip install 'framevit[export]' brings ONNX Runtime"
    return f"{place}: no backend can answer here", "Needed are weights and torch, or an exported file and ONNX Runtime"


def _extra(backend: str) -> str:
    return "export" if backend == "onnxruntime" else backend


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _has_card(device: str) -> bool:
    """Whether there seems to be a CUDA card, without importing torch to ask it."""
    return device.startswith("cuda") or (device == "auto" and shutil.which("nvidia-smi") is not None and _cards_shown())


def _cards_shown() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")


def _half_precision() -> bool:
    return bool(processor_flags() & {"avx512_bf16", "amx_bf16"})
