"""Pipes and devices where a file is expected: refused at once in one panel, and never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.calls import Call
from tests.cli.conftest import call  # noqa: F401  (the command in this process)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "-c", "PLACE", "--print-config"],
        ["prepare", "-c", "PLACE"],
        ["prepare", "-c", "tiny.yaml", "--set", "data.exclude=PLACE"],
        ["prepare", "-c", "tiny.yaml", "--set", "data.splits=PLACE", "--set", "data.test=null"],
        ["predict", "x.jpg", "--skip-done", "--format", "jsonl", "-o", "PLACE"],
        ["predict", "x.jpg", "--format", "jsonl", "-o", "PLACE"],
        ["predict", "x.jpg", "--overwrite", "--format", "csv", "-o", "PLACE"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("place", ["pipe", "/dev/full", "/dev/zero"])
def test_what_may_never_end_is_refused(call: Call, words: list[str], place: str) -> None:  # noqa: F811
    os.mkfifo("pipe")
    if not Path(place).exists():
        pytest.skip(f"this system has no {place}")
    answer = call(*(word.replace("PLACE", place) for word in words))
    assert f"{place} is not a plain file but a pipe, a device or a socket" in answer.words, answer.err
    assert answer.code == 2
    assert answer.err.count("╭") == 1
