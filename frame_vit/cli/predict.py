"""`framevit predict` and `explain`: what pictures show, and where the model looked.

`predict` with an exported file imports no torch: what it needs is imported where it is needed, and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frame_vit.cli.options import (
    AUTO,
    LARGEST_COUNT,
    Backend,
    BackendOption,
    BatchSize,
    Device,
    Format,
    ModelOption,
    Precision,
    PrecisionOption,
    Record,
    Set,
    Tta,
    WeightsModelOption,
    echo_json,
    enough_seen,
    leave_on,
    predictor_options,
)
from frame_vit.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from frame_vit.prediction.inputs import Input
    from frame_vit.prediction.load import PredictorOptions
    from frame_vit.prediction.output import Output
    from frame_vit.prediction.predict import Drawing
    from frame_vit.prediction.predictor import Predictor
    from frame_vit.prediction.record import RecordOptions


ENDINGS = {".csv": Format.csv, ".json": Format.json, ".jsonl": Format.jsonl, ".ndjson": Format.jsonl}
Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH...", help="Pictures, folders, globs in quotes, manifests.", show_default=False),
]
DataOption = Annotated[str | None, typer.Option("--data", help="A data set: hub name, folder, manifest, parquet.")]


def predict(
    paths: Paths = None,
    model: ModelOption = None,
    data: DataOption = None,
    watch: Annotated[
        Path | None,
        typer.Option("--watch", help="Wait for pictures in this folder, until stopped.", show_default=False),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="How to print.", show_default="table; jsonl in a pipe; by the name of -o"),
    ] = None,
    tta: Tta = True,
    backend: BackendOption = AUTO,
    device: Device = None,
    precision: PrecisionOption = None,
    batch_size: BatchSize = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File instead of stdout.")] = None,
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Resume the file: predict only inputs without a row.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    explain: Annotated[Path | None, typer.Option("--explain", help="Draw attention maps into this folder.")] = None,
    record: Annotated[
        Record | None,
        typer.Option("--record", help="What JSON lines hold.", show_default="full in a file; plain on stdout"),
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", metavar="REGEX", help="Record the part's id: what this finds in the name.")
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="Each row holds the digest of the one before.")] = False,
    challenge: Annotated[
        Path | None,
        typer.Option("--challenge", help="CSV of master parts that a watch must see and decide as listed."),
    ] = None,
    every: Annotated[
        str | None, typer.Option("--every", help="How often the challenge is due.", show_default="8h")
    ] = None,
) -> None:
    """Predict the class of each picture, and accept or reject it."""
    from frame_vit.prediction.output import Output

    _one_source(paths, data, watch)
    if skip_done and overwrite:
        raise UsageError("--skip-done and --overwrite contradict each other")
    if watch and explain:
        raise UsageError("--explain and --watch cannot be used together", "Run framevit explain on the pictures later")
    # A watch resumes its file by itself: a picture that has a row was predicted before.
    resume = skip_done or (watch is not None and output is not None and not overwrite)
    kind = _form(form, output, watch)
    target = Output(output, kind, resume, overwrite, _recording(record, part, chain, kind, output))
    target.check()
    _alone_or_shared(target, watch)
    options = predictor_options(_with_weights(backend, explain, paths), device, precision, tta, batch_size)
    _challenged(challenge, every, watch, target)
    if watch is not None:
        _watch(watch, target, model, options, (challenge, every or "8h") if challenge else None)
        return
    from frame_vit.cli import console
    from frame_vit.prediction.load import load_predictor

    with console.starting():
        inputs = _inputs(paths, data)
    isolated = len(inputs) > 1 or output is not None  # a single picture on the screen is quicker without
    predictor = load_predictor(model, options, len(inputs), isolated)
    if target.form == Format.table.value:
        _show(predictor, inputs, explain)
        return
    from frame_vit.prediction.predict import predict_to

    with console.progress() as tick, enough_seen():
        bad = predict_to(predictor, inputs, target, tick, _drawing(predictor, explain))
    leave_on(bad or 0, "of the inputs could not be read; their rows say why")


def _alone_or_shared(target: Output, watch: Path | None) -> None:
    """Several processes share the inputs; a folder that is watched has one watcher."""
    from frame_vit.prediction.shares import Share

    share = Share.of_this_process()
    if share.count > 1 and watch is not None:
        raise UsageError("a folder is watched by one process", "Start framevit without torchrun")
    share.check(target)


def _inputs(paths: list[str] | None, data: str | None) -> list[Input]:
    from frame_vit.prediction.inputs import expand, from_data

    return from_data(data) if data else expand(paths or [])


def _one_source(paths: list[str] | None, data: str | None, watch: Path | None) -> None:
    given = [what for what in (paths and "PATH", data and "--data", watch and "--watch") if what]
    if len(given) != 1:
        said = f"{' and '.join(given)} name different pictures" if given else "no pictures are named"
        raise UsageError(said, "Name files, folders or globs; or a data set with --data; or a folder with --watch")


def _form(form: Format | None, output: Path | None, watch: Path | None) -> str:
    """By the file's name, where there is a file; else a table for people and lines for programs."""
    if form is None and output is not None:
        form = ENDINGS.get(output.suffix.lower())
        if form is None:
            raise UsageError(
                f"{output}: the format is not clear from the file's name",
                f"End it in {', '.join(ENDINGS)}, or use --format",
            )
    if form is None:
        form = Format.table if sys.stdout.isatty() else Format.jsonl
    if form is Format.table and output is not None:
        raise UsageError("a table is for the terminal", "Use --format jsonl or csv with -o/--output")
    if form is Format.json and watch is not None:
        raise UsageError("--watch never ends, so it cannot write one JSON list", "Use --format jsonl or csv")
    return form.value


