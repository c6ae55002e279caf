"""Views of a picture: composing them is doing one after the other, and boxes stay on what they frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.images.geometry import GENERATORS, IDENTITY, Box, View
from frame_vit.images.pixel_array import UInt8

ALL = [View(turns, mirror) for mirror in (False, True) for turns in range(4)]
views = st.sampled_from(ALL)
sides = st.integers(1, 9)


def laid(picture: UInt8, view: View) -> UInt8:
    """The picture, (H, W), as the view's definition says it in numpy."""
    turned = np.rot90(picture, view.turns)
    return turned[:, ::-1] if view.mirror else turned


def marked(box: Box, width: int, height: int) -> UInt8:
    """Zeros, (H, W), with ones in the box, whose corners are whole pixels."""
    picture = np.zeros((height, width), np.uint8)
    x1, y1, x2, y2 = map(int, box)
    picture[y1:y2, x1:x2] = 1
    return picture


@st.composite
def framed(draw: st.DrawFn) -> tuple[Box, int, int]:
    """A box with whole corners and some area, and the width and height of the picture it lies in."""
    width, height = draw(sides), draw(sides)
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x2, y2 = draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))
    return (x1, y1, x2, y2), width, height


@given(first=views, then=views, width=sides, height=sides)
@settings(deadline=None)
def test_a_composed_view_is_one_after_the_other_on_pixels(first: View, then: View, width: int, height: int) -> None:
    picture = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    assert np.array_equal(laid(picture, then.after(first)), laid(laid(picture, first), then))


@given(first=views, then=views, frame=framed())
@settings(deadline=None)
def test_a_composed_view_is_one_after_the_other_on_boxes(first: View, then: View, frame: tuple[Box, int, int]) -> None:
    box, width, height = frame
    between = (height, width) if first.turns % 2 else (width, height)
    assert then.after(first).box(box, width, height) == then.box(first.box(box, width, height), *between)


@given(view=views, frame=framed())
@settings(deadline=None)
def test_a_box_moves_with_the_pixels_it_frames(view: View, frame: tuple[Box, int, int]) -> None:
    box, width, height = frame
    expected = laid(marked(box, width, height), view)
    moved = view.box(box, width, height)
    assert moved[0] < moved[2] and moved[1] < moved[3]
    assert np.array_equal(marked(moved, expected.shape[1], expected.shape[0]), expected)


@pytest.mark.parametrize("view", [view for view in ALL if view.mirror], ids=lambda view: view.name)
def test_a_mirror_twice_is_the_identity(view: View) -> None:
    assert view.after(view) == IDENTITY
    if view.turns % 2 == 0:
        box = (1.5, 2.0, 3.25, 7.0)
        assert view.box(view.box(box, 10, 8), 10, 8) == box


def test_four_quarter_turns_are_the_identity_and_three_are_not() -> None:
    quarter = GENERATORS["rot90"]
    assert quarter.after(quarter).after(quarter) != IDENTITY
    assert quarter.after(quarter).after(quarter).after(quarter) == IDENTITY


@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name)
def test_the_identity_changes_no_view_and_every_view_can_be_undone(view: View) -> None:
    assert view.after(IDENTITY) == IDENTITY.after(view) == view
    assert sum(view.after(other) == IDENTITY for other in ALL) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hflip", [[2, 1, 0], [5, 4, 3]]),
        ("vflip", [[3, 4, 5], [0, 1, 2]]),
        ("rot180", [[5, 4, 3], [2, 1, 0]]),
        ("rot90", [[2, 5], [1, 4], [0, 3]]),
    ],
)
def test_the_declarable_views_do_what_their_names_say(name: str, expected: list[list[int]]) -> None:
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert laid(picture, GENERATORS[name]).tolist() == expected


def test_the_eight_views_have_eight_names_and_the_declarable_ones_keep_theirs() -> None:
    assert len({view.name for view in ALL}) == 8
    assert {view.name: view for view in GENERATORS.values()} == GENERATORS


@pytest.mark.parametrize(("name", "x1"), [("identity", 2.0), ("hflip", 5.5)])
def test_a_box_with_fractions_keeps_them(name: str, x1: float) -> None:
    view = next(view for view in ALL if view.name == name)
    assert view.box((2.0, 1.0, 4.5, 3.0), 10, 8) == (x1, 1.0, x1 + 2.5, 3.0)
