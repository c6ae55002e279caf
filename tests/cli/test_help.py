"""`framevit --help` and `framevit help`: groups, examples, topics; plain in a pipe, laid out on a terminal."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from frame_vit.cli import console
from frame_vit.cli.app import COMMANDS, GROUPS
from frame_vit.help.topics import topic_list, topic_text, topics
from tests.processes import run_many
from tests.test_layers import loaded


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """What the command answers, by what stands behind `framevit`."""
    lines = ["--help", "help", "help decisions", "help predict", "help help", "help decision", "help nothing-like-it"]
    lines += [f"{name} --help" for name in COMMANDS]
    commands: list[list[str | Path]] = [[*line.split()] for line in lines]
    return dict(zip(lines, run_many(tmp_path_factory.mktemp("help"), commands), strict=True))


def test_commands_are_listed_once_in_their_groups(answers: dict[str, subprocess.CompletedProcess[str]]) -> None:
    text = answers["--help"].stdout
    for group, title in GROUPS.items():
        block = text.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        listed = [line.split()[0] for line in block.splitlines()]
        assert listed == [name for name, command in COMMANDS.items() if command.group == group]
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.partition("Options:")[2], "the line of a command is cut off"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_an_example_and_its_topic(
    name: str, answers: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    done = answers[f"{name} --help"]
    assert done.returncode == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert f"Example: {COMMANDS[name].example}" in lines
    assert lines[-1] == f"More:    framevit help {COMMANDS[name].topic}".rstrip()


def test_help_in_a_pipe_is_plain_markdown(answers: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert answers["help"].stdout == answers["help help"].stdout == topic_list()
    assert all(f"`{name}`" in answers["help"].stdout for name in topics())
    assert answers["help decisions"].stdout == topic_text("decisions")


def test_a_command_names_its_topic_too(answers: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert answers["help predict"].stdout == topic_text("prediction")


def test_an_unknown_topic_is_a_mistake_with_the_nearest_name(
    answers: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    near, far = answers["help decision"], answers["help nothing-like-it"]
    assert (near.returncode, far.returncode) == (2, 2)
    assert "did you mean 'decisions'?" in near.stderr
    assert "did you mean" not in far.stderr
    assert near.stdout == far.stdout == ""


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", topics())
def test_on_a_terminal_a_topic_is_laid_out_and_fits(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    monkeypatch.setattr(console, "screen", lambda: screen)
    monkeypatch.setenv("FORCE_COLOR", "1")
    console.show_markdown(topic_text(name))
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line.lstrip().startswith(("## ", "```", "| ---")) for line in lines)


@pytest.mark.parametrize(
    ("lines", "never"),
    [
        (["--help"], {"pydantic", "yaml", "rich"}),
        (["help", "help decisions", "help audit"], {"yaml"}),  # typer itself reads arguments with pydantic
    ],
)
def test_help_needs_no_heavy_library(lines: list[str], never: set[str]) -> None:
    program = (
        "from frame_vit.__main__ import main\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['framevit', *line.split()]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, end.code"
    )
    assert not loaded(program) & (never | {"torch", "transformers", "numpy", "PIL", "matplotlib"})
