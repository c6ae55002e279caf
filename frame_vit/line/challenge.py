"""Challenge parts: master parts, some of them bad, that the line must decide as listed, again and again.

    name,decision
    master-good-*.jpg,accept
    master-scratched-*.jpg,reject

A picture whose file name fits a line of this table is that master part. Until every master was shown and decided as
listed, and again when that is longer ago than the challenge allows (overdue), or when one was decided otherwise
(failed), no part is accepted: what would be accepted goes to review. The state is kept in the records, so that a watch
that is started again knows it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from frame_vit.errors import UsageError
from frame_vit.line.recorded import DECISIONS, lines, read_row
from frame_vit.prediction.predictor import Prediction
from frame_vit.system.files import read_plain_text
from frame_vit.system.progress import log
from frame_vit.system.texts import raw

PASSED, FAILED, OVERDUE = "passed", "failed", "overdue"
COLUMNS = ("name", "decision")
UNITS = {"min": "minutes", "h": "hours", "d": "days"}


class Master(NamedTuple):
    """A master part: a pattern for the names of its pictures (`*` stands for any text), and what must be decided."""

    name: str
    decision: str

    def shown_by(self, file: str) -> bool:
        """Whether a picture of this name shows the part."""
        return fnmatchcase(PurePath(file).name, self.name)


class Shown(NamedTuple):
    """The last picture of a master part: when it was decided, and how."""

    time: datetime
    decision: str | None


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass
class Challenge:
    """The state of a challenge that is due again after `every`; `shown` holds what was last decided of each master."""

    masters: tuple[Master, ...]
    every: timedelta
    shown: dict[str, Shown] = field(default_factory=dict)
    clock: Callable[[], datetime] = _now
    _said: str = ""

    def state(self) -> tuple[str, str]:
        """PASSED, FAILED or OVERDUE, and why in a few words."""
        now = self.clock()
        for master in self.masters:
            last = self.shown.get(master.name)
            if last is not None and last.decision != master.decision:
                return FAILED, f"{master.name} was {last.decision or 'not readable'}, not {master.decision}"
        for master in self.masters:
            last = self.shown.get(master.name)
            if last is None:
                return OVERDUE, f"{master.name} has not been shown"
            # A time that is still to come is from before the clock was set back: nothing is known of how long ago.
            if not timedelta(0) <= now - last.time <= self.every:
                return OVERDUE, f"{master.name} was last shown at {last.time:%Y-%m-%d %H:%M}"
        return PASSED, ""

    def judge(self, row: Prediction) -> Prediction:
        """A row as it is to be written. A part is not accepted unless all masters passed; a master's own row stays."""
        master = next((each for each in self.masters if each.shown_by(row.file)), None)
        if master is not None:
            self.shown[master.name] = Shown(self.clock(), row.decision)
        state, why = self.state()
        self._say(state, why)
        note: dict[str, Any] = {"state": state}
        if master is not None:
            note |= {"master": master.name, "expected": master.decision}
            return replace(row, challenge=note)
        if state != PASSED and row.decision == "accept":
            said = f"challenge {state}: {why}"
            row = replace(row, decision="review", reason=f"{said}; {row.reason}" if row.reason else said)
        return replace(row, challenge=note)

    def _say(self, state: str, why: str) -> None:
        """Logs each change of the state once."""
        said = f"challenge {state}" + (f": {why}; no part is accepted until it passes" if why else "")
        if said != self._said:
            self._said = said
            (log.info if state == PASSED else log.warning)("%s", said)


def read_challenge(table: Path, every: str, rows: Path) -> Challenge:
    """The challenge of a table of masters, as far as it was met by the rows that are there already.

    Raises `UsageError` where the table, the interval or the rows cannot be read.
    """
    challenge = Challenge(tuple(_masters(table)), interval(every))
    if rows.is_file():
        for number, line in lines(rows):
            try:
                row = read_row(number, line)
            except (ValueError, KeyError):
                continue  # `verify` is for that; a row that cannot be read shows no master
            note = row.record.get("challenge")
            master = note.get("master") if isinstance(note, dict) else None
            if any(each.name == master for each in challenge.masters):
                challenge.shown[str(master)] = Shown(row.time, row.decision)
    return challenge


def interval(text: str) -> timedelta:
    """A time such as 30min, 8h or 1d. Raises `UsageError` for another text."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*(min|h|d)", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--every {text!r} is no interval", "A number with min, h or d, such as 8h")
    return timedelta(**{UNITS[match[2]]: float(match[1])})


def _masters(table: Path) -> Iterator[Master]:
    """The lines of a table. Raises `UsageError` where one cannot be used, or where no master is bad."""
    try:
        reader = csv.DictReader(io.StringIO(read_plain_text(table).removeprefix("\ufeff")))
        rows = [{key: raw(str(value or "").strip()) for key, value in row.items() if key} for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(
            f"{table} cannot be read: {error}", "Name a CSV file with the columns name and decision"
        ) from None
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise UsageError(f"{table} has no column {missing[0]}", "Its first line is: name,decision")
    for number, row in enumerate(rows, start=2):
        if not row["name"] or row["decision"] not in DECISIONS:
            raise UsageError(
                f"{table}, line {number}: {row['name'] or 'no name'}, {row['decision'] or 'no decision'}",
                f"The name of a picture, and one of {', '.join(DECISIONS)}",
            )
    names = [row["name"] for row in rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{table} names {twice} twice", "Each master part has one line")
    if all(row["decision"] == "accept" for row in rows):
        raise UsageError(
            f"{table} lists no bad part, so a model that accepts everything would pass", "Add a master part to reject"
        )
    yield from (Master(row["name"], row["decision"]) for row in rows)
