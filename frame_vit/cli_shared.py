"""What commands of both command files do alike: what they ask a predictor for, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from frame_vit.options import Backend, Precision


def asked(
    device: str | None,
    precision: Precision | None,
    tta: bool,
    batch_size: int | None,
    backend: Backend,
    weights_first: bool = False,
) -> dict[str, Any]:
    """What a predictor is made by. With `weights_first`, `auto` is torch where the weights are there."""
    return {
        "backend": "weights" if weights_first and backend is Backend.auto else backend.value,
        "device": device or "auto",
        "precision": precision.value if precision else "auto",
        "tta": tta,
        "batch_size": batch_size,
    }


def echo_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def leave_on(bad: int, what: str) -> None:
    """Exit code 3: finished, but some items were bad."""
    if bad:
        from frame_vit import console

        console.err.print(f"{bad} {what}")
        raise typer.Exit(3)


@contextmanager
def enough_seen() -> Iterator[None]:
    """A reader that has seen enough (| head) ends the command quietly."""
    import os
    import sys

    try:
        yield
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
