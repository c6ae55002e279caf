"""One file of predictions written by several processes: each predicts a share of the inputs, then all are joined.

    rows.part-1-of-2.csv, rows.part-2-of-2.csv   one file a process, each resumable like any other
    rows.csv.joined                              all of them, complete, for the moment before it becomes rows.csv

`rows.csv.joined` exists only when it is complete, so an interrupted join is either repeated or only finished
(`finish_join`): no row is lost or written twice.
"""

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
from frame_vit.prediction.output import Output, resumable
from frame_vit.prediction.rows import Done, read_done
from frame_vit.system.files import replacing
from frame_vit.system.texts import printable


@dataclass(frozen=True)
class Share:
    """The part of the inputs that one of `count` processes predicts; a single process predicts all."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Share:
        """The share of this process, by torchrun's variables RANK and WORLD_SIZE."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def of(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """This share of the inputs: neighbours, so that the joined parts have the order of the inputs."""
        first, last = (len(inputs) * at // self.count for at in (self.rank, self.rank + 1))
        return inputs[first:last]

    def part(self, path: Path, rank: int | None = None) -> Path:
        """The file that this process (or the one of `rank`) writes, in the folder of the joined file."""
        number = (self.rank if rank is None else rank) + 1
        return path.with_name(f"{path.stem}.part-{number}-of-{self.count}{path.suffix}")

    def check(self, output: Output) -> None:
        """Raises `UsageError` where the parts could not be joined, or another number of processes left parts behind."""
        if self.count > 1 and (output.path is None or output.form not in ("csv", "jsonl")):
            raise UsageError("several processes write rows to a file", "Name a .csv or .jsonl file with -o/--output")
        if output.path is None or _joined(output.path).is_file():
            return
        for part in _parts_left(output.path):
            count = re.search(r"\.part-\d+-of-(\d+)\.\w+$", part.name)
            if count and int(count[1]) != self.count:
                these = f"these are {self.count}" if self.count > 1 else "this is one"
                raise UsageError(
                    f"{part} was left by {count[1]} processes, and {these}",
                    f"Start {count[1]} again, with --skip-done, or remove the parts",
                )

    def parts(self, path: Path) -> list[Path]:
        """The files of all processes, in order."""
        return [self.part(path, rank) for rank in range(self.count)]

    def join(self, output: Output, labels: LabelSpace) -> int:
        """Appends all parts to the rows that the file has, in order, and removes them. Gives the number of errors."""
        assert output.path is not None
        joined = _joined(output.path)
        before = output.done(labels)
        errors, fresh = before.errors, not before.end
        with resumable(joined), replacing(joined, large=True) as whole, whole.open("wb") as file:
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
        finish_join(output)
        return errors


def finish_join(output: Output) -> None:
    """Ends a join that was interrupted after all parts had been joined, so that they are not joined twice."""
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
    """The inputs that have no row yet in any of the files. An input that is named twice needs two rows."""
    rows = Counter[str]()
    for done in before:
        for name, count in done.names.items():
            rows[_one_spelling(name)] += count
    if not rows:
        return inputs
    remaining = []
    for item in inputs:
        name = _one_spelling(printable(item.name))
        if rows[name] > 0:
            rows[name] -= 1
        else:
            remaining.append(item)
    return remaining


def _one_spelling(name: str) -> str:
    """One name for `a.jpg`, `./a.jpg` and its absolute path; the row of a data set stays different from all files."""
    return os.path.normcase(os.path.abspath(name))  # noqa: PTH100  (no look at the disk: there may be 100,000)


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
