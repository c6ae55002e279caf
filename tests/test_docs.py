"""The documentation against the code: every command, flag and config that is shown exists, and the other way round."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from frame_vit.cli.app import app
from frame_vit.config.load import load_config
from frame_vit.config.schema import AuditConfig
from frame_vit.findings import KINDS, Kind

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_says_what_it_is(path: Path) -> None:
    load_config(path)
    head = path.read_text().split("\nlabels:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"framevit train --config configs/{path.name}" in head
    assert "Expect" in head
    assert path.name in README


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_stands_in_the_readme(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert f"framevit {name}" in README
    for parameter in command.params:
        assert parameter.help if hasattr(parameter, "help") else True, f"{name} {parameter.name} is not explained"


def test_every_flag_in_the_readme_exists() -> None:
    known = {flag for command in COMMANDS.values() for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", "\n".join(re.findall(r"framevit [a-z]+ .*", README))))
    assert shown <= known | {"--help", "--version"}


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "frame_vit", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("framevit ")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.code)
def test_every_kind_of_finding_stands_in_the_readme(kind: Kind) -> None:
    threshold = f"`{kind.threshold}`" if kind.threshold else ""
    assert f"| {kind.code} | {kind.title} | {kind.severity} | {threshold} |" in README
    assert not kind.threshold or kind.threshold in AuditConfig.model_fields
