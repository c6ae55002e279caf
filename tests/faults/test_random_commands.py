"""Three hundred random command lines: known exit codes, plain words, no traceback, and nothing that hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.commands import odd_ones, prepare
from tests.processes import Nursery

SEED, COUNT = 7, 300


@pytest.mark.long
def test_random_commands_end_in_plain_words(exported: Path, tmp_path: Path) -> None:
    prepare(tmp_path, exported)
    with Nursery(tmp_path) as nursery:
        found = [odd for odd in odd_ones(nursery, SEED, COUNT) if odd is not None]
    assert not found, "\n\n".join(f"framevit {odd.words}: {odd.code}\n{odd.said[-1500:]}" for odd in found)
