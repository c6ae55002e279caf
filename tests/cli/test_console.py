"""What a person sees: names as they are, never as commands to the terminal."""

from __future__ import annotations

import warnings

import pytest

from frame_vit.cli import console, tables
from frame_vit.errors import ConfigError, FrameVitError
from frame_vit.prediction.predictor import Prediction
from frame_vit.system.progress import log


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
