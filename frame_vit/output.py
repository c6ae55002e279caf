"""Where predictions go: a new file, one that is gone on with, or parts of several processes, joined in order."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from frame_vit.errors import UsageError
from frame_vit.inputs import Input
from frame_vit.labels import LabelSpace
from frame_vit.progress import log
from frame_vit.tables import Done, read_done
from frame_vit.texts import printable


@dataclass(frozen=True)
class Output:
    """A file of predictions (None: stdout) of a form; what it has already is kept where `going_on`."""

    path: Path | None
    form: str
    going_on: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Raises `UsageError` where it can't be written, or would write over what is there."""
        if self.going_on and (self.path is None or self.form == "json"):
            raise UsageError("--skip-done goes on with a file of rows", "Name a .csv or .jsonl file with -o/--output")
        if self.path is None or self.going_on or self.overwrite:
            return
        if self.path.is_file() and self.path.stat().st_size:
            raise UsageError(
                f"{self.path} is there already",
                "--skip-done goes on with it, --overwrite begins it anew; or name another file",
            )

    def done(self, labels: LabelSpace) -> Done:
        """What was predicted before."""
        if self.path is None or not self.going_on:
            return Done(set(), 0, 0)
        found = read_done(self.path, self.form, labels)
        if found.names:
            log.info("%s: %d inputs were predicted before and are skipped", self.path, len(found.names))
        return found

    @contextmanager
    def opened(self, done: Done) -> Iterator[IO[str]]:
        """The file, to be written after what is done; half a row at its end is cut off."""
        if self.path is None:
            yield sys.stdout
            return
        try:
            # Reading and writing, not appending: what stands behind the last whole row must go.
            file = self.path.open("r+" if done.end else "w", encoding="utf-8", newline="")
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
        with file:
            file.seek(done.end)
            file.truncate()
            yield file


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
        """Raises `UsageError` where the processes could not join what they write."""
        if output.path is None or output.form not in ("csv", "jsonl"):
            raise UsageError("several processes write rows to a file", "Name a .csv or .jsonl file with -o/--output")
        for found in output.path.parent.glob(f"{_escaped(output.path.stem)}.part-*-of-*{output.path.suffix}"):
            count = re.search(r"\.part-\d+-of-(\d+)\.\w+$", found.name)
            if count and int(count[1]) != self.count:
                raise UsageError(
                    f"{found} was left by {count[1]} processes, and these are {self.count}",
                    f"Start {count[1]} again, or remove the parts",
                )

    def join(self, output: Output, labels: LabelSpace) -> int:
        """Puts all parts behind what the file has, in order, and removes them; how many of all rows are errors."""
        assert output.path is not None
        aside = output.path.with_name(output.path.name + ".joined")
        sources = [output.path] if output.going_on and output.path.is_file() else []
        sources += [self.part(output.path, rank) for rank in range(self.count)]
        errors, header = 0, ""
        with aside.open("w", encoding="utf-8", newline="") as file:
            for source in sources:
                done = read_done(source, output.form, labels)
                errors += done.errors
                with source.open("rb") as rows:
                    text = rows.read(done.end).decode()
                if output.form == "csv" and header:
                    text = text.removeprefix(header)  # one is enough
                header = header or text.partition("\n")[0] + "\n"
                file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(output.path)  # at once: were it interrupted in between, rows would be there twice
        for rank in range(self.count):
            self.part(output.path, rank).unlink()
        return errors


def left(inputs: Sequence[Input], done: Done) -> Sequence[Input]:
    """The inputs that have no row yet."""
    return [given for given in inputs if printable(given.name) not in done.names] if done.names else inputs


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
