"""Directions are measured, not assumed: boxes against labels, under every symmetry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from frame_vit.audit.displacement import Displacement, displacement
from frame_vit.data import demo
from frame_vit.data.examples import Example
from frame_vit.images.geometry import Box, View
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)


def example(label: int, *boxes: Box, size: tuple[int, int] = (demo.WIDTH, demo.HEIGHT)) -> Example:
    return Example("", label, boxes, *size, "", bytes)


def examples(frames: Sequence[demo.Frame], space: LabelSpace = SPACE) -> list[Example]:
    return [example(space.id(frame.label), frame.box) for frame in frames]


def displacement_of(rows: list[Example], space: LabelSpace = SPACE) -> Displacement:
    return displacement(rows, space, 0.75, 0.75)


def test_drawn_frames_lie_where_their_labels_say() -> None:
    rows = examples(demo.frames(500, 1))
    result = displacement_of(rows)
    assert result.contradictions == []
    apart = {(s.axis, SPACE.names[s.plus], SPACE.names[s.minus]): s.value for s in result.separations}
    assert apart[0, "Xplus", "Xminus"] > 0.99
    assert apart[1, "Yplus", "Yminus"] > 0.99
    assert apart[0, "Xplus", "passed"] > 0.85
    assert apart[0, "passed", "Xminus"] > 0.85
    assert (0, "Yplus", "Yminus") not in apart
    said = result.to_json(rows, SPACE)
    assert said["classes"]["Xplus"]["median"][0] == pytest.approx(0.09, abs=0.02)
    assert said["classes"]["Xplus"]["n"] == 100


def test_which_side_is_plus_is_learnt() -> None:
    rows = examples(demo.frames(500, 1))
    swap = [SPACE.names.index(n) for n in ("passed", "Xminus", "Xplus", "Yminus", "Yplus")]
    renamed = [example(swap[row.label], *row.boxes) for row in rows]
    result = displacement_of(renamed)
    assert result.contradictions == []
    assert any(SPACE.names[s.plus] == "Xminus" and SPACE.names[s.minus] == "Xplus" for s in result.separations)


@pytest.mark.parametrize("view", [View(0, True), View(2, True), View(2, False)])
def test_a_mirrored_data_set_is_as_sound_and_its_middles_are_mirrored(view: View) -> None:
    frames = demo.frames(300, 2)
    rows, moved = examples(frames), examples([frame.seen(view) for frame in frames])
    assert displacement_of(moved).contradictions == []
    sign = np.array([-1 if view in (View(0, True), View(2, False)) else 1, -1 if view.turns == 2 else 1])
    assert displacement_of(moved).shares == pytest.approx(displacement_of(rows).shares * sign)
    unmoved = [example(a.label, *b.boxes) for a, b in zip(rows, moved, strict=True)]
    apart = {(SPACE.names[s.plus], s.axis) for s in displacement_of(unmoved).separations if s.value > 0.99}
    assert ("Xminus" if sign[0] < 0 else "Xplus", 0) in apart, "all boxes moved without their labels: plus is minus"


@pytest.mark.parametrize(("label", "like"), [("Xplus", "Xminus"), ("Yminus", "Yplus"), ("passed", "Xplus")])
def test_a_box_on_the_other_side_contradicts_its_label(label: str, like: str) -> None:
    rows = examples(demo.frames(500, 3))
    x, y = {"Xminus": (-0.18, 0), "Yplus": (0, 0.2), "Xplus": (0.25, 0)}[like]
    middle = ((0.5 + x) * demo.WIDTH, (0.5 + y) * demo.HEIGHT)
    box = (middle[0] - 5, middle[1] - 5, middle[0] + 5, middle[1] + 5)
    result = displacement_of([*rows, example(SPACE.id(label), box)])
    assert [item.row for item in result.contradictions] == [500]
    assert label in result.contradictions[0].reason
    assert like in result.contradictions[0].reason


def test_boxes_that_cannot_be_say_nothing() -> None:
    rows = examples(demo.frames(500, 3))
    impossible = [(90, 40, 60, 80), (60, 60, 60, 80), (-200, 40, -100, 80), (60, 40, 100, 400)]
    result = displacement_of(
        [*rows, *(example(1, (float(a), float(b), float(c), float(d))) for a, b, c, d in impossible)]
    )
    assert result.contradictions == []
    assert len(result.rows) == 500


@pytest.mark.parametrize(
    "symmetries", [{}, {"hflip": {}, "vflip": {}}, {"rot180": {"Xplus": "Xminus", "Xminus": "Xplus"}}]
)
def test_without_mirrored_classes_nothing_is_judged(symmetries: dict[str, dict[str, str]]) -> None:
    space = LabelSpace.build(demo.NAMES, ["passed"], symmetries)
    result = displacement_of(examples(demo.frames(100, 1), space), space)
    assert result.separations == []
    assert result.contradictions == []
    assert len(result.rows) == 100


def test_rows_without_boxes_and_classes_with_few_are_no_trouble() -> None:
    assert len(displacement_of([example(0), example(1)]).rows) == 0
    result = displacement_of(examples(demo.frames(15, 1)))
    assert result.separations == []
    assert result.contradictions == []


def test_alike_boxes_separate_nothing() -> None:
    random = np.random.default_rng(0)
    rows = [example(i % 5, (60 + x, 40 + y, 100 + x, 80 + y)) for i, (x, y) in enumerate(random.normal(0, 5, (300, 2)))]
    result = displacement_of(rows)
    assert all(s.value < 0.75 for s in result.separations)
    assert result.contradictions == []
    same = displacement_of([example(i % 5, (60, 40, 100, 80)) for i in range(50)])
    assert {s.value for s in same.separations} == {0.5}
