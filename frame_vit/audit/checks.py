"""The checks of an audit: from examples and what was measured of them to what was found. Thresholds are `data.audit`.

Each check yields what it found with its code, whatever its severity: `audit` decides what becomes of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from frame_vit.audit.displacement import AXIS_NAMES, Displacement
from frame_vit.audit.near_duplicates import Limit, NearDuplicate, NearDuplicates
from frame_vit.config.schema import AuditConfig
from frame_vit.data.dataset import Dataset
from frame_vit.data.examples import Example
from frame_vit.data.sources import ROLES
from frame_vit.findings import Row
from frame_vit.images.decode import SUFFIXES
from frame_vit.images.measures import Measures
from frame_vit.images.preprocessing import Preprocessing, region

NAMED = 3
"""So many rows are named beside another; a thousand copies of a picture would name each other a million times."""
FORMAT_OF = {".jpg": "JPEG", ".tif": "TIFF", ".pgm": "PPM"}
"""Endings that are not the name of their format."""
T = TypeVar("T", bound=Hashable)


class Found(NamedTuple):
    """Something found: its code, the rows it is about or their `number` where they are no rows; what else to say."""

    code: str
    rows: Sequence[Row] = ()
    message: str = ""
    number: int = 0
    limit: float | None = None


@dataclass(frozen=True)
class Table:
    """All usable rows of all splits, one after the other: their splits, examples, and sources."""

    splits: list[str]
    examples: list[Example]
    sources: list[str]

    @classmethod
    def of(cls, prepared: Dataset) -> Table:
        rows = [(name, example) for name, split in prepared.splits.items() for example in split.examples]
        return cls([n for n, _ in rows], [e for _, e in rows], [prepared.source_of(n) for n, _ in rows])

    def row(self, number: int, detail: str = "", twin: int | None = None) -> Row:
        beside = None if twin is None else (self.splits[twin], self.examples[twin].key)
        return Row(self.splits[number], self.examples[number].key, detail, self.sources[number], beside)

    def name(self, number: int) -> str:
        """A row as it is named beside another one."""
        return f"{self.splits[number]}, {self.examples[number].key}"


def check_rejects(prepared: Dataset) -> Iterator[Found]:
    """Rows that cannot be used, by the kind of their fault."""
    by_code = defaultdict(list)
    for reject in prepared.rejects:
        by_code[reject.code].append(Row("", reject.key, reject.reason, reject.source))
    for code, rows in sorted(by_code.items()):
        yield Found(code, rows)


def check_answers(table: Table, limits: AuditConfig) -> Iterator[Found]:
    """Several labels in a row; boxes that cannot be."""
    several = [table.row(i, f"also {', '.join(e.others)}") for i, e in enumerate(table.examples) if e.others]
    yield Found("FV207", several)
    outside, empty = [], []
    for number, example in enumerate(table.examples):
        for x1, y1, x2, y2 in example.boxes:
            box = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}] in {example.width} x {example.height}"
            over_x = max(-min(x1, x2), max(x1, x2) - example.width) / example.width
            over_y = max(-min(y1, y2), max(y1, y2) - example.height) / example.height
            if not (x1 < x2 and y1 < y2):
                empty.append(table.row(number, box))
            elif max(over_x, over_y) > limits.box_margin:
                outside.append(table.row(number, box))
    yield Found("FV208", outside, limit=limits.box_margin)
    yield Found("FV209", empty)


def check_same(table: Table, names: Sequence[str]) -> Iterator[Found]:
    """The very same pixels in several rows: in one split, in two, under two labels."""
    by_seal = defaultdict(list)
    for number, example in enumerate(table.examples):
        by_seal[example.seal].append(number)
    twice, leaks, conflicts = [], [], []
    for rows in (rows for rows in by_seal.values() if len(rows) > 1):
        kept = max(rows, key=lambda i: (rank(table.splits[i]), -i))
        if len({table.examples[i].label for i in rows}) > 1:
            conflicts += [table.row(i, _others(table, rows, i, names)) for i in rows]
        first: dict[tuple[str, int], int] = {}
        for i in rows:
            again = first.setdefault((table.splits[i], table.examples[i].label), i)
            if again != i:
                twice.append(table.row(i, f"is also {table.name(again)}", again))
            if table.splits[i] != table.splits[kept]:
                leaks.append(table.row(i, f"is also {table.name(kept)}", kept))
    yield Found("FV301", twice)
    yield Found("FV302", leaks)
    yield Found("FV303", conflicts)


def check_parts(table: Table) -> Iterator[Found]:
    """Other pictures of a part that a split to be left alone shows too (`data.part_by`)."""
    highest: dict[str, int] = {}
    for number, example in enumerate(table.examples):
        part = example.marks.part
        if part and rank(table.splits[number]) > rank(table.splits[highest.setdefault(part, number)]):
            highest[part] = number
    rows = []
    for number, example in enumerate(table.examples):
        kept = highest.get(example.marks.part, number)
        if rank(table.splits[kept]) > rank(table.splits[number]):
            rows.append(table.row(number, f"part {example.marks.part} is also {table.name(kept)}", kept))
    yield Found("FV307", rows)


def check_near(table: Table, twins: NearDuplicates, limit: Limit) -> Iterator[Found]:
    """Nearly the same pixels: in two splits, or under labels that do not fit; or that it can't be told."""

    def said(twin: NearDuplicate) -> str:
        view = "" if twin.view == "identity" else f" under {twin.view}"
        return f"is nearly {table.name(twin.row)}{view} (distance {twin.distance:.3f})"

    across, unfit = (
        [table.row(number, said(twin), twin.row) for number, twin in sorted(store.items())]
        for store in (twins.across, twins.unfit)
    )
    if twins.crowded:
        message = (
            f"others, which are none, come as near: {len(across)} rows in two splits, {len(unfit)} that do not fit"
        )
        yield Found("FV306", [*across, *unfit], message, limit=limit.value)
        return
    yield Found("FV304", across, f"{len(twins.held)} held-out pictures have such a twin", limit=limit.value)
    yield Found("FV305", unfit, limit=limit.value)
    if limit.value is None and limit.copies is not None:
        yield Found("FV306", (), "pictures of different classes lie as near as copies, so none are looked for", 1)


