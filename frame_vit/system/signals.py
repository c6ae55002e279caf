"""A run that is asked to stop: the first signal is remembered, so that the step can be finished; the second leaves."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from frame_vit.errors import Interrupted
from frame_vit.system.progress import log

SAME_WISH_S = 1.0
"""A launcher of several processes hands on a signal that the terminal has sent to all of them already."""


class GracefulStop:
    """While entered, SIGINT and SIGTERM set `requested` to their number; a second one ends the process at once.

    Outside the main thread, where Python lets nobody handle signals, nothing changes. The first one says `said`.
    """

    def __init__(self, said: str = "stopping after this step; once more leaves at once") -> None:
        self.requested = 0
        self._said = said
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._at = number, now
            if os.environ.get("RANK", "0") == "0":
                # In a thread: the signal may have come while this one was writing, and writers cannot be entered twice.
                threading.Thread(target=log.warning, args=(self._said,)).start()
        elif "TORCHELASTIC_RUN_ID" not in os.environ or now - self._at > SAME_WISH_S:
            cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""  # the progress bar had hidden it
            os.write(2, cursor + b"\nleft at once; what was saved before is whole\n")
            os._exit(128 + number)  # whatever is being written is complete or absent


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, like Ctrl-C, ends what is being done by an exception, `Interrupted`, and not the process."""

    def handle(number: int, _: FrameType | None) -> None:
        raise Interrupted(number, "stopped")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
