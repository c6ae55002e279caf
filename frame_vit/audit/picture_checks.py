"""Checks of picture files and their pixels: sizes, colour modes, light, sharpness, the region of interest.

Most compare a picture with what is usual in this data set, not with a fixed number: a camera that always gives grey
pictures is fine, one grey picture among colour pictures is not. Codes and thresholds as in `checks`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from frame_vit.audit.table import CheckResult, Table
from frame_vit.config.schema import AuditConfig
from frame_vit.data.examples import Example
from frame_vit.findings import Row
from frame_vit.images.formats import misnamed
from frame_vit.images.measures import Measures
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing, resized_size, seen_region, turns_distort
from frame_vit.labels import LabelSpace

T = TypeVar("T", bound=Hashable)


class LightCheck(NamedTuple):
    """A code, what is measured, which pictures it holds for (N,), their values (N,), and the threshold."""

    code: str
    measure: str
    affected: NDArray[np.bool_]
    values: Float32
    limit: float


def check_files(table: Table, preprocessing: Preprocessing, limits: AuditConfig) -> Iterator[CheckResult]:
    """Unusual sizes, colour modes and bit depths; several pictures in a file; wrong extensions; EXIF turns."""
    yield from _check_sizes(table, limits)
    for code, value in (("FV503", _colour), ("FV504", _depth)):
        common = _usual(table, value, limits.usual_share)
        if common is not None:
            rows = [table.row(i, str(value(e))) for i, e in enumerate(table.examples) if value(e) != common]
            yield CheckResult(code, rows, f"most pictures are {common}", limit=limits.usual_share)
    several = [table.row(i, e.stored.format) for i, e in enumerate(table.examples) if e.stored.several]
    yield CheckResult("FV106", several)
    odd = [i for i, e in enumerate(table.examples) if misnamed(e.key.rstrip(")"), e.stored.format)]
    yield CheckResult("FV107", [table.row(i, f"holds {table.examples[i].stored.format}") for i in odd])
    turned = [table.row(i) for i, e in enumerate(table.examples) if e.stored.turned]
    yield CheckResult("FV509", turned)
    small = [i for i, e in enumerate(table.examples) if _enlargement(e, preprocessing) * limits.min_scale > 1]
    message = f"the model's input is {preprocessing.width} x {preprocessing.height}"
    if len(small) == len(table.examples):
        yield CheckResult("FV510", (), f"all pictures are smaller; {message}", len(small), limits.min_scale)
    else:
        yield CheckResult("FV510", _with_size(table, small), message, limit=limits.min_scale)


def check_region(table: Table, preprocessing: Preprocessing) -> Iterator[CheckResult]:
    """Boxes that reach outside the region of interest."""
    if preprocessing.roi is None:
        return
    cut = []
    for number, example in enumerate(table.examples):
        x1, y1, x2, y2 = seen_region((example.width, example.height), preprocessing)
        if example.box:
            left, top, right, bottom = example.box
            if left < x1 or top < y1 or right > x2 or bottom > y2:
                cut.append(table.row(number, f"box {[*map(round, example.box)]}, region {[x1, y1, x2, y2]}"))
    yield CheckResult("FV211", cut)


def check_turns(table: Table, labels: LabelSpace, preprocessing: Preprocessing) -> Iterator[CheckResult]:
    """Pictures whose quarter turns, which the labels declare, would look to the model like other displacements."""
    if any(view.turns % 2 for view, _ in labels.group()):
        sizes = {(e.width, e.height) for e in table.examples}
        odd = {size for size in sizes if turns_distort(size, preprocessing)}
        rows = [i for i, e in enumerate(table.examples) if (e.width, e.height) in odd]
        yield CheckResult("FV511", _with_size(table, rows), f"they are stretched to {preprocessing.size_text}")


def check_light(table: Table, measures: Measures, limits: AuditConfig) -> Iterator[CheckResult]:
    """Flat, dark, bright and blurred pictures; each picture only under the first of these that holds for it."""
    flat = measures.contrast < limits.min_contrast
    dark, bright = measures.brightest < limits.min_light, measures.darkest > limits.max_light
    median = float(np.median(measures.sharpness[~flat])) if (~flat).any() else 1.0
    relative = measures.sharpness / max(median, 1e-6)
    blurred = (relative < limits.min_sharpness) & ~flat & ~dark & ~bright
    for check in (
        LightCheck("FV507", "contrast", flat, measures.contrast, limits.min_contrast),
        LightCheck("FV505", "brightest level", dark & ~flat, measures.brightest, limits.min_light),
        LightCheck("FV506", "darkest level", bright & ~flat, measures.darkest, limits.max_light),
        LightCheck("FV508", "sharpness relative to the median", blurred, relative, limits.min_sharpness),
    ):
        numbers = np.flatnonzero(check.affected).tolist()
        rows = [table.row(number, f"{check.measure} {check.values[number]:.3g}") for number in numbers]
        yield CheckResult(check.code, rows, limit=check.limit)


def _check_sizes(table: Table, limits: AuditConfig) -> Iterator[CheckResult]:
    usual = limits.usual_share
    size, aspect = _usual(table, lambda e: (e.width, e.height), usual), _usual(table, _aspect, usual)
    # Without a usual aspect ratio all pictures are squeezed anyway; only those far from the median are reported.
    typical = aspect or float(np.median([_aspect(example) for example in table.examples]))
    bound = 1 + (limits.max_aspect if aspect else 1)
    squeezed = [i for i, e in enumerate(table.examples) if not 1 / bound <= _aspect(e) / typical <= bound]
    message = f"width / height is mostly {typical:.3g}"
    yield CheckResult("FV502", _with_size(table, squeezed), message, limit=limits.max_aspect)
    if size is not None:
        width, height = size
        unusual = {i for i, e in enumerate(table.examples) if (e.width, e.height) != size} - {*squeezed}
        rows = _with_size(table, sorted(unusual))
        yield CheckResult("FV501", rows, f"most pictures are {width} x {height}", limit=usual)


def _usual(table: Table, value: Callable[[Example], T], share: float) -> T | None:
    """The value that more than this share of the examples has; None if there is none."""
    (common, count), *_ = Counter(map(value, table.examples)).most_common(1)
    return common if count > share * len(table.examples) else None


def _aspect(example: Example) -> float:
    return round(example.width / example.height, 2)


def _with_size(table: Table, numbers: Iterable[int]) -> list[Row]:
    return [table.row(i, f"{table.examples[i].width} x {table.examples[i].height}") for i in numbers]


def _enlargement(example: Example, preprocessing: Preprocessing) -> float:
    """How many times the picture's region of interest is enlarged for the model's input, along the worse side."""
    x1, y1, x2, y2 = seen_region((example.width, example.height), preprocessing)
    width, height = resized_size((x2 - x1, y2 - y1), preprocessing)
    return max(width / (x2 - x1), height / (y2 - y1))


def _colour(example: Example) -> str:
    """Grey or colour, with transparency or without: differences that a model could use to tell cameras apart."""
    mode = example.stored.mode
    grey = mode in ("1", "L", "LA", "La") or mode.startswith("I")
    return ("grey" if grey else mode if mode in ("CMYK", "P", "PA") else "colour") + (
        " with alpha" if mode in ("LA", "La", "PA", "RGBA", "RGBa") else ""
    )


def _depth(example: Example) -> str:
    mode = example.stored.mode
    return "1 bit" if mode == "1" else "16 bit" if mode.startswith("I") else "8 bit"
