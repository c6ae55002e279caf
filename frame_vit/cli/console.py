"""Messages, errors, progress and help for a person. Results go to stdout, everything else to stderr.

In a pipe everything is plain lines; on a terminal rich draws it, which is imported only then: a command that writes its
rows into a pipe starts sooner. Tables are in `tables`, the report of `doctor` is in `doctor`; no other module imports
rich. Names from data are printed as they are: markup in them is not interpreted, and control characters are shown as
escapes.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import TYPE_CHECKING, TextIO

from frame_vit.errors import FrameVitError
from frame_vit.system.progress import Tick, log
from frame_vit.system.texts import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

plain = visible
PLAIN_EVERY_S = 10.0
"""seconds between two lines of progress in a pipe"""
LONGEST_WORD = 400
"""letters of a word in an error, such as a path; of longer ones the middle is left out"""
WIDEST_TEXT = 120
"""columns of a help topic: longer lines are hard to read"""


@cache
def screen(stderr: bool = False) -> Console:
    """What rich draws on: stdout, or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches this stream; FORCE_COLOR says so of a pipe, as it does for rich."""
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def say(text: str, warning: bool = False) -> None:
    """Writes one line to stderr, above the progress bar if there is one. Where nobody can read it, the work goes on."""
    try:
        _say(text, warning)
    except OSError:  # the reader of a pipe has gone, or the disk of a log is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _say(text: str, warning: bool) -> None:
    if is_terminal(sys.stderr):
        from rich.text import Text

        line = Text("warning: ", style="yellow") if warning else Text()
        screen(stderr=True).print(line.append(text), soft_wrap=True)
    else:
        sys.stderr.write(f"warning: {text}\n" if warning else f"{text}\n")
        sys.stderr.flush()


def show_error(error: FrameVitError) -> None:
    """Shows an error as one panel: what happened, and what to do about it."""
    from rich.panel import Panel
    from rich.text import Text

    body = Text("\n".join(_shortened(plain(line)) for line in error.message.splitlines()))
    if error.hint:
        body.append("\n" + _shortened(plain(error.hint)), style="dim")
    with suppress(OSError):  # nobody can read it; the exit code stays
        screen(stderr=True).print(Panel(body, title="Error", title_align="left", border_style="red"))
    if os.environ.get("FRAMEVIT_DEBUG"):
        say("".join(traceback.format_exception(error)))


def _shortened(line: str) -> str:
    """The line with the middle of very long words left out: a name of thousands of letters would hide the reason."""
    return re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: f"{word[0][:80]}...{word[0][-40:]}", line)


def show_interrupted(stopped: FrameVitError) -> None:
    """Says that the work was interrupted; the last line is the command that resumes it."""
    say(f"{plain(stopped.message)}{'; to resume:' if stopped.hint else ''}")
    if stopped.hint:
        say(plain(stopped.hint))


def show_unexpected(error: Exception) -> None:
    """Shows a bug of framevit or of a library in the same panel; FRAMEVIT_DEBUG=1 adds the traceback."""
    message = f"{type(error).__name__}: {error}"
    bug = FrameVitError(message, "This is a bug, not a mistake of yours; FRAMEVIT_DEBUG=1 shows where it happened")
    show_error(bug.with_traceback(error.__traceback__))


def show_markdown(text: str) -> None:
    """A help topic: laid out on a terminal, plain Markdown in a pipe."""
    if not is_terminal(sys.stdout):
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown

    out = screen()
    out.print(Markdown(text, hyperlinks=False), width=min(out.width, WIDEST_TEXT))


class _Messages(logging.Handler):
    """Writes log records to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(plain(record.getMessage()), warning=record.levelno >= logging.WARNING)


def start_messages() -> None:
    """Sends framevit's messages to stderr; of the libraries only errors are shown, unless FRAMEVIT_DEBUG is set."""
    if not os.environ.get("FRAMEVIT_DEBUG"):
        warnings.simplefilter("ignore")  # meant for the developers of libraries
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with a picture is said in its row
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [_Messages()]
    for library in ("huggingface_hub", "datasets", "fsspec", "httpx", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)


def starting() -> AbstractContextManager[object]:
    """Shows a spinner on a terminal while torch and transformers are imported, which takes seconds."""
    return screen(stderr=True).status("starting ...") if is_terminal(sys.stderr) else nullcontext()


@contextmanager
def progress() -> Iterator[Tick]:
    """Gives a `Tick` that draws one bar per stage on a terminal, or prints a line every 10 seconds in a pipe."""
    if not is_terminal(sys.stderr):
        yield _plain_lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=screen(stderr=True)) as bars:
        stages: dict[str, TaskID] = {}

        def tick(stage: str, done: int, total: int, note: str) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(plain(stage), total=total or None, note="")
            bars.update(stages[stage], completed=done, total=total or None, note=plain(note))

        yield tick


def _plain_lines() -> Tick:
    last_line: dict[str, float] = {}
    beginning: dict[str, tuple[float, int]] = {}

    def tick(stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        start, first = beginning.setdefault(stage, (now, done))
        if done == total or now - last_line.setdefault(stage, now) >= PLAIN_EVERY_S:
            last_line[stage] = now
            count = f"{done} of {total}" if total else f"{done}"
            seconds = (now - start) / (done - first) * (total - done) if total > done > first else 0
            left = f"{_duration(seconds)} left" if seconds else ""
            say(plain(", ".join(part for part in (f"{stage}: {count}", note, left) if part)))

    return tick


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
