"""Progress and messages, for code that does not know who shows them.

Long work calls a `Tick`; the command line draws a bar on a terminal or prints plain lines in a pipe. Messages go
through the `framevit` logger, so a run's train.log and the terminal get the same words.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("framevit")
Tick = Callable[[str, int, int, str], None]
"""`tick(stage, done, total, note)`, called as often as is convenient; `done == total` ends the stage."""


def speed(rate: float) -> str:
    """A rate in pictures per second as text, without digits that mean nothing."""
    return f"{rate:,.0f} pictures/s" if rate >= 10 else f"{rate:.2g} pictures/s"


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """A `Tick` that shows nothing."""


class Once:
    """Logs a warning the first time that it is given."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, message: str) -> None:
        if message not in self._given:
            self._given.add(message)
            log.warning(message)
