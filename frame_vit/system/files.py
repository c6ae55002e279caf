"""Run folders: numbered anew for each run, found again by name, by path, or as the latest. Standard library only.
---
Pictures decoded and resized once, for every later run: uint8 arrays on disk, memory-mapped. Never imports torch.

A raw split at given pixel settings has a folder of its own, in it one folder for each state of its files:

    pixels/<source, split, pixel settings, decoding code>/<stamps of all rows>/pixels.u8, rows.json

It is built beside and renamed, so it is whole or absent, by one process at a time; every row has a checksum that is
looked at before use. Rows whose stamp has not changed are taken over from the state before. What lies here can be
deleted at any time.

---
Exported files beside a model's weights: which are there, whether they are still those of the weights, how fast.

    model.onnx, model-int8.onnx   the model, with its settings embedded
    export.json                   the proof: what was compared with torch, and a sample of the weights it was made from
    benchmark.json                how fast each backend was on which machine

No torch here: what is decided here decides whether torch must be imported.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from frame_vit.errors import UsageError


def write_json(path: Path, value: Any) -> None:
    """Readable JSON, complete or absent."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A text file, complete or absent, also after a power cut."""
    aside = path.with_name(path.name + ".part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def check_room(folder: Path, needed: int, what: str, hint: str) -> None:
    """Raises `UsageError` where the disk under `folder` has no room for `needed` bytes and a tenth more."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed * 1.1:
        raise UsageError(f"{what} would take {size(needed)} in {folder}, but only {size(free)} are free", hint)


def read_facts(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
