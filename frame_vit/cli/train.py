"""`framevit prepare` and `framevit train`: the commands that read a config of data and training."""

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
    load_command_config,
)
from frame_vit.errors import UsageError

if TYPE_CHECKING:
    from frame_vit.config.schema import Config
    from frame_vit.training.train import Trained


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


def train(
    config: ConfigFile = None,
    overrides: Set = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder, new or empty.", show_default="runs/NAME-001, ...")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Resume this interrupted run folder.")] = None,
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
    """Train a model on the data, test it, and write a run folder."""
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
        raise UsageError(
            "--resume uses the run's own config and takes nothing else",
            "Other settings make another run, which can start from the model of this one: "
            f"framevit train --config {resume / 'config.yaml'} --model {resume} --set training.epochs=...",
        )
    full_config = None if resume else load_command_config(config, overrides, flags, print_config)
    if full_config is not None:
        full_config = _on_one_card(full_config)
        if data and full_config.data.test and not any(o.startswith("data.test=") for o in overrides or []):
            from frame_vit.system.progress import log

            test = full_config.data.test
            log.warning("the model is trained on %s but tested on the config's data.test, %s", data, test)
    from frame_vit.cli import console

    with console.starting():
        from frame_vit.runs.folder import expanded, finished, run_name
        from frame_vit.training import train as train_run

    with console.progress() as tick:
        if full_config is None:
            run = Path(expanded(str(resume)))
            if finished(run):
                console.say(f"{run} is finished: there is nothing to resume")
                raise typer.Exit
            trained = train_run.resume(run, tick)
        else:
            trained = train_run.train(full_config, run_name(config), output, tick)
    if trained is None:  # one of several processes, but not the main one
        return
    _show_trained(trained)


def _show_trained(trained: Trained) -> None:
    """Shows the metrics and the files of a run; leaves with exit code 3 if rows were skipped."""
    from frame_vit.cli import tables

    tables.show_metrics(trained.evaluation.metrics)
    evaluation = trained.run / "evaluation" / trained.evaluation.metrics.split
    tables.show_files(
        {
            "run folder": trained.run,
            "model": trained.run / "model",
            "curves": trained.run / "curves.png",
            "report": evaluation / "report.html",
            "next": f"framevit predict --model {trained.run} PICTURE",
        },
    )
    leave_on(trained.skipped, "bad rows were skipped; train.log lists them")


def _on_one_card(config: Config) -> Config:
    """The config with device `cuda`, of which only card N is visible: the Trainer always takes the first card.

    Must be called before torch is imported.
    """
    kind, _, card = config.training.device.partition(":")
    if kind != "cuda" or not card.isdigit():
        return config
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if visible and int(card) >= len(visible):
        raise UsageError(f"device cuda:{card}: CUDA_VISIBLE_DEVICES names only {len(visible)} cards")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(card)] if visible else card
    return config.model_copy(update={"training": config.training.model_copy(update={"device": "cuda"})})