def check_counts(prepared: Dataset, limits: AuditConfig) -> Iterator[Found]:
    """Classes that are missing, few, or much rarer than others."""
    space = prepared.labels
    counts = {name: split.counts(len(space)) for name, split in prepared.splits.items()}
    for name, of in counts.items():
        missing = [n for n, count in zip(space.names, of, strict=True) if count < limits.min_per_split]
        of_how_many = "no picture" if limits.min_per_split == 1 else f"fewer than {limits.min_per_split} pictures"
        said = f"{name} has {of_how_many} of {', '.join(missing)}"
        yield Found("FV401", (), said, len(missing), limits.min_per_split)
    train = counts["train"]
    there = {n: count for n, count in zip(space.names, train, strict=True) if count}
    few = [f"{n} {count}" for n, count in there.items() if count < limits.min_per_class]
    yield Found("FV402", (), f"in train {', '.join(few)}", len(few), limits.min_per_class)
    if prepared.obstacle:
        yield Found("FV405", (), prepared.obstacle, 1)
    if not there:
        return
    most, least = max(there, key=lambda n: there[n]), min(there, key=lambda n: there[n])
    if there[most] > limits.max_imbalance * there[least]:
        said = f"in train {most} has {there[most]} pictures, {least} only {there[least]}"
        yield Found("FV403", (), said, 1, limits.max_imbalance)
    uneven = []
    for one, other in mirrored_pairs(prepared):
        low, high = sorted((one, other), key=lambda c: train[c])
        if train[low] and train[high] > limits.max_pair_imbalance * train[low]:
            uneven.append(f"{space.names[high]} has {train[high]} pictures, {space.names[low]} {train[low]}")
    yield Found("FV404", (), f"in train {'; '.join(uneven)}", len(uneven), limits.max_pair_imbalance)


