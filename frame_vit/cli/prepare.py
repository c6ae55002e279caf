"""`framevit prepare`: check a data set before a model is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frame_vit.cli.options import (
    ConfigFile,
    PrintConfig,
    Set,
    load_command_config,
)


def prepare(
    config: ConfigFile = None,
    overrides: Set = None,
    data: Annotated[str | None, typer.Option("--data", help="The data set to check (data.train).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results.", show_default="prepared/NAME")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 for warnings as well as errors.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print audit.json and nothing else.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Check and divide a data set, and report what is wrong with it."""
    full_config = load_command_config(config, overrides, {"data.train": data}, print_config)
    from frame_vit.cli import console, tables

    with console.starting():
        from frame_vit.audit.prepare import prepare as prepare_data
        from frame_vit.runs.folder import run_name
        from frame_vit.system.files import check_writable, writing_explained

    folder = output or Path("prepared") / run_name(config)
    check_writable(folder)
    with console.progress() as tick, writing_explained(folder):
        preparation = prepare_data(full_config, folder, tick)
    if json_output:
        typer.echo((folder / "audit.json").read_text(encoding="utf-8"), nl=False)
    else:
        tables.show_audit(preparation.audit, preparation.files)
    if not preparation.passes(strict):
        raise typer.Exit(3)
