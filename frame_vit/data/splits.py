"""Train, validation and test from what the sources give: their own splits as they are, the rest divided by a seed.

Pictures of one group, and one picture that stands in several rows, stay on one side.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frame_vit.config.schema import DataConfig
from frame_vit.data.examples import Split
from frame_vit.data.groups import joined
from frame_vit.data.sources import ROLES
from frame_vit.errors import DataError, UsageError
from frame_vit.labels import LabelSpace
from frame_vit.system.progress import log

MOST_FOLDS = 20
"""Groups are dealt into at most so many folds, of which as many are held out as come nearest to the share."""


def divide(
    given: dict[str, Split], data: DataConfig, space: LabelSpace, excluded: Collection[str] = ()
) -> dict[str, Split]:
    """The splits that the sources have, and those held out of train: test, val and, where asked for, calibration.

    Rows whose keys are `excluded` may be missing from what an earlier manifest lists.
    """
    train = given["train"].select(range(len(given["train"])), "train")
    if data.splits is not None:
        names = {*ROLES} - ({*given} - {"train"})
        whole = given | _as_before(train, Path(data.splits).expanduser(), names, excluded)
    else:
        whole, left = {**given}, 1.0
        for name in ("test", "val", "calibration"):
            share = getattr(data, f"{name}_fraction")
            if name not in given and share:
                train, whole[name] = hold_out(train, share / left, data.seed, name, space)
                left -= share
        whole["train"] = train
    for name, split in whole.items():
        if not len(split):
            raise DataError(f"the {name} split has no usable pictures")
    return {name: whole[name] for name in ROLES if name in whole}


def _as_before(train: Split, path: Path, names: set[str], excluded: Collection[str]) -> dict[str, Split]:
    """`train` divided as the manifest of an earlier `prepare` says, as far as it concerns the splits `names`.

    Raises `UsageError` where the manifest can't be read, `DataError` where the rows are not those that it lists.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["splits"]
        rows = {row["key"]: (name, row["sha256"]) for name in names & {*listed} for row in listed[name]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"data.splits: {path} is not the manifest.json of a prepare ({error!r})") from None
    keys = {example.key for example in train.examples}
    wrong = [f"{e.key} is new" for e in train.examples if e.key not in rows]
    wrong += [f"{e.key} has another picture" for e in train.examples if rows.get(e.key, ("", e.digest))[1] != e.digest]
    wrong += [f"{key} is gone" for key in rows if key not in keys and key not in excluded]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DataError(
            f"the data is not what {path} divides: {', '.join(wrong[:5])}{more}",
            "Leave out what was left out then (data.exclude), or divide it anew: without data.splits",
        )
    places: dict[str, list[int]] = {}
    for number, example in enumerate(train.examples):
        places.setdefault(rows[example.key][0], []).append(number)
    return {name: train.select(numbers, name) for name, numbers in places.items()}


def hold_out(split: Split, fraction: float, seed: int, name: str, space: LabelSpace) -> tuple[Split, Split]:
    """Divides a split: (what stays, the held-out share called `name`), every class in its proportion.

    Raises `DataError` with the number needed where a class is too small to have a picture on both sides.
    """
    groups = np.array(joined([e.marks.group for e in split.examples], [e.seal for e in split.examples]), np.int64)
    if len(set(groups.tolist())) == len(split):
        held = _by_picture(split, fraction, seed, name, space)
    else:
        held = _by_group(split, groups, fraction, seed, name, space)
    kept = sorted({*range(len(split))} - {*held})
    return split.select(kept, split.name), split.select(held, name)


def _by_picture(split: Split, fraction: float, seed: int, name: str, space: LabelSpace) -> list[int]:
    from sklearn.model_selection import train_test_split

    needed = math.ceil(1 / min(fraction, 1 - fraction) - 1e-9)
    counts = Counter(split.labels.tolist())
    _check(counts, needed, "pictures", split, fraction, name, space)
    _, held = train_test_split(list(range(len(split))), test_size=fraction, random_state=seed, stratify=split.labels)
    return sorted(int(row) for row in held)


def _by_group(
    split: Split, groups: NDArray[np.int64], fraction: float, seed: int, name: str, space: LabelSpace
) -> list[int]:
    from sklearn.model_selection import StratifiedGroupKFold

    labels = split.labels
    found = Counter(label for label, _ in {*zip(labels.tolist(), groups.tolist(), strict=True)})
    _check(found, 2, "groups", split, fraction, name, space)
    folds, held_folds = _folds(fraction, min(MOST_FOLDS, *found.values()))
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(split)), labels, groups)
    held = sorted(int(row) for _, (_, part) in zip(range(held_folds), dealt, strict=False) for row in part)
    missing = {*labels.tolist()} - ({*labels[held].tolist()} & {*np.delete(labels, held).tolist()})
    if missing:
        lacking = ", ".join(repr(space.names[label]) for label in sorted(missing))
        raise DataError(
            f"no division of {split.name} by groups was found that leaves {lacking} on both sides of {name}",
            "Use smaller groups (data.group_by), another data.seed, or give the splits yourself (data.splits)",
        )
    share = len(held) / len(split)
    if abs(share - fraction) > 0.05:
        log.warning("%s has %.0f %% of the pictures, not %.0f %%: groups stay whole", name, 100 * share, 100 * fraction)
    return held


def _folds(fraction: float, most: int) -> tuple[int, int]:
    """(how many folds, how many of them are held out), nearest to the share; the fewest folds that come as near."""
    options = [(folds, min(max(1, round(fraction * folds)), folds - 1)) for folds in range(2, most + 1)]
    return min(options, key=lambda option: (round(abs(option[1] / option[0] - fraction), 3), option[0]))


def _check(
    found: Counter[int], needed: int, what: str, split: Split, fraction: float, name: str, space: LabelSpace
) -> None:
    small = {space.names[c]: n for c, n in sorted(found.items()) if n < needed}
    if small or not found:
        few = ", ".join(f"{label!r} has {n}" for label, n in small.items()) or "there are none"
        raise DataError(
            f"too few {what} to hold out {fraction:.0%} of {split.name} as {name}: every class needs {needed}; {few}",
            f"Add pictures, leave the class out, or {'raise' if fraction < 0.5 else 'lower'} data.{name}_fraction",
        )
