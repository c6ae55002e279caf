"""`framevit evaluate`, `calibrate`, `compare`: how good a model is, and with which thresholds it decides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frame_vit.cli.options import (
    AUTO,
    BackendOption,
    BatchSize,
    Device,
    ModelArgument,
    PrecisionOption,
    Set,
    Tta,
    WeightsBackendOption,
    echo_json,
    leave_on,
    predictor_options,
    weights_first,
)
from frame_vit.errors import UsageError


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
        typer.Option("--split", help="A split of the data, such as val; all: all of --data.", show_default="test"),
    ] = None,
    tta: Tta = True,
    backend: BackendOption = AUTO,
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
        bool, typer.Option("--corrupt", help="Also test on corrupted pictures: light, blur, shift ...")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print metrics.json and nothing else.")] = False,
) -> None:
    """Test a model on labelled pictures; every rate has its interval."""
    if model and model_option:
        raise UsageError("the model is named twice, as an argument and by --model")
    from frame_vit.cli import console, tables
    from frame_vit.evaluation.gate import failed, parse_gate

    conditions = [parse_gate(text) for text in gates or []]
    from frame_vit.prediction.load import load_predictor
    from frame_vit.runs.folder import find_model
    from frame_vit.system.files import check_writable

    check_writable(output)
    place = find_model(model or model_option)  # before what takes seconds to import
    with console.starting():
        from frame_vit.evaluation.evaluate import evaluate as evaluate_model
        from frame_vit.runs.data import DataRequest, evaluation_config

    predictor = load_predictor(place, predictor_options(backend, device, precision, tta, batch_size))
    request = DataRequest(evaluation_config(place.run, config, overrides or []), data, split or "test")
    with console.progress() as tick:
        done = evaluate_model(predictor, request, output, corrupt, tick)
    metrics = done.evaluation.metrics
    broken = failed(conditions, metrics.to_json())
    if json_output:
        echo_json(metrics.to_json())
    else:
        tables.show_metrics(metrics)
        if done.folder:
            tables.show_files({"report": done.folder / "report.html", "written to": done.folder})
    for gate in conditions if not broken else ():
        console.say(f"gate holds: {gate}")
    for line in broken:
        console.say(f"gate failed: {console.plain(line)}")
    if broken:
        raise typer.Exit(4)
    leave_on(done.skipped, "bad rows were skipped")


def calibrate(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Run folder or model folder.", show_default="the latest run")
    ] = None,
    overrides: Set = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Choose on this data set.", show_default="calibration split, else val")
    ] = None,
    backend: WeightsBackendOption = AUTO,
    device: Device = None,
    precision: PrecisionOption = None,
    batch_size: BatchSize = None,
) -> None:
    """Choose a model's thresholds again, for another target or data.

    The target is a key of the config, such as --set decision.max_escape_rate=0.01. The weights do not change.
    """
    from frame_vit.cli import console
    from frame_vit.runs.folder import find_model

    place = find_model(model)
    with console.starting():
        from frame_vit.decision.thresholds import promise
        from frame_vit.evaluation.calibrate import calibrate as calibrate_model
        from frame_vit.evaluation.calibrate import overridden
        from frame_vit.model.metadata import METADATA_FILE
        from frame_vit.prediction.load import load_predictor
        from frame_vit.runs.data import DataRequest, evaluation_config

    options = predictor_options(backend, device, precision, batch_size=batch_size)
    predictor = load_predictor(place, weights_first(options))
    full_config = evaluation_config(place.run, None, overrides or [])
    with console.progress() as tick:
        change = overridden(full_config, overrides or [])
        point = calibrate_model(predictor, DataRequest(full_config, data), tick, change)
    typer.echo(console.plain(promise(point)))
    typer.echo(f"accepted below {point.accept_below:.4g}, rejected from {point.reject_from:.4g} on")
    typer.echo(f"stored in {place.path / METADATA_FILE}; earlier reports still show the old thresholds")


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="Run folder, model folder, exported file or hub name.", show_default=False),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.", show_default=False)],
    overrides: Set = None,
    data: Annotated[str | None, typer.Option("--data", help="Another data set instead of A's own.")] = None,
    split: Annotated[str, typer.Option("--split", help="A split of the data; with --data, all takes all.")] = "test",
    tta: Tta = True,
    backend: WeightsBackendOption = AUTO,
    device: Device = None,
    precision: PrecisionOption = None,
    batch_size: BatchSize = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything as JSON and nothing else.")] = False,
) -> None:
    """Compare two models, and say whether the difference is chance."""
    from frame_vit.cli import console, tables

    with console.starting():
        from frame_vit.evaluation.compare import compare as compare_models
        from frame_vit.prediction.load import load_predictor
        from frame_vit.runs.data import DataRequest, evaluation_config

    options = weights_first(predictor_options(backend, device, precision, tta, batch_size))
    one, other = load_predictor(first, options), load_predictor(second, options)
    request = DataRequest(evaluation_config(one.run, None, overrides or []), data, split)
    with console.progress() as tick:
        comparison = compare_models(one, other, request, tick)
    if json_output:
        echo_json(comparison.to_json())
    else:
        tables.show_comparison(comparison, (first, second))
