"""`framevit predict` as a function: inputs through a predictor into a file, alone or as one of several processes."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from frame_vit.errors import Interrupted
from frame_vit.inputs import Input
from frame_vit.output import Output, Share, left
from frame_vit.predictor import Predictor
from frame_vit.progress import Tick, silent
from frame_vit.stopping import terminable
from frame_vit.tables import Done, RowWriter


def predict_to(
    predictor: Predictor, inputs: Sequence[Input], output: Output, tick: Tick = silent, maps: Path | None = None
) -> int | None:
    """Writes a row for every input that has none yet, and draws it into the folder `maps`.

    How many of all rows are errors. Several processes share the inputs, and the first joins what they wrote; None in
    the others.
    """
    share = Share.of_this_process()
    done = output.done(predictor.labels)
    rest = left(inputs, done)
    if share.count == 1:
        return done.errors + _write(predictor, rest, output, done, tick, maps)
    from frame_vit.processes import Team

    share.check(output)
    assert output.path is not None
    team = Team(predictor.device.partition(":")[0])
    place = replace(output, path=share.part(output.path))
    begun = place.done(predictor.labels)
    _write(predictor, left(share.of(rest), begun), place, begun, tick if team.main else silent, maps)
    team.wait()
    return share.join(output, predictor.labels) if team.main else None


def _write(
    predictor: Predictor, inputs: Sequence[Input], output: Output, done: Done, tick: Tick, maps: Path | None
) -> int:
    """Rows behind those that are done; how many of them are errors."""
    errors = 0
    with _says_how_to_go_on(output), output.opened(done) as file:
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
def _says_how_to_go_on(output: Output) -> Iterator[None]:
    """Whatever a signal interrupts ends in `Interrupted`, with the command that goes on where there is one."""
    try:
        with terminable():
            yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        number = stopped.exit_code - 128 if isinstance(stopped, Interrupted) else signal.SIGINT
        hint = ""
        if output.path is not None and output.form != "json":
            words = [word for word in sys.argv[1:] if word not in ("--skip-done", "--overwrite")]
            hint = shlex.join(["framevit", *words, "--skip-done"])
        raise Interrupted(number, "stopped; the rows that were written stay", hint) from None
