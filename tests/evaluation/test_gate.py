"""Conditions for a release script."""

from __future__ import annotations

import pytest

from frame_vit.errors import UsageError
from frame_vit.evaluation.gate import failed, parse_gate

METRICS = {
    "macro_f1": 0.96,
    "n": 500,
    "escape_rate": {"value": 0.0, "low": 0.0, "high": 0.0092, "n": 400},
    "overkill_rate": {"value": None, "low": 0.0, "high": 1.0, "n": 0},
    "per_class": {"a.b": {"f1": 0.5}, "a": {"f1": 1.0}, "a.f1": {"f1": 0.2}},
    "tta": {"used": True},
}


@pytest.mark.parametrize(
    "text",
    [
        "macro_f1>=0.95",
        "escape_rate.high<=0.01",
        "escape_rate<1e-3",
        " n > 499 ",
        "per_class.a.f1>=1",
        "escape_rate.n>=400",
    ],
)
def test_a_condition_that_holds(text: str) -> None:
    assert failed([parse_gate(text)], METRICS) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("macro_f1>0.96", "macro_f1>0.96: it is 0.96"),
        ("escape_rate.high<=0.005", "escape_rate.high<=0.005: it is 0.0092"),
        ("per_class.a.b.f1>=0.9", "per_class.a.b.f1>=0.9: it is 0.5"),
        ("overkill_rate<=1", "overkill_rate<=1: it is not defined"),
    ],
)
def test_a_condition_that_does_not(text: str, said: str) -> None:
    assert failed([parse_gate(text)], METRICS) == [said]


def test_all_that_fail_are_named() -> None:
    assert len(failed([parse_gate("macro_f1>1"), parse_gate("n>=1"), parse_gate("n<1")], METRICS)) == 2


@pytest.mark.parametrize(
    "text", ["macro_f1", "macro_f1=0.9", ">=0.9", "macro_f1>=high", "macro_f1>=1.2.3", "macro_f1=>0.9", ""]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a condition"):
        parse_gate(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("macro_f2>=1", "no macro_f2.*did you mean 'macro_f1'"),
        ("per_class>=1", "not a number"),
        ("tta.used>=1", "not a number"),
    ],
)
def test_a_key_that_is_no_number_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        failed([parse_gate(text)], METRICS)
