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
from typing import Any, NamedTuple

from frame_vit.backends import EXPORTED, Backend
from frame_vit.errors import FrameVitError, UsageError
from frame_vit.exported import PROOF, exported, machine, processor_flags, read_facts, speeds, told_of
from frame_vit.predictor import Predictor
from frame_vit.progress import log
from frame_vit.runs import find_model
from frame_vit.settings import SETTINGS, Settings, misses_embeddings, read_settings

MANY = 200
"""Without measurements: from so many pictures on, what answers faster is worth a longer start."""
ENDLESS = 0
"""A count: pictures that come one by one, for ever, so that only the time for one counts."""
CAN = {
    ("onnxruntime", "fp32"): ("fp32",),
    ("onnxruntime", "int8"): ("int8",),
    ("openvino", "fp32"): ("fp32", "bf16"),
    ("openvino", "int8"): ("int8",),
}
"""The precisions that an exported file of some numbers can be computed in."""


class Choice(NamedTuple):
    """A backend that could answer, the numbers of its file (weights: it has none; empty: not known), where, how."""

    backend: str
    numbers: str
    file: Path | None
    precision: str


class Wish(NamedTuple):
    """What is asked for: a model's place, and backend (weights: torch, if they are there), device and precision."""

    place: str
    backend: str
    device: str
    precision: str

    @property
    def folder(self) -> Path:
        """The model folder, also of a file in it."""
        return Path(self.place).parent if Path(self.place).is_file() else Path(self.place)


def load_predictor(
    place: str | None,
    count: int | None = None,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    tta: bool = True,
    batch_size: int | None = None,
) -> tuple[Predictor, Path | None]:
    """The predictor of a run, a model folder, an exported file, a hub name or (None) the latest run; and the run.

    `count` is how many pictures it will be asked about (None: many; ENDLESS); it decides where the backend is `auto`.
    """
    found, run = find_model(place)
    wish = Wish(found, backend, device, precision)
    choices = _possible(wish)
    if backend == "weights":
        choices = [c for c in choices if c.backend == "torch"] or _fastest_first(wish, choices, count)
    elif backend == "auto":
        choices = _fastest_first(wish, choices, count)
    else:
        choices = [choice for choice in choices if choice.backend == backend]
    if not choices:
        raise UsageError(*_why_not(wish))
    loaded = _first_that_works(wish, choices)
    log.info("model: %s (%s, %s, %s)", found, loaded.name, loaded.device, loaded.precision)
    _say_what_differs(loaded)
    return Predictor(loaded, tta, batch_size), run


def _say_what_differs(backend: Backend) -> None:
    point = backend.settings.point
    if misses_embeddings(backend.settings):
        log.warning("embeddings.npy is missing: pictures are not compared with those of the training by embedding")
    if point is None:
        return
    before = point.facts.get("backend", "torch"), point.facts.get("precision", backend.precision)
    if backend.precision == "int8" and before != (backend.name, backend.precision):
        way = f"framevit calibrate --backend {backend.name} --precision int8"
        log.warning("the thresholds were chosen on answers of %s in %s; `%s` chooses them for int8", *before, way)


def _possible(wish: Wish) -> list[Choice]:
    """All that could answer, as asked. Raises nothing: what is missing is found out by what is left."""
    path = Path(wish.place)
    weights = not path.is_file() and (not path.is_dir() or any(path.glob("*.safetensors*")))
    files = {told_of(path) or "": path} if path.is_file() else exported(path) if path.is_dir() else {}
    torch = weights and wish.precision != "int8" and _installed("torch")
    found = [Choice("torch", "weights", None, wish.precision)] if torch else []
    if wish.device not in ("auto", "cpu") or wish.precision == "fp16":
        return found
    for numbers, file in files.items():
        for name in EXPORTED:
            can = wish.precision == "auto" or not numbers or wish.precision in CAN[name, numbers]
            found += [Choice(name, numbers, file, wish.precision)] if can and _installed(name) else []
    return found


def _fastest_first(wish: Wish, choices: list[Choice], count: int | None) -> list[Choice]:
    """By what was measured here, and by a rule where nothing was."""
    facts = read_facts(wish.folder / PROOF)
    measured = [row for row in speeds(wish.folder) if wish.device in ("auto", row["device"].partition(":")[0])]
    order = _by_rule(facts, wish.device, count is None or count >= MANY)
    ranked: list[tuple[float, int, Choice]] = []
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
    if _has_card(device):
        return [torch, *int8, *openvino, runtime]
    return [*int8, *openvino, torch, runtime] if _half_precision() else [*int8, *openvino, runtime, torch]


def _first_that_works(wish: Wish, choices: list[Choice]) -> Backend:
    for choice, following in zip(choices, [*choices[1:], None], strict=True):
        try:
            return _opened(wish, choice)
        except (ImportError, OSError, FrameVitError) as error:
            if wish.backend != "auto" or following is None or isinstance(error, UsageError):
                raise
            log.warning("%s cannot be used (%s); going on with %s", choice.backend, error, following.backend)
    raise AssertionError("the last one is used or raises")


def _opened(wish: Wish, choice: Choice) -> Backend:
    if choice.file is not None:
        # What lies beside a file that is not told of there may be of another model.
        beside = _beside(wish.folder) if choice.numbers else None
        return EXPORTED[choice.backend](choice.file, beside, choice.precision)
    from frame_vit.saved import load_trained
    from frame_vit.torch_backend import Torch

    return Torch(load_trained(wish.place), wish.device, choice.precision)


def _beside(folder: Path) -> Settings | None:
    """The settings in a model folder, which may be newer than those in an exported file; None for others."""
    return read_settings(folder) if (folder / SETTINGS).is_file() else None


def _why_not(wish: Wish) -> tuple[str, str]:
    """What to say where nothing can answer as asked: message and way out."""
    place, backend, device, precision = wish
    is_file = Path(place).is_file()
    if backend in EXPORTED and not _installed(backend):
        return f"{backend} is not installed", f"pip install 'framevit[{_extra(backend)}]'"
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
