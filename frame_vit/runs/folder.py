"""Run folders: numbered anew for each run, found again by name, by path, or as the latest. Standard library only.
---
A run from the config to the tested model: begun, interrupted, gone on with, finished."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from frame_vit.config.schema import Config
from frame_vit.errors import UsageError

RUNS = Path("runs")
LATEST = "latest.txt"


def new_run(name: str, output: Path | None = None) -> Path:
    """Makes the folder of a new run: `output`, which must be new or empty, or runs/<name>-NNN."""
    if output is not None:
        check_new(output)
        return _make(output)
    _make(RUNS)
    number = 1 + max(
        (int(p.name.rpartition("-")[2]) for p in RUNS.glob(f"{name}-[0-9][0-9][0-9]*") if _numbered(p, name)), default=0
    )
    while True:
        try:
            return _make(RUNS / f"{name}-{number:03d}", fresh=True)
        except FileExistsError:  # another run took the number meanwhile
            number += 1


def check_new(output: Path | None) -> None:
    """Raises `UsageError` where a folder is there already and not empty."""
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} is there already and not empty", "Name a new folder; nothing is overwritten")


def check_apart(output: Path, *sources: str | None) -> None:
    """Raises `UsageError` where a folder to write to lies in a folder of data: its pictures would be read as data."""
    for source in sources:
        folder = Path(source).expanduser() if source else None
        if folder is not None and folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"{output} lies in {folder}, a folder of data; what is written there would be read as data later",
                "Name a folder outside it with -o/--output",
            )


def set_latest(run: Path) -> None:
    """Notes the newest finished run, by its name in runs/ or, where it lies elsewhere, by its full path."""
    _make(RUNS)
    inside = run.resolve().parent == RUNS.resolve()
    aside = RUNS / f"{LATEST}.{os.getpid()}"
    aside.write_text((run.name if inside else str(run.resolve())) + "\n", encoding="utf-8")
    aside.replace(RUNS / LATEST)


def latest_run() -> Path:
    """The newest finished run. Raises `UsageError` where there is none."""
    note = RUNS / LATEST
    if not note.is_file():
        raise UsageError(f"no finished run here ({note} is missing)", "Train one first, or name a model with --model")
    run = RUNS / note.read_text(encoding="utf-8").strip()
    if not (run / "model").is_dir():
        raise UsageError(f"the latest run, {run}, is not there any more", "Name another with --model")
    return run


@dataclass(frozen=True)
class ModelPlace:
    """Where a model lies: `name` is a model folder, an exported file or a hub name; `run` its run folder, if any."""

    name: str
    run: Path | None = None

    @property
    def path(self) -> Path:
        """The name as a path, also where nothing lies there (a hub name)."""
        return Path(self.name)

    @property
    def folder(self) -> Path:
        """The model folder, also of an exported file in it."""
        return self.path.parent if self.path.is_file() else self.path


def find_model(given: str | None) -> ModelPlace:
    """The place of a run folder, a model folder, an exported file, a hub name or, for None, of the latest run.

    Raises `UsageError` where there is none.
    """
    place = str(latest_run()) if given is None else given
    path = Path(place)
    if path.suffix == ".onnx" and path.is_file():
        return ModelPlace(place, _run_of(path.parent))
    if path.suffix == ".onnx":
        raise UsageError(f"{place}: no such file", "framevit export writes model.onnx into the model folder of a run")
    if _is_model(path / "model"):
        return ModelPlace(str(path / "model"), path)
    if _is_model(path):
        return ModelPlace(place, _run_of(path))
    # `runs/demo-007` has the form of a hub name; where there is a folder runs, it is meant as a folder in it.
    if path.exists() or place.startswith((".", os.sep, "~")) or (path.parent == RUNS and RUNS.is_dir()):
        if (path / "config.yaml").is_file():
            raise UsageError(
                f"{place}: a run that has no model yet", f"framevit train --resume {place} goes on with it"
            )
        raise UsageError(f"{place}: neither a run folder nor a model folder", "A run folder holds model/config.json")
    if "/" not in place and _is_model(RUNS / place / "model"):
        raise UsageError(f"{place}: no such folder", f"Did you mean {RUNS / place}?")
    if not _HUB_NAME.fullmatch(place):
        raise UsageError(f"{place}: no such folder", "A model on the hub is named owner/name")
    return ModelPlace(place)


def _is_model(folder: Path) -> bool:
    """Weights, or an exported file with its settings beside, as a line PC may be given."""
    return (folder / "config.json").is_file() or ((folder / "framevit.json").is_file() and any(folder.glob("*.onnx")))


def _run_of(folder: Path) -> Path | None:
    """The run that a model folder belongs to."""
    inside = folder.resolve().name == "model" and (folder.resolve().parent / "config.yaml").is_file()
    return (folder.parent if folder.name == "model" else folder.resolve().parent) if inside else None


_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


def _make(folder: Path, fresh: bool = False) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=not fresh)
    except FileExistsError:
        raise
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror}", "Name another with -o/--output"
        ) from None
    return folder


def _numbered(path: Path, name: str) -> bool:
    return path.name[len(name) + 1 :].isdigit()


def finished(run: Path) -> bool:
    """Whether a run has been trained and tested."""
    return (run / "model" / "README.md").is_file() and any((run / "evaluation").glob("*/metrics.json"))


def located(config: Config) -> Config:
    """The same, with a run folder in model.name replaced by the model in it."""
    if config.model.init == "scratch":
        return config
    place = find_model(config.model.name).name
    return config.model_copy(update={"model": config.model.model_copy(update={"name": place})})
