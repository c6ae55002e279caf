"""A folder that a camera writes into: each picture is predicted once, when its file is whole, and gets a row.

What was predicted is known by the rows, so a restart picks up what came in between. The folder is looked into again
and again: notifications of the system do not reach over a network share.

A file is taken for whole when its size and time of change were the same twice; a picture that then cannot be read is
given PATIENCE_S more, for a writer may have paused, before its row says that it is damaged. A file that changes after
it was predicted is another picture: it is predicted again, and said (while the watch runs; what changed in between two
watches keeps its row, and that is said).
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
from frame_vit.prediction.rows import Done, RowWriter
from frame_vit.system.progress import Tick, log, silent
from frame_vit.system.signals import GracefulStop
from frame_vit.system.texts import printable

POLL_S = 0.05
PATIENCE_S = 2.0
GONE_S = 3600.0
KEPT = 10_000
"""So many latencies, the last ones, are summed up."""
SHARE = 0.2
"""At most this share of the time is spent on looking into the folder, however many files it has."""


class State(NamedTuple):
    """What a file is like: size in bytes, time of the last change in nanoseconds."""

    size: int
    changed: int


@dataclass
class Waiting:
    """A file that is not predicted yet: its state, in which look it was first seen so and when; when last otherwise.

    Times are of two clocks: `since` and `before` of the wall, as files have them, `at` one that nobody sets. `late`
    marks files that were there before the watch began.
    """

    state: State
    look: int
    since: float
    before: float
    at: float
    late: bool


@dataclass
class Watcher:
    """What has been seen of a folder. `done` maps names to the state they were predicted in, None where not known."""

    folder: Path
    done: dict[str, State | None]
    waiting: dict[str, Waiting] = field(default_factory=dict)
    _look: int = 0
    _looked: float = field(default_factory=time.time)
    _gone: dict[str, float] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)

    def look(self) -> list[Path]:
        """Looks into the folder; the files that are whole, in the order in which they were."""
        now, before = time.time(), self._looked
        try:
            seen = dict(self._states())
        except OSError as error:
            self._refuse(str(self.folder), error)
            return []
        self._refused.discard(str(self.folder))
        self._look += 1
        for name, state in seen.items():
            known = self.waiting.get(name)
            changed = name in self.done and self.done[name] not in (None, state)
            if changed and known is None:
                log.warning("%s has changed since it was predicted; it is predicted again", printable(name))
            if (known is not None and known.state != state) or (known is None and (changed or name not in self.done)):
                late = self._look == 1 or (known is not None and known.late)
                self.waiting[name] = Waiting(state, self._look, now, before, time.monotonic(), late)
        self.waiting = {name: of for name, of in self.waiting.items() if name in seen}
        self._forget(seen)
        self._looked = now
        ready = [(of.state.changed, name) for name, of in self.waiting.items() if of.look < self._look]
        return [self.folder / name for _, name in sorted(ready)]

    def predicted(self, name: str) -> float | None:
        """Notes that a file has its row; the seconds since it was whole, None for one that was there before.

        It was whole at its last change, if that fits what was seen: not before it was last seen otherwise (it may have
        been moved here, or the clocks may differ), not after it was first seen as it is.
        """
        of = self.waiting.pop(name)
        self.done[name] = of.state
        whole = min(max(of.state.changed / 1e9, of.before), of.since)
        return None if of.late else max(time.time() - whole, 0.0)

    def given_up(self, name: str) -> bool:
        """Whether a file that cannot be read has been as it is for long enough."""
        return time.monotonic() - self.waiting[name].at >= PATIENCE_S

    def _forget(self, seen: dict[str, State]) -> None:
        """Files that have been gone for an hour; a share may be away for a while, and its files are not new then."""
        now = time.monotonic()
        self._gone = {name: self._gone.get(name, now) for name in self.done.keys() - seen.keys()}
        for name, since in self._gone.items():
            if now - since > GONE_S:
                del self.done[name]

    def _states(self) -> Iterator[tuple[str, State]]:
        return states(self.folder, self._refuse)

    def _refuse(self, place: str, error: OSError) -> None:
        """Says once that a folder cannot be looked into."""
        if place not in self._refused:
            self._refused.add(place)
            log.warning("%s cannot be looked into (%s); trying on", place, error.strerror)


@dataclass
class Watched:
    """What a watch came to: rows, those that are errors, and for the others the seconds from whole file to row.

    Files that were there before it began have none.
    """

    rows: int = 0
    errors: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    def count(self, row: Prediction, latency: float | None) -> None:
        """A row that was written. What is damaged was never whole, so it has no latency."""
        self.rows += 1
        self.errors += row.status == "error"
        if latency is not None and row.status != "error":
            self.latencies.append(latency)

    def said(self) -> str:
        told = f"{self.rows} rows written, {self.errors} of them errors"
        if not self.latencies:
            return told
        ranked = sorted(self.latencies)
        p50, p99 = (ranked[min(int(share * len(ranked)), len(ranked) - 1)] for share in (0.5, 0.99))
        return f"{told}; from whole file to written row: p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms"


def watch(predictor: Predictor, folder: Path, output: Output, tick: Tick = silent) -> None:
    """Predicts what comes into the folder until a signal ends it, by `Interrupted`; the row in work is finished."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", "--watch waits for pictures in a folder")
    done = output.done(predictor.labels)
    watcher = Watcher(folder, _predicted_before(done, folder, output.path))
    if done.names:
        log.info("%s has %d rows; what they are of is not predicted again", output.path, done.names.total())
    found = Watched()
    with (
        GracefulStop("stopping after the pictures in work; once more leaves at once") as stop,
        output.opened(done) as file,
    ):
        writer = RowWriter(file, output.form, predictor.labels, fresh=not done.end)
        log.info("watching %s; Ctrl-C ends it", folder)
        while not stop.requested:
            start = time.monotonic()
            ready = watcher.look()
            spent = time.monotonic() - start
            for at in range(0, len(ready), predictor.batch_size):
                if stop.requested:
                    break
                for row, name in _rows(predictor, watcher, ready[at : at + predictor.batch_size]):
                    writer.write(row)
                    if row.status == "error" and output.path is not None:
                        log.warning("%s: %s", row.file, row.error)
                    found.count(row, watcher.predicted(name))
                    tick("watching", found.rows, 0, f"{len(watcher.waiting)} waiting; last {printable(name)}")
            time.sleep(max(POLL_S, spent / SHARE))
    raise Interrupted(stop.requested, f"stopped watching {folder}: {found.said()}")


