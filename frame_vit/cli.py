"""The command line: parse, load the config, call one core function, print. Heavy imports stay inside the commands.

Here is what makes and judges models; what a line PC uses is in `cli_line`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frame_vit import cli_line
from frame_vit.cli_shared import asked, echo_json, leave_on
from frame_vit.errors import UsageError
from frame_vit.options import (
    Backend,
    BackendOption,
    BatchSize,
    ConfigFile,
    Device,
    ModelArgument,
    PrecisionOption,
    PrintConfig,
    Set,
    TrainPrecisionOption,
    Tta,
    WeightsBackendOption,
)
from frame_vit.progress import log

if TYPE_CHECKING:
    from frame_vit.schema import Config
    from frame_vit.train_run import Trained

app = typer.Typer(
    help="Fine-tune a Vision Transformer on frames whose classes are directions, test it, and predict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text: laying it out in rich would take longer than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(cli_line.app)


@app.callback(invoke_without_command=True)
def begin(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from frame_vit import __version__

        typer.echo(f"framevit {__version__}")
        raise typer.Exit
    from frame_vit import console

    console.start_messages()


@app.command()
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
    settings = _settings(config, overrides, {"data.train": data}, print_config)
    from frame_vit import console

    with console.starting():
        from frame_vit import workflow

    folder = output or Path("prepared") / _name(config)
    with console.progress() as tick:
        found = workflow.prepare_data(settings, folder, tick)
    if json_output:
        typer.echo((folder / "audit.json").read_text(encoding="utf-8"), nl=False)
    else:
        console.show_audit(found.facts, found.files)
    if not found.passes(strict):
        raise typer.Exit(3)


@app.command()
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
    settings = None if resume else _settings(config, overrides, flags, print_config)
    if settings is not None:
        settings = _on_one_card(settings)
        if data and settings.data.test and not any(o.startswith("data.test=") for o in overrides or []):
            log.warning("trained on %s, but tested on the config's data.test, %s", data, settings.data.test)
    from frame_vit import console

    with console.starting():
        from frame_vit import train_run

    with console.progress() as tick:
        if settings is None:
            assert resume is not None
            if train_run.finished(resume):
                console.err.print(f"{resume} is finished; there is nothing to go on with", soft_wrap=True)
                raise typer.Exit
            done = train_run.resume(resume, tick)
        else:
            done = train_run.train(settings, _name(config), output, tick)
    if done is None:  # one of several processes, and not the one that writes
        return
    _show_trained(done)


def _show_trained(done: Trained) -> None:
    """The numbers and where everything lies; leaves with exit code 3 if rows were left out."""
    from frame_vit import console

    console.show_metrics(done.evaluation.metrics)
    tested = done.run / "evaluation" / done.evaluation.metrics["split"]
    console.show_files(
        {
            "run folder": done.run,
            "model": done.run / "model",
            "curves": done.run / "curves.png",
            "report": tested / "report.html",
            "next": f"framevit predict --model {done.run} PICTURE",
        },
    )
    leave_on(done.skipped, "rows were left out; train.log lists them")


@app.command()
def evaluate(
    model: ModelArgument = None,
    model_option: Annotated[str | None, typer.Option("--model", help="The same as the argument.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="How to read the data.", show_default="the run's own config"),
    ] = None,
    overrides: Set = None,
    data: Annotated[str | None, typer.Option("--data", help="Another data set instead of the run's own.")] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="A split of the run's own data, such as val.", show_default="test"),
    ] = None,
    tta: Tta = True,
    backend: BackendOption = Backend.auto,
    device: Device = None,
    precision: PrecisionOption = None,
    batch_size: BatchSize = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder.", show_default="RUN/evaluation/SPLIT")
    ] = None,
    gates: Annotated[
        list[str] | None, typer.Option("--gate", help="Exit with 4 unless it holds: 'macro_f1>=0.95'. Repeatable.")
    ] = None,
    corrupt: Annotated[
        bool, typer.Option("--corrupt", help="Also try pictures made worse: light, blur, shift ...")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print metrics.json and nothing else.")] = False,
) -> None:
    """Test a model on labelled pictures, with intervals."""
    if model and model_option:
        raise UsageError("the model is named twice, as an argument and by --model")
    if data and split:
        raise UsageError("--split is for the run's own data; with --data everything in it is tested")
    from frame_vit import console
    from frame_vit.gate import failed, parse_gate

    conditions = [parse_gate(text) for text in gates or []]
    from frame_vit.loading import load_predictor
    from frame_vit.runs import find_model

    place, _ = find_model(model or model_option)  # before what takes seconds to import
    with console.starting():
        from frame_vit import workflow

    predictor, run = load_predictor(place, **asked(device, precision, tta, batch_size, backend))
    settings = workflow.evaluation_config(run, config, overrides or [])
    with console.progress() as tick:
        done = workflow.evaluate(predictor, run, settings, data, split or "test", output, corrupt, tick)
    broken = failed(conditions, done.evaluation.metrics)
    if json_output:
        echo_json(done.evaluation.metrics)
    else:
        console.show_metrics(done.evaluation.metrics)
        if done.folder:
            console.show_files({"report": done.folder / "report.html", "written to": done.folder})
    for gate in conditions if not broken else ():
        console.err.print(f"gate holds: {gate}", soft_wrap=True)
    for line in broken:
        console.err.print(f"gate failed: {console.plain(line)}", soft_wrap=True)
    if broken:
        raise typer.Exit(4)
    leave_on(done.skipped, "rows were left out")


@app.command()
def calibrate(
    model: ModelArgument = None,
    overrides: Set = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Choose on this data set.", show_default="calibration split, else val")
    ] = None,
    backend: WeightsBackendOption = Backend.auto,
    device: Device = None,
    precision: PrecisionOption = None,
    batch_size: BatchSize = None,
) -> None:
    """Choose a trained model's thresholds anew, for another target (--set decision...) or on other pictures."""
    from frame_vit import console
    from frame_vit.runs import find_model

    place = find_model(model)
    with console.starting():
        from frame_vit import workflow
        from frame_vit.loading import load_predictor
        from frame_vit.operating import promise

    options = asked(device, precision, True, batch_size, backend, weights_first=True)
    predictor, run = load_predictor(place[0], **options)
    settings = workflow.evaluation_config(run, None, overrides or [])
    with console.progress() as tick:
        asked_for = any(word.partition("=")[0].strip() == "decision.unlike" for word in overrides or [])
        mode = settings.decision.unlike if asked_for else None
        point = workflow.calibrate(predictor, place, settings, data, tick, mode)
    typer.echo(promise(point))
    typer.echo(f"accepted below {point.accept_below:.4g}, rejected from {point.reject_from:.4g} on")
    typer.echo(f"stored in {Path(place[0]) / 'framevit.json'}; reports made before are by the thresholds before")


