"""From a config's `data` section to a `Dataset`: splits of checked, decoded, labelled examples.

This is where the steps of the folder are put in order: read the sources, leave out the excluded rows, parse the
answers, decide the class names, decode the pictures, divide the splits. Training, evaluation and `framevit prepare` all
start here, so they see the same rows. `prepare` reads tolerantly, because an audit has to show the rows that a
training would refuse.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from frame_vit.config.schema import Config, DataConfig
from frame_vit.data.examples import AnnotatedSplit, Example, Reject, Split, annotate, auto_names, build_split
from frame_vit.data.response import is_missing
from frame_vit.data.rows import ROLES, Note, RawSplit, role_of
from frame_vit.data.sources import read_source
from frame_vit.data.splits import ALL, Exclusion, SplitChoice, apply_exclusions, divide
from frame_vit.errors import DataError, UsageError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.system.caches import cache_folder
from frame_vit.system.progress import Tick, log, silent

SHOWN_REJECTS = 5
WORTH_CROPPING = 0.7
"""A region of interest is proposed only if it covers less than this share of the picture's area."""


class Origin(NamedTuple):
    """Where a split was read from: the source as the user named it, the source's name of the split, the hub commit."""

    source: str
    split: str
    revision: str = ""

    def to_json(self) -> dict[str, str]:
        return self._asdict()


