"""Exported files beside a model's weights: which are there, whether they are still those of the weights, how fast.

    model.onnx, model-int8.onnx   the model, with its settings embedded
    export.json                   the proof: what was compared with torch, and a sample of the weights it was made from
    benchmark.json                how fast each backend was on which machine

No torch here: what is decided here decides whether torch must be imported.

---
What computes a model's answers: one protocol; here the peers that run an exported file, without torch.

ONNX Runtime and OpenVINO read the same `model.onnx`, in which the model's settings are embedded. The peer that needs
the weights and torch is in `torch_backend`.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What a measured speed holds for."""
    return {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()}


def processor_flags() -> set[str]:
    """What Linux says that the processor can do; empty elsewhere."""
    return set(_cpuinfo("flags").split())


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def cores() -> int:
    """Cores for this process: containers and schedulers give fewer than the machine has; processes share them."""
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, given // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
