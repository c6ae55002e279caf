"""Whether a file of recorded rows is as it was written: form, digest, chain, order, and decisions that follow.

Nothing but the file is needed. What a chain cannot show is that rows at its end were removed: note the last digest
elsewhere, such as in the shift's protocol, and compare it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from frame_vit.line.recorded import RecordedRow, lines, read_row, reason
from frame_vit.prediction.record import digest_of, split_digest


class Problem(NamedTuple):
    """What is wrong with a row: its number, the name of its picture where it can be read, the kind, and a sentence."""

    row: int
    file: str | None
    kind: str
    message: str


@dataclass
class Integrity:
    """What was found in a file, row by row.

    `rows` counts its lines. `chained` says whether any row is one of a chain. `last_digest` is that of the last row.
    `models` counts the rows by the sha256 of their model, "" where it is not known. The ids of all rows are kept, about
    100 bytes a row.
    """

    rows: int = 0
    chained: bool = False
    first: datetime | None = None
    last: datetime | None = None
    last_digest: str | None = None
    models: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)
    _linked: bool | None = None

    def check(self, number: int, line: bytes) -> RecordedRow | None:
        """Checks the next line of the file. Returns its row; None where it is none that can be read."""
        self.rows = number
        parts = split_digest(line)
        try:
            row = read_row(number, line)
        except (ValueError, KeyError) as error:
            self.problems.append(Problem(number, None, "form", reason(error)))
            row = None
        if parts is None:
            self._add(number, row, "digest", "the row does not end in its digest")
        elif digest_of(parts[0]) != parts[1]:
            self._add(number, row, "digest", "the row is not as it was written: its digest is that of other bytes")
        if row is not None:
            self._check_chain(row)
            self._check_order(row)
            self._check_id(row)
            self.problems += [Problem(number, row.file, "decision", said) for said in contradictions(row)]
            model = str(row.record.get("model") or "")
            self.models[model] = self.models.get(model, 0) + 1
        # The next row's link is compared with what this row says of itself, so that one changed byte is one problem.
        self.last_digest = parts[1] if parts else None
        return row

    def _check_chain(self, row: RecordedRow) -> None:
        # Every link is checked, whatever the other rows are: a first row without one must not switch the check off.
        linked = "previous" in row.record
        if self._linked is not None and linked != self._linked:
            said = "the row is chained, but the rows before it are not" if linked else "the row is not chained"
            self._add(row.number, row, "chain", said)
        elif linked and row.number == 1 and row.record["previous"] is not None:
            self._add(1, row, "chain", "the first row follows another one, which is missing")
        elif linked and row.number > 1 and row.record["previous"] != self.last_digest:
            self._add(row.number, row, "chain", "the row before it is not the one that it was written after")
        self._linked, self.chained = linked, self.chained or linked

    def _check_order(self, row: RecordedRow) -> None:
        # Several processes write their shares at the same time; only one writes a chain.
        if self.chained and self.last is not None and row.time < self.last:
            said = f"it was written at {row.time.isoformat()}, before the row above it, {self.last.isoformat()}"
            self._add(row.number, row, "order", f"{said}: rows were moved, or the clock was set back")
        self.first = self.first or row.time
        self.last = row.time

    def _check_id(self, row: RecordedRow) -> None:
        name = row.record.get("id")
        if not isinstance(name, str) or not name:
            self._add(row.number, row, "form", "record.id is missing")
        elif row.status == "ok" and not isinstance(row.record.get("picture"), str):
            self._add(row.number, row, "form", "record.picture is missing")
        elif name in self._ids:
            self._add(row.number, row, "id", f"the id {name} belongs to an earlier row")
        else:
            self._ids.add(name)

    def _add(self, number: int, row: RecordedRow | None, kind: str, message: str) -> None:
        self.problems.append(Problem(number, row.file if row else None, kind, message))


def check_rows(path: Path, integrity: Integrity) -> Iterator[RecordedRow]:
    """Checks all lines of a file, and gives its rows. Raises `UsageError` if it cannot be read."""
    for number, line in lines(path):
        row = integrity.check(number, line)
        if row is not None:
            yield row


def contradictions(row: RecordedRow) -> list[str]:
    """In what a row's label, score and decision do not follow from its own numbers; nothing for an error."""
    if row.status == "error":
        return [] if row.decision is None else ["an error has no decision"]
    found = []
    probabilities = row.probabilities or {}
    if row.label not in probabilities or probabilities[row.label] < max(probabilities.values()):
        found.append(f"the label is {row.label}, which is not the most probable class")
    elif row.confidence != probabilities[row.label]:
        found.append("the confidence is not the label's probability")
    expected = decided(row)
    if row.decision == "accept" and after_challenge(row, "accept") != "accept":
        found.append("a part was accepted although the challenge was not passed")
    elif expected is not None and row.decision != expected:
        found.append(f"the decision is {row.decision}, but its score, thresholds and flags lead to {expected}")
    return found


def decided(row: RecordedRow) -> str | None:
    """The decision by the score, thresholds, flags and challenge in the row; None where there were no thresholds."""
    return after_challenge(row, _by_model(row))


def after_challenge(row: RecordedRow, decision: str | None) -> str | None:
    """What becomes of a decision on a row's picture by the state of its challenge, if there is one."""
    challenge = row.record.get("challenge")
    if decision != "accept" or challenge is None or row.is_master:
        return decision
    return "accept" if isinstance(challenge, dict) and challenge.get("state") == "passed" else "review"


def _by_model(row: RecordedRow) -> str | None:
    if row.flags and row.record.get("novelty") == "review" and row.score is not None:
        return "review"
    limits: Any = row.record.get("thresholds")
    if not isinstance(limits, dict) or row.score is None:
        return None
    accept_below, reject_from = limits.get("accept_below"), limits.get("reject_from")
    if not isinstance(accept_below, int | float) or not isinstance(reject_from, int | float):
        return None
    return "accept" if row.score < accept_below else "reject" if row.score >= reject_from else "review"
