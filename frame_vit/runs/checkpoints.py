"""Checkpoints that are complete or absent: written aside, flushed to the disk, sealed by a manifest, then renamed.

    checkpoints/step-000100/   model.safetensors  optimizer.safetensors  trainer_state.json  state.json  manifest.json

The manifest has the sha256 of every other file and is written last. A checkpoint counts only if all of it verifies, and
so does the one that it remembers as the best. Tensors are safetensors and the rest is JSON: no pickle is ever loaded.
This module knows files and tensors by name; what they mean to the training is known to `training`.
"""

from __future__ import annotations

import hashlib
import json
import os
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
from frame_vit.system.progress import log

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds one; `step` by its name."""

    folder: Path

    @property
    def step(self) -> int:
        return int(self.folder.name.removeprefix("step-"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of NAME.safetensors, by name, on the CPU."""
        # Copied: what `load_file` gives is the mapped file, which could then not be deleted everywhere.
        return {key: value.clone() for key, value in load_file(self.folder / f"{name}.safetensors").items()}

    def values(self, name: str) -> Any:
        """The content of NAME.json."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    @property
    def best_step(self) -> int | None:
        """The step whose weights were the best when this was written."""
        return self.values("state")["best_step"] or None


def write(
    root: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any], keep: set[int]
) -> Checkpoint:
    """Writes step-NNNNNN under `root` and then deletes the others, but for the steps in `keep` and their best ones.

    `tensors` and `values` by file name, without suffix. Raises `FrameVitError` where it cannot be written; what was
    there before is then still there.
    """
    final = root / f"step-{step:06d}"
    aside = root / f".{final.name}.part"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, content in tensors.items():
            save_file({key: value.contiguous() for key, value in content.items()}, aside / f"{name}.safetensors")
        for name, value in values.items():
            (aside / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
        manifest = {file.name: _flushed_digest(file) for file in sorted(aside.iterdir())}
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        _flush(aside / MANIFEST)
        _flush(aside)
        if final.exists():  # one that was passed over when the run was taken up again
            _remove(final)
        aside.rename(final)
        _flush(root)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise FrameVitError(
            f"the checkpoint of step {step} could not be written: {error}",
            "What was saved before is whole. Make room, then go on with --resume",
        ) from None
    _rotate(root, keep | {step})
    return Checkpoint(final)


def _rotate(root: Path, keep: set[int]) -> None:
    # A checkpoint without the one that was the best when it was written can't be gone on from.
    needed = keep | {best for c in found(root) if c.step in keep and (best := _best_step(c)) is not None}
    for other in found(root):
        if other.step not in needed:
            try:
                _remove(other.folder)
            except OSError as error:
                log.warning("%s could not be deleted: %s", other.folder, error)


def _best_step(checkpoint: Checkpoint) -> int | None:
    try:
        return checkpoint.best_step
    except (OSError, ValueError, KeyError, TypeError):  # a damaged one
        return None


def found(root: Path) -> list[Checkpoint]:
    """All folders named as checkpoints, by step; whether they are whole is not looked at."""
    folders = [path for path in root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted((Checkpoint(path) for path in folders), key=lambda checkpoint: checkpoint.step)


def newest(root: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, its best one too; says which it passed over, clears what lies half done.

    None where none was written yet. Raises `FrameVitError` where there are some, and none is whole.
    """
    for left in root.glob(".step-*") if root.is_dir() else []:
        shutil.rmtree(left, ignore_errors=True)
    for checkpoint in reversed(found(root)):
        fault = verify(checkpoint.folder)
        if fault is None and (best := checkpoint.best_step) not in (None, checkpoint.step):
            fault = verify(root / f"step-{best:06d}")
            fault = fault and f"its best, step {best}: {fault}"
        if fault is None:
            return checkpoint
        log.warning("%s is passed over: %s", checkpoint.folder, fault)
    if found(root):
        reason = f"no checkpoint in {root} is whole, together with the best one that it remembers"
        raise FrameVitError(reason, "Begin a new run; nothing here was touched")
    return None


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None: every file of its manifest is there, with its sha256.

    Other files in it are not looked at, here or elsewhere: a file browser may have left them.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        missing = [name for name in manifest if not (folder / name).is_file()]
        if missing or not manifest:
            return f"not whole: {', '.join(missing or [MANIFEST])}"
        wrong = [name for name, digest in manifest.items() if _digest(folder / name) != digest]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"no usable manifest ({error})"
    return f"changed since it was written: {', '.join(wrong)}" if wrong else None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _flushed_digest(file: Path) -> str:
    _flush(file)
    return _digest(file)


def _flush(path: Path) -> None:
    """Asks for the bytes (of a folder: its names) to be on the disk. Windows cannot do that for folders."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    # Renamed first: a deletion that is interrupted must not leave a part of a checkpoint under its name.
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
