"""The file that predictions are written to: a new one, stdout, or an earlier file that is resumed after its last row.

One process writes a file at a time, and a full disk ends with the way to resume. `shares` divides one file among
several processes; `rows` knows what a row looks like.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from frame_vit.errors import UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.predictor import Predictor
from frame_vit.prediction.record import Recorder, RecordOptions, last_record
from frame_vit.prediction.rows import NOTHING, Done, RowWriter, read_done
from frame_vit.system.files import check_plain, full_disk_explained, locked
from frame_vit.system.progress import log


@dataclass(frozen=True)
class Output:
    """A file of predictions (None: stdout) in a form: csv, json, jsonl or table. With `resume` its rows are kept.

    `record` is what is recorded of each decision, which only jsonl has room for; None for plain rows.
    """

    path: Path | None
    form: str
    resume: bool = False
    overwrite: bool = False
    record: RecordOptions | None = None

    def check(self) -> None:
        """Raises `UsageError` where the file cannot be written, or has rows and is neither resumed nor overwritten."""
        if self.resume and (self.path is None or self.form == "json"):
            raise UsageError("--skip-done resumes a file of rows", "Name a .csv or .jsonl file with -o/--output")
        if self.path is not None and not self.path.parent.is_dir():
            raise UsageError(f"there is no folder {self.path.parent}", "Make it, or name another file with -o/--output")
        if self.path is not None and self.path.exists():
            check_plain(self.path, sys.maxsize)  # a pipe could be neither resumed nor cut after its last whole row
        if self.path is None or self.resume or self.overwrite:
            return
        if self.path.is_file() and self.path.stat().st_size:
            raise UsageError(
                f"{self.path} already exists",
                "--skip-done resumes it, --overwrite replaces it; or name another file",
            )

    def done(self, labels: LabelSpace) -> Done:
        """The rows that the file has already; none where it is not resumed."""
        if self.path is None or not self.resume:
            return NOTHING
        return read_done(self.path, self.form, labels)

    def chained(self, done: Done) -> bool:
        """Whether the rows that the file has already are a chain of records."""
        if self.path is None or self.form != "jsonl" or not done.end:
            return False
        return "previous" in (last_record(self.path, done.end) or {})

    def writer(self, file: IO[str], predictor: Predictor, done: Done) -> RowWriter:
        """What writes a predictor's rows behind those that are done. A chain is continued without being asked to.

        Raises `UsageError` where the new rows would break a chain, or would begin one in the middle of a file.
        """
        chained = self.chained(done)
        if self.record is None:
            if chained:
                raise UsageError(
                    f"{self.path} is a chain of records, which plain rows would break", "Leave out --record plain"
                )
            return RowWriter(file, self.form, predictor.labels, fresh=not done.end)
        if self.record.chain and done.end and not chained:
            raise UsageError(f"{self.path} has rows that are not chained", "Name another file, or leave out --chain")
        before = last_record(self.path, done.end) if self.path is not None and done.end else None
        options = self.record._replace(chain=self.record.chain or chained)
        recorder = Recorder(predictor, options, before["digest"] if before else None)
        return RowWriter(file, self.form, predictor.labels, not done.end, recorder.line)

    @contextmanager
    def opened(self, done: Done) -> Iterator[IO[str]]:
        """The open file, positioned after its last whole row; half a row behind it is cut off.

        Raises `UsageError` where it cannot be opened or another process writes it, `FrameVitError` for a full disk.
        """
        if self.path is None:
            yield sys.stdout
            return
        with _one_writer(self.path), resumable(self.path):
            try:
                # Opened for reading and writing, not appending, so that half a row can be cut off.
                file = self.path.open("r+" if done.end else "w", encoding="utf-8", newline="")
            except OSError as error:
                raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
            with file:
                file.seek(done.end)
                file.truncate()
                yield file


@contextmanager
def _one_writer(path: Path) -> Iterator[None]:
    """Raises `UsageError` where another process writes the same file. The lock ends with the process."""
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    busy = UsageError(f"{path} is being written by another process", "Let it finish, or name another file")
    with ExitStack() as held:
        try:
            # In the temporary folder: the file's own may be one that others read, or on a network share.
            held.enter_context(locked(Path(tempfile.gettempdir()) / f"framevit-{name}.lock", busy))
        except OSError:  # writing without a lock is better than not writing at all
            log.debug("no lock for %s", path)
        yield


def resumable(path: Path) -> AbstractContextManager[None]:
    """A full disk while `path` is written is an error that names the way to resume."""
    return full_disk_explained(path, lambda: "Make room, then resume with --skip-done")
