"""A folder that a camera writes into: each picture is predicted once, when its file is whole, and gets a row.

What was predicted is known by the rows, so a restart picks up what came in between. The folder is looked into again
and again: notifications of the system do not reach over a network share.

A file is taken for whole when its size and time of change were the same twice; a picture that then cannot be read is
given PATIENCE_S more, for a writer may have paused, before its row says that it is damaged. A file that changes after
it was predicted is another picture: it is predicted again, and said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from frame_vit.errors import Interrupted, UsageError
from frame_vit.images import SUFFIXES, Picture
from frame_vit.inputs import Input
from frame_vit.output import Output
from frame_vit.predictor import Prediction, Predictor
from frame_vit.progress import Tick, log, silent
from frame_vit.stopping import Stop
from frame_vit.tables import RowWriter
from frame_vit.texts import printable

POLL_S = 0.05
PATIENCE_S = 2.0
SHARE = 0.2
"""At most this share of the time is spent on looking into the folder, however many files it has."""


class State(NamedTuple):
    """What a file is like: size in bytes, time of the last change in nanoseconds."""

    size: int
    changed: int


@dataclass
class Waiting:
    """A file that is not predicted yet: its state, when it was first seen so, and when it was last seen otherwise."""

    state: State
    since: float
    before: float


@dataclass
class Watcher:
    """What has been seen of a folder. `done` maps names to the state they were predicted in, None where not known."""

    folder: Path
    done: dict[str, State | None]
    waiting: dict[str, Waiting] = field(default_factory=dict)
    _looked: float = field(default_factory=time.time)
    _lost: bool = False

    def look(self) -> list[Path]:
        """Looks into the folder; the files that are whole, in the order in which they were."""
        now, before = time.time(), self._looked
        try:
            seen = dict(_states(self.folder))
            self._lost = False
        except OSError as error:
            if not self._lost:
                log.warning("%s cannot be looked into (%s); trying on", self.folder, error.strerror)
            self._lost = True
            return []
        for name, state in seen.items():
            known = self.waiting.get(name)
            if known is not None:
                if known.state != state:
                    self.waiting[name] = Waiting(state, now, before)
            elif name not in self.done:
                self.waiting[name] = Waiting(state, now, before)
            elif self.done[name] not in (None, state):
                log.warning("%s has changed since it was predicted; it is predicted again", name)
                self.waiting[name] = Waiting(state, now, before)
        self.waiting = {name: of for name, of in self.waiting.items() if name in seen}
        self._looked = now
        ready = [(of.state.changed, name) for name, of in self.waiting.items() if of.since < now]
        return [self.folder / name for _, name in sorted(ready)]

    def predicted(self, name: str) -> float:
        """Notes that a file has its row; the seconds since it was whole.

        It was whole at its last change, if that fits what was seen: not before it was last seen otherwise (it may have
        been moved here, or the clocks may differ), not after it was first seen as it is.
        """
        of = self.waiting.pop(name)
        self.done[name] = of.state
        return time.time() - min(max(of.state.changed / 1e9, of.before), of.since)

    def given_up(self, name: str) -> bool:
        """Whether a file that cannot be read has been as it is for long enough."""
        return time.time() - self.waiting[name].since >= PATIENCE_S


@dataclass
class Watched:
    """What a watch came to: rows, those that are errors, and for the others the seconds from whole file to row."""

    rows: int = 0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)

    def count(self, row: Prediction, latency: float) -> None:
        """A row that was written. What is damaged was never whole, so it has no latency."""
        self.rows += 1
        if row.status == "error":
            self.errors += 1
        else:
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
    watcher = Watcher(folder, _states_of(done.names, folder, output.path))
    found = Watched()
    with Stop("stopping after this picture; once more leaves at once") as stop, output.opened(done) as file:
        writer = RowWriter(file, output.form, predictor.labels, fresh=not done.end)
        log.info("watching %s; Ctrl-C ends it", folder)
        while not stop.requested:
            start = time.monotonic()
            ready = watcher.look()
            spent = time.monotonic() - start
            for row, name in _rows(predictor, watcher, ready[: predictor.batch_size]):
                writer.write(row)
                found.count(row, watcher.predicted(name))
                tick("watching", found.rows, 0, f"{len(watcher.waiting)} waiting; last {printable(name)}")
            if len(ready) <= predictor.batch_size:
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


def _states(folder: Path, inside: str = "") -> Iterator[tuple[str, State]]:
    """Names, relative to the folder, and states of the pictures in it and below; not by links, nothing hidden."""
    with os.scandir(folder / inside) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{inside}{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _states(folder, name + "/")
                elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                    facts = entry.stat()
                    yield name, State(facts.st_size, facts.st_mtime_ns)
            except FileNotFoundError:  # gone between being listed and being looked at
                continue


def _states_of(names: set[str], folder: Path, rows: Path | None) -> dict[str, State | None]:
    """What is done already, by name in the folder. A file that changed after the rows were written is not."""
    if rows is None or not names:
        return {}
    written = rows.stat().st_mtime_ns
    # However the folder was named then: by another spelling it is the same files.
    known = {os.path.abspath(name) for name in names}  # noqa: PTH100  (links are not followed)
    return {
        name: state
        for name, state in _states(folder)
        if os.path.abspath(printable(str(folder / name))) in known and state.changed <= written  # noqa: PTH100
    }
