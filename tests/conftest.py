"""What many tests share: the command as a real process, and one tiny trained run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Models here are tiny: two threads that wait for each other take three times as long as one. Read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from frame_vit.__main__ import main
from frame_vit.data import demo

# A shell starts programs in the background with Ctrl-C ignored, and the commands that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = """
labels:
  names: [passed, Xplus, Xminus, Yplus, Yminus]
  ok: [passed]
  symmetries:
    hflip: {Xplus: Xminus, Xminus: Xplus}
    vflip: {Yplus: Yminus, Yminus: Yplus}
data:
  train: demo
  test: demo
  demo: {train: 50, test: 20}
model:
  init: scratch
  scratch: {image_size: 32, patch_size: 16, hidden_size: 16, layers: 1, heads: 2}
training:
  epochs: 2
  batch_size: 16
  device: cpu
  logging_steps: 2
"""
"""A config that trains in a second: what is learned does not matter."""

Framevit = Callable[..., "subprocess.CompletedProcess[str]"]


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


def run_framevit(cwd: Path, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """`python -m frame_vit ...` in a folder, output captured."""
    command = [sys.executable, "-m", "frame_vit", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(cwd, **extra), capture_output=True, text=True, timeout=280)


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


def run_many(cwd: Path, commands: list[list[str | Path]], **extra: str) -> list[subprocess.CompletedProcess[str]]:
    """Several commands one after the other in one process of their own: its imports take longer than they do."""
    given = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run(
        [sys.executable, "-c", _MANY, given],
        cwd=cwd,
        env=environment(cwd, **extra),
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [subprocess.CompletedProcess(c, *line) for c, line in zip(commands, lines, strict=True)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests decode in this process lies in their own folder, not in the user's."""
    monkeypatch.setenv("FRAMEVIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def framevit(tmp_path: Path) -> Framevit:
    """The command, run in the test's own folder."""

    def run(*arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        return run_framevit(tmp_path, *arguments, **extra)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.yaml and, under runs/, one run trained from it by the real command."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(TINY)
    done = run_framevit(folder, "train", "--config", "tiny.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder again, its run exported, with int8 tried; not to be changed by tests."""
    folder = tmp_path_factory.mktemp("exported") / "work"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints"))
    words = ["export", "--int8", "--json", "--set", "export.int8_changed=0.9"]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["framevit", *words])
        patch.setenv("FRAMEVIT_CACHE", str(folder / "cache"))
        with contextlib.suppress(SystemExit):
            main()
    (folder / "said.json").write_text(said.getvalue())
    assert (folder / "runs/tiny-001/model/model.onnx").is_file()
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Path]:
    """A folder with one drawn JPEG of every class, named after it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate(demo.NAMES):
        (folder / f"{name}.jpg").write_bytes(demo.jpeg(demo.sample(name, seed)))
    yield folder
