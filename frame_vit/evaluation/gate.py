"""Conditions on metrics.json that a release script can set: `escape_rate.high<=0.01`, `macro_f1>=0.95`."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from frame_vit.errors import UsageError
from frame_vit.labels import did_you_mean

OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
FORM = re.compile(r"\s*(?P<key>[^<>=]+?)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


class Gate(NamedTuple):
    """A condition: the dotted key of a number, how it must compare, to what."""

    key: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.key}{self.sign}{self.limit:g}"


def parse_gate(text: str) -> Gate:
    """Raises `UsageError` where the text is no condition."""
    found = FORM.fullmatch(text)
    try:
        limit = float(found["limit"]) if found else float("nan")
    except ValueError:
        found = None
    if found is None:
        raise UsageError(f"--gate {text!r} is not a condition", "Such as --gate 'escape_rate.high<=0.01'; quote it")
    return Gate(found["key"], found["sign"], limit)


def failed(gates: list[Gate], metrics: Mapping[str, Any]) -> list[str]:
    """What does not hold, one line each. A number that is not defined does not hold.

    Raises `UsageError` where a key is not that of a number.
    """
    lines = []
    for gate in gates:
        value = _value(gate.key, gate.key, metrics)
        if value is None:
            lines.append(f"{gate}: it is not defined")
        elif not OPERATORS[gate.sign](value, gate.limit):
            lines.append(f"{gate}: it is {value:.6g}")
    return lines


def _value(rest: str, whole: str, there: Any) -> float | None:
    if not rest:
        value = there.get("value") if isinstance(there, Mapping) and "value" in there else there
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise UsageError(f"--gate: {whole} is not a number", _known(there))
    # Class names may hold dots themselves: the longest key that fits is taken.
    keys = sorted(there, key=len, reverse=True) if isinstance(there, Mapping) else []
    missed = None
    for key in keys:
        if rest == key or rest.startswith(key + "."):
            try:
                return _value(rest[len(key) + 1 :], whole, there[key])
            except UsageError as error:
                missed = missed or error
    if missed:
        raise missed
    raise UsageError(f"--gate: metrics.json has no {whole}{did_you_mean(rest, keys)}", _known(there))


def _known(there: Any) -> str:
    return f"There is {', '.join(there)}" if isinstance(there, Mapping) else ""