def _rows(predictor: Predictor, watcher: Watcher, paths: list[Path]) -> Iterator[tuple[Prediction, str]]:
    """Rows and names of the files that can be read, and of those that could not for long enough."""
    tried: list[tuple[Input, Picture | str]] = []
    names = []
    for path in paths:
        name = path.relative_to(watcher.folder).as_posix()
        picture = predictor.read(Input(str(path), path))
        if isinstance(picture, Picture) or watcher.given_up(name):
            tried.append((Input(str(path), path), picture))
            names.append(name)
    yield from zip(predictor.rows(tried), names, strict=True)


def states(folder: Path, refused: Callable[[str, OSError], None], inside: str = "") -> Iterator[tuple[str, State]]:
    """Names, relative to the folder, and states of the pictures in it and below; not by links, nothing hidden.

    A folder below that cannot be looked into is passed over and told of; for the folder itself it is an `OSError`.
    """
    try:
        entries = list(os.scandir(folder / inside))
    except OSError as error:
        if not inside:
            raise
        refused(str(folder / inside), error)
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name = f"{inside}{entry.name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from states(folder, refused, name + "/")
            elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                facts = entry.stat()
                yield name, State(facts.st_size, facts.st_mtime_ns)
        except OSError:  # gone between being listed and being looked at
            continue


def _predicted_before(done: Done, folder: Path, rows: Path | None) -> dict[str, State | None]:
    """What has a row already, by name in the folder.

    A row that is an error counts only if the file has not changed since: it may have been cut short.
    """
    if rows is None or not done.names:
        return {}
    written, changed = rows.stat().st_mtime_ns, 0
    found: dict[str, State | None] = {}
    for name, state in states(folder, lambda *_: None):
        row = next((row for row in _spellings(folder, name) if row in done.names), None)
        if row is not None and (row not in done.failed or state.changed <= written):
            found[name] = None
            changed += state.changed > written
    if changed:
        log.warning("%d pictures have changed since the last row was written; they keep the rows they have", changed)
    return found


def _spellings(folder: Path, name: str) -> Iterator[str]:
    """The names that a file's row may have: the folder may have been named from elsewhere."""
    yield printable(str(folder / name))
    whole = folder.resolve() / name
    yield printable(str(whole))
    for parent in [*whole.parents][:-1]:
        yield printable(str(whole.relative_to(parent)))