@dataclass(frozen=True)
class Dataset:
    """The label space, the splits by name, and what happened to every row that is in none of them."""

    labels: LabelSpace
    splits: dict[str, Split]
    rejects: list[Reject]
    """rows that cannot be used"""
    sources: dict[str, Origin]
    """where each split that has a source of its own was read from"""
    several: dict[str, int]
    """rows with more than one label, by split"""
    excluded: list[Exclusion] = field(default_factory=list)
    """rows left out by `data.exclude`"""
    notes: list[Note] = field(default_factory=list)
    """what lies in the sources besides these rows"""
    obstacle: str = ""
    """why the data could not be divided; set only by a tolerant reading, which then leaves it undivided"""

    @property
    def fingerprint(self) -> str:
        """sha256 over the pictures and labels of all splits, in order."""
        return _sha256(f"{name} {self.split_fingerprint(name)}" for name in self.splits)

    def split_fingerprint(self, name: str) -> str:
        """sha256 over the pictures and labels of one split, in order."""
        return _sha256(f"{e.digest} {self.labels.names[e.label]}" for e in self.splits[name].examples)

    def source_of(self, split: str) -> str:
        """The source of a split: its own, or the one of train if the split was held out of train."""
        origin = self.sources.get(split) or self.sources.get("train")
        return origin.source if origin else ""

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures by split and class name."""
        return {
            name: dict(zip(self.labels.names, split.counts(len(self.labels)), strict=True))
            for name, split in self.splits.items()
        }

    def manifest(self) -> dict[str, Any]:
        """manifest.json: enough to check later that the same pictures are in the same splits."""
        return self.summary() | {
            "rejects": [vars(reject) for reject in self.rejects],
            "excluded": [exclusion._asdict() for exclusion in self.excluded],
            "splits": {name: [self._row(e) for e in split.examples] for name, split in self.splits.items()},
        }

    def summary(self) -> dict[str, Any]:
        """The manifest without its rows."""
        return {
            "labels": self.labels.to_json(),
            "sources": {role: origin.to_json() for role, origin in self.sources.items()},
            "counts": self.counts(),
            "fingerprint": self.fingerprint,
            "proposed_roi": self.proposed_roi(),
            "several_labels": self.several,
        }

    def proposed_roi(self) -> list[float] | None:
        """A region of interest [x1, y1, x2, y2] in shares of the picture: all boxes of train, widened by a tenth.

        None if a row of train has no box, or if the region would not be much smaller than the picture.
        """
        examples = self.splits["train"].examples
        if not examples or not all(example.box for example in examples):
            return None
        # (boxes, 4): xyxy in shares of the picture's width and height
        shares = np.array([np.divide(box, (e.width, e.height) * 2) for e in examples for box in e.boxes])
        low, high = shares[:, :2].min(axis=0), shares[:, 2:].max(axis=0)
        spare = 0.1 * (high - low)
        low, high = np.maximum(low - spare, 0), np.minimum(high + spare, 1)
        return [round(float(v), 3) for v in (*low, *high)] if np.prod(high - low) < WORTH_CROPPING else None

    def _row(self, example: Example) -> dict[str, str]:
        row = {"key": example.key, "label": self.labels.names[example.label], "sha256": example.digest}
        return row | ({"group": example.marks.group} if example.marks.group else {})


def _sha256(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def read_dataset(
    config: Config, preprocessing: Preprocessing, tick: Tick = silent, only: str | None = None, tolerant: bool = False
) -> Dataset:
    """Reads, checks, decodes and divides the configured data.

    `only` names the one split that is needed; if it has a source of its own, nothing else is read. `tolerant` is for an
    audit: bad rows are collected whatever `data.on_bad_row` is, and data that cannot be divided stays undivided.

    Raises `DataError` that lists the bad rows, or says why the data cannot be divided; `UsageError` for a source that
    cannot be read or a split that does not exist.
    """
    read, notes = _read_sources(config, only)
    raw, excluded = apply_exclusions(read, config.data.exclude)
    annotated = {role: annotate(split, config.data.multi) for role, split in raw.items()}
    _warn_of_several_labels(annotated.values())
    names = config.labels.names
    if not any(split.rows for split in raw.values()):
        raise DataError(
            "the data set has no rows", f"data.exclude leaves out all {len(excluded)} of them" if excluded else ""
        )
    if not any(split.rows for split in annotated.values()):
        raise _refusal([reject for split in annotated.values() for reject in split.rejects])
    if names == "auto":
        names = auto_names(annotated["train"], config.labels.aliases)
        log.info("classes, from the training set: %s", ", ".join(names))
    space = config.label_space(names)
    splits, rejects = _build(annotated, space, preprocessing, config.data, tick)
    if not tolerant:
        _refuse_or_warn(rejects, config.data)
    if not any(len(split) for split in splits.values()) and rejects:
        raise _refusal(rejects)
    obstacle = ""
    if only not in raw or only == "train":
        try:
            splits = divide(splits, config.data, space, {exclusion.key for exclusion in excluded})
        except DataError as error:
            if not tolerant:
                raise
            obstacle = f"{error.message}. {error.hint}"
    if only is not None and only not in splits:
        raise UsageError(f"there is no split {only!r}; the splits are {', '.join(splits)}")
    named = {name: Split(name, split.examples, split.pixels) for name, split in splits.items()}
    return Dataset(space, named, rejects, _origins(raw), _several_labels(annotated), excluded, notes, obstacle)


def read_other_dataset(
    choice: SplitChoice, config: Config, space: LabelSpace, preprocessing: Preprocessing, tick: Tick = silent
) -> Dataset:
    """Another data set for a model that is already trained: the chosen splits, as one that is named `data-<source>`.

    Raises `UsageError` if the choice does not fit, `DataError` if none of its pictures can be used, or if
    `data.on_bad_row` is error and a row is bad.
    """
    source, known = choice.source, {*space.names, *space.aliases}
    found = read_source(source, config.data.model_copy(update={"group_by": None}), seed_step=1, names=known)
    raw = choice.among(found)
    rows = [row._replace(key=f"{s.name}/{row.key}") if len(raw) > 1 else row for s in raw for row in s.rows]
    name = "data-" + re.sub(r"[^\w.-]+", "-", source).strip("-.")[-60:]
    if len(found) > 1:
        name += f"-{raw[0].name if len(raw) == 1 else ALL}"
    whole = RawSplit(source, name, raw[0].kind, rows, raw[0].names, raw[0].revision)
    annotated = {name: annotate(whole, config.data.multi)}
    _warn_of_several_labels(annotated.values())
    splits, rejects = _build(annotated, space.with_aliases(config.labels.aliases), preprocessing, config.data, tick)
    _refuse_or_warn(rejects, config.data)
    if not len(splits[name]):
        raise DataError(f"{source}: no usable pictures", f"framevit prepare --data {source} shows what is wrong")
    return Dataset(space, splits, rejects, _origins({name: whole}), _several_labels(annotated))


class _RawSplits(NamedTuple):
    """The raw splits by role, and what was noted about their sources."""

    by_role: dict[str, RawSplit]
    notes: list[Note]


def _read_sources(config: Config, only: str | None) -> _RawSplits:
    """The raw splits by role: those of the training source, and the test source's as test."""
    data = config.data
    names = {*(() if config.labels.names == "auto" else config.labels.names), *config.labels.aliases}
    if data.test is not None and only == "test":
        test = _read_test_source(data.test, data, names)
        return _RawSplits({"test": test}, [*test.notes])
    assert data.train is not None, "the config was checked"
    splits = read_source(data.train, data, names=names)
    notes = [note for split in splits for note in split.notes]
    used = _used_splits(splits, data, notes)
    raw = {"train": used[0]} if len(used) == 1 else {role_of(split.name): split for split in used}
    if not {"train"} <= {*raw} <= {*ROLES} or len(raw) < len(used):
        usable = {role_of(split.name): split.name for split in used if role_of(split.name) in ROLES}
        raise UsageError(
            f"{data.train}: splits {', '.join(s.name for s in used)}; expected train, validation, calibration, test",
            f"Name those to use with --set 'data.splits_used=[{', '.join(usable.values())}]', or rename them; train is "
            "required, and each of the others may exist once",
        )
    if data.test is not None:
        if "test" in raw:
            log.warning("%s has a test split of its own; data.test is used instead of it", data.train)
        raw["test"] = _read_test_source(data.test, data, names)
        notes += raw["test"].notes
    return _RawSplits({only: raw[only]} if only in raw and only != "train" else raw, notes)


