"""The program: every way to end is one panel or one line and an exit code, and never a traceback."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from frame_vit import __main__ as program
from frame_vit import __version__
from frame_vit.errors import ConfigError, DataError, FrameVitError, Interrupted, ModelError, UsageError
from tests.conftest import Framevit
from tests.processes import environment

Ended = tuple[int, str]
End = Callable[[BaseException], Ended]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> End:
    """The exit code and stderr of the program when the command line ends with this error; stdout stays empty."""
    for name in ("RANK", "FRAMEVIT_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def end(error: BaseException) -> Ended:
        def app(prog_name: str) -> None:
            raise error

        monkeypatch.setattr(program, "app", app)
        with pytest.raises(SystemExit) as leaving:
            program.main()
        captured = capsys.readouterr()
        assert captured.out == ""
        assert isinstance(leaving.value.code, int)
        return leaving.value.code, captured.err

    return end


@pytest.mark.parametrize(
    ("kind", "code"), [(UsageError, 2), (ConfigError, 2), (DataError, 1), (ModelError, 1), (FrameVitError, 1)]
)
def test_an_error_is_one_panel_and_its_exit_code(ends: End, kind: type[FrameVitError], code: int) -> None:
    left, shown = ends(kind("first [mistake]\nsecond \x1b[2J", "what to do"))
    assert left == code
    assert shown.count("╭") == shown.count("╰") == 1
    for text in ("Error", "first [mistake]", r"second \x1b[2J", "what to do"):
        assert text in shown
    assert "\x1b" not in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), AssertionError("oops"), OSError(5, "oops")])
def test_an_unexpected_error_is_a_panel_too_and_exit_code_1(ends: End, error: Exception) -> None:
    code, shown = ends(error)
    assert code == 1
    assert shown.count("╭") == 1
    assert f"{type(error).__name__}: {error}" in shown
    assert "This is a bug" in shown
    assert "Traceback" not in shown


def test_an_unexpected_error_shows_where_it_happened_on_request(ends: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEVIT_DEBUG", "1")
    code, shown = ends(ZeroDivisionError("oops"))
    assert code == 1
    assert "raise error" in shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_with_the_command_that_resumes_it(ends: End, number: int, code: int) -> None:
    left, shown = ends(Interrupted(number, "stopped after step 3", "framevit train --resume runs/a-001"))
    assert left == code
    assert shown.splitlines() == ["stopped after step 3; to resume:", "framevit train --resume runs/a-001"]


def test_ctrl_c_before_there_is_anything_to_save_is_one_word(ends: End) -> None:
    assert ends(SystemExit(130)) == (130, "stopped\n")


@pytest.mark.parametrize("code", [0, 2, 3, 4])
def test_an_exit_code_of_a_command_is_passed_on_in_silence(ends: End, code: int) -> None:
    assert ends(SystemExit(code)) == (code, "")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (UsageError("no such file"), False),
        (Interrupted(signal.SIGINT, "stopped"), False),
        (DataError("one process only"), True),
    ],
)
def test_of_several_processes_one_says_what_all_know(
    ends: End, monkeypatch: pytest.MonkeyPatch, error: FrameVitError, shown: bool
) -> None:
    monkeypatch.setenv("RANK", "1")
    code, text = ends(error)
    assert code == error.exit_code
    assert (error.message in text) == shown


def test_ctrl_c_while_a_command_runs_is_exit_code_130(tmp_path: Path) -> None:
    """The command asks a hub that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as hub:
        address = f"http://127.0.0.1:{hub.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "frame_vit", "train", "--data", "owner/name", "--set", "model.init=scratch"],
            cwd=tmp_path,
            env=environment(tmp_path, HF_HUB_OFFLINE="", HF_ENDPOINT=address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = hub.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
        connection.close()
    assert process.returncode == 130, err
    assert out == ""
    assert err.split() == ["stopped"]


def test_a_reader_that_closes_the_pipe_sees_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "frame_vit", "train", "--print-config"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0


def test_an_error_that_the_machine_can_mend_is_not_called_a_bug(ends: End) -> None:
    code, shown = ends(OSError(errno.EROFS, "Read-only file system", "/mnt/a"))
    assert (code, "/mnt/a: Read-only file system" in shown, "bug" in shown) == (2, True, False)
    code, shown = ends(ImportError("libfast.so.1 is missing", name="onnxruntime.capi"))
    assert (code, "onnxruntime cannot be loaded: libfast.so.1 is missing" in shown) == (1, True)
    assert "bug" in ends(ImportError("cannot import name 'x'", name="frame_vit.labels"))[1]


def test_a_name_of_thousands_of_letters_does_not_hide_the_reason(ends: End) -> None:
    code, shown = ends(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 3000))
    assert code == 2
    assert "File name too long" in shown
    assert len(shown) < 1000


def test_a_console_that_lacks_a_letter_shows_its_code(framevit: Framevit) -> None:
    done = framevit("train", "-c", "größe-画.yaml", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert r"gr\xf6\xdfe-\u753b.yaml" in done.stderr
    assert "UnicodeEncodeError" not in done.stderr


def test_the_module_is_the_program(framevit: Framevit) -> None:
    done = framevit("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"framevit {__version__}\n", "")
