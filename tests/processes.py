"""Real framevit processes: fresh ones, and ones that are forked from a process that has imported everything.

Starting takes longer than what most tests do: torch and transformers alone are imported for five seconds. So commands
run in children of one process that has done that, unless their environment is read at import: the hub's, Python's.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

Done = subprocess.CompletedProcess[str]
FRESH = ("HF_", "PYTHON", "COLUMNS")
"""How the variables begin that libraries read when they are imported."""


def environment(home: Path, **extra: str) -> dict[str, str]:
    """A process environment without hub, colours or a home to write to but `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "FRAMEVIT_"))}
    return {
        **kept,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "FRAMEVIT_CACHE": str(home / "cache"),
        "MPLCONFIGDIR": str(home / "mpl"),
        "COLUMNS": "120",
        "PYTHONWARNINGS": "ignore",
        **extra,
    }


def run_framevit(cwd: Path, *arguments: str | Path, **extra: str) -> Done:
    """`framevit ...` in a folder, output captured."""
    surroundings = environment(cwd, **extra)
    if not _must_be_fresh(extra):
        return _warm().captured(cwd, arguments, surroundings)
    command = [sys.executable, "-m", "frame_vit", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=surroundings, capture_output=True, text=True, timeout=280)


def _must_be_fresh(extra: Mapping[str, str]) -> bool:
    return any(name.startswith(FRESH) for name in extra) or not hasattr(os, "fork")


_MANY = """
import contextlib, io, json, sys
from frame_vit.__main__ import main
for words in json.loads(sys.argv[1]):
    sys.argv, code = ["framevit", *words], 0
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def run_many(cwd: Path, commands: Sequence[Sequence[str | Path]], **extra: str) -> list[Done]:
    """Several commands one after the other; where the process must be fresh, one for all of them."""
    surroundings = environment(cwd, **extra)
    if not _must_be_fresh(extra):
        return [_warm().captured(cwd, command, surroundings) for command in commands]
    given = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run(
        [sys.executable, "-c", _MANY, given],
        cwd=cwd,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [subprocess.CompletedProcess([*c], *line) for c, line in zip(commands, lines, strict=True)]


@functools.cache
def _warm() -> Nursery:
    """The one nursery of this process for commands in any folder; it ends with the process."""
    folder = tempfile.TemporaryDirectory()
    nursery = Nursery(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(nursery.close)
    return nursery


_PROGRAM = """
import json, os, sys, traceback
from frame_vit import __main__
from frame_vit.cli import console, tables
from frame_vit.audit import prepare
from frame_vit.evaluation import calibrate, compare, evaluate
from frame_vit.explanation import explain
from frame_vit.training import train
import datasets, torchvision, transformers.models.vit.modeling_vit, transformers.models.vit.image_processing_vit
for line in sys.stdin:
    words, folder, streams, environment = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, file in zip((1, 2), streams):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.chdir(folder)
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv, code = ["framevit", *words], 0
        try:
            __main__.main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Nursery:
    """Starts one `framevit` after the other in `folder`; what they print is gathered in `said`."""

    def __init__(self, folder: Path, **extra: str) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            cwd=folder,
            env=environment(folder, **extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process that forks; it waits for a child that still runs."""
        self._process.__exit__(None, None, None)

    def start(self, *words: str | Path) -> int:
        """The process number of a new `framevit ...`."""
        self.log.unlink(missing_ok=True)
        self._send(words, self.folder, [self.log, self.log])
        return int(self._line())

    def wait(self) -> int:
        """Its exit code; minus the signal that killed it."""
        return int(self._line())

    def run(self, *words: str | Path) -> int:
        self.start(*words)
        return self.wait()

    def captured(
        self, folder: Path, words: Sequence[str | Path], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """What `framevit ...` prints in another folder and environment, as `subprocess.run` would give it."""
        streams = [self.folder / "out", self.folder / "err"]
        for stream in streams:
            stream.write_text("")
        self._send(words, folder, streams, environment)
        self._line()
        code = self.wait()
        out, err = (stream.read_text() for stream in streams)
        return subprocess.CompletedProcess([*words], code, out, err)

    def _send(
        self,
        words: Sequence[str | Path],
        folder: Path,
        streams: list[Path],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        assert self._process.stdin is not None
        places = [str(stream.absolute()) for stream in streams]
        asked = [[str(word) for word in words], str(folder.absolute()), places, environment and {**environment}]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    @property
    def log(self) -> Path:
        return self.folder / f"nursery-{self._process.pid}.log"

    @property
    def said(self) -> str:
        """What the last one printed, stdout and stderr together."""
        return self.log.read_text() if self.log.exists() else ""

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return line
