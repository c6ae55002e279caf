"""The precision rule, by what the hardware can do; the hardware's answers are stubbed, the rule is not."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from frame_vit.backends.backend import WEIGHTS
from frame_vit.backends.torch_backend import TORCH
from frame_vit.cli.options import TrainPrecision
from frame_vit.config.schema import Precision
from frame_vit.errors import UsageError
from frame_vit.system.devices import FORMATS, later, own_card, precision_rule, resolve_device, resolve_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("capability", "best"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_cuda_cards_get_bf16_from_capability_8_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], best: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", CUDA) == best
    assert resolve_precision("fp16", CUDA) == "fp16"
    assert resolve_precision("fp32", CUDA) == "fp32"


def test_a_t4_is_refused_bf16_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(UsageError, match=r"7\.5.*8\.0"):
        resolve_precision("bf16", CUDA)


@pytest.mark.parametrize(
    ("abilities", "best"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx512_f": True}, "fp32"), ({}, "fp32")],
)
def test_cpus_get_bf16_where_they_compute_in_it(
    monkeypatch: pytest.MonkeyPatch, abilities: dict[str, bool], best: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert resolve_precision("auto", CPU) == best
    if best == "fp32":
        with pytest.raises(UsageError, match="neither AMX nor avx512_bf16"):
            resolve_precision("bf16", CPU)


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UsageError, match="CUDA"):
        resolve_precision("fp16", CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA card")
def test_a_card_that_is_not_there_is_refused_and_not_replaced() -> None:
    with pytest.raises(UsageError, match="no usable CUDA device"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "xpu:99:1", "meta"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        resolve_device(name)


def test_each_of_several_processes_takes_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, card in ((None, "cuda"), ("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0")):
        monkeypatch.setenv("LOCAL_RANK", rank) if rank else monkeypatch.delenv("LOCAL_RANK", raising=False)
        assert str(own_card(torch.device("cuda"))) == card
        assert str(own_card(torch.device("cuda:1"))) == "cuda:1"
        assert str(own_card(torch.device("cpu"))) == "cpu"


def test_every_rule_gives_its_reason_and_never_refuses_its_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [precision_rule(CPU), precision_rule(torch.device("mps"))]
    for capability in ((7, 5), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        rules.append(precision_rule(CUDA))
        assert f"{capability[0]}.{capability[1]}" in rules[-1].reason
    assert all(rule.reason and rule.best not in rule.refused for rule in rules)


def test_a_number_is_read_later_as_it_was_then() -> None:
    number = torch.tensor(1.5)
    read = later(number)
    number += 1
    assert read() == 1.5


def test_config_command_line_and_torch_know_the_same_precisions() -> None:
    """They are written down apart: the config needs a type, and the command line must import neither it nor torch."""
    assert {"auto", *FORMATS} == {*get_args(Precision)} == {each.value for each in TrainPrecision}
    assert {*FORMATS} == {*TORCH.precisions[WEIGHTS]}
