"""Options that several commands have; they mean the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How predictions are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class TrainPrecision(StrEnum):
    """The number format of a training."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class Precision(StrEnum):
    """The number format of an answer; int8 needs an exported file."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


class Backend(StrEnum):
    """What computes the answers."""

    auto = "auto"
    torch = "torch"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file; what it leaves out has defaults.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a key: section.key=value. Repeatable.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print every key with its meaning, and stop.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Run folder, model folder, exported file or hub name.", show_default="the latest run"),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", show_default="auto")]
TrainPrecisionOption = Annotated[
    TrainPrecision | None,
    typer.Option("--precision", help="Number format.", show_default="auto: the fastest the device has"),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="Number format.", show_default="auto: the fastest the device has"),
]
Tta = Annotated[bool, typer.Option("--tta/--no-tta", help="Average over the symmetries that the model declares.")]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Pictures asked about at once.", show_default="8 on a CPU, 32 on a card"),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="Run folder, model folder, exported file or hub name.", show_default="the latest run"
    ),
]
WeightsBackendOption = Annotated[
    Backend,
    typer.Option(
        "--backend", help="What computes the answers.", show_default="auto: torch, where the weights are there"
    ),
]
BackendOption = Annotated[
    Backend,
    typer.Option("--backend", help="What computes the answers.", show_default="auto: the fastest for this model"),
]
