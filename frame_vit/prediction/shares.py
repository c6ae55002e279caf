"""Where predictions go: a new file, one that is gone on with, or parts of several processes, joined in order."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from frame_vit.errors import UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.output import Output, room_on_disk
from frame_vit.prediction.rows import Done, read_done
from frame_vit.system.texts import printable


@dataclass(frozen=True)
class Share:
    """The part of the inputs that one of several processes predicts; one process has all."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Share:
        """As `torchrun` says it."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def of(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """A run of neighbours, so that the parts, one after the other, have the order of the inputs."""
        first, last = (len(inputs) * at // self.count for at in (self.rank, self.rank + 1))
        return inputs[first:last]

    def part(self, path: Path, rank: int | None = None) -> Path:
        """Where this process writes, beside the file that all parts become."""
        number = (self.rank if rank is None else rank) + 1
        return path.with_name(f"{path.stem}.part-{number}-of-{self.count}{path.suffix}")

    def check(self, output: Output) -> None:
        """Raises `UsageError` where the processes could not join what they write, or others left parts."""
        if self.count > 1 and (output.path is None or output.form not in ("csv", "jsonl")):
            raise UsageError("several processes write rows to a file", "Name a .csv or .jsonl file with -o/--output")
        if output.path is None or _joined(output.path).is_file():
            return
        for found in _parts_left(output.path):
            count = re.search(r"\.part-\d+-of-(\d+)\.\w+$", found.name)
            if count and int(count[1]) != self.count:
                these = f"these are {self.count}" if self.count > 1 else "this is one"
                raise UsageError(
                    f"{found} was left by {count[1]} processes, and {these}",
                    f"Start {count[1]} again, with --skip-done, or remove the parts",
                )

    def parts(self, path: Path) -> list[Path]:
        """Where all processes write."""
        return [self.part(path, rank) for rank in range(self.count)]

    def join(self, output: Output, labels: LabelSpace) -> int:
        """Puts all parts behind what the file has, in order, and removes them; how many of all rows are errors."""
        assert output.path is not None
        aside = output.path.with_name(output.path.name + ".joining")
        before = output.done(labels)
        errors, fresh = before.errors, not before.end
        with room_on_disk(aside), aside.open("wb") as file:
            if before.end:
                with output.path.open("rb") as rows:
                    _copy(rows, file, before.end)
            for part in self.parts(output.path):
                done = read_done(part, output.form, labels)
                if not done.end:
                    continue
                errors += done.errors
                with part.open("rb") as rows:
                    header = len(rows.readline()) if output.form == "csv" and not fresh else 0
                    rows.seek(header)
                    _copy(rows, file, done.end - header)
                fresh = False
            file.flush()
            os.fsync(file.fileno())
        aside.replace(_joined(output.path))  # from here on, whatever interrupts it, `finish_join` ends it
        finish_join(output)
        return errors


def finish_join(output: Output) -> None:
    """Ends a join that was interrupted when all parts had been put together: they must not be put in twice."""
    if output.path is None or not _joined(output.path).is_file():
        return
    for part in _parts_left(output.path):
        part.unlink()
    _joined(output.path).replace(output.path)


def _joined(path: Path) -> Path:
    return path.with_name(path.name + ".joined")


def _parts_left(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{_escaped(path.stem)}.part-*-of-*{_escaped(path.suffix)}"))


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count > 0:
        block = source.read(min(count, 1 << 20))
        target.write(block)
        count -= len(block)


def left(inputs: Sequence[Input], *before: Done) -> Sequence[Input]:
    """The inputs that have no row yet; one that is named twice has two."""
    done = sum((found.names for found in before), Counter[str]())
    if not done:
        return inputs
    rest = []
    for given in inputs:
        name = printable(given.name)
        if done[name] > 0:
            done[name] -= 1
        else:
            rest.append(given)
    return rest


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
