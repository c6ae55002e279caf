"""The command in this process, for the tests of the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from frame_vit.__main__ import main
from tests.cli.calls import Answer, Call
from tests.conftest import TINY


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command in this process, in an empty folder with tiny.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "tiny.yaml").write_text(TINY)

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["framevit", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Answer(code, *capsys.readouterr())

    return run
