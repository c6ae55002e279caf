"""The backends that framevit has, and what this machine offers them. A new backend is added to `BACKENDS`.

The command line makes the values of `--backend` and `--precision` from this list, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import shutil

from frame_vit.backends.backend import BackendInfo
from frame_vit.backends.onnxruntime_backend import ONNXRUNTIME
from frame_vit.backends.openvino_backend import OPENVINO
from frame_vit.backends.torch_backend import TORCH
from frame_vit.system.machine import NATIVE_BF16, processor_flags

BACKENDS: tuple[BackendInfo, ...] = (TORCH, ONNXRUNTIME, OPENVINO)
"""All backends. The first is the reference that the benchmark compares the others with."""


def backend_named(name: str) -> BackendInfo | None:
    return next((info for info in BACKENDS if info.name == name), None)


def precisions() -> tuple[str, ...]:
    """Every precision that some backend computes in, without repetition."""
    return tuple(dict.fromkeys(p for info in BACKENDS for computed in info.precisions.values() for p in computed))


def has_cuda_card(device: str) -> bool:
    """Whether the device is, or `auto` probably finds, a CUDA card. Does not import torch, which takes seconds."""
    return device.startswith("cuda") or (
        device == "auto" and shutil.which("nvidia-smi") is not None and _cards_visible()
    )


def _cards_visible() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")


def cpu_has_bf16() -> bool:
    """Whether the processor computes bf16 natively; by emulation it would be slower than fp32."""
    return bool(processor_flags() & {*NATIVE_BF16})
