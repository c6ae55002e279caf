"""Where predictions go: a new file, one that is gone on with, or parts of several processes, joined in order."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from frame_vit.errors import FrameVitError, UsageError
from frame_vit.inputs import Input
from frame_vit.labels import LabelSpace
from frame_vit.progress import log
from frame_vit.tables import NOTHING, Done, read_done
from frame_vit.texts import printable


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
        with _alone(self.path), _room(self.path):
            try:
                # Reading and writing, not appending: what stands behind the last whole row must go.
                file = self.path.open("r+" if done.end else "w", encoding="utf-8", newline="")
            except OSError as error:
                raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
            with file:
                file.seek(done.end)
                file.truncate()
                yield file


@dataclass(frozen=True)
class Share:
    """The part of the inputs that one of several processes predicts; one process has all."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Share:
        """As `torchrun` says it."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def of(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """A run of neighbours, so that the parts, one after the other, have the order of the inputs."""
        first, last = (len(inputs) * at // self.count for at in (self.rank, self.rank + 1))
        return inputs[first:last]

    def part(self, path: Path, rank: int | None = None) -> Path:
        """Where this process writes, beside the file that all parts become."""
        number = (self.rank if rank is None else rank) + 1
        return path.with_name(f"{path.stem}.part-{number}-of-{self.count}{path.suffix}")

    def check(self, output: Output) -> None:
        """Raises `UsageError` where the processes could not join what they write, or others left parts."""
        if self.count > 1 and (output.path is None or output.form not in ("csv", "jsonl")):
            raise UsageError("several processes write rows to a file", "Name a .csv or .jsonl file with -o/--output")
        if output.path is None or _joined(output.path).is_file():
            return
        for found in _parts_left(output.path):
            count = re.search(r"\.part-\d+-of-(\d+)\.\w+$", found.name)
            if count and int(count[1]) != self.count:
                these = f"these are {self.count}" if self.count > 1 else "this is one"
                raise UsageError(
                    f"{found} was left by {count[1]} processes, and {these}",
                    f"Start {count[1]} again, with --skip-done, or remove the parts",
                )

    def parts(self, path: Path) -> list[Path]:
        """Where all processes write."""
        return [self.part(path, rank) for rank in range(self.count)]

    def join(self, output: Output, labels: LabelSpace) -> int:
        """Puts all parts behind what the file has, in order, and removes them; how many of all rows are errors."""
        assert output.path is not None
        aside = output.path.with_name(output.path.name + ".joining")
        before = output.done(labels)
        errors, fresh = before.errors, not before.end
        with _room(aside), aside.open("wb") as file:
            if before.end:
                with output.path.open("rb") as rows:
                    _copy(rows, file, before.end)
            for part in self.parts(output.path):
                done = read_done(part, output.form, labels)
                if not done.end:
                    continue
                errors += done.errors
                with part.open("rb") as rows:
                    header = len(rows.readline()) if output.form == "csv" and not fresh else 0
                    rows.seek(header)
                    _copy(rows, file, done.end - header)
                fresh = False
            file.flush()
            os.fsync(file.fileno())
        aside.replace(_joined(output.path))  # from here on, whatever interrupts it, `finish_join` ends it
        finish_join(output)
        return errors


def finish_join(output: Output) -> None:
    """Ends a join that was interrupted when all parts had been put together: they must not be put in twice."""
    if output.path is None or not _joined(output.path).is_file():
        return
    for part in _parts_left(output.path):
        part.unlink()
    _joined(output.path).replace(output.path)


def _joined(path: Path) -> Path:
    return path.with_name(path.name + ".joined")


def _parts_left(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{_escaped(path.stem)}.part-*-of-*{_escaped(path.suffix)}"))


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count > 0:
        block = source.read(min(count, 1 << 20))
        target.write(block)
        count -= len(block)


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
def _room(path: Path) -> Iterator[None]:
    """A full disk is a failure with a way out."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise FrameVitError(
            f"no room to write {path}: {error.strerror}", "Make room, then --skip-done goes on"
        ) from None


def left(inputs: Sequence[Input], *before: Done) -> Sequence[Input]:
    """The inputs that have no row yet; one that is named twice has two."""
    done = sum((found.names for found in before), Counter[str]())
    if not done:
        return inputs
    rest = []
    for given in inputs:
        name = printable(given.name)
        if done[name] > 0:
            done[name] -= 1
        else:
            rest.append(given)
    return rest


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
