"""Writing files so that a crash, a power cut or a full disk leaves the old file or the new one, never half of one.

A file is written under a name beside its own, flushed to the disk and renamed (`replacing`); a folder is built the same
way (`replacing_folder`), and several files that belong together come into an existing folder together (`filling`). One
lock (`locked`) keeps two processes apart, and one handler (`full_disk_explained`) turns a full disk into a message with
a way out. Whoever writes a whole file in this package uses these, so the promise has one place. There are two
exceptions: transformers writes the weights of a model folder, and framevit.json, which makes the folder count, follows
last; `prediction.shares` renames a joined file, which is complete and flushed, as its last step.

What a user names to be read is read by `read_plain_text`, because a pipe or a device may never end. What the machine
refuses otherwise, from a name that is too long to a disk that is read-only, gets its words in `machine_error`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from frame_vit.errors import FrameVitError, UsageError
from frame_vit.system.progress import log

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a full quota, a file larger than the file system takes."""
NOT_USABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENXIO,
)
"""A name that the person who gave it has to change: forbidden, read-only, too long, not a folder, not a file."""
BROKEN = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.EMFILE, errno.ENFILE)
"""A disk or network share that fails, or more open files than the system allows."""
LARGEST_TEXT = 1 << 30
"""Bytes of a text file that is read as a whole: a table of millions of rows is smaller."""


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
    for entry in _left_over(path.parent, f".{path.name}."):
        with suppress(OSError):  # another process may be removing it, too
            entry.unlink()


def _left_over(folder: Path, begin: str) -> list[Path]:
    """The temporary entries of a folder, of this beginning, whose processes do not run any more."""
    form = re.compile(re.escape(begin) + r"(\d+)\.part")
    found = [(entry, form.fullmatch(entry.name)) for entry in (folder.iterdir() if folder.is_dir() else ())]
    return [entry for entry, owner in found if owner and not _runs(int(owner[1]))]


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
def filling(folder: Path, last: str, stale: Iterable[Path] = ()) -> Iterator[Path]:
    """An empty folder whose files all move into `folder` when the block ends well; after an error none of them does.

    Other files in `folder` stay, but for the `stale` ones that are not written anew. The file `last` moves last: where
    it is, the others are complete. Raises `UsageError` where the folder cannot be written, `FrameVitError` for a full
    disk; the folder is then as it was, or gone again.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    part = folder / f".{os.getpid()}.part"
    try:
        with writing_explained(folder):
            for left in (part, *_left_over(folder, ".")):
                shutil.rmtree(left, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
            files = sorted(part.iterdir(), key=lambda file: file.name == last)
            for file in files:
                flush(file)
            for old in {*stale} - {folder / file.name for file in files}:
                old.unlink(missing_ok=True)
            for file in files:
                file.replace(folder / file.name)
            flush(folder)
            made = []
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for place in made:
            with suppress(OSError):  # it was not made after all, or another process has put something into it
                place.rmdir()


@contextmanager
def writing_explained(folder: Path) -> Iterator[None]:
    """Turns what the machine says to writing into a folder into an error that names the folder and the way out."""
    way_out = "name another folder with -o/--output"
    try:
        with full_disk_explained(folder, lambda: f"Make room, or {way_out}"):
            yield
    except OSError as error:
        # Below /proc a folder cannot be made because "No such file or directory".
        if error.errno not in (*NOT_USABLE, errno.EEXIST, errno.ENOENT) or not str(error.filename).startswith(
            str(folder)
        ):
            raise
        hint = way_out[0].upper() + way_out[1:]
        raise UsageError(f"cannot write into {folder}: {error.strerror}", hint) from None


def check_writable(folder: Path | None) -> None:
    """Raises `UsageError` where a folder for results could not be made or written: before the work, not after it."""
    if folder is None:
        return
    place = existing_parent(folder)
    if not place.is_dir() or not os.access(place, os.W_OK):
        reason = "is not a folder" if not place.is_dir() else "cannot be written"
        raise UsageError(f"no results can be written to {folder}: {place} {reason}", "Name another with -o/--output")


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


def machine_error(error: Exception) -> FrameVitError | None:
    """What the machine or its owner can mend, in words; None for everything else, which is a bug.

    For errors that nobody explained where they arose: the last net, so that each of them has its message.
    """
    if isinstance(error, ImportError) and not (error.name or "").startswith("frame_vit"):
        library = (error.name or "a library").partition(".")[0]
        return FrameVitError(f"{library} cannot be loaded: {error}", "`framevit doctor` shows what is installed")
    if isinstance(error, MemoryError):
        return FrameVitError("out of memory", "Use a smaller --batch-size, or close other programs")
    number = error.errno if isinstance(error, OSError) else None
    if number in DISK_FULL or "No space left on device" in str(error):
        place = (isinstance(error, OSError) and error.filename) or "the output"
        reason = os.strerror(number or errno.ENOSPC)
        return FrameVitError(f"no room to write {place}: {reason}", "Make room on the disk")
    if not isinstance(error, OSError):
        return None
    if number is None and "shared object file" in str(error):
        return FrameVitError(f"a library cannot be loaded: {error}", "`framevit doctor` shows what is installed")
    if error.filename is None:
        return None
    if number in NOT_USABLE:
        return UsageError(f"{error.filename}: {error.strerror}")
    return FrameVitError(f"{error.filename}: {error.strerror}") if number in BROKEN else None


def check_plain(path: Path, limit: int = LARGEST_TEXT) -> None:
    """Raises `UsageError` for a path that is no plain file, or one of more than `limit` bytes; `OSError` passes.

    A pipe to which nobody writes is waited for, and a device such as /dev/zero never ends.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
        raise UsageError(f"{path} is not a plain file but {kind}", "Name a file on a disk")
    if status.st_size > limit:
        raise UsageError(f"{path} has {size(status.st_size)}; at most {size(limit)} are read")


def read_plain_text(path: Path, limit: int = LARGEST_TEXT) -> str:
    """The text of a plain UTF-8 file; a byte order mark at its beginning is left out.

    Raises what `check_plain` raises, and `UnicodeDecodeError`. Line ends stay as they are.
    """
    return read_plain_bytes(path, limit).decode("utf-8-sig")


def read_plain_bytes(path: Path, limit: int = LARGEST_TEXT) -> bytes:
    """The bytes of a plain file. Raises what `check_plain` raises."""
    check_plain(path, limit)
    with path.open("rb") as file:
        content = file.read(limit + 1)  # a file may grow meanwhile, and those of /proc have no size
    if len(content) > limit:
        raise UsageError(f"{path} has more than {size(limit)}")
    return content


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
        value = json.loads(read_plain_text(path))
    except (OSError, ValueError, RecursionError, UsageError):
        return {}
    return value if isinstance(value, dict) else {}
