"""Typed results -> JSON values, at the border where a file is written or `--json` prints.

A dataclass becomes an object whose keys are its fields, in their order. A type whose keys differ from its fields says
so itself, by a `to_json` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
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
