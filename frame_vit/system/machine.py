"""The processor: its name, what it can compute, and how many cores this process may use. Standard library only.

A measured speed holds for one machine, so `benchmark.json` and `export.json` name it by these facts. Linux tells what a
processor can do; elsewhere that list is empty, which means that nothing is known.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

NUMBER_FORMATS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""The abilities of an x86 processor that decide how fast it computes a network, by Linux's names."""

NATIVE_BF16 = ("amx_bf16", "avx512_bf16")
"""With one of these abilities a processor computes bf16 itself; others emulate it, slower than fp32."""


CONTAINER = Path("/sys/fs/cgroup")
"""Where Linux tells a container its own limits (cgroup v2)."""


class Machine(NamedTuple):
    """The machine that a measured speed holds for. `cores` are those it has; None where the system does not tell."""

    processor: str
    cores: int | None
    system: str

    def to_json(self) -> dict[str, Any]:
        return self._asdict()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Machine:
        """A recorded machine. A fact that the file lacks stays empty, so that it is not taken for a real machine."""
        return cls(str(values.get("processor", "")), values.get("cores"), str(values.get("system", "")))


def machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(processor_name(), os.cpu_count(), platform.system())


def processor_name() -> str:
    """The processor's name as its maker writes it, or at least its architecture."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_flags() -> set[str]:
    """The abilities that Linux lists for the processor; empty on other systems."""
    return set(_cpuinfo("flags").split())


def cores() -> int:
    """Cores for this process, at least one. Containers and schedulers give fewer than the machine has.

    Processes that a launcher started together on one machine share them.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def free_memory() -> int | None:
    """Bytes that this process can still get, within the limit of its container; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
    try:
        limit, used = (int((CONTAINER / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines())
        used -= int(counts["inactive_file"])  # files that were read and can be read again count as used, too
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        return free
    return min(free, max(0, limit - used))


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