def _recording(
    record: Record | None, part: str | None, chain: bool, form: str, output: Path | None
) -> RecordOptions | None:
    """What is recorded of each decision: by default everything in a file of JSON lines, and nothing elsewhere."""
    from frame_vit.prediction.record import RecordOptions, part_pattern

    part_pattern(part)  # before the file is opened, which --overwrite empties
    wanted = [word for word, given in (("--part", part is not None), ("--chain", chain)) if given]
    if wanted and record is Record.plain:
        raise UsageError(f"{wanted[0]} and --record plain contradict each other", "Leave out one of them")
    if (wanted or record is Record.full) and form != Format.jsonl.value:
        raise UsageError(
            f"{(wanted or ['--record full'])[0]} needs JSON lines, and this is {form}",
            "End the file's name in .jsonl, or use --format jsonl",
        )
    full = record is Record.full or bool(wanted) or (record is None and output is not None)
    return RecordOptions(part, chain) if full and form == Format.jsonl.value else None


def _with_weights(backend: Backend, explain: Path | None, paths: list[str] | None) -> Backend:
    """Attention needs the weights, which only torch has; and maps among the pictures would be predicted next time."""
    from frame_vit.runs.folder import check_apart
    from frame_vit.system.files import check_writable

    check_writable(explain)
    if explain is not None:
        check_apart(explain, *(paths or []))
    if explain is not None and backend not in (AUTO, Backend("torch")):
        raise UsageError(f"--explain needs the weights and torch, not {backend.value}", "Leave out --backend")
    return Backend("torch") if explain is not None else backend


def _challenged(challenge: Path | None, every: str | None, watch: Path | None, target: Output) -> None:
    if every is not None and challenge is None:
        raise UsageError("--every belongs to --challenge", "Name the table of master parts as well")
    if challenge is not None and watch is None:
        raise UsageError("--challenge is for a line that is watched", "Use it with --watch")
    if challenge is not None and (target.record is None or target.path is None):
        raise UsageError(
            "--challenge needs a file of rows with records", "Name it: -o rows.jsonl, without --record plain"
        )