def mirrored_pairs(prepared: Dataset) -> list[tuple[int, int]]:
    """Classes that a declared symmetry swaps, each pair once."""
    pairs = {
        (one, other)
        for _, classes in prepared.labels.group()
        for one, other in enumerate(classes)
        if one < other and classes[other] == one
    }
    return sorted(pairs)


def check_files(table: Table, preprocessing: Preprocessing, limits: AuditConfig) -> Iterator[Found]:
    """Sizes, colour modes and bit depths that are not the usual ones; what a file says of itself."""
    usual = limits.usual_share
    size, shape = _usual(table, lambda e: (e.width, e.height), usual), _usual(table, _shape, usual)
    # Where no shape is usual, all are squeezed alike: only those far from the middle one are worth a word.
    middle = shape or float(np.median([_shape(example) for example in table.examples]))
    bound = 1 + (limits.max_aspect if shape else 1)
    squeezed = [i for i, e in enumerate(table.examples) if not 1 / bound <= _shape(e) / middle <= bound]
    yield Found("FV502", _sized(table, squeezed), f"width / height is mostly {middle:.3g}", limit=limits.max_aspect)
    if size is not None:
        odd = {i for i, e in enumerate(table.examples) if (e.width, e.height) != size} - {*squeezed}
        yield Found("FV501", _sized(table, sorted(odd)), f"most are {size[0]} x {size[1]}", limit=usual)
    for code, value in (("FV503", _colour), ("FV504", _depth)):
        common = _usual(table, value, usual)
        if common is not None:
            rows = [table.row(i, str(value(e))) for i, e in enumerate(table.examples) if value(e) != common]
            yield Found(code, rows, f"most are {common}", limit=usual)
    several = [table.row(i, e.stored.format) for i, e in enumerate(table.examples) if e.stored.several]
    yield Found("FV106", several)
    misnamed = [table.row(i, f"holds {e.stored.format}") for i, e in enumerate(table.examples) if _misnamed(e)]
    yield Found("FV107", misnamed)
    turned = [table.row(i) for i, e in enumerate(table.examples) if e.stored.turned]
    yield Found("FV509", turned)
    small = [i for i, e in enumerate(table.examples) if _enlarged(e, preprocessing) * limits.min_scale > 1]
    message = f"the model's input is {preprocessing.width} x {preprocessing.height}"
    if len(small) == len(table.examples):
        yield Found("FV510", (), f"all pictures; {message}", len(small), limits.min_scale)
    else:
        yield Found("FV510", _sized(table, small), message, limit=limits.min_scale)


def check_region(table: Table, preprocessing: Preprocessing) -> Iterator[Found]:
    """Boxes that the region of interest cuts off."""
    if preprocessing.roi is None:
        return
    cut = []
    for number, example in enumerate(table.examples):
        x1, y1, x2, y2 = region(preprocessing.roi, (example.width, example.height))
        if example.box:
            left, top, right, bottom = example.box
            if left < x1 or top < y1 or right > x2 or bottom > y2:
                cut.append(table.row(number, f"box {[*map(round, example.box)]}, region {[x1, y1, x2, y2]}"))
    yield Found("FV211", cut)


