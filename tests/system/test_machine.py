"""The processor as Linux describes it, and the cores that this process may use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frame_vit.system.machine import (
    NUMBER_FORMATS,
    Machine,
    cores,
    free_memory,
    machine,
    processor_flags,
    processor_name,
)


def test_a_machine_is_the_same_after_json() -> None:
    values = machine().to_json()
    assert list(values) == ["processor", "cores", "system"]
    assert Machine.from_json(json.loads(json.dumps(values))) == machine()
    assert machine().processor == processor_name() != ""


def test_a_machine_with_missing_facts_is_not_this_one() -> None:
    assert Machine.from_json({"processor": machine().processor}) != machine()
    assert Machine.from_json({}) == Machine("", None, "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux limits a process to some cores")
def test_cores_are_those_that_this_process_may_use() -> None:
    program = (
        "import os; from frame_vit.system.machine import cores; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"


def test_processes_on_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = cores()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert cores() == max(1, alone // 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "100000")
    assert cores() == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lists what a processor can do")
def test_the_flags_are_words_and_those_we_look_for_are_written_as_linux_writes_them() -> None:
    assert all(flag == flag.lower() and " " not in flag for flag in (*processor_flags(), *NUMBER_FORMATS))


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux")
def test_free_memory_stays_within_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frame_vit.system.machine.CONTAINER", tmp_path)
    without = free_memory()
    assert without is not None
    assert without > 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("400\n")
    (tmp_path / "memory.stat").write_text("anon 250\ninactive_file 100\nactive_file 50\n")
    assert free_memory() == pytest.approx(without, rel=0.2)
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_memory() == 700
