"""Sources -> splits of checked, decoded examples: what training, evaluation and the `prepare` command start from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from frame_vit.config.schema import Config, DataConfig
from frame_vit.data.examples import Annotated, Example, Reject, Split, annotate, auto_names, build_split
from frame_vit.data.exclusions import Exclusion, apply_exclusions
from frame_vit.data.sources import ROLES, RawSplit, read_source, role_of
from frame_vit.data.splits import divide
from frame_vit.errors import DataError, UsageError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.system.caches import cache_folder
from frame_vit.system.progress import Tick, log, silent

SHOWN_REJECTS = 5
WORTH_CUTTING = 0.7
"""A region of interest is proposed where it has less than this share of the picture's area."""


@dataclass(frozen=True)
class Dataset:
    """The label space, splits by name, rows that can't be used, origins, rows with several labels, rows excluded.

    `obstacle` says why the data could not be divided, where a tolerant preparation left it undivided.
    """

    labels: LabelSpace
    splits: dict[str, Split]
    rejects: list[Reject]
    sources: dict[str, dict[str, str]]
    several: dict[str, int]
    excluded: list[Exclusion] = field(default_factory=list)
    obstacle: str = ""

    @property
    def fingerprint(self) -> str:
        """sha256 over every split's pictures and labels, in order."""
        return _sha256(f"{name} {self.split_fingerprint(name)}" for name in self.splits)

    def split_fingerprint(self, name: str) -> str:
        """sha256 over one split's pictures and labels, in order."""
        return _sha256(f"{e.digest} {self.labels.names[e.label]}" for e in self.splits[name].examples)

    def source_of(self, split: str) -> str:
        """What a split was read from: a source of its own, or that of train, which it was held out of."""
        return self.sources.get(split, self.sources.get("train", {})).get("source", "")

    def manifest(self) -> dict[str, Any]:
        """What `prepare` writes down: enough to check later that the same pictures lie in the same splits."""
        return self.summary() | {
            "rejects": [vars(reject) for reject in self.rejects],
            "excluded": [exclusion._asdict() for exclusion in self.excluded],
            "splits": {name: [self._row(e) for e in split.examples] for name, split in self.splits.items()},
        }

    def summary(self) -> dict[str, Any]:
        """The manifest without its rows."""
        return {
            "labels": self.labels.to_json(),
            "sources": self.sources,
            "counts": {
                name: dict(zip(self.labels.names, split.counts(len(self.labels)), strict=True))
                for name, split in self.splits.items()
            },
            "fingerprint": self.fingerprint,
            "proposed_roi": self.proposed_roi(),
            "several_labels": self.several,
        }

    def proposed_roi(self) -> list[float] | None:
        """A region of interest, in shares: what all boxes of train lie in, with a tenth of its sides to spare.

        None where not every row of train has boxes, or where the region would not be much smaller than the picture.
        """
        examples = self.splits["train"].examples
        if not examples or not all(example.box for example in examples):
            return None
        shares = np.array([np.divide(box, (e.width, e.height) * 2) for e in examples for box in e.boxes])
        low, high = shares[:, :2].min(axis=0), shares[:, 2:].max(axis=0)
        spare = 0.1 * (high - low)
        low, high = np.maximum(low - spare, 0), np.minimum(high + spare, 1)
        return [round(float(v), 3) for v in (*low, *high)] if np.prod(high - low) < WORTH_CUTTING else None

    def _row(self, example: Example) -> dict[str, str]:
        row = {"key": example.key, "label": self.labels.names[example.label], "sha256": example.digest}
        return row | ({"group": example.marks.group} if example.marks.group else {})