def check_light(table: Table, measures: Measures, limits: AuditConfig) -> Iterator[Found]:
    """Flat, dark, bright and blurred pictures; each picture under the first of these only."""
    flat = measures.contrast < limits.min_contrast
    dark, bright = measures.brightest < limits.min_light, measures.darkest > limits.max_light
    relative = measures.sharpness / max(float(np.median(measures.sharpness[~flat])) if (~flat).any() else 1.0, 1e-6)
    blurred = relative < limits.min_sharpness
    unsharp = blurred & ~flat & ~dark & ~bright
    for code, measure, chosen, values, limit in (
        ("FV507", "contrast", flat, measures.contrast, limits.min_contrast),
        ("FV505", "brightest level", dark & ~flat, measures.brightest, limits.min_light),
        ("FV506", "darkest level", bright & ~flat, measures.darkest, limits.max_light),
        ("FV508", "sharpness against the median", unsharp, relative, limits.min_sharpness),
    ):
        rows = [table.row(int(i), f"{measure} {values[i]:.3g}") for i in np.flatnonzero(chosen)]
        yield Found(code, rows, limit=limit)


def check_boxes(table: Table, prepared: Dataset, found: Displacement, limits: AuditConfig) -> Iterator[Found]:
    """Labels that contradict their box, and classes whose boxes lie alike though their directions differ."""
    wrong = [
        table.row(number, f"labelled {prepared.labels.names[table.examples[number].label]}, {said}")
        for number, said in found.contradictions
    ]
    yield Found("FV601", wrong, limit=limits.max_contradiction)
    names = prepared.labels.names
    alike = [
        f"{names[s.plus]} and {names[s.minus]} along {AXIS_NAMES[s.axis]} (separation {s.value:.2f})"
        for s in found.separations
        if s.value < limits.min_separation
    ]
    yield Found("FV602", (), "; ".join(alike), len(alike), limits.min_separation)


def _usual(table: Table, value: Callable[[Example], T], share: float) -> T | None:
    """The value that more than this share of the examples has."""
    (common, count), *_ = Counter(map(value, table.examples)).most_common(1)
    return common if count > share * len(table.examples) else None


def _shape(example: Example) -> float:
    return round(example.width / example.height, 2)


def _sized(table: Table, numbers: Iterable[int]) -> list[Row]:
    return [table.row(i, f"{table.examples[i].width} x {table.examples[i].height}") for i in numbers]


def _enlarged(example: Example, preprocessing: Preprocessing) -> float:
    """How many times larger the model's input is than what it shows of the picture, along the side where it is most."""
    size = (example.width, example.height)
    x1, y1, x2, y2 = (0, 0, *size) if preprocessing.roi is None else region(preprocessing.roi, size)
    return max(preprocessing.width / (x2 - x1), preprocessing.height / (y2 - y1))


def _colour(example: Example) -> str:
    """Grey or colour, with transparency or without: what a model could tell pictures apart by."""
    mode = example.stored.mode
    grey = mode in ("1", "L", "LA", "La") or mode.startswith("I")
    return ("grey" if grey else mode if mode in ("CMYK", "P", "PA") else "colour") + (
        " with alpha" if mode in ("LA", "La", "PA", "RGBA", "RGBa") else ""
    )


def _depth(example: Example) -> str:
    mode = example.stored.mode
    return "1 bit" if mode == "1" else "16 bit" if mode.startswith("I") else "8 bit"


def _misnamed(example: Example) -> bool:
    """Whether the file's name, where the key holds one, ends in what stands for another format."""
    suffix = "." + example.key.rstrip(")").rpartition(".")[2].lower()
    held = example.stored.format.replace("MPO", "JPEG")  # what telephones write: a JPEG with another behind it
    return suffix in SUFFIXES and FORMAT_OF.get(suffix, suffix[1:].upper()) != held


def rank(split: str) -> int:
    """How much a split must be left alone: the test's rows are the last to be left out."""
    names = list(ROLES)
    return names.index(split) if split in names else 0


def _others(table: Table, rows: Iterable[int], own: int, names: Sequence[str]) -> str:
    mine = table.examples[own].label
    others = (i for i in rows if table.examples[i].label != mine)
    said = [f"{names[table.examples[i].label]} in {table.name(i)}" for i in islice(others, NAMED)]
    return f"{names[mine]} here, {'; '.join(said)}{' and elsewhere' if len(said) == NAMED else ''}"
