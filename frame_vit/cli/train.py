"""`framevit train`: the whole job, from the data to a tested model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frame_vit.cli.options import (
    ConfigFile,
    Device,
    PrintConfig,
    Set,
    TrainPrecisionOption,
    leave_on,
    load_settings,
    run_name,
)
from frame_vit.errors import UsageError
from frame_vit.system.progress import log

if TYPE_CHECKING:
    from frame_vit.config.schema import Config
    from frame_vit.training.train import Trained


def train(
    config: ConfigFile = None,
    overrides: Set = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder, new or empty.", show_default="runs/NAME-001, ...")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with this interrupted run folder.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Start from this model: run folder, model folder or hub name.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Train on this data set (data.train).")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="training.epochs")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="training.batch_size")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="training.learning_rate")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="training.seed")] = None,
    device: Device = None,
    precision: TrainPrecisionOption = None,
    report_to: Annotated[
        list[str] | None, typer.Option("--report-to", help="Experiment tracker, such as tensorboard. Repeatable.")
    ] = None,
    print_config: PrintConfig = False,
) -> None:
    """Prepare the data, train, test, and say where everything lies."""
    flags = {
        "model.name": model,
        "model.init": model and "pretrained",
        "data.train": data,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": lr,
        "training.seed": seed,
        "training.device": device,
        "training.precision": precision and precision.value,
        "training.report_to": report_to,
    }
    if resume is not None and (
        config or overrides or output or any(v is not None for v in flags.values()) or print_config
    ):
        raise UsageError("--resume goes on with the run's own config and takes nothing else")
    settings = None if resume else load_settings(config, overrides, flags, print_config)
    if settings is not None:
        settings = _on_one_card(settings)
        if data and settings.data.test and not any(o.startswith("data.test=") for o in overrides or []):
            log.warning("trained on %s, but tested on the config's data.test, %s", data, settings.data.test)
    from frame_vit.cli import console

    with console.starting():
        from frame_vit.runs.folder import finished
        from frame_vit.training import train as train_run

    with console.progress() as tick:
        if settings is None:
            assert resume is not None
            if finished(resume):
                console.err.print(f"{resume} is finished; there is nothing to go on with", soft_wrap=True)
                raise typer.Exit
            done = train_run.resume(resume, tick)
        else:
            done = train_run.train(settings, run_name(config), output, tick)
    if done is None:  # one of several processes, and not the one that writes
        return
    _show_trained(done)


def _show_trained(done: Trained) -> None:
    """The numbers and where everything lies; leaves with exit code 3 if rows were left out."""
    from frame_vit.cli import tables

    tables.show_metrics(done.evaluation.metrics)
    tested = done.run / "evaluation" / done.evaluation.metrics.split
    tables.show_files(
        {
            "run folder": done.run,
            "model": done.run / "model",
            "curves": done.run / "curves.png",
            "report": tested / "report.html",
            "next": f"framevit predict --model {done.run} PICTURE",
        },
    )
    leave_on(done.skipped, "rows were left out; train.log lists them")


def _on_one_card(settings: Config) -> Config:
    """`cuda:N` for the Trainer, which takes the first card it sees: the others are hidden before torch looks."""
    kind, _, number = settings.training.device.partition(":")
    if kind != "cuda" or not number.isdigit():
        return settings
    seen = [card for card in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if card]
    if seen and int(number) >= len(seen):
        raise UsageError(f"device cuda:{number}: CUDA_VISIBLE_DEVICES shows {len(seen)} cards")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen[int(number)] if seen else number
    return settings.model_copy(update={"training": settings.training.model_copy(update={"device": "cuda"})})