def _sha256(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def prepare(
    config: Config, preprocessing: Preprocessing, tick: Tick = silent, only: str | None = None, tolerant: bool = False
) -> Dataset:
    """Reads, checks, decodes and splits the configured data. Raises `DataError` that names the bad rows.

    With `only` that split must come out; where it has a source of its own, nothing else is read. To be audited, data is
    prepared `tolerant`: bad rows are left out, whatever `data.on_bad_row` says, and what cannot be divided is not.
    """
    raw, excluded = apply_exclusions(_gather(config.data, only), config.data.exclude)
    found = {role: annotate(split, config.data.multi) for role, split in raw.items()}
    _say_several(found)
    names = config.labels.names
    if not any(split.rows for split in raw.values()):
        raise DataError("there are no rows", f"data.exclude leaves {len(excluded)} out" if excluded else "")
    if not any(annotated.rows for annotated in found.values()):
        raise _refusal([reject for annotated in found.values() for reject in annotated.rejects])
    if names == "auto":
        names = auto_names(found["train"], config.labels.aliases)
        log.info("classes, from the training set: %s", ", ".join(names))
    space = config.label_space(names)
    splits, rejects = _build(found, space, preprocessing, config.data, tick)
    if not tolerant:
        _judge(rejects, config.data)
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
        raise UsageError(f"there is no split {only!r}; there are {', '.join(splits)}")
    named = {name: Split(name, s.examples, s.pixels) for name, s in splits.items()}
    return Dataset(space, named, rejects, _origins(raw), _several(found), excluded, obstacle)


def read_other_dataset(
    source: str, config: Config, space: LabelSpace, preprocessing: Preprocessing, tick: Tick = silent
) -> Dataset:
    """Another data set for a model that is already trained: all of it, as one split named after it (data-...)."""
    raw = read_source(source, config.data.model_copy(update={"group_by": None}), seed_step=1)
    rows = [row._replace(key=f"{s.name}/{row.key}") if len(raw) > 1 else row for s in raw for row in s.rows]
    name = "data-" + re.sub(r"[^\w.-]+", "-", source).strip("-.")[-60:]
    whole = RawSplit(source, name, raw[0].kind, rows, raw[0].names, raw[0].revision)
    found = {name: annotate(whole, config.data.multi)}
    _say_several(found)
    splits, rejects = _build(found, space, preprocessing, config.data, tick)
    _judge(rejects, config.data)
    if not len(splits[name]):
        raise DataError(f"{source}: no usable pictures")
    return Dataset(space, splits, rejects, _origins({name: whole}), _several(found))


def _gather(data: DataConfig, only: str | None) -> dict[str, RawSplit]:
    """The raw splits by role: those of the training source, and the test source's as test."""
    if data.test is not None and only == "test":
        return {"test": _test_source(data.test, data)}
    assert data.train is not None, "the config was checked"
    given = read_source(data.train, data)
    raw = {"train": given[0]} if len(given) == 1 else {role_of(split.name): split for split in given}
    if not {"train"} <= {*raw} <= {*ROLES} or len(raw) < len(given):
        raise UsageError(
            f"{data.train}: splits {', '.join(s.name for s in given)}; expected train, validation, calibration, test"
        )
    if data.test is not None:
        if "test" in raw:
            log.warning("%s has a test split of its own; data.test is used instead of it", data.train)
        raw["test"] = _test_source(data.test, data)
    return {only: raw[only]} if only in raw and only != "train" else raw


def _test_source(source: str, data: DataConfig) -> RawSplit:
    # A test set that is given is never divided, so it needs no groups.
    splits = read_source(source, data.model_copy(update={"group_by": None}), seed_step=1)
    chosen = splits if len(splits) == 1 else [split for split in splits if role_of(split.name) == "test"]
    if len(chosen) != 1:
        raise UsageError(f"{source}: splits {', '.join(s.name for s in splits)}; expected one, or one called test")
    return chosen[0]


def _build(
    found: dict[str, Annotated], space: LabelSpace, preprocessing: Preprocessing, data: DataConfig, tick: Tick
) -> tuple[dict[str, Split], list[Reject]]:
    splits, rejects = {}, []
    for role, annotated in found.items():
        splits[role], bad = build_split(annotated, space, preprocessing, cache_folder(data.cache), tick)
        rejects += bad
    return splits, rejects


def _judge(rejects: list[Reject], data: DataConfig) -> None:
    if not rejects:
        return
    if data.on_bad_row == "error":
        raise _refusal(rejects)
    for line in [f"{_how_many(rejects)} and are left out (data.on_bad_row is skip):", *map(str, rejects)]:
        log.warning("%s", line)


def _refusal(rejects: list[Reject]) -> DataError:
    shown = [str(reject) for reject in rejects[:SHOWN_REJECTS]]
    more = [f"... and {len(rejects) - SHOWN_REJECTS} more"] if len(rejects) > SHOWN_REJECTS else []
    way_out = "Mend them, or leave them out with --set data.on_bad_row=skip; framevit prepare shows them all"
    if any(reject.code in ("FV205", "FV206") for reject in rejects):
        way_out += "; for labels, see labels.names and labels.aliases"
    return DataError("\n".join([f"{_how_many(rejects)}:", *shown, *more]), way_out)


def _how_many(rejects: list[Reject]) -> str:
    return "1 row cannot be used" if len(rejects) == 1 else f"{len(rejects)} rows cannot be used"


def _origins(raw: dict[str, RawSplit]) -> dict[str, dict[str, str]]:
    return {role: {"source": s.source, "split": s.name, "revision": s.revision} for role, s in raw.items()}


def _several(found: dict[str, Annotated]) -> dict[str, int]:
    return {role: annotated.several for role, annotated in found.items()}


def _say_several(found: dict[str, Annotated]) -> None:
    for annotated in found.values():
        if annotated.several:
            log.warning(
                "%s: several labels in %d row(s); the first is taken (data.multi)",
                annotated.raw.source,
                annotated.several,
            )
