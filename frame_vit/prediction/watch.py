"""`framevit predict --watch`: a folder that a camera writes into. Each picture gets one row, when its file is complete.

The rows tell which files are done, so that a restart predicts what arrived in between. The folder is scanned again and
again, because notifications of the operating system do not cross a network share.

A file counts as complete when two scans in a row find the same size and modification time. If it cannot be read then,
the writer may have paused: after PATIENCE_S seconds more its row says that it is damaged. A file that changes after it
was predicted is a new picture and is predicted again, with a warning. A change between two watches is not: the file
keeps its row, with a warning.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from frame_vit.errors import Interrupted, UsageError
from frame_vit.images.decode import SUFFIXES
from frame_vit.images.preprocessing import Picture
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.output import Output
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.prediction.rows import Done
from frame_vit.system.progress import Tick, log, silent
from frame_vit.system.signals import GracefulStop
from frame_vit.system.texts import printable
from frame_vit.tree import is_hidden

POLL_S = 0.05
"""Seconds between two scans, at least."""
PATIENCE_S = 2.0
"""Seconds that an unreadable file is given to become complete."""
GONE_S = 3600.0
"""Seconds after which a file that is gone is forgotten: a file of its name is new then."""
KEPT = 10_000
"""The number of latest latencies that the summary covers."""
SHARE = 0.2
"""At most this share of the time is spent on scanning the folder, however many files it has."""


class State(NamedTuple):
    """A file's size in bytes, and its modification time in nanoseconds."""

    size: int
    changed: int


@dataclass
class Waiting:
    """A file that is not predicted yet: its state, and the number and time of the scan that first found it in it.

    `since` is that time, and `before` the time of the scan before it, both on the wall clock, as files have it; `at` is
    the same moment on the monotonic clock. `late` marks files that existed before the watch began.
    """

    state: State
    scan: int
    since: float
    before: float
    at: float
    late: bool


@dataclass
class Watcher:
    """What the scans of a folder found. `done` maps names to the state that was predicted, None where it is unknown."""

    folder: Path
    done: dict[str, State | None]
    waiting: dict[str, Waiting] = field(default_factory=dict)
    _scan: int = 0
    _scanned: float = field(default_factory=time.time)
    _gone: dict[str, float] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)

    def look(self) -> list[Path]:
        """Scans the folder, and returns the files that are complete, in the order of their modification."""
        now, before = time.time(), self._scanned
        try:
            states = dict(self._states())
        except OSError as error:
            self._refuse(str(self.folder), error)
            return []
        self._refused.discard(str(self.folder))
        self._scan += 1
        for name, state in states.items():
            waiting = self.waiting.get(name)
            changed = name in self.done and self.done[name] not in (None, state)
            if changed and waiting is None:
                log.warning("%s has changed since it was predicted; it is predicted again", printable(name))
            is_new = changed or name not in self.done
            if (waiting is not None and waiting.state != state) or (waiting is None and is_new):
                late = self._scan == 1 or (waiting is not None and waiting.late)
                self.waiting[name] = Waiting(state, self._scan, now, before, time.monotonic(), late)
        self.waiting = {name: waiting for name, waiting in self.waiting.items() if name in states}
        self._forget(states)
        self._scanned = now
        ready = [(file.state.changed, name) for name, file in self.waiting.items() if file.scan < self._scan]
        return [self.folder / name for _, name in sorted(ready)]

    def predicted(self, name: str) -> float | None:
        """Notes that a file has its row. Returns the seconds since it was complete (None: it is older).

        It was complete at its modification time, within what the scans found: not before the last scan that found it
        different (it may have been moved here, or the clocks differ), and not after the first that found it so.
        """
        file = self.waiting.pop(name)
        self.done[name] = file.state
        complete = min(max(file.state.changed / 1e9, file.before), file.since)
        return None if file.late else max(time.time() - complete, 0.0)

    def given_up(self, name: str) -> bool:
        """Whether a file that cannot be read has been unchanged for PATIENCE_S."""
        return time.monotonic() - self.waiting[name].at >= PATIENCE_S

    def _forget(self, states: dict[str, State]) -> None:
        """Forgets files that have been gone for GONE_S. A network share may be away for a shorter while."""
        now = time.monotonic()
        self._gone = {name: self._gone.get(name, now) for name in self.done.keys() - states.keys()}
        for name, since in self._gone.items():
            if now - since > GONE_S:
                del self.done[name]

    def _states(self) -> Iterator[tuple[str, State]]:
        return states(self.folder, self._refuse)

    def _refuse(self, place: str, error: OSError) -> None:
        """Warns once that a folder cannot be read."""
        if place not in self._refused:
            self._refused.add(place)
            log.warning("%s cannot be looked into (%s); trying again", place, error.strerror)


