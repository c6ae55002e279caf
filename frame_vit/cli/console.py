"""Everything a person sees on a terminal. Results go to stdout, messages and progress to stderr.

The only module that imports rich. Names from data are printed as they are: no markup is read from them, and control
characters are shown, not sent.
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
    """One panel: what happened, and what to do."""
    body = Text("\n".join(plain(line) for line in error.message.splitlines()))
    if error.hint:
        body.append("\n" + plain(error.hint), style="dim")
    err.print(Panel(body, title="Error", title_align="left", border_style="red"))
    if os.environ.get("FRAMEVIT_DEBUG"):
        err.print("".join(traceback.format_exception(error)), soft_wrap=True)


def show_interrupted(stopped: FrameVitError) -> None:
    """What was done before leaving, and as the last line the command that goes on."""
    err.print(f"{plain(stopped.message)}{'; to go on:' if stopped.hint else ''}", soft_wrap=True)
    if stopped.hint:
        err.print(plain(stopped.hint), soft_wrap=True)


def show_unexpected(error: Exception) -> None:
    """A fault of the program or its libraries: the same panel, and where it happened only if asked for."""
    what = f"{type(error).__name__}: {error}"
    show_error(
        FrameVitError(what, "This is not a mistake of yours; FRAMEVIT_DEBUG=1 shows where it happened").with_traceback(
            error.__traceback__
        )
    )


def show_markdown(text: str) -> None:
    """A help topic: laid out on a terminal, plain Markdown in a pipe."""
    if not out.is_terminal:
        out.file.write(text)
        return
    from rich.markdown import Markdown

    out.print(Markdown(text, hyperlinks=False), width=min(out.width, WIDEST_TEXT))


class _Messages(logging.Handler):
    """Log records as lines on stderr, above the progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        line = Text(plain(record.getMessage()))
        if record.levelno >= logging.WARNING:
            line = Text("warning: ", style="yellow").append_text(line)
        err.print(line, soft_wrap=True)


def start_messages() -> None:
    """Sends framevit's own messages to stderr; the libraries' stay quiet below errors."""
    if not os.environ.get("FRAMEVIT_DEBUG"):
        warnings.simplefilter("ignore")  # what libraries tell each other's developers
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [_Messages()]
    for library in ("huggingface_hub", "datasets", "fsspec", "httpx", "PIL", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)


def starting() -> AbstractContextManager[object]:
    """A sign of life on a terminal while torch and transformers are imported, which takes seconds."""
    return err.status("starting ...") if err.is_terminal else nullcontext()


@contextmanager
def progress() -> Iterator[Tick]:
    """A tick that draws a bar per stage on a terminal, or a plain line now and then in a pipe."""
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
    last: dict[str, float] = {}
    begun: dict[str, tuple[float, int]] = {}

    def tick(stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        start, first = begun.setdefault(stage, (now, done))
        if done == total or now - last.setdefault(stage, now) >= PLAIN_EVERY_S:
            last[stage] = now
            of = f" of {total}" if total else ""
            rest = (now - start) / (done - first) * (total - done) if total > done > first else 0
            told = [f"{stage}: {done}{of}", *([note] if note else []), *([f"{_duration(rest)} left"] if rest else [])]
            err.print(plain(", ".join(told)), soft_wrap=True)

    return tick


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
