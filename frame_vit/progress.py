"""How long work says where it is, without knowing who shows it.

The core calls a `Tick`; `console` draws a bar on a terminal or plain lines in a pipe. Messages go through the
`framevit` logger, so that a run's `train.log` and the terminal get the same words.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("framevit")

Tick = Callable[[str, int, int, str], None]
"""`tick(stage, done, total, note)`: called as often as is convenient; `done == total` ends the stage."""


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """A `Tick` that shows nothing."""
