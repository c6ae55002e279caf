"""Conditions for a release script."""

from __future__ import annotations

import pytest

from frame_vit.errors import UsageError
from frame_vit.evaluation.gate import failed, parse_gate

METRICS = {
    "macro_f1": 0.96,
    "macro_f1_interval": {"value": 0.96, "low": 0.93, "high": 0.98, "n": 500},
    "kappa": {"value": 0.95, "low": 0.92, "high": 0.97, "n": 500},
    "escape_by_class": {
        "Xplus": {"value": 0.0, "low": 0.0, "high": 0.018, "n": 200},
        "v1.2 left": {"value": 0.01, "low": 0.0, "high": 0.03, "n": 200},
        "v1": {"value": None, "low": 0.0, "high": 1.0, "n": 0},
    },
    "n": 500,
    "escape_rate": {"value": 0.0, "low": 0.0, "high": 0.0092, "n": 400},
    "overkill_rate": {"value": None, "low": 0.0, "high": 1.0, "n": 0},
    "per_class": {
        "a.b": {"f1": 0.5, "recall": 0.9, "recall_rate": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 60}},
        "a": {"f1": 1.0},
        "a.f1": {"f1": 0.2},
    },
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
        "escape_by_class.Xplus.high<=0.02",
        "escape_by_class.v1.2 left.high<=0.03",
        "per_class.a.b.recall_rate.low>=0.8",
        "kappa.low>=0.9",
        "kappa>=0.95",
        "macro_f1_interval.low>0.9",
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
        ("escape_by_class.Xplus.high<=0.01", "escape_by_class.Xplus.high<=0.01: it is 0.018"),
        ("escape_by_class.v1<=1", "escape_by_class.v1<=1: it is not defined"),
        ("escape_by_class.v1.high<=0.5", "escape_by_class.v1.high<=0.5: it is 1"),
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
        ("escape_by_class.Xpuls.high<=1", "no escape_by_class.Xpuls.high.*did you mean 'Xplus'"),
        ("escape_by_class.v1.2 lift.high<=1", "did you mean 'v1.2 left'"),
        ("escape_by_clas.Xplus.high<=1", "did you mean 'escape_by_class'"),
        ("escape_by_class.Xplus.hihg<=1", "did you mean 'high'"),
        ("macro_f1.low>=1", "no macro_f1.low.*did you mean 'macro_f1_interval'"),
        ("per_class.a.b.recall.low>=1", "no per_class.a.b.recall.low.*did you mean 'recall_rate'"),
        ("n.low>=1", "metrics.json has no n.low"),
        ("per_class>=1", "not a number"),
        ("tta.used>=1", "not a number"),
    ],
)
def test_a_key_that_is_no_number_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        failed([parse_gate(text)], METRICS)
