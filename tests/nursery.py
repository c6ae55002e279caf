"""Many real framevit processes without paying for their imports each time: one process imports, children are forked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.conftest import environment

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
    words = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(f"nursery-{os.getppid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
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
        self._process.__exit__(kind, error, at)

    def start(self, *words: str | Path) -> int:
        """The process number of a new `framevit ...`."""
        assert self._process.stdin is not None
        self.log.unlink(missing_ok=True)
        self._process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def wait(self) -> int:
        """Its exit code; minus the signal that killed it."""
        return int(self._line())

    def run(self, *words: str | Path) -> int:
        self.start(*words)
        return self.wait()

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
