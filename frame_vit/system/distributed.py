"""The process group of a distributed training: which process writes, which goes first, and what all must agree on.

`torchrun` and `accelerate launch` start the processes; the Trainer averages their gradients through accelerate. A
training in one process is a group of one, so callers need no second path.
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
"""Variables that `accelerate launch` sets (ACCELERATE_...): overruled by framevit's config, and refused."""


class ProcessGroup:
    """The processes that a launcher started together; `count` of them. `main` is true in the one that writes.

    Raises `UsageError` where the launcher and the device contradict each other.
    """

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
                raise UsageError(f"accelerate was set up for the CPU, but the device is {kind}", "Add --device cpu")
            # The others wait while the first process decodes the pictures, which can take hours.
            self._state = PartialState(cpu=kind == "cpu", timeout=timedelta(days=1))
            assert self._state.num_processes == self.count
            if not self.main:
                log.setLevel(logging.ERROR)

    @property
    def launcher(self) -> str:
        """The words that start `framevit` in the same number of processes, for messages."""
        if self._state is None:
            return "framevit"
        local = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        machines = f"--nnodes {self.count // local} " if local < self.count else ""
        return f"torchrun {machines}--nproc-per-node {local} -m frame_vit"

    @property
    def main(self) -> bool:
        return self._state is None or self._state.is_main_process

    def first(self) -> contextlib.AbstractContextManager[None]:
        """On each machine, one process goes through the block first; the others then find its work in the cache."""
        return self._state.local_main_process_first() if self._state else contextlib.nullcontext()

    def wait(self) -> None:
        """Waits until all processes have come here (a barrier)."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def share(self, value: Value) -> Value:
        """Broadcasts the main process's value: every process gets it."""
        if self._state is None:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]  # type: ignore[no-any-return]


def _launcher_settings() -> None:
    """Keeps a launcher's environment from overruling the config.

    Raises `UsageError` for FSDP, DeepSpeed and Megatron, which split a model in ways that checkpoints do not hold.
    """
    for name in REFUSED:
        if os.environ.get(f"ACCELERATE_{name}", "").lower() in ("1", "true"):
            raise UsageError(
                f"accelerate is set up for {name.removeprefix('USE_')}",
                "Each process holds the whole model. Use plain data parallelism: accelerate launch --multi_gpu",
            )
    for name in DECIDED:
        value = os.environ.pop(f"ACCELERATE_{name}", "no")
        if value.lower() not in ("no", "1"):
            log.warning("accelerate's %s=%s is not used: framevit's config decides it", name.lower(), value)
