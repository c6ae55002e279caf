"""`framevit prepare`: what is wrong with the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frame_vit.cli.options import (
    ConfigFile,
    PrintConfig,
    Set,
    load_settings,
    run_name,
)


def prepare(
    config: ConfigFile = None,
    overrides: Set = None,
    data: Annotated[str | None, typer.Option("--data", help="Prepare this data set (data.train).")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder.", show_default="prepared/NAME")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 for warnings, too.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print audit.json and nothing else.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Read, check and split the data; find what is wrong with it before it is trained on."""
    settings = load_settings(config, overrides, {"data.train": data}, print_config)
    from frame_vit.cli import console, tables

    with console.starting():
        from frame_vit.audit.prepare import prepare_data

    folder = output or Path("prepared") / run_name(config)
    with console.progress() as tick:
        found = prepare_data(settings, folder, tick)
    if json_output:
        typer.echo((folder / "audit.json").read_text(encoding="utf-8"), nl=False)
    else:
        tables.show_audit(found.facts, found.files)
    if not found.passes(strict):
        raise typer.Exit(3)
