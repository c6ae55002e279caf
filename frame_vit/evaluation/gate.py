"""Gates: conditions on metrics.json for a release script, such as `escape_rate.high<=0.01` or `macro_f1>=0.95`.

A gate names its number by a dotted path of JSON keys, so it is checked on the JSON form of the metrics. Class names are
such keys, too: `escape_by_class.Xplus.high<=0.02`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from frame_vit.errors import UsageError
from frame_vit.labels import did_you_mean

OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
FORM = re.compile(r"\s*(?P<key>[^<>=]+?)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


class Gate(NamedTuple):
    """A condition: the dotted key of a number, the sign of the comparison, and the limit."""

    key: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.key}{self.sign}{self.limit:g}"


def parse_gate(text: str) -> Gate:
    """Raises `UsageError` where the text is not a condition."""
    match = FORM.fullmatch(text)
    try:
        limit = float(match["limit"]) if match else float("nan")
    except ValueError:
        match = None
    if match is None:
        raise UsageError(
            f"--gate {text!r} is not a condition",
            "A key, one of <= >= < >, and a number, in quotes: --gate 'escape_rate.high<=0.01'",
        )
    return Gate(match["key"], match["sign"], limit)


def failed(gates: list[Gate], metrics: Mapping[str, Any]) -> list[str]:
    """One line for each gate that does not hold on metrics in JSON form. A number that is not defined never holds.

    Raises `UsageError` where a key is unknown or does not lead to a number.
    """
    lines = []
    for gate in gates:
        value = _number(gate.key, gate.key, metrics)
        if value is None:
            lines.append(f"{gate}: it is not defined")
        elif not OPERATORS[gate.sign](value, gate.limit):
            lines.append(f"{gate}: it is {value:.6g}")
    return lines


def _number(rest: str, whole: str, node: Any) -> float | None:
    """The number at the `rest` of the `whole` key, below this node; the value of a rate stands for the rate."""
    if not rest:
        value = node.get("value") if isinstance(node, Mapping) and "value" in node else node
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise UsageError(f"--gate: {whole} is not a number", _keys_of(node))
    # Class names may contain dots, so the longest key that fits is tried first.
    keys = sorted(node, key=len, reverse=True) if isinstance(node, Mapping) else []
    first_error = None
    for key in keys:
        if rest == key or rest.startswith(key + "."):
            if rest != key and not isinstance(node[key], Mapping):
                first_error = first_error or _no_interval(key, whole, node)
                continue
            try:
                return _number(rest[len(key) + 1 :], whole, node[key])
            except UsageError as error:
                first_error = first_error or error
    if first_error:
        # A misspelt name with a dot, such as v1.2, may begin like a shorter one, v1, of which nothing more is known.
        longest = next(key for key in keys if rest == key or rest.startswith(key + "."))
        other = _suggestion(rest, [key for key in keys if key.count(".") > longest.count(".")])
        raise UsageError(f"--gate: metrics.json has no {whole}{other}", _keys_of(node)) if other else first_error
    raise UsageError(f"--gate: metrics.json has no {whole}{_suggestion(rest, keys)}", _keys_of(node))


def _no_interval(key: str, whole: str, node: Mapping[str, Any]) -> UsageError:
    """The error where a plain number is asked for more, such as its low; names the key beside it with an interval."""
    beside = [name for name in node if name.startswith(key + "_") and isinstance(node[name], Mapping)]
    meant = f" (did you mean {beside[0]!r}?)" if beside else ""
    return UsageError(f"--gate: metrics.json has no {whole}{meant}", f"nothing lies below {key}")


def _suggestion(rest: str, keys: Sequence[str]) -> str:
    """The key that is most like the beginning of the rest, whose length depends on how many dots the key has."""
    parts = rest.split(".")
    for dots in sorted({key.count(".") for key in keys}):
        same = [key for key in keys if key.count(".") == dots]
        if found := did_you_mean(".".join(parts[: dots + 1]), same):
            return found
    return ""


def _keys_of(node: Any) -> str:
    return f"There is {', '.join(node)}" if isinstance(node, Mapping) else ""
