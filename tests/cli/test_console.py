"""What a person sees: names as they are, never as commands to the terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from frame_vit.cli import console, tables
from frame_vit.errors import ConfigError, FrameVitError
from frame_vit.prediction.predictor import Prediction
from frame_vit.system.progress import log
from tests.processes import environment
from tests.test_layers import loaded


def test_control_characters_are_shown_and_not_sent() -> None:
    assert console.plain("a\x1b[31mb\nc") == r"a\x1b[31mb\nc"
    assert console.plain("päß 画像") == "päß 画像"


def test_markup_in_names_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Prediction("[red]a[/].jpg", "[/nope]", 0.5, {"[/nope]": 0.5}, "accept"),
        Prediction("b\x1b[2J.jpg", status="error", error="[bold]x"),
    ]
    tables.show_predictions(rows)
    shown = capsys.readouterr().out
    assert "[red]a[/].jpg" in shown
    assert "[/nope]" in shown
    assert r"b\x1b[2J.jpg" in shown
    assert "[bold]x" in shown
    assert "\x1b[2J" not in shown


def test_an_error_is_one_panel_with_the_way_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FRAMEVIT_DEBUG", raising=False)
    console.show_error(ConfigError("first [mistake]\nsecond", "do this"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("Error") == 1
    for text in ("first [mistake]", "second", "do this"):
        assert text in captured.err
    assert "Traceback" not in captured.err


def test_a_fault_of_the_program_says_so_and_hides_the_traceback_until_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in (False, True):
        monkeypatch.setenv("FRAMEVIT_DEBUG", "1" if wanted else "")
        try:
            raise ZeroDivisionError("oops")
        except ZeroDivisionError as error:
            console.show_unexpected(error)
        shown = capsys.readouterr().err
        assert "ZeroDivisionError: oops" in shown
        assert ("in test_a_fault" in shown) == wanted


def test_progress_in_a_pipe_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as tick:
        for done in range(1, 101):
            tick("reading [x]", done, 100, "note")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["reading [x]: 100 of 100, note"]


def test_an_interrupted_run_ends_with_the_command_that_resumes_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_interrupted(FrameVitError("stopped after step 3", "framevit train --resume runs/a-001"))
    console.show_interrupted(FrameVitError("stopped"))
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["stopped after step 3; to resume:", "framevit train --resume runs/a-001", "stopped"]


def test_messages_go_to_stderr_and_warnings_say_that_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for attribute in ("handlers", "propagate", "level"):
        monkeypatch.setattr(log, attribute, getattr(log, attribute))
    with warnings.catch_warnings():
        console.start_messages()
        log.info("read %s", "a\x1b[2Jb")
        log.warning("careful")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [r"read a\x1b[2Jb", "warning: careful"]


def test_the_time_left_is_told_in_a_unit_that_fits() -> None:
    assert [console._duration(seconds) for seconds in (7, 300, 9000)] == ["7 s", "5 min", "2.5 h"]


def test_progress_in_a_pipe_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 11.0, 12.0, 22.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with console.progress() as tick:
        for done in (0, 11, 12, 22):
            tick("testing", done, 33, "")
    assert capsys.readouterr().err.splitlines() == ["testing: 11 of 33, 22 s left", "testing: 22 of 33, 11 s left"]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is drawn on stderr, 40 columns wide, without colours."""
    drawn = io.StringIO()
    drawing = Console(file=drawn, force_terminal=True, color_system=None, width=40, highlight=False)
    monkeypatch.setattr(console, "screen", lambda stderr: drawing)
    monkeypatch.setenv("FORCE_COLOR", "1")
    return drawn


def test_a_line_is_not_broken_and_a_warning_says_that_it_is_one(screen: io.StringIO) -> None:
    console.say("a name that is longer than the screen is wide.jpg")
    console.say("careful", warning=True)
    assert screen.getvalue() == "a name that is longer than the screen is wide.jpg\nwarning: careful\n"


def test_a_panel_has_the_width_of_the_screen(screen: io.StringIO) -> None:
    console.show_error(FrameVitError("what happened", "what to do"))
    lines = screen.getvalue().splitlines()
    assert {len(line) for line in lines} == {40}
    assert "Error" in lines[0]
    assert "what happened" in lines[1]
    assert "what to do" in lines[2]


def test_every_stage_has_a_bar_with_its_count_and_its_note(screen: io.StringIO) -> None:
    with console.progress() as tick:
        tick("reading", 1, 2, "")
        tick("reading", 2, 2, "")
        tick("testing\x1b[2J", 3, 4, "7 s")
    drawn = re.sub(r"\x1b\[\d*[A-Za-z]", "", screen.getvalue())  # without the movements of the cursor
    reading, testing = [line.split() for line in drawn.splitlines() if "/" in line][-2:]
    assert (reading[0], "2/2" in reading) == ("reading", True)
    assert (testing[0], "3/4" in testing, testing[-2:]) == (r"testing\x1b[2J", True, ["7", "s"])


def test_the_help_on_a_real_terminal_is_laid_out_and_in_a_pipe_it_is_markdown(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "frame_vit", "help", "labels"]
    plain = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=100).stdout
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment(tmp_path, TERM="xterm"), stdout=theirs)
    os.close(theirs)
    drawn = b""
    while chunk := _read(ours):
        drawn += chunk
    assert process.wait(timeout=100) == 0
    assert "```yaml" in plain
    assert "\x1b" not in plain
    assert b"```yaml" not in drawn
    assert b"\x1b[" in drawn


def _read(end: int) -> bytes:
    try:
        return os.read(end, 65536)
    except OSError:  # the other end of a terminal is closed
        return b""


def test_a_prediction_into_a_pipe_does_without_rich(exported: Path, pictures: Path) -> None:
    words = ["predict", "--model", str(exported / "runs/tiny-001"), str(pictures), "--format", "jsonl"]
    program = (
        f"from frame_vit.__main__ import main\nsys.argv = ['framevit', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    unneeded = {"rich", "torch", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "yaml", "pandas"}
    assert not loaded(program) & unneeded