def _watch(
    folder: Path, target: Output, model: str | None, options: PredictorOptions, challenge: tuple[Path, str] | None
) -> None:
    """Watches until a signal. With a challenge (its table, its interval) that has failed by then, exit code 4."""
    from frame_vit.backends.choose import ENDLESS
    from frame_vit.cli import console
    from frame_vit.prediction.load import load_predictor
    from frame_vit.prediction.watch import watch
    from frame_vit.system.progress import log

    if target.path is None:
        log.warning("without -o/--output no rows are kept, so a restart predicts all of %s again", folder)
    masters = None
    if challenge is not None and target.path is not None:
        from frame_vit.line.challenge import FAILED, read_challenge
        from frame_vit.prediction.record import facts

        masters = read_challenge(*challenge)
    predictor = load_predictor(model, options, ENDLESS)
    if masters is not None and target.path is not None:
        if not predictor.labels.ok:
            raise UsageError("--challenge: this model calls no class good, so it accepts nothing", "See labels.ok")
        masters.resume(target.path if target.resume else None, facts(predictor))
    try:
        with console.progress() as tick, enough_seen():
            watch(predictor, folder, target, tick, masters.judge if masters else None)
    except Interrupted as stopped:
        if masters is None or masters.state()[0] != FAILED:
            raise
        console.show_interrupted(stopped)
        console.say(f"challenge failed: {masters.state()[1]}; the exit code is 4")
        raise typer.Exit(4) from None


def _show(predictor: Predictor, inputs: list[Input], explain: Path | None) -> None:
    """A table for people."""
    from frame_vit.cli import console, tables
    from frame_vit.system.files import writing_explained

    with console.progress() as tick, writing_explained(explain or Path()):
        rows = predictor.predict(inputs, tick, len(inputs))
        draw = _drawing(predictor, explain)
        table = list(draw(rows, inputs) if draw else rows)
    tables.show_predictions(table)
    if explain is not None:
        tables.show_files({"maps": explain})
    leave_on(sum(row.status == "error" for row in table), "of the inputs could not be read; their rows say why")


def _drawing(predictor: Predictor, folder: Path | None) -> Drawing | None:
    """The step that draws a map of every row into the folder, if there is one."""
    if folder is None:
        return None
    from frame_vit.explanation.drawing import Explainer

    return Explainer(predictor, folder).each


def explain(
    paths: Paths = None,
    model: WeightsModelOption = None,
    overrides: Set = None,
    data: Annotated[str | None, typer.Option("--data", help="Look at a labelled data set with boxes.")] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Look at a split of the run's own data, or of --data.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=LARGEST_COUNT, help="At most so many pictures of a data set.")
    ] = 200,
    tta: Tta = True,
    device: Device = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder.", show_default="explained; RUN/explanation/SPLIT")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print attention.json and nothing else.")] = False,
) -> None:
    """Show where a model looks, and how much of that is in the boxes.

    For pictures, it draws attention maps. For a labelled split or data set, it measures the maps against the boxes.
    Without any of them, it takes the split that the run was tested on.
    """
    if paths and (data or split):
        raise UsageError("PATH, --data and --split name different pictures", "Use one of them")
    if paths and json_output:
        raise UsageError("--json is for labelled pictures", "Use it with --split or --data")
    from frame_vit.cli import console, tables
    from frame_vit.prediction.load import load_predictor
    from frame_vit.runs.folder import check_apart
    from frame_vit.system.files import check_writable

    folder = output or Path("explained")
    check_writable(folder if paths else output)
    check_apart(folder, *(paths or []))
    inputs = _inputs(paths, None) if paths else []
    with console.starting():
        predictor = load_predictor(model, predictor_options(Backend("torch"), device, Precision("fp32"), tta))
    if paths:
        _show(predictor, inputs, folder)
        return
    with console.starting():
        from frame_vit.explanation.explain import explain as explain_split
        from frame_vit.runs.data import DataRequest, evaluation_config

    request = DataRequest(evaluation_config(predictor.run, None, overrides or []), data, split)
    with console.progress() as tick:
        explained = explain_split(predictor, request, limit, output, tick)
    if json_output:
        echo_json(explained.explanation.to_json())
        return
    tables.show_explanation(explained.explanation)
    if explained.folder:
        tables.show_files({"report": explained.folder / "explanation.html", "written to": explained.folder})
