"""Checks of rows, labels, duplicates, class counts and boxes. `picture_checks` has those of files and pixels.

A check takes the table of rows and what was measured of them, and yields a `CheckResult` for each code that it
covers, also if nothing was found. Thresholds are `data.audit` of the config. The severity of a result and whether it is
reported at all are decided in `audit`. To add a check: a kind in `findings`, a function here, a line in `audit`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from frame_vit.audit.displacement import AXIS_NAMES, Displacement
from frame_vit.audit.near_duplicates import Limit, NearDuplicate, NearDuplicates
from frame_vit.audit.table import CheckResult, Table, rank
from frame_vit.config.schema import AuditConfig
from frame_vit.data.dataset import Dataset
from frame_vit.findings import Row

NAMED = 3
"""At most this many other rows are named beside a row; a thousand copies would name each other a million times."""


def check_rejects(dataset: Dataset) -> Iterator[CheckResult]:
    """Rows that cannot be used, each under the code it was rejected with."""
    by_code = defaultdict(list)
    for reject in dataset.rejects:
        by_code[reject.code].append(Row("", reject.key, reject.reason, reject.source))
    for code, rows in sorted(by_code.items()):
        yield CheckResult(code, rows)


def check_sources(dataset: Dataset) -> Iterator[CheckResult]:
    """What lies in the sources and is no row: files that were passed over, empty class folders, splits left out."""
    by_code = defaultdict(list)
    for note in dataset.notes:
        by_code[note.code].append(note)
    for code, notes in sorted(by_code.items()):
        rows = [Row("", item, "", note.source) for note in notes for item in note.items]
        yield CheckResult(code, rows, "; ".join(note.message for note in notes), 0 if rows else len(notes))


def check_answers(table: Table, limits: AuditConfig) -> Iterator[CheckResult]:
    """Rows with several labels, boxes outside the picture, and boxes that are inverted or empty."""
    several = [table.row(i, f"also {', '.join(e.others)}") for i, e in enumerate(table.examples) if e.others]
    yield CheckResult("FV207", several)
    outside, empty = [], []
    for number, example in enumerate(table.examples):
        for x1, y1, x2, y2 in example.boxes:
            box = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}] in a picture of {example.width} x {example.height}"
            over_x = max(-min(x1, x2), max(x1, x2) - example.width) / example.width
            over_y = max(-min(y1, y2), max(y1, y2) - example.height) / example.height
            if not (x1 < x2 and y1 < y2):
                empty.append(table.row(number, box))
            elif max(over_x, over_y) > limits.box_margin:
                outside.append(table.row(number, box))
    yield CheckResult("FV208", outside, limit=limits.box_margin)
    yield CheckResult("FV209", empty)


def check_same(table: Table, names: Sequence[str]) -> Iterator[CheckResult]:
    """Identical pixels in several rows: within one split, in two splits, under two labels."""
    by_seal = defaultdict(list)
    for number, example in enumerate(table.examples):
        by_seal[example.seal].append(number)
    repeats, leaks, conflicts = [], [], []
    for rows in (rows for rows in by_seal.values() if len(rows) > 1):
        kept = max(rows, key=lambda i: (rank(table.splits[i]), -i))
        if len({table.examples[i].label for i in rows}) > 1:
            conflicts += [table.row(i, _other_labels(table, rows, i, names)) for i in rows]
        first: dict[tuple[str, int], int] = {}
        for i in rows:
            earlier = first.setdefault((table.splits[i], table.examples[i].label), i)
            if earlier != i:
                repeats.append(table.row(i, f"is also {table.name(earlier)}", earlier))
            if table.splits[i] != table.splits[kept]:
                leaks.append(table.row(i, f"is also {table.name(kept)}", kept))
    yield CheckResult("FV301", repeats)
    yield CheckResult("FV302", leaks)
    yield CheckResult("FV303", conflicts)


def check_parts(table: Table) -> Iterator[CheckResult]:
    """Pictures of a part (`data.part_by`) that is also shown by a picture in a split of higher rank."""
    highest: dict[str, int] = {}
    for number, example in enumerate(table.examples):
        part = example.marks.part
        if part and rank(table.splits[number]) > rank(table.splits[highest.setdefault(part, number)]):
            highest[part] = number
    rows = []
    for number, example in enumerate(table.examples):
        kept = highest.get(example.marks.part, number)
        if rank(table.splits[kept]) > rank(table.splits[number]):
            rows.append(table.row(number, f"part {example.marks.part} is also shown by {table.name(kept)}", kept))
    yield CheckResult("FV307", rows)


def check_near(table: Table, duplicates: NearDuplicates, limit: Limit) -> Iterator[CheckResult]:
    """Near duplicates in two splits or under labels that do not fit; or that copies cannot be told apart at all."""

    def detail(other: NearDuplicate) -> str:
        view = "" if other.view == "identity" else f" under {other.view}"
        return f"is nearly the same as {table.name(other.row)}{view} (distance {other.distance:.3f})"

    across, unfit = (
        [table.row(number, detail(other), other.row) for number, other in sorted(pairs.items())]
        for pairs in (duplicates.across, duplicates.unfit)
    )
    if duplicates.crowded:
        message = (
            "pictures that are not copies are just as near, so these rows may not be copies either: "
            f"{len(across)} rows in two splits, {len(unfit)} under labels that do not fit"
        )
        yield CheckResult("FV306", [*across, *unfit], message, limit=limit.value)
        return
    held_out = f"{len(duplicates.held)} held-out pictures have a near duplicate on the training side"
    yield CheckResult("FV304", across, held_out, limit=limit.value)
    yield CheckResult("FV305", unfit, limit=limit.value)
    if limit.value is None and limit.copies is not None:
        message = "pictures of different classes are as near as copies, so copies were not searched for"
        yield CheckResult("FV306", (), message, 1)


def check_counts(dataset: Dataset, limits: AuditConfig) -> Iterator[CheckResult]:
    """Classes that are missing from a split, have few pictures, or far fewer than others; an impossible division."""
    counts = dataset.counts()
    for split, by_class in counts.items():
        missing = [name for name, count in by_class.items() if count < limits.min_per_split]
        amount = "no picture" if limits.min_per_split == 1 else f"fewer than {limits.min_per_split} pictures"
        message = f"the split {split} has {amount} of {', '.join(missing)}"
        yield CheckResult("FV401", (), message, len(missing), limits.min_per_split)
    train = {name: count for name, count in counts["train"].items() if count}
    few = [f"{name} {count}" for name, count in train.items() if count < limits.min_per_class]
    yield CheckResult("FV402", (), f"in train {', '.join(few)}", len(few), limits.min_per_class)
    if dataset.obstacle:
        yield CheckResult("FV405", (), dataset.obstacle, 1)
    if not train:
        return
    most, least = max(train, key=lambda name: train[name]), min(train, key=lambda name: train[name])
    if train[most] > limits.max_imbalance * train[least]:
        message = f"in train {most} has {train[most]} pictures, {least} only {train[least]}"
        yield CheckResult("FV403", (), message, 1, limits.max_imbalance)
    uneven = _uneven_pairs(dataset, train, limits.max_pair_imbalance)
    yield CheckResult("FV404", (), f"in train {'; '.join(uneven)}", len(uneven), limits.max_pair_imbalance)


def check_boxes(
    table: Table, dataset: Dataset, displacement: Displacement, limits: AuditConfig
) -> Iterator[CheckResult]:
    """Labels that contradict their box, and opposite classes whose boxes lie in the same place."""
    names = dataset.labels.names
    wrong = [
        table.row(item.row, f"labelled {names[table.examples[item.row].label]}, {item.reason}")
        for item in displacement.contradictions
    ]
    yield CheckResult("FV601", wrong, limit=limits.max_contradiction)
    alike = [
        f"{names[s.plus]} and {names[s.minus]} along {AXIS_NAMES[s.axis]} (separation {s.value:.2f})"
        for s in displacement.separations
        if s.value < limits.min_separation
    ]
    message = f"the boxes of {'; '.join(alike)} overlap"
    yield CheckResult("FV602", (), message, len(alike), limits.min_separation)


def mirrored_pairs(dataset: Dataset) -> list[tuple[int, int]]:
    """Class ids that a declared symmetry swaps, each pair once."""
    pairs = {
        (one, other)
        for _, classes in dataset.labels.group()
        for one, other in enumerate(classes)
        if one < other and classes[other] == one
    }
    return sorted(pairs)


def _uneven_pairs(dataset: Dataset, train: dict[str, int], most: float) -> list[str]:
    """A sentence for each pair of mirrored classes in which one has more than `most` times the pictures of the other.

    Pairs with a class that has no picture are left to FV401.
    """
    uneven = []
    for pair in mirrored_pairs(dataset):
        low, high = sorted((dataset.labels.names[class_id] for class_id in pair), key=lambda name: train.get(name, 0))
        if train.get(low) and train[high] > most * train[low]:
            uneven.append(f"{high} has {train[high]} pictures, {low} {train[low]}")
    return uneven


def _other_labels(table: Table, rows: Iterable[int], own: int, names: Sequence[str]) -> str:
    """Which labels the same picture has elsewhere, naming a few of the rows."""
    own_label = table.examples[own].label
    others = (i for i in rows if table.examples[i].label != own_label)
    named = [f"{names[table.examples[i].label]} in {table.name(i)}" for i in islice(others, NAMED)]
    return f"{names[own_label]} here, {'; '.join(named)}{' and elsewhere' if len(named) == NAMED else ''}"
