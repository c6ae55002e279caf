"""The program: `framevit`, or `python -m frame_vit` (torchrun needs a module to start). Errors end it in one panel."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

from frame_vit.cli.app import app
from frame_vit.errors import FrameVitError, Interrupted, UsageError


def main() -> None:
    """Runs the command line; errors become one panel and an exit code."""
    try:
        _check_streams()
        try:
            app(prog_name="framevit")  # also when it was started as `python -m frame_vit`
        finally:
            _flush_results()
    except Interrupted as stopped:
        from frame_vit.cli import console

        if os.environ.get("RANK", "0") == "0":
            console.show_interrupted(stopped)
        sys.exit(stopped.exit_code)
    except FrameVitError as error:
        _leave(error)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C where nothing had begun that could be saved
            from frame_vit.cli import console

            console.say("stopped")
        raise
    except Exception as error:
        from frame_vit.cli import console
        from frame_vit.system.files import machine_error

        if (known := machine_error(error)) is not None:
            _leave(known.with_traceback(error.__traceback__))
        console.show_unexpected(error)
        sys.exit(1)


def _leave(error: FrameVitError) -> None:
    from frame_vit.cli import console

    # Of several processes all make the mistake of the command line, and one says it.
    if os.environ.get("RANK", "0") == "0" or not isinstance(error, UsageError):
        console.show_error(error)
    sys.exit(error.exit_code)


def _check_streams() -> None:
    """Fills the places of closed streams, which the next files to be opened would take. Raises without stdout."""
    without_stdout = sys.stdout is None  # that is how Python starts where stdout is closed
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a character shows its code
    if without_stdout:
        raise UsageError("stdout is closed, so there is no place for the results", "Send them to a file or /dev/null")


def _flush_results() -> None:
    """Writes what is left for stdout while an error can still be shown; Python itself would do so after the end."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python tries once more at its end
        if not isinstance(error, BrokenPipeError):
            raise


if __name__ == "__main__":
    main()
