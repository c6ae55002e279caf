"""Challenge parts: master parts, some of them bad, that the line must decide as listed, again and again.

    name,decision
    master-good-*.jpg,accept
    master-scratched-*.jpg,reject

A picture whose file name fits a line of this table is that master part. Until every master was shown and decided as
listed, and again when that is longer ago than the challenge allows (overdue), or when one was decided otherwise
(failed), no part is accepted: what would be accepted goes to review. The state is kept in the records, so that a watch
that is started again knows it, as long as the same model answers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from frame_vit.errors import UsageError
from frame_vit.line.recorded import DECISIONS, lines, read_row, read_time
from frame_vit.prediction.predictor import Prediction
from frame_vit.system.files import read_plain_text
from frame_vit.system.progress import log
from frame_vit.system.texts import raw

PASSED, FAILED, OVERDUE = "passed", "failed", "overdue"
COLUMNS = ("name", "decision")
SAME = ("model", "settings", "backend", "precision", "views")
"""The facts of a record that must be the same for a master to count after a watch is started again."""
UNITS = {"min": "minutes", "h": "hours", "d": "days"}


class Master(NamedTuple):
    """A master part: a pattern for the names of its pictures (`*` stands for any text), and what must be decided."""

    name: str
    decision: str

    def shown_by(self, file: str) -> bool:
        """Whether a picture of this name shows the part; upper and lower case are the same, as on Windows."""
        return fnmatchcase(PurePath(file).name.casefold(), self.name.casefold().replace("[", "[[]"))


class Shown(NamedTuple):
    """The last picture of a master part: when it was taken, and how it was decided."""

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
        last_of = [(master, self.shown[master.name]) for master in self.masters if master.name in self.shown]
        wrong = [
            f"{master.name} was {last.decision or 'not readable'}, expected {master.decision}"
            for master, last in last_of
            if last.decision != master.decision
        ]
        if wrong:
            return FAILED, ", ".join(wrong)
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
        fitting = [each for each in self.masters if each.shown_by(row.file)]
        if len(fitting) > 1:
            names = " and ".join(each.name for each in fitting)
            said = f"its name fits several master parts: {names}"
            log.warning("%s: %s; it counts as none of them", row.file, said)
            return _withheld(row, OVERDUE, said)
        master = fitting[0] if fitting else None
        if master is not None:
            self.shown[master.name] = Shown(self._taken(row.file), row.decision)
        state, why = self.state()
        self._say(state, why)
        note: dict[str, Any] = {"state": state}
        if master is not None:
            shown = self.shown[master.name].time.isoformat(timespec="seconds")
            return replace(row, challenge=note | {"master": master.name, "expected": master.decision, "shown": shown})
        return replace(row, challenge=note) if state == PASSED else _withheld(row, state, f"challenge {state}: {why}")

    def resume(self, rows: Path | None, own: Mapping[str, Any]) -> None:
        """Takes over what the rows of an earlier watch say of the masters, if the same model decided on them.

        `own` are the facts that the records of the new rows will have. A row that cannot be read shows no master.
        """
        for number, line in lines(rows) if rows is not None and rows.is_file() else ():
            try:
                row = read_row(number, line)
                note = row.record.get("challenge")
                if not row.is_master or not isinstance(note, dict):
                    continue
                if any(row.record.get(key) != own[key] for key in SAME):
                    continue
                if any(each.name == note["master"] for each in self.masters):
                    self.shown[note["master"]] = Shown(read_time(str(note.get("shown"))), row.decision)
            except (ValueError, KeyError):
                continue

    def _taken(self, file: str) -> datetime:
        """When a master's picture was taken: an old file that is predicted now says nothing of the line as it is."""
        now = self.clock()
        try:
            return min(now, datetime.fromtimestamp(Path(file).stat().st_mtime).astimezone())
        except (OSError, ValueError, OverflowError):
            return now

    def _say(self, state: str, why: str) -> None:
        """Logs each change of the state once."""
        said = f"challenge {state}" + (f": {why}; no part is accepted until it passes" if why else "")
        if said != self._said:
            self._said = said
            (log.info if state == PASSED else log.warning)("%s", said)


def _withheld(row: Prediction, state: str, why: str) -> Prediction:
    """The row of a part while the challenge is not passed: what would be accepted goes to review."""
    row = replace(row, challenge={"state": state})
    if row.decision != "accept":
        return row
    return replace(row, decision="review", reason=f"{why}; {row.reason}" if row.reason else why)


def read_challenge(table: Path, every: str) -> Challenge:
    """The challenge of a table of masters. Raises `UsageError` where the table or the interval cannot be used."""
    return Challenge(tuple(_masters(table)), interval(every))


def interval(text: str) -> timedelta:
    """A time such as 30min, 8h or 1d. Raises `UsageError` for another text."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*(min|h|d)", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--every {text!r} is not an interval", "A number with min, h or d, such as 8h")
    return timedelta(**{UNITS[match[2]]: float(match[1])})


def _masters(table: Path) -> Iterator[Master]:
    """The lines of a table. Raises `UsageError` where one cannot be used, or where no master is bad."""
    try:
        text = read_plain_text(table).removeprefix("\ufeff")
        delimiter = ";" if ";" in text.partition("\n")[0] else ","  # spreadsheets in many countries write semicolons
        reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
        rows = [{key: raw(str(value or "").strip()) for key, value in row.items() if key} for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(
            f"{table} cannot be read: {said}", "Name a CSV file with the columns name and decision"
        ) from None
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise UsageError(f"{table} has no column called {missing[0]}", "Its first line is: name,decision")
    for number, row in enumerate(rows, start=2):
        if not row["name"] or row["decision"] not in DECISIONS:
            raise UsageError(
                f"{table}, line {number}: {row['name'] or 'no name'}, {row['decision'] or 'no decision'} "
                "is not a master part with its decision",
                f"The name of its pictures, and one of {', '.join(DECISIONS)}",
            )
        if not PurePath(row["name"]).stem.strip("*?"):
            raise UsageError(
                f"{table}, line {number}: {row['name']} fits every picture",
                "Name the master parts so that parts differ",
            )
    names = [row["name"].casefold() for row in rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{table} names {twice} twice", "Each master part has one line")
    if all(row["decision"] == "accept" for row in rows):
        raise UsageError(
            f"{table} lists no bad part, so a model that accepts everything would pass", "Add a master part to reject"
        )
    yield from (Master(row["name"], row["decision"]) for row in rows)
