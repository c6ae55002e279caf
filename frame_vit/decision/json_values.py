"""Typed results -> JSON values, at the border where a file is written or `--json` prints; and back, checked.

A dataclass becomes an object whose keys are its fields, in their order. A type whose keys differ from its fields says
so itself, by a `to_json` of its own.

What is read may be damaged or edited by hand, and a wrong number in it gives wrong answers that look right. It is
therefore read through a `JsonObject`, which takes each value only in its range, and no key that nobody asked for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class JsonValue(Protocol):
    """A type that knows its own JSON form."""

    def to_json(self) -> Any:
        """Dicts, lists, strings, numbers and None only."""
        ...


def json_value(value: object) -> Any:
    """The JSON form of a result: its own `to_json`, else by its fields; tuples become lists."""
    return value.to_json() if isinstance(value, JsonValue) else json_fields(value)


def json_fields(value: object) -> Any:
    """The JSON form by the fields alone, for a `to_json` that only has to add or rename a key."""
    if is_dataclass(value):
        return {field.name: json_value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(entry) for entry in value]
    return value


class JsonObject:
    """A JSON object that is read key by key. `name` is its own dotted key in messages, empty for a whole file.

    Every method raises `KeyError` for a missing key and `ValueError` for a wrong value, both with the dotted key.
    `key in values` is false for null, too.
    """

    def __init__(self, value: object, name: str = "") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{name or 'the content'} is not an object")
        self.values: dict[str, Any] = value
        self._name = name
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._read.add(key)
        return self.values.get(key) is not None

    def number(self, key: str, low: float, high: float) -> float:
        """A finite number from `low` to `high`, both included."""
        return checked_number(self._value(key), self.path(key), low, high)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._value(key)
        if not isinstance(value, int):
            raise ValueError(f"{self.path(key)} is not a whole number: {value!r:.40}")
        return int(checked_number(value, self.path(key), low, high))

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """A list of so many finite numbers in this range."""
        values = self._list(key)
        if len(values) != count:
            raise ValueError(f"{self.path(key)} has {len(values)} values, not {count}")
        return tuple(checked_number(value, self.path(key), low, high) for value in values)

    def text(self, key: str, among: Collection[str] | None = None) -> str:
        """A text; one of `among` where that is given."""
        return self._text(self._value(key), key, among)

    def texts(self, key: str, among: Collection[str] | None = None) -> tuple[str, ...]:
        return tuple(self._text(value, key, among) for value in self._list(key))

    def flag(self, key: str) -> bool:
        value = self._value(key)
        if not isinstance(value, bool):
            raise ValueError(f"{self.path(key)} is neither true nor false: {value!r:.40}")
        return value

    def object(self, key: str) -> JsonObject:
        return JsonObject(self._value(key), self.path(key))

    def path(self, key: str) -> str:
        """The dotted key in messages."""
        return f"{self._name}.{key}" if self._name else key

    def done(self) -> None:
        """Raises `ValueError` where a key was not read: what it would mean is not known."""
        unknown = [self.path(key) for key in self.values if key not in self._read]
        if unknown:
            raise ValueError(f"unknown key {', '.join(unknown[:5])}")

    def _value(self, key: str) -> Any:
        if key not in self:
            raise KeyError(f"{self.path(key)} is missing")
        return self.values[key]

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        if not isinstance(value, list):
            raise ValueError(f"{self.path(key)} is not a list: {value!r:.40}")
        return value

    def _text(self, value: Any, key: str, among: Collection[str] | None) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{self.path(key)} is not a text: {value!r:.40}")
        if among is not None and value not in among:
            raise ValueError(f"{self.path(key)} is {value!r:.40}, not one of {', '.join(among)}")
        return value


def checked_number(value: object, where: str, low: float, high: float) -> float:
    """A finite number from `low` to `high`, both included. Raises `ValueError`, which names `where`, for others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} is not a number: {value!r:.40}")
    if not low <= value <= high:  # also false for NaN, and an int too large for a float is compared exactly
        raise ValueError(f"{where} is {value!r:.40}, not from {low:g} to {high:g}")
    return value


def parsed(text: str) -> JsonObject:
    """The JSON object in a text. Raises `ValueError` for anything else, for a key that is there twice, and for NaN."""
    try:
        return JsonObject(json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} is there twice")
    return values
