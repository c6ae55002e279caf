"""Options that several commands share, and the steps that several commands take: load a config, print JSON, exit.

An option has one meaning and one help text, whichever command has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frame_vit.backends.availability import BACKENDS, precisions

if TYPE_CHECKING:
    from frame_vit.config.schema import Config
    from frame_vit.prediction.load import PredictorOptions


class Format(StrEnum):
    """How predictions are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class Record(StrEnum):
    """What a row of JSON lines holds: all that led to the decision, or the prediction only."""

    full = "full"
    plain = "plain"


class TrainPrecision(StrEnum):
    """The number format in which a model is trained."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


# Made from what the backends declare, so mypy cannot know the members: name them as Backend("auto").
Precision = StrEnum("Precision", [(name, name) for name in ("auto", *precisions())])  # type: ignore[misc]
"""The number format of inference; int8 needs an exported file."""
Backend = StrEnum("Backend", [(name, name) for name in ("auto", *(info.name for info in BACKENDS))])  # type: ignore[misc]
"""What computes the logits."""
AUTO = Backend("auto")

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file; missing keys have their defaults.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a key: section.key=value. Repeatable.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print every key with its meaning, and exit.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Run folder, model folder, exported file or hub name.", show_default="the latest run"),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", show_default="auto")]
TrainPrecisionOption = Annotated[
    TrainPrecision | None,
    typer.Option("--precision", help="Number format.", show_default="auto: the fastest of the device"),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="Number format.", show_default="auto: the fastest of the device"),
]
Tta = Annotated[bool, typer.Option("--tta/--no-tta", help="Test-time augmentation over the declared symmetries.")]
LARGEST_COUNT = 1_000_000
"""Of pictures, in an option: more is a slip of the hand, and beyond what a processor counts with."""
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        max=LARGEST_COUNT,
        help="Pictures per batch.",
        show_default="what is fastest for the backend",
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL", help="Run folder, model folder, exported file or hub name.", show_default="the latest run"
    ),
]
WEIGHTS_HELP = "Run folder, model folder or hub name; not an exported file."
WeightsModelArgument = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=WEIGHTS_HELP, show_default="the latest run")
]
WeightsModelOption = Annotated[str | None, typer.Option("--model", help=WEIGHTS_HELP, show_default="the latest run")]
WeightsBackendOption = Annotated[
    Backend,
    typer.Option("--backend", help="What computes the logits.", show_default="auto: torch, if there are weights"),
]
BackendOption = Annotated[
    Backend,
    typer.Option("--backend", help="What computes the logits.", show_default="auto: the fastest for this model"),
]


def predictor_options(
    backend: Backend,
    device: str | None = None,
    precision: Precision | None = None,
    tta: bool = True,
    batch_size: int | None = None,
) -> PredictorOptions:
    """The flags that choose backend, device and precision, as one value."""
    from frame_vit.prediction.load import PredictorOptions

    return PredictorOptions(backend.value, device or "auto", precision.value if precision else "auto", tta, batch_size)


def weights_first(options: PredictorOptions) -> PredictorOptions:
    """The same options, with torch as the automatic choice wherever the model has weights."""
    from dataclasses import replace

    return replace(options, backend="weights") if options.backend == "auto" else options


def echo_json(value: Any) -> None:
    """Prints a value as JSON on stdout."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def leave_on(bad: int, what: str) -> None:
    """Exits with code 3 if some items were bad, and says how many."""
    if bad:
        from frame_vit.cli import console

        console.say(f"{bad} {what}")
        raise typer.Exit(3)


@contextmanager
def enough_seen() -> Iterator[None]:
    """Ends the command quietly when the reader of a pipe closes it, as `head` does."""
    import os
    import sys

    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None


def load_command_config(
    config: Path | None, overrides: list[str] | None, flags: dict[str, Any], print_only: bool
) -> Config:
    """The config from the file, `--set` and flags (by key; the flags win). With `print_only`, prints it and exits."""
    from frame_vit.config.load import dump_config, load_config

    from_flags = [f"{key}={_yaml(value)}" for key, value in flags.items() if value is not None]
    full_config = load_config(config, [*(overrides or []), *from_flags], complete=not print_only)
    if print_only:
        with enough_seen():
            typer.echo(dump_config(full_config, comments=True))
        raise typer.Exit
    return full_config


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value)  # a JSON value is a YAML value, quoted where it must be
