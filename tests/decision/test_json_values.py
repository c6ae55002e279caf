"""Typed results as JSON values."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from frame_vit.decision.json_values import json_fields, json_value
from frame_vit.decision.rates import rate
from frame_vit.decision.thresholds import AnsweredBy


@dataclass(frozen=True)
class Inner:
    b: float | None
    a: int


@dataclass(frozen=True)
class Renamed:
    old: int

    def to_json(self) -> dict[str, int]:
        return {"new": self.old}


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: dict[str, list[Inner]]
    pair: AnsweredBy
    renamed: Renamed


def test_fields_become_keys_in_their_order_at_every_depth() -> None:
    value = json_value(Outer(Inner(None, 1), {"x": [Inner(0.5, 2)]}, AnsweredBy("torch", "fp32"), Renamed(3)))
    assert json.dumps(value) == (
        '{"inner": {"b": null, "a": 1}, "many": {"x": [{"b": 0.5, "a": 2}]}, "pair": ["torch", "fp32"], '
        '"renamed": {"new": 3}}'
    )


def test_a_type_with_its_own_form_is_asked_for_it() -> None:
    assert json_value(Renamed(3)) == {"new": 3}
    assert json_fields(Renamed(3)) == {"old": 3}
    assert json_value([rate(0, 0)]) == [{"value": None, "low": 0.0, "high": 1.0, "n": 0}]


@pytest.mark.parametrize("value", [None, True, 1, 0.5, "text", {}, []])
def test_plain_values_stay_as_they_are(value: object) -> None:
    assert json_value(value) == value
