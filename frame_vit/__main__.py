"""The program: `framevit`, or `python -m frame_vit` (torchrun needs a module to start). Errors end it in one panel."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

from frame_vit.cli.app import app
from frame_vit.errors import FrameVitError, Interrupted, UsageError


def main() -> None:
    """Runs the command line; errors become one panel and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a character shows its code
    try:
        app(prog_name="framevit")  # also when it was started as `python -m frame_vit`
    except Interrupted as stopped:
        from frame_vit.cli import console

        if os.environ.get("RANK", "0") == "0":
            console.show_interrupted(stopped)
        sys.exit(stopped.exit_code)
    except FrameVitError as error:
        from frame_vit.cli import console

        # Of several processes all make the mistake of the command line, and one says it.
        if os.environ.get("RANK", "0") == "0" or not isinstance(error, UsageError):
            console.show_error(error)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C where nothing had begun that could be saved
            from frame_vit.cli import console

            console.say("stopped")
        raise
    except Exception as error:
        from frame_vit.cli import console

        console.show_unexpected(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