@app.command()
def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Run folder, model folder or hub name.", show_default=False)
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.", show_default=False)],
    overrides: Set = None,
    data: Annotated[str | None, typer.Option("--data", help="Another data set instead of A's own.")] = None,
    split: Annotated[str, typer.Option("--split", help="A split of A's own data.")] = "test",
    tta: Tta = True,
    backend: WeightsBackendOption = Backend.auto,
    device: Device = None,
    precision: PrecisionOption = None,
    batch_size: BatchSize = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything as JSON and nothing else.")] = False,
) -> None:
    """Say which of two models is better on the same pictures, and whether that could be chance."""
    from frame_vit import console

    with console.starting():
        from frame_vit import workflow
        from frame_vit.loading import load_predictor

    options = asked(device, precision, tta, batch_size, backend, weights_first=True)
    one, other = load_predictor(first, **options), load_predictor(second, **options)
    settings = workflow.evaluation_config(one[1], None, overrides or [])
    with console.progress() as tick:
        found = workflow.compare(one, other, settings, data, split, tick)
    if json_output:
        echo_json(found)
    else:
        console.show_comparison(found, (first, second))


def _settings(config: Path | None, overrides: list[str] | None, flags: dict[str, Any], print_only: bool) -> Config:
    from frame_vit.config import dump_config, load_config

    given = [f"{key}={_yaml(value)}" for key, value in flags.items() if value is not None]
    settings = load_config(config, [*(overrides or []), *given], complete=not print_only)
    if print_only:
        typer.echo(dump_config(settings, comments=True))
        raise typer.Exit
    return settings


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


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value)  # a JSON value is a YAML value, quoted where it must be


def _name(config: Path | None) -> str:
    return config.stem if config else "run"
