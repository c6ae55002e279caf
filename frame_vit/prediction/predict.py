"""`framevit predict` as a function: inputs through a predictor into a file, alone or as one of several processes."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

from frame_vit.errors import Interrupted, UsageError
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.output import Output
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.prediction.rows import NOTHING, Done, RowWriter
from frame_vit.prediction.shares import Share, finish_join, left
from frame_vit.system.progress import Tick, log, silent
from frame_vit.system.signals import interruptible

Drawing: TypeAlias = "Callable[[Iterator[Prediction], Sequence[Input]], Iterator[Prediction]]"
"""A step that sees every row with its input and passes it on, such as one that draws attention maps."""


def predict_to(
    predictor: Predictor, inputs: Sequence[Input], output: Output, tick: Tick = silent, draw: Drawing | None = None
) -> int | None:
    """Writes a row for every input that has none yet, and passes it through the step `draw`.

    How many of all rows are errors. Several processes share the inputs, and the first joins what they wrote; None in
    the others.
    """
    share = Share.of_this_process()
    if share.count > 1:
        return _shared(predictor, inputs, output, tick, draw, share)
    finish_join(output)
    done = output.done(predictor.labels)
    rest = left(inputs, done)
    if output.going_on:
        said = "%d of %d inputs have a row in %s and are skipped, rows of errors too"
        log.info(said, len(inputs) - len(rest), len(inputs), output.path)
    return done.errors + _write(predictor, rest, output, done, tick, draw)


def _shared(
    predictor: Predictor, inputs: Sequence[Input], output: Output, tick: Tick, draw: Drawing | None, share: Share
) -> int | None:
    """This process's share into a part of its own; the first process joins them."""
    from frame_vit.system.distributed import ProcessGroup

    assert output.path is not None
    team = ProcessGroup(predictor.device.partition(":")[0])
    if team.main:
        finish_join(output)
    team.wait()
    rest = left(inputs, output.done(predictor.labels))
    place = replace(output, path=share.part(output.path))
    assert place.path is not None
    place.path.touch()
    team.wait()
    if missing := [part for part in share.parts(output.path) if not part.is_file()]:
        raise UsageError(f"{missing[0]} is not there", "Several machines write into one folder that all of them see")
    # Rows of all parts count: had inputs come or gone since, this one's share would be another.
    begun = [replace(output, path=part, going_on=True).done(predictor.labels) for part in share.parts(output.path)]
    own = begun[share.rank] if output.going_on else NOTHING
    team.wait()
    todo = left(share.of(rest), *begun) if output.going_on else share.of(rest)
    _write(predictor, todo, place, own, tick if team.main else silent, draw, team.launcher)
    team.wait()
    return share.join(output, predictor.labels) if team.main else None


def _write(
    predictor: Predictor,
    inputs: Sequence[Input],
    output: Output,
    done: Done,
    tick: Tick,
    draw: Drawing | None,
    launcher: str = "framevit",
) -> int:
    """Rows behind those that are done; how many of them are errors."""
    errors = 0
    with _says_how_to_go_on(output, launcher), output.opened(done) as file:
        writer = RowWriter(file, output.form, predictor.labels, fresh=not done.end)
        rows = predictor.predict(inputs, tick, len(inputs))
        if draw is not None:
            rows = draw(rows, inputs)
        for row in rows:
            writer.write(row)
            errors += row.status == "error"
        writer.close()
    return errors


@contextmanager
def _says_how_to_go_on(output: Output, launcher: str) -> Iterator[None]:
    """Whatever a signal interrupts ends in `Interrupted`, with the command that goes on where there is one."""
    try:
        with interruptible():
            yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        number = stopped.exit_code - 128 if isinstance(stopped, Interrupted) else signal.SIGINT
        hint = ""
        if output.path is not None and output.form != "json":
            words = [word for word in sys.argv[1:] if word not in ("--skip-done", "--overwrite")]
            hint = f"{launcher} {shlex.join([*words, '--skip-done'])}"
        raise Interrupted(number, "stopped; the rows that were written stay", hint) from None
