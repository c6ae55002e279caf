"""Run folders: a new one for each run, numbered by name, and found again by name, by path, or as the latest.

    runs/NAME-001/   config.yaml  environment.json  train.log  history.csv  checkpoints/  model/  evaluation/
    runs/latest.txt  the newest finished run

`find_model` resolves what a person writes after --model: a run folder, a model folder, an exported file, or a name on
the hub. Nothing heavy is imported: `predict` on a line PC starts with it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frame_vit.errors import UsageError
from frame_vit.model.metadata import METADATA_FILE
from frame_vit.system.files import make_folder, write_text
from frame_vit.system.hub import is_hub_name

if TYPE_CHECKING:
    from frame_vit.config.schema import Config  # pydantic takes 80 ms of the start of `predict`


RUNS = Path("runs")
LATEST = "latest.txt"


def run_name(config: Path | None) -> str:
    """The name of a run or of a prepared folder: that of the config file, else `run`."""
    return config.stem if config else "run"


def new_run(name: str, output: Path | None = None) -> Path:
    """Makes the folder of a new run: `output`, which must be new or empty, else runs/NAME-NNN with the next number.

    Raises `UsageError` where it cannot be made.
    """
    if output is not None:
        check_new(output)
        return make_folder(output)
    make_folder(RUNS)
    number = 1 + max(
        (int(p.name.rpartition("-")[2]) for p in RUNS.glob(f"{name}-[0-9][0-9][0-9]*") if _numbered(p, name)), default=0
    )
    while True:
        try:
            return make_folder(RUNS / f"{name}-{number:03d}", fresh=True)
        except FileExistsError:  # another run took the number meanwhile
            number += 1


def check_new(output: Path | None) -> None:
    """Raises `UsageError` where `output` exists already and is not an empty folder."""
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} already exists and is not empty", "Name a new folder; nothing is overwritten")


def check_apart(output: Path, *sources: str | None) -> None:
    """Raises `UsageError` where `output` lies in one of the data folders: its pictures would later be read as data."""
    for source in sources:
        folder = Path(source).expanduser() if source else None
        if folder is not None and folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"{output} lies in {folder}, a folder of data; pictures written there would be read as data later",
                "Name a folder outside it with -o/--output",
            )


def set_latest(run: Path) -> None:
    """Records the newest finished run in runs/latest.txt, by its name in runs/ or, elsewhere, by its full path."""
    make_folder(RUNS)
    inside = run.resolve().parent == RUNS.resolve()
    write_text(RUNS / LATEST, (run.name if inside else str(run.resolve())) + "\n")


def latest_run() -> Path:
    """The newest finished run, by runs/latest.txt. Raises `UsageError` where there is none."""
    file = RUNS / LATEST
    if not file.is_file():
        raise UsageError(f"no finished run here ({file} is missing)", "Train one first, or name a model with --model")
    run = RUNS / file.read_text(encoding="utf-8").strip()
    if not (run / "model").is_dir():
        raise UsageError(f"the latest run, {run}, no longer exists", "Name another with --model")
    return run


@dataclass(frozen=True)
class ModelPlace:
    """Where a model is: `name` is a model folder, an exported file or a hub name; `run` is its run folder, if any."""

    name: str
    run: Path | None = None

    @property
    def path(self) -> Path:
        """The name as a path; for a hub name nothing exists there."""
        return Path(self.name)

    @property
    def folder(self) -> Path:
        """The model folder; for an exported file the folder it lies in."""
        return self.path.parent if self.path.is_file() else self.path


def find_model(name: str | None) -> ModelPlace:
    """The model in a run folder, a model folder or an exported file, or under a hub name; for None in the latest run.

    A ~ at its beginning is the home folder. Raises `UsageError` where there is none. Whether the hub has the name is
    not asked here.
    """
    place = str(latest_run()) if name is None else expanded(name)
    path = Path(place)
    if path.suffix == ".onnx" and path.is_file():
        return ModelPlace(place, _run_of(path.parent))
    if path.suffix == ".onnx":
        raise UsageError(f"{place}: no such file", "framevit export writes model.onnx into the model folder of a run")
    if _is_model(path / "model"):
        return ModelPlace(str(path / "model"), path)
    if _is_model(path):
        return ModelPlace(place, _run_of(path))
    # `runs/demo-007` also has the form of a hub name. Where a folder `runs` exists, it means a folder in it.
    if path.exists() or place.startswith((".", os.sep, "~")) or (path.parent == RUNS and RUNS.is_dir()):
        if (path / "config.yaml").is_file():
            raise UsageError(f"{place}: a run that has no model yet", f"framevit train --resume {place} resumes it")
        raise UsageError(f"{place}: neither a run folder nor a model folder", "A run folder holds model/config.json")
    if "/" not in place and _is_model(RUNS / place / "model"):
        raise UsageError(f"{place}: no such folder", f"Did you mean {RUNS / place}?")
    if not is_hub_name(place):
        raise UsageError(f"{place}: no such folder", "A model on the hub is named owner/name")
    return ModelPlace(place)


def expanded(name: str) -> str:
    """The name with ~ or ~user as the path of that home folder; quotes and config files keep a shell from doing it."""
    try:
        return str(Path(name).expanduser()) if name.startswith("~") else name
    except RuntimeError:
        raise UsageError(f"{name}: there is no such home folder", "Write the path out") from None


def _is_model(folder: Path) -> bool:
    """Whether a folder holds weights, or an exported file with its metadata, as it is copied to a line PC."""
    return (folder / "config.json").is_file() or ((folder / METADATA_FILE).is_file() and any(folder.glob("*.onnx")))


def _run_of(folder: Path) -> Path | None:
    """The run folder that a model folder belongs to; None where it belongs to none."""
    inside = folder.resolve().name == "model" and (folder.resolve().parent / "config.yaml").is_file()
    return (folder.parent if folder.name == "model" else folder.resolve().parent) if inside else None


def _numbered(path: Path, name: str) -> bool:
    return path.name[len(name) + 1 :].isdigit()


def finished(run: Path) -> bool:
    """Whether a run has been trained and evaluated."""
    return (run / "model" / "README.md").is_file() and any((run / "evaluation").glob("*/metrics.json"))


def located(config: Config) -> Config:
    """The same config, with a run folder in model.name replaced by the model folder in it.

    Raises `UsageError` where model.name leads to no model.
    """
    if config.model.init == "scratch":
        return config
    place = find_model(config.model.name).name
    return config.model_copy(update={"model": config.model.model_copy(update={"name": place})})
