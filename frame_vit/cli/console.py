"""Messages, errors, progress and help on a terminal. Results go to stdout, everything else to stderr.

Tables are in `tables`; these two are the only modules that import rich. Names from data are printed as they are: markup
in them is not interpreted, and control characters are shown as escapes.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from frame_vit.errors import FrameVitError
from frame_vit.system.progress import Tick, log
from frame_vit.system.texts import visible

out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)
plain = visible
PLAIN_EVERY_S = 10.0
"""seconds between two lines of progress in a pipe"""
WIDEST_TEXT = 120
"""columns of a help topic: longer lines are hard to read"""


def show_error(error: FrameVitError) -> None:
    """Shows an error as one panel: what happened, and what to do about it."""
    body = Text("\n".join(plain(line) for line in error.message.splitlines()))
    if error.hint:
        body.append("\n" + plain(error.hint), style="dim")
    err.print(Panel(body, title="Error", title_align="left", border_style="red"))
    if os.environ.get("FRAMEVIT_DEBUG"):
        err.print("".join(traceback.format_exception(error)), soft_wrap=True)


def show_interrupted(stopped: FrameVitError) -> None:
    """Says that the work was interrupted; the last line is the command that resumes it."""
    err.print(f"{plain(stopped.message)}{'; to resume:' if stopped.hint else ''}", soft_wrap=True)
    if stopped.hint:
        err.print(plain(stopped.hint), soft_wrap=True)


def show_unexpected(error: Exception) -> None:
    """Shows a bug of framevit or of a library in the same panel; FRAMEVIT_DEBUG=1 adds the traceback."""
    message = f"{type(error).__name__}: {error}"
    bug = FrameVitError(message, "This is a bug, not a mistake of yours; FRAMEVIT_DEBUG=1 shows where it happened")
    show_error(bug.with_traceback(error.__traceback__))


def show_markdown(text: str) -> None:
    """A help topic: laid out on a terminal, plain Markdown in a pipe."""
    if not out.is_terminal:
        out.file.write(text)
        return
    from rich.markdown import Markdown

    out.print(Markdown(text, hyperlinks=False), width=min(out.width, WIDEST_TEXT))


class _Messages(logging.Handler):
    """Writes log records to stderr, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        line = Text(plain(record.getMessage()))
        if record.levelno >= logging.WARNING:
            line = Text("warning: ", style="yellow").append_text(line)
        err.print(line, soft_wrap=True)


def start_messages() -> None:
    """Sends framevit's messages to stderr; of the libraries only errors are shown, unless FRAMEVIT_DEBUG is set."""
    if not os.environ.get("FRAMEVIT_DEBUG"):
        warnings.simplefilter("ignore")  # meant for the developers of libraries
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [_Messages()]
    for library in ("huggingface_hub", "datasets", "fsspec", "httpx", "PIL", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)


def starting() -> AbstractContextManager[object]:
    """Shows a spinner on a terminal while torch and transformers are imported, which takes seconds."""
    return err.status("starting ...") if err.is_terminal else nullcontext()


@contextmanager
def progress() -> Iterator[Tick]:
    """Gives a `Tick` that draws one bar per stage on a terminal, or prints a line every 10 seconds in a pipe."""
    if not err.is_terminal:
        yield _plain_lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=err) as bars:
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
            err.print(plain(", ".join(part for part in (f"{stage}: {count}", note, left) if part)), soft_wrap=True)

    return tick


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
