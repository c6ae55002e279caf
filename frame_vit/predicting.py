"""`framevit predict` as a function: inputs through a predictor into a file, alone or as one of several processes."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from frame_vit.errors import Interrupted, UsageError
from frame_vit.inputs import Input
from frame_vit.output import Output, Share, finish_join, left
from frame_vit.predictor import Predictor
from frame_vit.progress import Tick, log, silent
from frame_vit.stopping import terminable
from frame_vit.tables import NOTHING, Done, RowWriter


def predict_to(
    predictor: Predictor, inputs: Sequence[Input], output: Output, tick: Tick = silent, maps: Path | None = None
) -> int | None:
    """Writes a row for every input that has none yet, and draws it into the folder `maps`.

    How many of all rows are errors. Several processes share the inputs, and the first joins what they wrote; None in
    the others.
    """
    share = Share.of_this_process()
    if share.count > 1:
        return _shared(predictor, inputs, output, tick, maps, share)
    finish_join(output)
    done = output.done(predictor.labels)
    rest = left(inputs, done)
    if output.going_on:
        said = "%d of %d inputs have a row in %s and are skipped, rows of errors too"
        log.info(said, len(inputs) - len(rest), len(inputs), output.path)
    return done.errors + _write(predictor, rest, output, done, tick, maps)


def _shared(
    predictor: Predictor, inputs: Sequence[Input], output: Output, tick: Tick, maps: Path | None, share: Share
) -> int | None:
    """This process's share into a part of its own; the first process joins them."""
    from frame_vit.processes import Team

    assert output.path is not None
    team = Team(predictor.device.partition(":")[0])
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
    _write(predictor, todo, place, own, tick if team.main else silent, maps, team.launcher)
    team.wait()
    return share.join(output, predictor.labels) if team.main else None


def _write(
    predictor: Predictor,
    inputs: Sequence[Input],
    output: Output,
    done: Done,
    tick: Tick,
    maps: Path | None,
    launcher: str = "framevit",
) -> int:
    """Rows behind those that are done; how many of them are errors."""
    errors = 0
    with _says_how_to_go_on(output, launcher), output.opened(done) as file:
        writer = RowWriter(file, output.form, predictor.labels, fresh=not done.end)
        rows = predictor.predict(inputs, tick, len(inputs))
        if maps is not None:
            from frame_vit.explaining import Explainer

            rows = Explainer(predictor, maps).each(rows, inputs)
        for row in rows:
            writer.write(row)
            errors += row.status == "error"
        writer.close()
    return errors


@contextmanager
def _says_how_to_go_on(output: Output, launcher: str) -> Iterator[None]:
    """Whatever a signal interrupts ends in `Interrupted`, with the command that goes on where there is one."""
    try:
        with terminable():
            yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        number = stopped.exit_code - 128 if isinstance(stopped, Interrupted) else signal.SIGINT
        hint = ""
        if output.path is not None and output.form != "json":
            words = [word for word in sys.argv[1:] if word not in ("--skip-done", "--overwrite")]
            hint = f"{launcher} {shlex.join([*words, '--skip-done'])}"
        raise Interrupted(number, "stopped; the rows that were written stay", hint) from None
