"""What a command answers in this process, and how a mistake must look."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """stderr without the panel's frame and line breaks."""
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", self.err).split())


Call = Callable[..., Answer]


def one_panel(call: Call, arguments: Sequence[str], said: str) -> None:
    """A mistake of the caller: one panel that says what is wrong, exit code 2, nothing printed and nothing written."""
    Path("empty").mkdir()
    Path("full/x").mkdir(parents=True)
    answer = call(*arguments)
    assert said in answer.words
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("╭") + answer.err.count("Usage:") == 1
    assert "Traceback" not in answer.err
    assert not Path("runs").exists()
