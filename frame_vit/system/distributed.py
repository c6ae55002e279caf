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
from frame_vit.system.devices import resolve_device
from frame_vit.system.progress import log

Value = TypeVar("Value")
DECIDED = ("MIXED_PRECISION", "DYNAMO_BACKEND", "GRADIENT_ACCUMULATION_STEPS")
REFUSED = ("USE_FSDP", "USE_DEEPSPEED", "USE_MEGATRON_LM")
"""What `accelerate launch` sets (ACCELERATE_...): decided by the config here, or not done here."""


class ProcessGroup:
    """The processes that were started together. `main` is true in the one that writes."""

    def __init__(self, device: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self._state = None
        _launcher_settings()
        if self.count > 1:
            from accelerate import PartialState

            if device.partition(":")[2]:
                raise UsageError(f"device {device}: each process takes its own card", "Use --device cuda or auto")
            kind = resolve_device(device).type
            if kind != "cpu" and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
                raise UsageError(f"accelerate is told to use the CPU, but the device is {kind}", "Add --device cpu")
            # The first process may decode a large data set while the others wait.
            self._state = PartialState(cpu=kind == "cpu", timeout=timedelta(days=1))
            assert self._state.num_processes == self.count
            if not self.main:
                log.setLevel(logging.ERROR)

    @property
    def launcher(self) -> str:
        """How a `framevit` in as many processes is started."""
        if self._state is None:
            return "framevit"
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        machines = f"--nnodes {self.count // here} " if here < self.count else ""
        return f"torchrun {machines}--nproc-per-node {here} -m frame_vit"

    @property
    def main(self) -> bool:
        return self._state is None or self._state.is_main_process

    def first(self) -> contextlib.AbstractContextManager[None]:
        """On each machine one process goes through the block first, the others when it has done so."""
        return self._state.local_main_process_first() if self._state else contextlib.nullcontext()

    def wait(self) -> None:
        """Until all have come here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def share(self, value: Value) -> Value:
        """The main process's value, in all."""
        if self._state is None:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]  # type: ignore[no-any-return]


def _launcher_settings() -> None:
    """Keeps a launcher's environment from changing what the config says of the run.

    Raises `UsageError` for ways of splitting a model that its checkpoints are not made for.
    """
    for name in REFUSED:
        if os.environ.get(f"ACCELERATE_{name}", "").lower() in ("1", "true"):
            raise UsageError(
                f"accelerate is set up for {name.removeprefix('USE_')}",
                "Each process holds the whole model here: use plain data parallelism (accelerate launch --multi_gpu)",
            )
    for name in DECIDED:
        value = os.environ.pop(f"ACCELERATE_{name}", "no")
        if value.lower() not in ("no", "1"):
            log.warning("accelerate's %s=%s is not used: the config says it", name.lower(), value)
