"""Rows -> subgroups: the rows of one calendar day, of one shift, or of so many rows one after the other.

Only sums are kept, one set for each subgroup, so the rows of years need no memory. A day is the date, and a shift one
of three, by the clock where the row was written (the row's own offset from UTC). A row may come in any order there: it
is counted where its time belongs. Subgroups of N rows follow the order of the rows in the files, and the files in the
order given; predict writes its rows in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from frame_vit.errors import UsageError
from frame_vit.line.recorded import FEATURES, RecordedRow

SHIFT_STARTS = (6, 14, 22)
"""The hours at which shifts begin. The last one ends on the next day, and belongs to the day on which it began."""
FEWEST_ROWS = 10
"""Rows in a subgroup of N rows, at least: fewer say next to nothing about a rate."""
MEASURED = ("score", *FEATURES)
"""The numbers whose means are watched."""
SETTINGS = ("model", "settings", "thresholds")
"""What a record says about the model; where one of them changes, charts compare two different things."""


@dataclass
class Moments:
    """Number, mean, and sums of the squares and cubes of the deviations from the mean, of numbers added one by one.

    Sums around the mean lose no digits where the numbers are large and alike. Source: Pebay 2008, Formulas for robust,
    one-pass parallel computation of covariances and arbitrary-order statistical moments (Sandia, SAND2008-6212).
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    cubes: float = 0.0

    def add(self, value: float) -> None:
        self.n += 1
        delta = value - self.mean
        step = delta / self.n
        term = delta * step * (self.n - 1)
        self.mean += step
        self.cubes += term * step * (self.n - 2) - 3 * step * self.squares
        self.squares += term


@dataclass
class Subgroup:
    """The sums of a subgroup. `first` and `last` are the times of its earliest and latest row.

    `ok` rows are those without an error, `decided` those of them that have a decision; flags are counted once a row.
    `settings` holds every value of the record's model, settings and thresholds that occurs.
    """

    name: str
    first: datetime
    last: datetime
    rows: int = 0
    errors: int = 0
    decided: int = 0
    rejects: int = 0
    reviews: int = 0
    flags: int = 0
    measured: dict[str, Moments] = field(default_factory=lambda: {name: Moments() for name in MEASURED})
    settings: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in SETTINGS})

    @property
    def ok(self) -> int:
        return self.rows - self.errors

    def add(self, row: RecordedRow) -> None:
        """Counts a row. An error counts as a row and as an error, nothing else."""
        self.rows += 1
        self.first, self.last = min(self.first, row.time), max(self.last, row.time)
        for name in SETTINGS:
            self.settings[name].add(str(row.record.get(name)))
        if row.status == "error":
            self.errors += 1
            return
        self.decided += row.decision is not None
        self.rejects += row.decision == "reject"
        self.reviews += row.decision == "review"
        self.flags += bool(row.flags)
        for name, value in row.features.items():
            self.measured[name].add(value)
        if row.score is not None:
            self.measured["score"].add(row.score)


def check_by(by: str | int) -> None:
    """Raises `UsageError` for anything but `day`, `shift` and a number of rows."""
    if isinstance(by, int) and by < FEWEST_ROWS:
        raise UsageError(
            f"--by {by}: a subgroup needs at least {FEWEST_ROWS} rows", "Use a larger number, day or shift"
        )
    if isinstance(by, str) and by not in ("day", "shift"):
        raise UsageError(f"--by {by!r} is no kind of subgroup", "Name day, shift or a number of rows")


def subgroups(rows: Iterable[RecordedRow], by: str | int) -> list[Subgroup]:
    """The subgroups of rows, in the order of time for `day` and `shift`, in the order of rows for a number.

    Master parts are left out: how often they are shown is no property of the line. The last subgroup of so many rows
    may have fewer. Raises what reading the rows raises.
    """
    found: dict[tuple[int, ...], Subgroup] = {}
    for count, row in enumerate(row for row in rows if not row.is_master):
        key = (count // by,) if isinstance(by, int) else _place(row.time, by)
        if key not in found:
            found[key] = Subgroup(_name(key, by), row.time, row.time)
        found[key].add(row)
    if isinstance(by, int) and found:
        last = found[max(found)]
        last.name = f"{max(found)[0] * by + 1} to {max(found)[0] * by + last.rows}"
    return [found[key] for key in sorted(found)]


def _place(time: datetime, by: str) -> tuple[int, ...]:
    """The day of a time, or its shift: the day on which that began, and its starting hour."""
    if by == "day":
        return (time.year, time.month, time.day)
    begun = [hour for hour in SHIFT_STARTS if hour <= time.hour]
    day = time if begun else time - timedelta(days=1)
    return (day.year, day.month, day.day, begun[-1] if begun else SHIFT_STARTS[-1])


def _name(key: tuple[int, ...], by: str | int) -> str:
    if isinstance(by, int):
        return f"{key[0] * by + 1} to {(key[0] + 1) * by}"
    day = "{:04}-{:02}-{:02}".format(*key[:3])
    return day if by == "day" else f"{day} {key[3]:02}:00"
