"""A model by name -> a predictor: which backend answers, and why. The fastest that is there, where nothing is asked.

With an exported file torch is not imported. What is fastest depends on how many pictures there are: importing torch
and transformers takes seconds, which a thousand pictures win back and one does not. `framevit benchmark` measures; what
it found on this machine is used, and without it a rule.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

from frame_vit.system.machine import processor_flags

CAN = {
    ("onnxruntime", "fp32"): ("fp32",),
    ("onnxruntime", "int8"): ("int8",),
    ("openvino", "fp32"): ("fp32", "bf16"),
    ("openvino", "int8"): ("int8",),
}
"""The precisions that an exported file of some numbers can be computed in."""


def extra_of(backend: str) -> str:
    return "export" if backend == "onnxruntime" else backend


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def has_cuda_card(device: str) -> bool:
    """Whether there seems to be a CUDA card, without importing torch to ask it."""
    return device.startswith("cuda") or (device == "auto" and shutil.which("nvidia-smi") is not None and _cards_shown())


def _cards_shown() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")


def cpu_has_bf16() -> bool:
    return bool(processor_flags() & {"avx512_bf16", "amx_bf16"})
