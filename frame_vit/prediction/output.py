"""Where predictions go: a new file, one that is gone on with, or parts of several processes, joined in order."""

from __future__ import annotations

import errno
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from frame_vit.errors import FrameVitError, UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.rows import NOTHING, Done, read_done
from frame_vit.system.progress import log


@dataclass(frozen=True)
class Output:
    """A file of predictions (None: stdout) of a form; what it has already is kept where `going_on`."""

    path: Path | None
    form: str
    going_on: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Raises `UsageError` where it can't be written, or would write over what is there."""
        if self.going_on and (self.path is None or self.form == "json"):
            raise UsageError("--skip-done goes on with a file of rows", "Name a .csv or .jsonl file with -o/--output")
        if self.path is not None and not self.path.parent.is_dir():
            raise UsageError(f"there is no folder {self.path.parent}", "Make it, or name another file with -o/--output")
        if self.path is None or self.going_on or self.overwrite:
            return
        if self.path.is_file() and self.path.stat().st_size:
            raise UsageError(
                f"{self.path} is there already",
                "--skip-done goes on with it, --overwrite begins it anew; or name another file",
            )

    def done(self, labels: LabelSpace) -> Done:
        """What was predicted before."""
        if self.path is None or not self.going_on:
            return NOTHING
        return read_done(self.path, self.form, labels)

    @contextmanager
    def opened(self, done: Done) -> Iterator[IO[str]]:
        """The file, to be written after what is done; half a row at its end is cut off."""
        if self.path is None:
            yield sys.stdout
            return
        with _alone(self.path), room_on_disk(self.path):
            try:
                # Reading and writing, not appending: what stands behind the last whole row must go.
                file = self.path.open("r+" if done.end else "w", encoding="utf-8", newline="")
            except OSError as error:
                raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
            with file:
                file.seek(done.end)
                file.truncate()
                yield file


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keeps a second process from writing the same file; the lock goes with the process, however it ends."""
    from filelock import FileLock, Timeout

    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    lock = FileLock(Path(tempfile.gettempdir()) / f"framevit-{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"{path} is being written by another process", "Let it finish, or name another file") from None
    except OSError:  # no place for a lock: better to go on without than not at all
        log.debug("no lock for %s", path)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def room_on_disk(path: Path) -> Iterator[None]:
    """A full disk is a failure with a way out."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise FrameVitError(
            f"no room to write {path}: {error.strerror}", "Make room, then --skip-done goes on"
        ) from None
