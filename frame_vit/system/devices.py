"""The device to compute on, and the number format (precision) in which it is fast.

PyTorch also computes in formats that the hardware only emulates: `torch.cuda.is_bf16_supported()` is true on a T4,
where bf16 is four times slower than fp32, and a CPU without AMX or avx512_bf16 accepts bf16 too. So the hardware's
abilities decide here, and a precision that would be emulated is an error. Copies that do not wait for a card are here
as well.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from frame_vit.errors import UsageError
from frame_vit.system.machine import NATIVE_BF16

FORMATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def resolve_device(name: str) -> torch.device:
    """The named device; for `auto` CUDA, else MPS, else the CPU. Raises `UsageError` where this machine lacks it."""
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}", "auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "no usable CUDA device"
        raise UsageError(f"device {name}: this machine has {count}", "Use --device auto or --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device mps: this machine has none", "Use --device auto or --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r} is not supported", "auto, cpu, cuda, cuda:N or mps")
    return device


def own_card(device: torch.device) -> torch.device:
    """The card of this process, where `torchrun` or `accelerate` started several: each takes its own."""
    rank = os.environ.get("LOCAL_RANK")
    if device.type != "cuda" or device.index is not None or not rank:
        return device
    return torch.device("cuda", int(rank) % torch.cuda.device_count())  # the same card that accelerate takes


@dataclass(frozen=True)
class PrecisionRule:
    """The precision that `auto` takes on a device, why, and the reason for each one that is refused there."""

    best: str
    reason: str
    refused: Mapping[str, str]


def precision_rule(device: torch.device) -> PrecisionRule:
    """The rule for a device, from what its hardware computes without emulation."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        capability = f"its compute capability is {major}.{minor}"
        if (major, minor) >= (8, 0):
            return PrecisionRule("bf16", f"{capability}, and bf16 is fast from 8.0 on", {})
        reason = f"{capability}, bf16 needs 8.0"
        return PrecisionRule("fp16", reason, {"bf16": reason})
    if device.type == "cpu":
        refused = {"fp16": "fp16 training and inference need a CUDA card"}
        if _cpu_has_bf16(torch.cpu.get_capabilities()):
            return PrecisionRule("bf16", "the processor computes bf16 itself (AMX or avx512_bf16)", refused)
        reason = "the processor has neither AMX nor avx512_bf16, bf16 would be emulated"
        return PrecisionRule("fp32", reason, refused | {"bf16": reason})
    reason = f"half precision is not used on {device.type}"
    return PrecisionRule("fp32", reason, dict.fromkeys(("fp16", "bf16"), reason))


def resolve_precision(requested: str, device: torch.device) -> str:
    """fp32, fp16 or bf16: the best one for `auto`, else the requested one. Raises `UsageError` where it is refused."""
    rule = precision_rule(device)
    if requested == "auto":
        return rule.best
    if requested in rule.refused:
        raise UsageError(
            f"precision {requested} on {device}: {rule.refused[requested]}",
            f"--precision auto takes {rule.best} here",
        )
    return requested


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Mixed precision for a forward pass (torch.autocast); for fp32 it does nothing."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, FORMATS[precision])


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a CPU tensor to the device. Neither a card nor Python waits for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory the copy would wait for the card


def later(number: Tensor) -> Callable[[], float]:
    """Starts to copy one number from the device; calling the result gives it, and waits only until the copy has come.

    So a loss can be read a few steps later without stopping the card now.
    """
    if number.device.type != "cuda":
        copy = number.detach().clone()
        return lambda: float(copy)
    copy = number.detach().to("cpu", non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def read() -> float:
        arrived.synchronize()
        return float(copy)

    return read


def describe(device: torch.device) -> str:
    """The device in words, as environment.json has it: the card's name, or the CPU with its number of threads."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def _cpu_has_bf16(abilities: Mapping[str, object]) -> bool:
    return any(abilities.get(ability) for ability in NATIVE_BF16)
