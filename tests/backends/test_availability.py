"""One list of backends: the choice, the benchmark and the command line reach every backend in it, and it is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from frame_vit.backends import availability, choose
from frame_vit.backends.availability import BACKENDS, backend_named, cpu_has_bf16, has_cuda_card, precisions
from frame_vit.backends.backend import BackendInfo
from frame_vit.cli.options import Backend, Precision
from frame_vit.export.benchmark import combinations

HEAVY = {"torch", "transformers", "numpy", "PIL", "onnxruntime", "openvino", "pydantic", "onnx"}


@pytest.mark.parametrize("info", BACKENDS, ids=lambda info: info.name)
def test_a_declared_backend_is_reached_by_choice_benchmark_and_command_line(exported: Path, info: BackendInfo) -> None:
    request = choose.BackendRequest(str(exported / "runs/tiny-001/model"), info.name, "auto", "auto")
    assert {choice.backend for choice in choose.ordered_choices(request, 1)} == {info.name}
    automatic = choose.ordered_choices(request._replace(backend="auto"), 1)
    assert info.name in {choice.backend for choice in automatic}
    declared = {(variant, each) for variant, all_of in info.precisions.items() for each in all_of}
    assert {(c.variant, c.precision) for c in combinations() if c.backend == info.name} == declared
    assert Backend(info.name).value == info.name
    assert all(Precision(each).value == each for _, each in declared)


def test_the_command_line_offers_no_backend_that_is_not_declared() -> None:
    assert [each.value for each in Backend] == ["auto", *(info.name for info in BACKENDS)]
    assert [each.value for each in Precision] == ["auto", *precisions()]
    assert {c.backend for c in combinations()} == {info.name for info in BACKENDS}


@pytest.mark.parametrize("info", BACKENDS, ids=lambda info: info.name)
def test_what_installs_a_backend_is_an_extra_of_the_package(info: BackendInfo) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert info.extra is None or f"\n{info.extra} = [" in text
    assert f'"{info.library}>=' in text
    assert (info.extra or info.library) in info.install_command
    assert backend_named(info.name) is info


def test_the_list_is_read_without_numpy_or_a_runtime() -> None:
    program = "import sys, frame_vit.backends.availability; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_no_backend_has_another_ones_rank() -> None:
    for ranks in ([info.start_rank for info in BACKENDS], [info.cpu_rank for info in BACKENDS]):
        assert sorted(ranks) == list(range(len(BACKENDS)))


@pytest.mark.parametrize(
    ("device", "tool", "visible", "expected"),
    [
        ("cuda:1", None, "0", True),
        ("cpu", "/usr/bin/nvidia-smi", "0", False),
        ("auto", "/usr/bin/nvidia-smi", "0", True),
        ("auto", "/usr/bin/nvidia-smi", "", False),
        ("auto", None, "0", False),
    ],
)
def test_a_card_is_guessed_from_the_driver(
    monkeypatch: pytest.MonkeyPatch, device: str, tool: str | None, visible: str, expected: bool
) -> None:
    monkeypatch.setattr(availability, "shutil", SimpleNamespace(which=lambda _: tool))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert has_cuda_card(device) is expected


def test_bf16_is_native_where_the_processor_has_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in (({"avx2"}, False), ({"avx512_bf16"}, True), ({"amx_bf16", "avx2"}, True)):
        monkeypatch.setattr(availability, "processor_flags", lambda flags=flags: flags)
        assert cpu_has_bf16() is expected
