"""`framevit predict`: writes a row for every input, alone or as one of several processes that share the inputs.

The rows are in the order of the inputs and are written one by one, so that an interrupted command can be resumed. Each
of several processes writes a part of its own; the first joins the parts when all are done.
"""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from frame_vit.errors import Interrupted, UsageError
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.output import Output
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.prediction.rows import NOTHING, Done
from frame_vit.prediction.shares import Share, finish_join, left
from frame_vit.system.progress import Tick, log, silent
from frame_vit.system.signals import interruptible

Drawing: TypeAlias = "Callable[[Iterator[Prediction], Sequence[Input]], Iterator[Prediction]]"
"""A step that gets every row with its input and passes it on, such as one that draws attention maps."""


def predict_to(
    predictor: Predictor, inputs: Sequence[Input], output: Output, tick: Tick = silent, draw: Drawing | None = None
) -> int | None:
    """Writes a row for every input that has none yet; each row passes through the step `draw` first.

    Returns how many of all rows are errors. Of several processes only the first returns that, the others None.
    """
    share = Share.of_this_process()
    if share.count > 1:
        return _predict_share(predictor, inputs, output, share, _Steps(tick, draw))
    finish_join(output)
    done = output.done(predictor.labels)
    remaining = left(inputs, done)
    if output.resume:
        message = "%d of %d inputs have a row in %s and are skipped, rows of errors too"
        log.info(message, len(inputs) - len(remaining), len(inputs), output.path)
    return done.errors + _write(predictor, remaining, output, done, _Steps(tick, draw))


@dataclass(frozen=True)
class _Steps:
    """What happens beside the writing of rows, and the launcher that the command for resuming begins with."""

    tick: Tick
    draw: Drawing | None
    launcher: str = "framevit"


def _predict_share(
    predictor: Predictor, inputs: Sequence[Input], output: Output, share: Share, steps: _Steps
) -> int | None:
    """Writes this process's share into a part of its own; the first process joins all parts."""
    from frame_vit.system.distributed import ProcessGroup

    assert output.path is not None
    group = ProcessGroup(predictor.device.partition(":")[0])
    if group.main:
        finish_join(output)
    group.wait()
    done = output.done(predictor.labels)
    if output.chained(done) or (output.record and output.record.chain):
        raise UsageError("a chain of records is written by one process", "Start framevit without torchrun")
    remaining = left(inputs, done)
    part = replace(output, path=share.part(output.path))
    assert part.path is not None
    part.path.touch()
    group.wait()
    if missing := [path for path in share.parts(output.path) if not path.is_file()]:
        raise UsageError(
            f"{missing[0]} is missing, which another process writes",
            "Several machines need a folder that all of them see",
        )
    # The rows of all parts count: if inputs came or went since, this process's share is not the one it was before.
    begun = [replace(output, path=path, resume=True).done(predictor.labels) for path in share.parts(output.path)]
    own = begun[share.rank] if output.resume else NOTHING
    group.wait()
    mine = left(share.of(remaining), *begun) if output.resume else share.of(remaining)
    _write(
        predictor, mine, part, own, replace(steps, tick=steps.tick if group.main else silent, launcher=group.launcher)
    )
    group.wait()
    return share.join(output, predictor.labels) if group.main else None


def _write(predictor: Predictor, inputs: Sequence[Input], output: Output, done: Done, steps: _Steps) -> int:
    """Writes the inputs' rows behind those that are done, and returns how many of the new rows are errors."""
    errors = 0
    with _resumable(output, steps.launcher), output.opened(done) as file:
        writer = output.writer(file, predictor, done)
        rows = predictor.predict(inputs, steps.tick, len(inputs))
        if steps.draw is not None:
            rows = steps.draw(rows, inputs)
        for row in rows:
            writer.write(row)
            errors += row.status == "error"
        writer.close()
    return errors


@contextmanager
def _resumable(output: Output, launcher: str) -> Iterator[None]:
    """Turns every interrupt into `Interrupted`, with the command that resumes if the rows go to a file."""
    try:
        with interruptible():
            yield
    except (Interrupted, KeyboardInterrupt) as interrupt:
        number = interrupt.exit_code - 128 if isinstance(interrupt, Interrupted) else signal.SIGINT
        hint = ""
        if output.path is not None and output.form != "json":
            words = [word for word in sys.argv[1:] if word not in ("--skip-done", "--overwrite")]
            hint = f"{launcher} {shlex.join([*words, '--skip-done'])}"
        raise Interrupted(number, "stopped; the rows written so far are kept", hint) from None
