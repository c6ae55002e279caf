"""`framevit verify` and `monitor`: after the model is on the line, from the rows that predict wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frame_vit.cli.options import (
    AUTO,
    BackendOption,
    Device,
    PrecisionOption,
    echo_json,
    predictor_options,
)
from frame_vit.errors import UsageError

if TYPE_CHECKING:
    from frame_vit.line.monitor import Baseline

Rows = Annotated[
    Path, typer.Argument(metavar="ROWS", help="A file of rows that framevit predict wrote.", show_default=False)
]


def verify(
    rows: Rows,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Compare the pictures in this folder, by sha256.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Predict every picture again with this model.")] = None,
    backend: BackendOption = AUTO,
    device: Device = None,
    precision: PrecisionOption = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything as JSON and nothing else.")] = False,
) -> None:
    """Check that rows of predictions are as they were written."""
    if model is None and (backend is not AUTO or device or precision):
        raise UsageError("--backend, --device and --precision belong to --model", "Name a model as well")
    from frame_vit.cli import console, tables

    with console.starting():
        from frame_vit.line.verify import recorded_options
        from frame_vit.line.verify import verify as verify_rows
        from frame_vit.prediction.load import load_predictor

        predictor = None
        if model is not None:
            options = recorded_options(rows)
            if backend is not AUTO or device or precision:
                options = predictor_options(backend, device, precision, options.tta)
            predictor = load_predictor(model, options)
    with console.progress() as tick:
        verified = verify_rows(rows, pictures, predictor, tick)
    if json_output:
        echo_json(verified.to_json())
    else:
        tables.show_verified(verified)
    if verified.problems:
        raise typer.Exit(4)


def monitor(
    rows: Annotated[
        list[Path],
        typer.Argument(metavar="ROWS...", help="Files of rows that framevit predict wrote.", show_default=False),
    ],
    by: Annotated[
        str, typer.Option("--by", help="What is judged together: a day, a shift, or so many rows (day, shift, 500).")
    ] = "day",
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            help="When the line was in order: so many first subgroups, or other files of rows. Repeatable.",
            show_default="20",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the page and the numbers.")] = Path(
        "monitored"
    ),
    json_output: Annotated[bool, typer.Option("--json", help="Print monitor.json and nothing else.")] = False,
) -> None:
    """Show by control charts whether the line has changed."""
    from frame_vit.cli import console, tables

    with console.starting():
        from frame_vit.line.monitor import monitor as monitor_rows
        from frame_vit.system.files import writing_explained

        with writing_explained(output):
            result = monitor_rows(rows, int(by) if _is_number(by) else by, _baseline(baseline or []), output)
    if json_output:
        echo_json(result.to_json())
    else:
        tables.show_monitored(result)
    if result.alarms:
        raise typer.Exit(4)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _baseline(words: list[str]) -> Baseline:
    """A number of subgroups, or files. Raises `UsageError` for a number beside anything else."""
    from frame_vit.line.monitor import Baseline

    numbers = [word for word in words if _is_number(word)]
    if numbers and len(words) > 1:
        raise UsageError(f"--baseline {numbers[0]} and {len(words) - 1} more", "One number of subgroups, or only files")
    if numbers:
        return Baseline(int(numbers[0]))
    return Baseline(paths=tuple(Path(word) for word in words))
