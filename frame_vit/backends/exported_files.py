"""Exported files beside a model's weights: which are there, whether they are still those of the weights, how fast.

    model.onnx, model-int8.onnx   the model, with its settings embedded
    export.json                   the proof: what was compared with torch, and a sample of the weights it was made from
    benchmark.json                how fast each backend was on which machine

No torch here: what is decided here decides whether torch must be imported.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from frame_vit.system.files import read_facts
from frame_vit.system.machine import machine
from frame_vit.system.progress import log

FILES = {"fp32": "model.onnx", "int8": "model-int8.onnx"}
PROOF, SPEEDS = "export.json", "benchmark.json"
SAMPLED = 256
"""Bytes at the beginning, in the middle and at the end of every tensor that its sample is made of."""


def exported(folder: Path) -> dict[str, Path]:
    """The exported files of a model folder that may be used, by their numbers: fp32, int8.

    One that was made from other weights, or was not proven, is passed over with a warning.
    """
    usable = {}
    for numbers, path in ((numbers, folder / name) for numbers, name in FILES.items()):
        why_not = _why_not(path) if path.is_file() else None
        if why_not:
            log.warning("%s %s, so it is not used: export the model again", path, why_not)
        elif why_not is not None:
            usable[numbers] = path
    return usable


def told_of(path: Path) -> str | None:
    """The numbers of an exported file that is named by itself; None where what lies beside it is not of it."""
    why_not = _why_not(path)
    if why_not and weights_sample(path.parent) is not None:
        log.warning("%s %s", path, why_not)
    return None if why_not else next((numbers for numbers, name in FILES.items() if name == path.name), None)


def _why_not(path: Path) -> str:
    """Why an exported file is not the one of the folder that it lies in; empty where it is."""
    of = read_facts(path.parent / PROOF).get("files", {}).get(path.name)
    if of is None or of.get("bytes") != path.stat().st_size:
        return f"is not the file that {PROOF} tells of"
    sample = weights_sample(path.parent)
    stale = sample is not None and of.get("weights") != sample
    return "was made from other weights than those beside it" if stale else ""


def weights_sample(folder: Path) -> str | None:
    """sha256 over names, shapes and some bytes of all tensors; None where there are no weights.

    Training changes every tensor that it touches all over, and reading all of it would take seconds.
    """
    files = sorted(folder.glob("*.safetensors"))
    try:
        samples = [_sample(path, *_state(path)) for path in files]
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # damaged weights are those of no file
    return hashlib.sha256("".join(samples).encode()).hexdigest() if files else None


def _state(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


@functools.cache
def _sample(path: Path, length: int, _changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > length:
            raise ValueError("shorter than it says")
        header = file.read(size)
        digest.update(header)
        tensors = [value for key, value in json.loads(header).items() if key != "__metadata__"]
        for start, end in sorted(tensor["data_offsets"] for tensor in tensors):
            for at in sorted({start, max(start, (start + end - SAMPLED) // 2), max(start, end - SAMPLED)}):
                file.seek(8 + size + at)
                digest.update(file.read(min(SAMPLED, end - at)))
    return digest.hexdigest()


def weights_of(folder: Path) -> str | None:
    """The sample of a model folder's weights; where only an exported file is there, of those that it was made from."""
    sample = weights_sample(folder)
    if sample is not None:
        return sample
    files = read_facts(folder / PROOF).get("files", {})
    return next((of.get("weights") for of in files.values()), None)


def speeds(folder: Path) -> list[dict[str, Any]]:
    """What `framevit benchmark` measured of this model on this machine; empty where it did not."""
    facts = read_facts(folder / SPEEDS)
    if facts.get("machine") != machine() or facts.get("weights") != weights_of(folder):
        return []
    rows: list[dict[str, Any]] = facts.get("rows", [])
    return rows
