"""Several processes that train one model: who writes, who goes first, what all must know. One process is a team too.

`torchrun` and `accelerate launch` start the processes; the Trainer, through accelerate, averages their gradients.
"""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import timedelta
from typing import TypeVar

from frame_vit.errors import UsageError
from frame_vit.progress import log

Value = TypeVar("Value")


class Team:
    """The processes that were started together. `main` is true in the one that writes."""

    def __init__(self, device: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self._state = None
        if self.count > 1:
            from accelerate import PartialState

            if device.partition(":")[2]:
                raise UsageError(f"device {device}: each process takes its own card", "Use --device cuda or auto")
            # The first process may decode a large data set while the others wait.
            self._state = PartialState(cpu=device == "cpu", timeout=timedelta(days=1))
            if not self.main:
                log.setLevel(logging.ERROR)

    @property
    def main(self) -> bool:
        return self._state is None or self._state.is_main_process

    def first(self) -> contextlib.AbstractContextManager[None]:
        """On each machine one process goes through the block first, the others when it has done so."""
        return self._state.local_main_process_first() if self._state else contextlib.nullcontext()

    def share(self, value: Value) -> Value:
        """The main process's value, in all."""
        if self._state is None:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]  # type: ignore[no-any-return]
