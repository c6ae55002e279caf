"""Corrupted pictures: every kind and severity, and shifts that change a class."""

from __future__ import annotations

import pytest

from frame_vit.decision.novelty import NoveltyReference
from frame_vit.evaluation.robustness import TRIED, Robustness, robustness
from frame_vit.images.corruptions import corruptions
from frame_vit.prediction.predictor import Predictor
from tests.evaluation.small import DEMO, small_backend, small_predictor, small_split


@pytest.fixture(scope="module")
def measured() -> Robustness:
    predictor, split = small_predictor(), small_split()
    return robustness(predictor, split, predictor.judge_split(split))


def test_every_kind_and_severity_is_tried_once_in_all_its_directions(measured: Robustness) -> None:
    assert [(row.kind, row.level) for row in measured.rows] == list(
        dict.fromkeys((each.kind, each.level) for each in corruptions())
    )
    assert (measured.pictures, measured.side) == (60, [32, 32])
    directions = {row.kind: row.n // 60 for row in measured.rows}
    assert directions == {"light": 1, "blur": 1, "noise": 1, "jpeg": 1, "shift": 4, "turn": 2}


def test_more_of_a_shift_leaves_fewer_classes_unchanged(measured: Robustness) -> None:
    shifts = [row.unchanged for row in measured.rows if row.kind == "shift"]
    assert 0 < shifts[-1] < shifts[0] < 1


def test_the_tolerance_of_shifts_agrees_with_the_rows(measured: Robustness) -> None:
    shift, rows = measured.shift, [row for row in measured.rows if row.kind == "shift"]
    assert shift.largest == rows[-1].level
    assert shift.never <= min(row.unchanged for row in rows), "what never changes is unchanged at every shift"
    assert (shift.q25 or 99) <= (shift.median or 99) <= (shift.q75 or 99)


def test_without_a_novelty_reference_nothing_is_said_of_flags(measured: Robustness) -> None:
    assert {row.flagged for row in measured.rows} == {None}


def test_darker_pictures_are_flagged_where_the_light_has_a_range() -> None:
    split = small_split(count=20)
    light = Predictor(small_backend(DEMO), tta=False).judge_split(split).light
    reference = NoveltyReference(20, {"light": (float(light.min()) - 1, float(light.max()) + 1)}, ("",), "note")
    predictor = Predictor(small_backend(DEMO, novelty=reference), tta=False)
    rows = robustness(predictor, split, predictor.judge_split(split)).rows
    flagged = {(row.kind, row.level): row.flagged for row in rows}
    assert flagged["light", 0.5] == 1.0
    assert flagged["jpeg", 80] == 0.0


def test_of_many_pictures_some_are_tried_from_the_first_to_the_last() -> None:
    predictor, split = small_predictor(), small_split(count=4)
    many = split.select([row % 4 for row in range(TRIED + 50)], "many")
    assert robustness(predictor, many, predictor.judge_split(many)).pictures == TRIED
