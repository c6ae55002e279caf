"""Checkpoints of a training, each complete or absent whatever happens to the process or the machine.

    checkpoints/step-000100/   model.safetensors  optimizer.safetensors  trainer_state.json  state.json  manifest.json

A checkpoint is written under another name, flushed to the disk, and renamed. Its manifest holds the sha256 of every
other file and is written last. A checkpoint is used only if all its files match, and so do those of the best checkpoint
that it refers to. Tensors are safetensors and the rest is JSON: no pickle is ever loaded. This module knows files and
tensors by name, and reads only the number of the best step; `training` knows what the rest means.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from frame_vit.errors import FrameVitError
from frame_vit.system.files import flush, remove_folder, replacing_folder
from frame_vit.system.progress import log

CHECKPOINTS = "checkpoints"
"""The folder of a run that holds its checkpoints."""
MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder. Its name holds the step."""

    folder: Path

    @property
    def step(self) -> int:
        return int(self.folder.name.removeprefix("step-"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of NAME.safetensors, by name, on the CPU."""
        # Copied, because `load_file` maps the file, and a mapped file cannot be deleted on Windows.
        return {key: value.clone() for key, value in load_file(self.folder / f"{name}.safetensors").items()}

    def values(self, name: str) -> Any:
        """The content of NAME.json."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    @property
    def best_step(self) -> int | None:
        """The step whose weights were the best when this checkpoint was written; None where none was validated yet."""
        return self.values("state")["best_step"] or None


def step_folder(root: Path, step: int) -> Path:
    """The folder of a step's checkpoint under `root`."""
    return root / f"step-{step:06d}"


def write(
    root: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any], keep: set[int]
) -> Checkpoint:
    """Writes step-NNNNNN under `root`, then deletes every other one except the steps in `keep` and their best ones.

    `tensors` and `values` hold the content by file name, without suffix. Raises `FrameVitError` where the checkpoint
    cannot be written; the earlier ones are then untouched.
    """
    folder = step_folder(root, step)
    try:
        # An earlier folder of this name is one that was damaged, and skipped when the run was resumed.
        with replacing_folder(folder) as part:
            for name, content in tensors.items():
                save_file({key: value.contiguous() for key, value in content.items()}, part / f"{name}.safetensors")
            for name, value in values.items():
                (part / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
            manifest = {file.name: _flushed_digest(file) for file in sorted(part.iterdir())}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            flush(part / MANIFEST)
    except (OSError, SafetensorError) as error:
        raise FrameVitError(
            f"the checkpoint of step {step} could not be written: {error}",
            "What was saved before is whole. Make room, then resume the run with --resume",
        ) from None
    _rotate(root, keep | {step})
    return Checkpoint(folder)


def _rotate(root: Path, keep: set[int]) -> None:
    # A run cannot resume from a checkpoint whose best one is gone.
    needed = keep | {best for c in checkpoints_in(root) if c.step in keep and (best := _best_step(c)) is not None}
    for other in checkpoints_in(root):
        if other.step not in needed:
            try:
                remove_folder(other.folder)
            except OSError as error:
                log.warning("%s could not be deleted: %s", other.folder, error)


def _best_step(checkpoint: Checkpoint) -> int | None:
    try:
        return checkpoint.best_step
    except (OSError, ValueError, KeyError, TypeError):  # a damaged checkpoint
        return None


def checkpoints_in(root: Path) -> list[Checkpoint]:
    """All folders that are named like checkpoints, by step, complete or not."""
    folders = [path for path in root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted((Checkpoint(path) for path in folders), key=lambda checkpoint: checkpoint.step)


def newest(root: Path) -> Checkpoint | None:
    """The newest checkpoint that is complete, with its best one; None where none was written yet.

    Logs each one that it passes over, and removes what a killed process left half written. Raises `FrameVitError` where
    there are checkpoints and none is complete.
    """
    for unfinished in root.glob(".step-*") if root.is_dir() else []:
        shutil.rmtree(unfinished, ignore_errors=True)
    for checkpoint in reversed(checkpoints_in(root)):
        fault = verify(checkpoint.folder)
        if fault is None and (best := checkpoint.best_step) and best != checkpoint.step:
            fault = verify(step_folder(root, best))
            fault = fault and f"its best, step {best}: {fault}"
        if fault is None:
            return checkpoint
        log.warning("%s is skipped: %s", checkpoint.folder, fault)
    if checkpoints_in(root):
        reason = f"no checkpoint in {root} is whole together with the best one that it refers to"
        raise FrameVitError(reason, "Begin a new run; nothing was deleted here")
    return None


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None where every file of its manifest exists and has its sha256.

    Other files in the folder are ignored, since a file browser may have left them.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        missing = [name for name in manifest if not (folder / name).is_file()]
        if missing or not manifest:
            return f"not whole: {', '.join(missing or [MANIFEST])}"
        changed = [name for name, digest in manifest.items() if _digest(folder / name) != digest]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"no usable manifest ({error})"
    return f"changed since it was written: {', '.join(changed)}" if changed else None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _flushed_digest(file: Path) -> str:
    flush(file)
    return _digest(file)
