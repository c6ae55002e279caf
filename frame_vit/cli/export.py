"""`framevit export` and `benchmark`: a model as one file for a PC without torch, and which backend is fastest there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frame_vit.cli.options import LARGEST_COUNT, BatchSize, Device, ModelArgument, Set, WeightsModelArgument, echo_json


def export(
    model: WeightsModelArgument = None,
    overrides: Set = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also quantise to int8; kept if it agrees and is not slower.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Compare on this data set.", show_default="the run's test split"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder.", show_default="beside the weights")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print export.json and nothing else.")] = False,
) -> None:
    """Write the model as one ONNX file, compared with torch first.

    The file needs no torch. It is kept only if its answers on real pictures agree with those of torch.
    """
    from frame_vit.cli import console, tables
    from frame_vit.runs.folder import find_model
    from frame_vit.system.files import check_writable

    check_writable(output)
    place = find_model(model)  # before the imports below, which take seconds
    with console.starting():
        from frame_vit.export.export import export as export_model
        from frame_vit.runs.data import DataRequest, evaluation_config

    request = DataRequest(evaluation_config(place.run, None, overrides or []), data)
    with console.progress() as tick:
        result = export_model(place, request, output, int8, tick)
    if json_output:
        echo_json(result.to_json())
    else:
        tables.show_export(result, output or place.path)


def benchmark(
    model: ModelArgument = None,
    overrides: Set = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Pictures to predict.", show_default="the run's test split")
    ] = None,
    count: Annotated[
        int, typer.Option("--limit", min=1, max=LARGEST_COUNT, help="Measure on at most so many pictures.")
    ] = 64,
    device: Device = None,
    batch_size: BatchSize = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print benchmark.json and nothing else.")] = False,
) -> None:
    """Measure every backend and precision on this machine.

    `--backend auto` then knows which is fastest.
    """
    from frame_vit.cli import console
    from frame_vit.runs.folder import find_model

    place = find_model(model)
    with console.starting():
        from frame_vit.export.benchmark import benchmark as measure
        from frame_vit.export.benchmark import markdown
        from frame_vit.runs.data import DataRequest, evaluation_config

    request = DataRequest(evaluation_config(place.run, None, overrides or []), data)
    with console.progress() as tick:
        result = measure(place, request, count, device or "auto", batch_size, tick)
    if json_output:
        echo_json(result.to_json())
    else:
        typer.echo(markdown(result))
