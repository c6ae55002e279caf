"""Train, validation, calibration and test: the splits that the sources have, and those held out of train by a seed.

Every class is divided in its proportion. Pictures of one group, and rows that show the same picture, stay in one split.
With `data.splits`, train is divided as an earlier manifest.json lists it, so that results stay comparable when rows are
excluded later.

Rows to exclude stand in a CSV file with the column `key` and, if keys repeat between sources, `source`. `framevit
prepare` proposes such a file, with the columns `code` and `reason` as well. A proposal repeats what is excluded
already, so that the new file can replace the one in use.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frame_vit.config.schema import DataConfig
from frame_vit.data.examples import Split
from frame_vit.data.rows import ROLES, RawSplit, role_of
from frame_vit.errors import DataError, UsageError
from frame_vit.labels import LabelSpace
from frame_vit.system.files import read_plain_text, replacing
from frame_vit.system.progress import log
from frame_vit.system.texts import neutral, raw

ALL = "all"
"""The name that stands for all splits of another data set together."""
MOST_FOLDS = 20
"""Groups are dealt into at most this many folds; the number of folds held out is the one nearest to the share."""


class SplitChoice(NamedTuple):
    """Which split of another data set: `split` by name or role, or all of them; else the first of the `usual` roles."""

    source: str
    split: str | None = None
    usual: tuple[str, ...] = ("test",)

    def among(self, splits: list[RawSplit]) -> list[RawSplit]:
        """The chosen splits. Raises `UsageError`, with the names that there are, if none fits."""
        names = ", ".join(split.name for split in splits)
        if self.split == ALL or (len(splits) == 1 and (self.split is None or self.split in self.usual)):
            return splits  # a data set that is not divided is a test set as a whole
        wanted = (self.split,) if self.split is not None else self.usual
        for name in wanted:
            chosen = [s for s in splits if s.name == name] or [s for s in splits if role_of(s.name) == name]
            if len(chosen) == 1:
                log.info("%s: of its splits %s, %s is used", self.source, names, chosen[0].name)
                return chosen
        raise UsageError(
            f"{self.source}: there is no split {' or '.join(map(repr, wanted))}; the splits are {names}",
            f"Name one with --split, or take all of them together with --split {ALL}",
        )


def divide(
    own: dict[str, Split], data: DataConfig, space: LabelSpace, excluded: Collection[str] = ()
) -> dict[str, Split]:
    """The sources' `own` splits by role, and those held out of train: test, val and, if configured, calibration.

    Rows whose keys are `excluded` may be missing from what an earlier manifest lists. Raises `DataError` if a split
    would be empty or a class too small, and as `_as_before`.
    """
    train = own["train"].select(range(len(own["train"])), "train")
    if data.splits is not None:
        names = {*ROLES} - ({*own} - {"train"})
        splits = own | _as_before(train, Path(data.splits).expanduser(), names, excluded)
    else:
        splits, left = {**own}, 1.0
        for name in ("test", "val", "calibration"):
            share = getattr(data, f"{name}_fraction")
            if name not in own and share:
                train, splits[name] = hold_out(train, share / left, data.seed, name, space)
                left -= share
        splits["train"] = train
    for name, split in splits.items():
        if not len(split):
            raise DataError(f"the {name} split has no usable pictures", "framevit prepare lists the rows and reasons")
    return {name: splits[name] for name in ROLES if name in splits}


def _as_before(train: Split, path: Path, names: set[str], excluded: Collection[str]) -> dict[str, Split]:
    """`train` divided as an earlier manifest.json lists it, for the splits `names`.

    Raises `UsageError` if the file cannot be used, `DataError` if the rows or pictures are not those that it lists.
    """
    try:
        listed = json.loads(read_plain_text(path))["splits"]
        split_of = {row["key"]: name for name in names & {*listed} for row in listed[name]}
        digests = {row["key"]: row["sha256"] for name in names & {*listed} for row in listed[name]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"data.splits: {path} is not a manifest.json of framevit prepare ({error!r})",
            "Name a manifest.json, or remove data.splits",
        ) from None
    keys = {example.key for example in train.examples}
    changes = [f"{e.key} is new" for e in train.examples if e.key not in digests]
    changes += [f"{e.key} has another picture" for e in train.examples if digests.get(e.key, e.digest) != e.digest]
    changes += [f"{key} is gone" for key in digests if key not in keys and key not in excluded]
    if changes:
        more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
        raise DataError(
            f"the data has changed since {path} was written: {', '.join(changes[:5])}{more}",
            "Exclude the same rows as then (data.exclude), or remove data.splits to divide the data again",
        )
    numbers: dict[str, list[int]] = {}
    for number, example in enumerate(train.examples):
        numbers.setdefault(split_of[example.key], []).append(number)
    return {name: train.select(chosen, name) for name, chosen in numbers.items()}


def hold_out(split: Split, fraction: float, seed: int, name: str, space: LabelSpace) -> tuple[Split, Split]:
    """Divides a split into what stays and the held-out share, which is called `name`; every class in its proportion.

    Raises `DataError` with the number that is needed if a class is too small to have a picture on both sides.
    """
    groups = np.array(joined([e.marks.group for e in split.examples], [e.seal for e in split.examples]), np.int64)
    if len(set(groups.tolist())) == len(split):
        held = _choose_pictures(split, fraction, seed, name, space)
    else:
        held = _choose_groups(split, groups, fraction, seed, name, space)
    kept = sorted({*range(len(split))} - {*held})
    return split.select(kept, split.name), split.select(held, name)


def _choose_pictures(split: Split, fraction: float, seed: int, name: str, space: LabelSpace) -> list[int]:
    from sklearn.model_selection import train_test_split

    needed = math.ceil(1 / min(fraction, 1 - fraction) - 1e-9)
    counts = Counter(split.labels.tolist())
    _check_counts(_by_name(counts, space), needed, "pictures", split, fraction, name)
    _, held = train_test_split(list(range(len(split))), test_size=fraction, random_state=seed, stratify=split.labels)
    return sorted(int(row) for row in held)


def _choose_groups(
    split: Split, groups: NDArray[np.int64], fraction: float, seed: int, name: str, space: LabelSpace
) -> list[int]:
    from sklearn.model_selection import StratifiedGroupKFold

    labels = split.labels
    counts = Counter(label for label, _ in {*zip(labels.tolist(), groups.tolist(), strict=True)})
    _check_counts(_by_name(counts, space), 2, "groups", split, fraction, name)
    folds = _folds(fraction, min(MOST_FOLDS, *counts.values()))
    dealer = StratifiedGroupKFold(folds.total, shuffle=True, random_state=seed)
    dealt = dealer.split(np.zeros(len(split)), labels, groups)
    held = sorted(int(row) for _, (_, part) in zip(range(folds.held), dealt, strict=False) for row in part)
    missing = {*labels.tolist()} - ({*labels[held].tolist()} & {*np.delete(labels, held).tolist()})
    if missing:
        lacking = ", ".join(repr(space.names[label]) for label in sorted(missing))
        raise DataError(
            f"{split.name} cannot be divided by groups so that both it and {name} have pictures of {lacking}",
            "Use smaller groups (data.group_by) or another data.seed, or name the splits yourself (data.splits)",
        )
    share = len(held) / len(split)
    if abs(share - fraction) > 0.05:
        log.warning(
            "%s has %.0f %% of the pictures instead of %.0f %%, because groups are not divided",
            name,
            100 * share,
            100 * fraction,
        )
    return held


class _Folds(NamedTuple):
    """Into how many folds a split is divided, `total`, and how many of them are held out."""

    total: int
    held: int


def _folds(fraction: float, most: int) -> _Folds:
    """At most `most` folds whose held share is as near to `fraction` as possible; with as few folds as possible."""
    options = [_Folds(total, min(max(1, round(fraction * total)), total - 1)) for total in range(2, most + 1)]
    return min(options, key=lambda folds: (round(abs(folds.held / folds.total - fraction), 3), folds.total))


def _check_counts(counts: dict[str, int], needed: int, what: str, split: Split, fraction: float, name: str) -> None:
    """Raises `DataError` if a class, of those in `counts`, has fewer than `needed` pictures or groups (`what`)."""
    small = {label: count for label, count in counts.items() if count < needed}
    if small or not counts:
        few = ", ".join(f"{label!r} has {count}" for label, count in small.items()) or "there are none"
        raise DataError(
            f"too few {what} to hold out {fraction:.0%} of {split.name} as {name}: every class needs {needed}; {few}",
            f"Add pictures, remove the class, or {'raise' if fraction < 0.5 else 'lower'} data.{name}_fraction",
        )


def _by_name(counts: Counter[int], space: LabelSpace) -> dict[str, int]:
    """Counts by class name instead of class id, in the order of the ids."""
    return {space.names[class_id]: count for class_id, count in sorted(counts.items())}


def joined(groups: Sequence[str], digests: Sequence[str]) -> list[int]:
    """One number for each row: the same for rows that must stay together, because they share a group or a picture.

    Sharing is transitive: if one picture is in two groups, both groups get the same number.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for group, digest in zip(groups, digests, strict=True):
        if group:
            parent[root(f"picture {digest}")] = root(f"group {group}")
    numbers: dict[str, int] = {}
    return [numbers.setdefault(root(f"picture {digest}"), len(numbers)) for digest in digests]


