"""What many tests share: the command as a real process, and one tiny trained run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

# Models here are tiny: two threads that wait for each other take three times as long as one. Read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from frame_vit.data import demo
from tests.processes import run_framevit

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests that are marked `long` first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """This process's copy of a folder that the first of the test processes to need it has made."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(shared / f"{name}.lock"):
        if not (shared / name).is_dir():
            (shared / f"{name}.part").mkdir()
            make(shared / f"{name}.part")
            (shared / f"{name}.part").rename(shared / name)
    return Path(shutil.copytree(shared / name, factory.mktemp(name) / "work"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.yaml and, under runs/, one run trained from it by the real command."""

    def make(folder: Path) -> None:
        (folder / "tiny.yaml").write_text(TINY)
        done = run_framevit(folder, "train", "--config", "tiny.yaml")
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "trained", make)


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder again, its run exported, with int8 tried; not to be changed by tests."""

    def make(folder: Path) -> None:
        shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints"), dirs_exist_ok=True)
        done = run_framevit(folder, "export", "--int8", "--json", "--set", "export.int8_changed=0.9")
        (folder / "said.json").write_text(done.stdout)
        assert (folder / "runs/tiny-001/model/model.onnx").is_file(), done.stderr

    return made_once(tmp_path_factory, "exported", make)


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Path]:
    """A folder with one drawn JPEG of every class, named after it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate(demo.NAMES):
        (folder / f"{name}.jpg").write_bytes(demo.jpeg(demo.sample(name, seed)))
    yield folder
