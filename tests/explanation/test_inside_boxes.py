"""How much of a map lies inside the box, and what the model answers without the part: able to expose a cheat."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from frame_vit.data.examples import Example
from frame_vit.errors import UsageError
from frame_vit.explanation.inside_boxes import Explanation, _by_chance, look_inside_boxes, painted_over
from frame_vit.images.preprocessing import Preprocessing, normalise
from tests.explanation.frames import NAMES, PLAIN, SIDE, SPACE, drawn, predictor, split


def learned(marked: bool) -> Explanation:
    """Where a model looks that was trained on such pictures until it is right."""
    model = predictor(PLAIN)
    pixels, labels, _ = drawn(128, marked, 1)
    module: Any = model.backend.module  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    batch, truth = torch.from_numpy(normalise(pixels, model.preprocessing)), torch.from_numpy(labels)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(module(pixel_values=batch).logits, truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return look_inside_boxes(model, split(*drawn(64, marked, 2)), 64)


def test_a_model_that_looks_at_the_part_is_told_from_one_that_looks_at_a_mark_in_the_corner() -> None:
    """Both are right; only where they look tells them apart."""
    honest, cheating = learned(marked=False), learned(marked=True)
    part, mark = honest.all, cheating.all
    assert part.right >= 60
    assert mark.right >= 60
    assert part.lift > 4 * max(mark.lift, 1)
    assert part.right_but_elsewhere <= 3
    assert mark.right_but_elsewhere >= 45
    assert part.right_though_hidden <= 25, "one class of three stays: the answer without a part"
    assert mark.right_though_hidden == mark.right
    corner = [answer.peak for answer in cheating.elsewhere].count((0.875, 0.125))
    assert corner > 0.8 * len(cheating.elsewhere), "the mark is found"


def test_without_boxes_nothing_can_be_said() -> None:
    pixels, labels, boxes = drawn(3, False, 0)
    bare = split(pixels, labels, boxes)
    bare = replace(bare, examples=[replace(example, boxes=()) for example in bare.examples])
    with pytest.raises(UsageError, match="has a box"):
        look_inside_boxes(predictor(PLAIN), bare, 10)


def test_a_box_outside_of_what_the_model_sees_does_not_count() -> None:
    pixels, labels, boxes = drawn(4, False, 0)
    boxes[1] = (40.0, 40.0, 48.0, 48.0)
    found = look_inside_boxes(predictor(PLAIN), split(pixels, labels, boxes), 10)
    assert [example.key for example in found.examples] == ["row 0", "row 2", "row 3"]


def test_figures_of_classes_add_up_and_elsewhere_is_sorted() -> None:
    frames = split(*drawn(20, True, 3))
    found = look_inside_boxes(predictor(SPACE), frames, 12)
    assert found.all.n == sum(figures.n for figures in found.per_class.values()) == len(found.examples) == 12
    assert found.all.right == sum(figures.right for figures in found.per_class.values())
    assert found.all.right_but_elsewhere == len(found.elsewhere) == len(found.elsewhere_rows)
    lifts = [answer.inside / answer.box for answer in found.elsewhere]
    assert lifts == sorted(lifts)
    assert all(lift < 1 for lift in lifts)
    for row, answer in zip(found.elsewhere_rows, found.elsewhere, strict=True):
        assert answer.file == found.examples[row].key
        assert answer.label == found.predictions[row].label == NAMES[found.examples[row].label]
    assert found.maps.rollout.shape == found.maps.relevance.shape == (12, 4, 4)
    assert (found.grid, found.cell, found.views) == ((4, 4), (8.0, 8.0), ["identity", "hflip"])


def test_attention_json_has_the_keys_of_0_5_0() -> None:
    values = look_inside_boxes(predictor(PLAIN), split(*drawn(20, True, 3)), 12).to_json()
    assert list(values) == ["split", "grid", "cell", "views", "all", "per_class", "elsewhere"]
    assert list(values["all"]) == [
        *("n", "inside", "box", "lift", "rollout_inside", "right", "right_but_elsewhere", "right_though_hidden"),
        "by_chance",
    ]
    assert all(
        list(row) == ["file", "label", "confidence", "inside", "box", "peak", "hidden"] for row in values["elsewhere"]
    )
    assert json.loads(json.dumps(values)) == values, "lists, not tuples"


def test_a_box_is_filled_with_the_median_of_its_margin_and_nothing_else_changes() -> None:
    pixels = np.full((1, SIDE, SIDE, 3), 10, np.uint8)
    pixels[0, 8:16, 8:16] = 200
    pixels[0, 7, 8:16] = 90  # a minority of the margin
    example = Example("a", 0, ((8.0, 8.0, 16.0, 16.0),), SIDE, SIDE, "", lambda: b"")
    painted = painted_over(pixels, [example], Preprocessing(SIDE, SIDE))
    assert (painted[0, 8:16, 8:16] == 10).all()
    painted[0, 8:16, 8:16] = 200
    assert np.array_equal(painted, pixels)


def test_a_box_of_the_whole_picture_has_no_margin_to_be_filled_from() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    example = Example("a", 0, ((0.0, 0.0, SIDE, SIDE),), SIDE, SIDE, "", lambda: b"")
    assert np.array_equal(painted_over(pixels, [example], Preprocessing(SIDE, SIDE)), pixels)


def test_by_chance_is_the_agreement_of_independent_answers() -> None:
    assert _by_chance(["a", "a", "b", "b"], ["a"] * 4) == 0.5
    assert _by_chance(["a"], ["a"]) == 1.0
    assert _by_chance(["a", "b"], ["c", "a"]) == 0.25
