"""The command line: every command is registered here, in its group. Heavy imports stay inside the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from frame_vit.cli.doctor import doctor
from frame_vit.cli.evaluate import calibrate, compare, evaluate
from frame_vit.cli.export import benchmark, export
from frame_vit.cli.predict import explain, predict
from frame_vit.cli.prepare import prepare
from frame_vit.cli.train import train

app = typer.Typer(
    help="Fine-tune a Vision Transformer on frames whose classes are directions, test it, and predict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text: laying it out in rich would take longer than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def begin(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from frame_vit import __version__

        typer.echo(f"framevit {__version__}")
        raise typer.Exit
    from frame_vit.cli import console

    console.start_messages()


for command in (prepare, train, evaluate, calibrate, compare, explain, predict, export, benchmark, doctor):
    app.command()(command)
