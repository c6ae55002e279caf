"""train.log: what is said while a run is trained, from the first word on. Standard library only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from frame_vit.errors import FrameVitError
from frame_vit.system.progress import log


@contextmanager
def remembered() -> Iterator[MemoryHandler]:
    """Keeps what is said before there is a run folder to write it into."""
    memory = MemoryHandler(capacity=1_000_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    log.addHandler(memory)
    try:
        yield memory
    finally:
        log.removeHandler(memory)
        memory.close()


@contextmanager
def logged(memory: MemoryHandler, path: Path | None) -> Iterator[None]:
    """Everything said before and meanwhile also goes to `path`, if there is one, with the time."""
    if path is None:
        yield
        return
    file = _LogFile(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    memory.setTarget(file)
    memory.flush()
    log.removeHandler(memory)
    log.addHandler(file)
    try:
        yield
    except FrameVitError as error:
        file.handle(log.makeRecord(log.name, logging.ERROR, "", 0, error.message, (), None))
        raise
    finally:
        log.removeHandler(file)
        with suppress(OSError):  # a full disk
            file.close()


class _LogFile(logging.FileHandler):
    """A log that the disk has no room for is said by the checkpoint that has none either, not by a traceback a line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        pass