class Exclusion(NamedTuple):
    """A row to exclude: its source (empty: any source) and key, and the code and reason of the finding about it."""

    source: str
    key: str
    code: str = ""
    reason: str = ""


def apply_exclusions(splits: Mapping[str, RawSplit], file: str | None) -> tuple[dict[str, RawSplit], list[Exclusion]]:
    """The splits by role without the rows that the file lists, and the rows that were excluded.

    A listed row that is not in the data is warned of. Raises `UsageError` if the file cannot be used.
    """
    if file is None:
        return dict(splits), []
    listed = _listed(Path(file).expanduser())
    kept, excluded, used = {}, [], set()
    for role, split in splits.items():
        rows = []
        for row in split.rows:
            exclusion = listed.get((_resolved(split.source), row.key)) or listed.get(("", row.key))
            if exclusion is None:
                rows.append(row)
                continue
            excluded.append(exclusion._replace(source=split.source))
            used.add((_resolved(exclusion.source), exclusion.key))
        kept[role] = replace(split, rows=rows)
    missing = sorted(key for source, key in listed if (source, key) not in used)
    if excluded:
        log.info("%d rows are excluded by %s", len(excluded), file)
    if missing:
        log.warning("%s lists %d rows that are not in the data: %s", file, len(missing), ", ".join(missing[:5]))
    return kept, excluded


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> None:
    """Writes a file that `data.exclude` accepts. Cells that a spreadsheet would take for formulas are made harmless."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Exclusion._fields)
        writer.writerows([neutral(cell) for cell in exclusion] for exclusion in exclusions)


def _listed(path: Path) -> dict[tuple[str, str], Exclusion]:
    """By (resolved source, key)."""
    try:
        with io.StringIO(read_plain_text(path), newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            if "key" not in columns:
                raise UsageError(
                    f"data.exclude: {path} has no column key; it has {', '.join(columns) or 'no columns'}",
                    "framevit prepare writes such a list: exclude.csv",
                )
            rows = [{name: raw(row.get(name) or "") for name in Exclusion._fields} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"data.exclude: {path} cannot be read: {error}") from None
    return {(_resolved(row["source"]), row["key"]): Exclusion(**row) for row in rows if row["key"]}


def _resolved(source: str) -> str:
    """The absolute path of a source that is a local file or folder, however it was named; any other name as it is."""
    return str(Path(source).resolve()) if source and os.path.exists(source) else source  # noqa: PTH110