@dataclass
class Watched:
    """The result of a watch: the number of rows and of errors, and for the others the seconds from file to row.

    Files that existed before the watch began have no latency.
    """

    rows: int = 0
    errors: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    def count(self, row: Prediction, latency: float | None) -> None:
        """Counts a row that was written. A damaged file was never complete, so it has no latency."""
        self.rows += 1
        self.errors += row.status == "error"
        if latency is not None and row.status != "error":
            self.latencies.append(latency)

    def summary(self) -> str:
        counts = f"{self.rows} rows written, {self.errors} of them errors"
        if not self.latencies:
            return counts
        ranked = sorted(self.latencies)
        p50, p99 = (ranked[min(int(share * len(ranked)), len(ranked) - 1)] for share in (0.5, 0.99))
        return f"{counts}; from complete file to written row: p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms"


def watch(
    predictor: Predictor,
    folder: Path,
    output: Output,
    tick: Tick = silent,
    judge: Callable[[Prediction], Prediction] | None = None,
) -> None:
    """Predicts pictures as they arrive until a signal ends it with `Interrupted`; the last row is finished.

    Each row passes through `judge` before it is written.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", "--watch waits for pictures in an existing folder")
    done = output.done(predictor.labels)
    watcher = Watcher(folder, _predicted_before(done, folder, output.path))
    if done.names:
        log.info("%s has %d rows; their pictures are not predicted again", output.path, done.names.total())
    watched = Watched()
    with (
        GracefulStop("stopping after the current pictures; a second interrupt exits immediately") as stop,
        output.opened(done) as file,
    ):
        writer = output.writer(file, predictor, done)
        log.info("watching %s; Ctrl-C ends it", folder)
        while not stop.requested:
            start = time.monotonic()
            ready = watcher.look()
            spent = time.monotonic() - start
            for at in range(0, len(ready), predictor.batch_size):
                if stop.requested:
                    break
                for row, name in _rows(predictor, watcher, ready[at : at + predictor.batch_size]):
                    row = judge(row) if judge is not None else row
                    writer.write(row)
                    if row.status == "error" and output.path is not None:
                        log.warning("%s: %s", row.file, row.error)
                    watched.count(row, watcher.predicted(name))
                    tick("watching", watched.rows, 0, f"{len(watcher.waiting)} waiting; last {printable(name)}")
            time.sleep(max(POLL_S, spent / SHARE))
    raise Interrupted(stop.requested, f"stopped watching {folder}: {watched.summary()}")


def _rows(predictor: Predictor, watcher: Watcher, paths: list[Path]) -> Iterator[tuple[Prediction, str]]:
    """Rows and names of the files that can be read, and of those that could not be read for PATIENCE_S."""
    pictures: list[tuple[Input, Picture | str]] = []
    names = []
    for path in paths:
        name = path.relative_to(watcher.folder).as_posix()
        picture = predictor.read(Input(str(path), path))
        if isinstance(picture, Picture) or watcher.given_up(name):
            pictures.append((Input(str(path), path), picture))
            names.append(name)
    yield from zip(predictor.rows(pictures), names, strict=True)


def states(folder: Path, refused: Callable[[str, OSError], None], inside: str = "") -> Iterator[tuple[str, State]]:
    """Names (relative to the folder) and states of the pictures in it and below, without links and hidden files.

    A folder below that cannot be read is left out and passed to `refused`; for the folder itself `OSError` is raised.
    """
    try:
        entries = list(os.scandir(folder / inside))
    except OSError as error:
        if not inside:
            raise
        refused(str(folder / inside), error)
        return
    for entry in entries:
        if is_hidden(entry.name):
            continue
        name = f"{inside}{entry.name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from states(folder, refused, name + "/")
            elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                facts = entry.stat()
                yield name, State(facts.st_size, facts.st_mtime_ns)
        except OSError:  # removed after it was listed
            continue


def _predicted_before(done: Done, folder: Path, rows: Path | None) -> dict[str, State | None]:
    """The files that have a row already, by name in the folder.

    An error counts only if the file has not changed since: it may have been incomplete.
    """
    if rows is None or not done.names:
        return {}
    written, changed = rows.stat().st_mtime_ns, 0
    predicted: dict[str, State | None] = {}
    for name, state in states(folder, lambda *_: None):
        row = next((row for row in _spellings(folder, name) if row in done.names), None)
        if row is not None and (row not in done.failed or state.changed <= written):
            predicted[name] = None
            changed += state.changed > written
    if changed:
        log.warning("%d pictures have changed since the last row was written; they keep their rows", changed)
    return predicted


def _spellings(folder: Path, name: str) -> Iterator[str]:
    """The names that a file's row may have, as the folder may have been named from another working folder."""
    yield printable(str(folder / name))
    absolute = folder.resolve() / name
    yield printable(str(absolute))
    for parent in [*absolute.parents][:-1]:
        yield printable(str(absolute.relative_to(parent)))