def _used_splits(splits: list[RawSplit], data: DataConfig, notes: list[Note]) -> list[RawSplit]:
    """The splits of the training source that `data.splits_used` lists, or all that have labels.

    Raises `UsageError` for a name that no split has, and for a lone test or validation split that is not listed.
    """
    source, names = data.train or "", [split.name for split in splits]
    if data.splits_used is not None:
        missing = [name for name in data.splits_used if name not in names]
        if missing:
            raise UsageError(
                f"data.splits_used: {source} has no split {', '.join(map(repr, missing))}; it has {', '.join(names)}"
            )
        left_out = [name for name in names if name not in data.splits_used]
        log.info("%s: splits left out by data.splits_used: %s", source, ", ".join(left_out) or "none")
        return [split for split in splits if split.name in data.splits_used]
    if len(splits) == 1 and role_of(names[0]) in {*ROLES} - {"train"}:
        raise UsageError(
            f"the only split of {source} is called {names[0]}, and a training needs one to train on",
            f"If it is meant to be trained on, and divided, say so with --set 'data.splits_used=[{names[0]}]'",
        )
    used = []
    for split in splits:
        if role_of(split.name) != "train" and split.rows and all(is_missing(row.answer) for row in split.rows):
            message = f"the split {split.name} has no label in any of its {len(split.rows)} rows and is left out"
            notes.append(Note("FV707", source, message))
            log.warning("%s", notes[-1].sentence)
        else:
            used.append(split)
    return used


def _read_test_source(source: str, data: DataConfig, names: Collection[str]) -> RawSplit:
    # A test set of its own is never divided, so its rows need no groups.
    splits = read_source(source, data.model_copy(update={"group_by": None}), seed_step=1, names=names)
    candidates = splits if len(splits) == 1 else [split for split in splits if role_of(split.name) == "test"]
    if len(candidates) != 1:
        raise UsageError(
            f"{source}: splits {', '.join(s.name for s in splits)}; expected one split, or one called test",
            "Set data.test to a source with a single split",
        )
    return candidates[0]


def _build(
    annotated: Mapping[str, AnnotatedSplit],
    space: LabelSpace,
    preprocessing: Preprocessing,
    data: DataConfig,
    tick: Tick,
) -> tuple[dict[str, Split], list[Reject]]:
    splits, rejects = {}, []
    for role, split in annotated.items():
        splits[role], bad = build_split(split, space, preprocessing, cache_folder(data.cache), tick)
        rejects += bad
    return splits, rejects


def _refuse_or_warn(rejects: list[Reject], data: DataConfig) -> None:
    if not rejects:
        return
    if data.on_bad_row == "error":
        raise _refusal(rejects)
    for line in [f"{_how_many(rejects)} and are left out (data.on_bad_row is skip):", *map(str, rejects)]:
        log.warning("%s", line)


def _refusal(rejects: list[Reject]) -> DataError:
    # Labels that are no classes are listed as names: the same one may stand in thousands of rows.
    names = Counter(reject.reason for reject in rejects if reject.code in ("FV205", "FV206"))
    first = {reject.reason: f"{reject.source}, {reject.key}" for reject in reversed(rejects)}
    lines = [f"{first[reason]}: {reason}" + f", in {n} rows" * (n > 1) for reason, n in names.most_common()]
    lines += [str(reject) for reject in rejects if reject.reason not in names]
    shown = lines[:SHOWN_REJECTS]
    more = [f"... and {len(lines) - SHOWN_REJECTS} more"] if len(lines) > SHOWN_REJECTS else []
    hint = "Correct them, or leave them out with --set data.on_bad_row=skip; framevit prepare lists all of them"
    if any(reject.code in ("FV205", "FV206") for reject in rejects):
        hint += "; if the labels are right, add them to labels.names or labels.aliases"
    return DataError("\n".join([f"{_how_many(rejects)}:", *shown, *more]), hint)


def _how_many(rejects: list[Reject]) -> str:
    return "1 row cannot be used" if len(rejects) == 1 else f"{len(rejects)} rows cannot be used"


def _origins(raw: Mapping[str, RawSplit]) -> dict[str, Origin]:
    return {role: Origin(split.source, split.name, split.revision) for role, split in raw.items()}


def _several_labels(annotated: Mapping[str, AnnotatedSplit]) -> dict[str, int]:
    return {role: split.several for role, split in annotated.items()}


def _warn_of_several_labels(annotated: Iterable[AnnotatedSplit]) -> None:
    for split in annotated:
        if split.several:
            log.warning(
                "%s: several labels in %d row(s); the first label is used (data.multi is first)",
                split.raw.source,
                split.several,
            )
