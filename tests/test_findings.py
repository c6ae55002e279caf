"""Findings: stable codes, thresholds that exist, advice that is a sentence, and their form in audit.json."""

from __future__ import annotations

import json
import re

import pytest

from frame_vit.config.schema import AuditConfig
from frame_vit.findings import KINDS, SEVERITIES, Finding, FindingKind, Row

NEAR = KINDS["FV304"]
ROWS = [Row("train", "a.png", "is nearly b", "frames", ("test", "b.png")), Row("train", "c.png")]


def test_codes_are_in_order_and_never_go_away() -> None:
    """A code that a person has in a config or a script keeps its meaning; new ones may be added."""
    assert list(KINDS) == sorted(KINDS)
    first = {"FV1": 7, "FV2": 11, "FV3": 7, "FV4": 5, "FV5": 10, "FV6": 2}
    for group, count in first.items():
        assert {f"{group}{number:02}" for number in range(1, count + 1)} <= {*KINDS}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.code)
def test_a_kind_has_a_severity_a_threshold_of_the_config_a_title_and_advice(kind: FindingKind) -> None:
    assert kind.severity in SEVERITIES
    assert not kind.threshold or kind.threshold in AuditConfig.model_fields
    assert re.fullmatch(r"[a-z].*[^.]", kind.title)
    assert re.match(r"[A-Z]", kind.advice)
    assert not kind.advice.endswith("."), "the page adds the full stop"


def test_titles_are_told_apart() -> None:
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)


def test_only_kinds_whose_rows_can_go_propose_to_exclude_them() -> None:
    """Advice that speaks of exclude.csv is that of kinds whose rows are listed there."""
    for kind in KINDS.values():
        if "exclude.csv lists" in kind.advice:
            assert kind.excludes, kind.code


def test_the_sentence_names_the_first_row() -> None:
    assert Finding(NEAR, "warning", "two rows", 2, ROWS).sentence == "two rows; for example a.png: is nearly b"
    assert Finding(NEAR, "warning", "", 1, ROWS[1:]).sentence == "for example c.png"
    assert Finding(KINDS["FV402"], "warning", "in train Xplus 3", 1).sentence == "in train Xplus 3"


def test_json_has_the_threshold_and_all_rows_under_their_old_names() -> None:
    facts = json.loads(json.dumps(Finding(NEAR, "error", "two rows", 2, ROWS, 0.1).to_json()))
    assert facts == {
        "code": "FV304",
        "title": NEAR.title,
        "severity": "error",
        "threshold": {"name": "data.audit.near_duplicate", "value": 0.1},
        "count": 2,
        "message": "two rows; for example a.png: is nearly b",
        "advice": NEAR.advice,
        "rows": [
            {"split": "train", "key": "a.png", "detail": "is nearly b", "source": "frames", "twin": ["test", "b.png"]},
            {"split": "train", "key": "c.png", "detail": "", "source": "", "twin": None},
        ],
    }


def test_a_kind_without_a_threshold_depends_on_what_is_allowed() -> None:
    assert Finding(KINDS["FV101"], "note", "", 2, (), 3).to_json()["threshold"] == {
        "name": "data.audit.allow",
        "value": 3,
    }
