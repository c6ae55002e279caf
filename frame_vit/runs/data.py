"""Which labelled pictures a model is evaluated on: a split of its own run, or another data set.

Every command that measures a model (`evaluate`, `compare`, `calibrate`, `explain`, `export`, `benchmark`) selects its
split here. A split of the model's own run must still have the fingerprint that environment.json recorded: otherwise the
model might be tested on pictures it was trained on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from frame_vit.config.load import load_config
from frame_vit.config.schema import Config
from frame_vit.data.dataset import Dataset, read_dataset, read_other_dataset
from frame_vit.data.examples import Split
from frame_vit.data.splits import SplitChoice
from frame_vit.errors import UsageError
from frame_vit.model.metadata import ModelMetadata
from frame_vit.runs.environment import short_digest
from frame_vit.system.progress import Tick, log
from frame_vit.tree import some


def evaluation_config(run: Path | None, path: Path | None, overrides: list[str]) -> Config:
    """The config by which data is read: the file `path`, else the config of the run, changed by the overrides."""
    return load_config(path or (run / "config.yaml" if run else None), overrides, complete=False)


@dataclass(frozen=True)
class DataRequest:
    """The labelled pictures to select: `split` of the data set `source`, or of the model's own run.

    `config` defines how they are read. Without `source` and `split` it is the split that thresholds are chosen on. If
    several splits of a `source` could be meant, it is the first of the `usual` ones.
    """

    config: Config
    source: str | None = None
    split: str | None = None
    usual: tuple[str, ...] = ("test",)


@dataclass(frozen=True)
class SelectedSplit:
    """A split, by its name in its data set."""

    dataset: Dataset
    name: str

    @property
    def split(self) -> Split:
        return self.dataset.splits[self.name]


def select_split(metadata: ModelMetadata, run: Path | None, request: DataRequest, tick: Tick) -> SelectedSplit:
    """Reads the requested pictures with the labels and the preprocessing of the model's metadata.

    Raises `UsageError` where a split of the run has changed since the training: rows that moved between the splits
    would be tested although the model was trained on them. Another data set is compared with the pictures that the run
    was trained on, and a warning says how many it has of them.
    """
    config = request.config
    if request.source is not None:
        choice = SplitChoice(request.source, request.split, request.usual)
        dataset = read_other_dataset(choice, config, metadata.labels, metadata.preprocessing, tick)
        selected = SelectedSplit(dataset, next(iter(dataset.splits)))
        _warn_of_training_pictures(run, selected)
        return selected
    if run is None:
        raise UsageError("this model belongs to no run, so it has no split of its own", "Name a data set with --data")
    dataset = read_dataset(config, metadata.preprocessing, tick, only=request.split)
    name = request.split or calibration_split(dataset.splits).name
    if recorded_fingerprint(run, name) != dataset.split_fingerprint(name):
        raise UsageError(
            f"the {name} split is not the one of the training any more: its pictures, labels or division have changed",
            "To test on the pictures that are there now, name the data set with --data",
        )
    return SelectedSplit(dataset, name)


def tested_request(run: Path | None, request: DataRequest) -> DataRequest:
    """The same request; where it names neither source nor split, with the split that the run was tested on.

    If a source has no test split, any other one of its splits will do.
    """
    if request.source is not None:
        return replace(request, usual=(*request.usual, "val", "calibration", "train"))
    if request.split is not None:
        return request
    return replace(request, split=tested_split(run))


def _warn_of_training_pictures(run: Path | None, selected: SelectedSplit) -> None:
    if run is None:
        return
    recorded = _recorded(run, "trained_on")
    if not isinstance(recorded, str):
        log.warning("%s did not record its training pictures, so they cannot be looked for in %s", run, selected.name)
        return
    known = {*recorded.split()}
    examples = selected.split.examples
    seen = [example.key for example in examples if short_digest(example.digest) in known]
    if seen:
        log.warning(
            "%d of the %d pictures of %s were in the training of %s, so the result is too good (%s)",
            *(len(seen), len(examples), selected.name, run, some(seen)),
        )


def recorded_fingerprint(run: Path | None, split: str) -> str | None:
    """The fingerprint that a split had when the run was trained; None where environment.json does not have it."""
    splits = _recorded(run, "splits") if run else None
    return str(splits[split]) if isinstance(splits, dict) and split in splits else None


def _recorded(run: Path, key: str) -> object:
    """A fact about the data of a run; None where environment.json does not have it."""
    try:
        return json.loads((run / "environment.json").read_text(encoding="utf-8"))["data"][key]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tested_split(run: Path | None) -> str:
    """The split that a run was tested on: test, or val where there was no test set."""
    only_val = recorded_fingerprint(run, "val") and not recorded_fingerprint(run, "test")
    return "val" if only_val else "test"


def pictures_fingerprint(split: Split) -> str:
    """The sha256 of the split's picture digests, in any order: the same pictures give the same fingerprint."""
    return hashlib.sha256("".join(sorted(example.digest for example in split.examples)).encode()).hexdigest()


def calibration_split(splits: dict[str, Split]) -> Split:
    """The split that temperature and thresholds are chosen on: calibration, or val with a warning."""
    if "calibration" in splits:
        return splits["calibration"]
    log.warning(
        "there is no calibration split: thresholds are chosen on val, which also chose the model, so the rates they "
        "promise are somewhat too good (data.calibration_fraction reserves one)"
    )
    return splits["val"]
