"""train.log: every message of a training, with the time, from the first one on. Standard library only.

The first messages come before the run has a folder: they are kept in memory (`remembered`) and written when the file is
opened (`logged`).
"""

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
    """Keeps messages in memory until there is a run folder to write them into."""
    memory = MemoryHandler(capacity=1_000_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    log.addHandler(memory)
    try:
        yield memory
    finally:
        log.removeHandler(memory)
        memory.close()


@contextmanager
def logged(memory: MemoryHandler, path: Path | None) -> Iterator[None]:
    """Writes the remembered messages and those of the block to `path` as well. With None nothing is written.

    An error that ends the block is the last message of the file.
    """
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
    """A log file that stays silent on a full disk: the checkpoint that has no room either reports it once."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        pass
