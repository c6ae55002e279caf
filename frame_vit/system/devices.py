"""Which device, and which number format it is really fast in.

`torch.cuda.is_bf16_supported()` says yes on a T4, where bf16 is emulated and four times slower; CPUs compute bf16 in
any case, but without AMX or avx512_bf16 by emulation. So the hardware's abilities decide, and asking for more is an
error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from frame_vit.errors import UsageError

FORMATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def resolve_device(name: str) -> torch.device:
    """auto (CUDA, then MPS, then CPU) or a named device. Raises `UsageError` where it is not there."""
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}", "auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        found = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "no usable CUDA device"
        raise UsageError(f"device {name}: this machine has {found}", "Use --device auto or --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device mps: not on this machine", "Use --device auto or --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r} is not supported", "auto, cpu, cuda, cuda:N or mps")
    return device


def own_card(device: torch.device) -> torch.device:
    """Of several processes that `torchrun` started, each takes its own card."""
    rank = os.environ.get("LOCAL_RANK")
    if device.type != "cuda" or device.index is not None or not rank:
        return device
    return torch.device("cuda", int(rank) % torch.cuda.device_count())  # as accelerate deals them out


def resolve_precision(requested: str, device: torch.device) -> str:
    """fp32, fp16 or bf16 for `auto`; otherwise the requested one, or a `UsageError` with the reason it can't be."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        best = "bf16" if capability >= (8, 0) else "fp16"
        refused = (
            {"bf16": f"its compute capability is {capability[0]}.{capability[1]}, bf16 needs 8.0"}
            if best == "fp16"
            else {}
        )
    elif device.type == "cpu":
        best = "bf16" if _cpu_has_bf16(torch.cpu.get_capabilities()) else "fp32"
        refused = {"fp16": "fp16 training and inference need a CUDA card"}
        if best == "fp32":
            refused["bf16"] = "the processor has neither AMX nor avx512_bf16, bf16 would be emulated"
    else:
        best, refused = "fp32", dict.fromkeys(("fp16", "bf16"), "half precision is not used there")
    if requested == "auto":
        return best
    if requested in refused:
        raise UsageError(
            f"precision {requested} on {device}: {refused[requested]}", f"--precision auto takes {best} here"
        )
    return requested


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Mixed precision for a forward pass; nothing for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, FORMATS[precision])


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; a card goes on with what it has to do meanwhile, and so does Python."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory the copy would wait for the card


def later(number: Tensor) -> Callable[[], float]:
    """A number on its way from the device: asked for now, there when the result is called. A card is not waited for."""
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
    """The device in words, for environment.json."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def _cpu_has_bf16(abilities: Mapping[str, object]) -> bool:
    return bool(abilities.get("amx_bf16") or abilities.get("avx512_bf16"))
