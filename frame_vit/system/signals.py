"""Interrupts: how SIGINT (Ctrl-C) and SIGTERM stop a run without losing what it has done.

`GracefulStop` is for loops that can save: the first signal is remembered and the loop ends after its step, the second
ends the process at once. `interruptible` is for everything else: the signal becomes an `Interrupted` exception. A
process that dies at once loses nothing either, since files are written whole or not at all (`system.files`).
"""

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

SAME_INTERRUPT_S = 1.0
"""torchrun passes on a signal that the terminal has already sent to every process. Within this time it is the same."""


class GracefulStop:
    """Inside the block, the first SIGINT or SIGTERM sets `requested` to its number and logs `message` as a warning.

    The second one ends the process at once, with 128 + its number. Outside the main thread nothing changes, because
    Python handles signals only there.
    """

    def __init__(self, message: str = "stopping after this step; a second interrupt exits immediately") -> None:
        self.requested = 0
        self._message = message
        self._requested_at = 0.0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._requested_at = number, now
            if os.environ.get("RANK", "0") == "0":
                # In a thread: the signal may have interrupted a write to the same stream, which cannot be re-entered.
                threading.Thread(target=log.warning, args=(self._message,)).start()
        elif "TORCHELASTIC_RUN_ID" not in os.environ or now - self._requested_at > SAME_INTERRUPT_S:
            cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""  # the progress bar has hidden the cursor
            os.write(2, cursor + b"\nexited immediately; what was saved before is whole\n")
            os._exit(128 + number)  # files are written whole or not at all


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, SIGTERM raises `Interrupted`, as Ctrl-C raises `KeyboardInterrupt`, and clean-up code runs."""

    def handle(number: int, _: FrameType | None) -> None:
        raise Interrupted(number, "stopped")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
