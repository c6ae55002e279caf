"""Writing files so that a crash, a power cut or a full disk leaves the old file or the new one, never half of one.

A file is written under a name beside its own, flushed to the disk and renamed (`replacing`); a folder is built the same
way (`replacing_folder`). One lock (`locked`) keeps two processes apart, and one handler (`full_disk_explained`) turns a
full disk into a message with a way out. Whoever writes a whole file in this package uses these, so the promise has one
place. There are two exceptions: transformers writes the weights of a model folder, and framevit.json, which makes the
folder count, follows last; `prediction.shares` renames a joined file, which is complete and flushed, as its last step.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from frame_vit.errors import FrameVitError, UsageError
from frame_vit.system.progress import log

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a full quota, a file larger than the file system takes."""


@contextmanager
def replacing(path: Path, large: bool = False) -> Iterator[Path]:
    """A path to write a new file to. When the block ends without an error, the file is flushed and becomes `path`.

    After an error the new file is removed and an earlier `path` is untouched. The temporary name holds the process id,
    so two processes that write the same path do not write into each other's file; the later one wins. Before a `large`
    file is written, what killed processes left of it is removed; for small ones the look is not worth its time.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    if large:
        _remove_left_parts(path)
    try:
        yield part
        flush(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _remove_left_parts(path: Path) -> None:
    """Removes the temporary files for `path` of processes that do not run any more, which may be large."""
    form = re.compile(re.escape(f".{path.name}.") + r"(\d+)\.part")
    for entry in path.parent.iterdir() if path.parent.is_dir() else ():
        owner = form.fullmatch(entry.name)
        if owner and not _runs(int(owner[1])):
            with suppress(OSError):  # another process may be removing it, too
                entry.unlink()


def _runs(process: int) -> bool:
    """Whether a process of this number runs on this machine; where that cannot be known, it may."""
    if os.name == "nt":  # signal 0 would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON, whole or not at all. Raises `ValueError` for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def make_folder(folder: Path, option: str = "-o/--output", fresh: bool = False) -> Path:
    """Makes a folder for results, with those above it. Where it cannot be made, raises `UsageError` with the option.

    A `fresh` folder must be new: where it exists already, `FileExistsError` is raised.
    """
    try:
        folder.mkdir(parents=True, exist_ok=not fresh)
    except OSError as error:
        if fresh and isinstance(error, FileExistsError):
            raise
        reason = f"cannot make the folder {folder}: {error.strerror}"
        raise UsageError(reason, f"Name another folder with {option}") from None
    return folder


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new, empty folder that takes the name `path`, and the place of an earlier one, when the block ends well.

    After an error it is removed. Its temporary name is fixed, so what a killed process left is cleared by the next one:
    callers hold a lock. The block flushes the files whose content must survive a power cut; names are flushed here.
    """
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        flush(part)
        if path.exists():
            remove_folder(path)
        part.rename(path)
        flush(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder under another name, so that an interruption leaves no half-deleted folder under its own name."""
    doomed = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def flush(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk. Windows cannot do that for folders."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(file: Path, busy: FrameVitError | None = None) -> Iterator[None]:
    """Holds the lock `file` during the block. The lock ends with the process, however that ends.

    Where another process holds it, raises `busy`, or waits where there is none. Raises `OSError` where the file cannot
    be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if busy is not None:
            raise busy from None
        log.info("waiting for another process, which writes into %s", file.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def full_disk_explained(path: Path, way_out: Callable[[], str]) -> Iterator[None]:
    """Turns a full disk while `path` is written into `FrameVitError`, with the way out as its hint.

    The way out is asked for when the disk is full, since it may depend on how far the work has come. Every other
    `OSError` passes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        reason = f"no room to write {error.filename or path}: {error.strerror}"
        raise FrameVitError(reason, way_out()) from None


def size(count: float) -> str:
    """A number of bytes in decimal units, with three digits: `1.5 kB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def free_space(folder: Path) -> int:
    """Free bytes on the disk on which `folder` lies or would lie."""
    return shutil.disk_usage(existing_parent(folder)).free


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def check_room(folder: Path, needed: int, what: str, hint: str) -> None:
    """Raises `UsageError` where the disk under `folder` has no room for `needed` bytes and a tenth more."""
    free = free_space(folder)
    if free < needed * 1.1:
        raise UsageError(f"{what} would take {size(needed)} in {folder}, but only {size(free)} are free", hint)


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where the file is missing, damaged, or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
