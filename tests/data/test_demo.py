"""Drawn frames: mirror-exact, labelled by what they show, the same for the same seed."""

from __future__ import annotations

import ast
import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from frame_vit.data import demo
from frame_vit.data.response import parse_response
from frame_vit.images.geometry import GENERATORS, View
from frame_vit.images.pixel_array import UInt8
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
FLIPS: dict[str, Any] = {"hflip": np.s_[:, ::-1], "vflip": np.s_[::-1], "rot180": np.s_[::-1, ::-1]}
labels = st.sampled_from(demo.NAMES)
seeds = st.integers(0, 2**40)
flips = st.sampled_from(list(FLIPS))


def view_of(flip: str) -> View:
    return GENERATORS[flip]


@given(label=labels, seed=seeds, flip=flips)
@settings(deadline=None, max_examples=80)
def test_the_mirrored_frame_is_the_mirrored_picture_pixel_for_pixel(label: str, seed: int, flip: str) -> None:
    frame = demo.sample(label, seed)
    assert np.array_equal(demo.draw(frame)[FLIPS[flip]], demo.draw(frame.seen(view_of(flip))))


@given(label=labels, seed=seeds, flip=flips)
@settings(deadline=None)
def test_the_mirrored_frame_has_the_mapped_label_and_the_moved_box(label: str, seed: int, flip: str) -> None:
    frame, view = demo.sample(label, seed), view_of(flip)
    seen = frame.seen(view)
    assert SPACE.id(seen.label) == dict(SPACE.group())[view][SPACE.id(label)]
    assert seen.box == pytest.approx(view.box(frame.box, demo.WIDTH, demo.HEIGHT))
    assert seen.seen(view) == frame


@given(label=labels, seed=seeds)
@settings(deadline=None)
def test_a_sampled_frame_has_the_label_it_was_sampled_for(label: str, seed: int) -> None:
    assert demo.sample(label, seed).label == label


@given(seed=seeds, label=labels.filter(lambda name: name != "passed"))
@settings(deadline=None)
def test_plus_is_right_and_down_in_the_picture(seed: int, label: str) -> None:
    frame = demo.sample(label, seed)
    x1, y1, x2, y2 = frame.box
    axis = "XY".index(label[0])
    middle = ((x1 + x2 - demo.WIDTH) / 2 - frame.centre[0], (y1 + y2 - demo.HEIGHT) / 2 - frame.centre[1])
    assert (middle[axis] > 0) == label.endswith("plus")


def inner(frame: demo.Frame) -> tuple[slice, slice]:
    """Rows and columns of the inside of the frame, two pixels away from its wall."""
    x, y = demo.WIDTH / 2 + frame.centre[0], demo.HEIGHT / 2 + frame.centre[1]
    (across, along) = frame.half
    return slice(round(y - along) + 2, round(y + along) - 2), slice(round(x - across) + 2, round(x + across) - 2)


def grey(picture: UInt8) -> NDArray[np.float64]:
    """(H, W), the mean of the colours."""
    return np.asarray(picture.mean(2))


@given(label=labels, seed=seeds)
@settings(deadline=None, max_examples=60)
def test_the_box_holds_the_bright_terminal_and_little_else(label: str, seed: int) -> None:
    frame = demo.sample(label, seed)
    rows, columns = inner(frame)
    x1, y1, x2, y2 = (round(v) for v in frame.box)
    inside, around = np.zeros((2, demo.HEIGHT, demo.WIDTH), bool)
    inside[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2] = True
    around[rows, columns] = True
    around[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2] = False
    picture = grey(demo.draw(frame))
    assert picture[inside].mean() > 1.8 * picture[around].mean()
    # The terminal's left half and right half, upper and lower, are each brighter than what is around it.
    for half in (
        np.s_[:, : (x1 + x2) // 2],
        np.s_[:, (x1 + x2) // 2 :],
        np.s_[: (y1 + y2) // 2],
        np.s_[(y1 + y2) // 2 :],
    ):
        assert picture[half][inside[half]].mean() > 1.5 * picture[around].mean()


def test_a_frame_is_a_colour_picture_of_the_stated_size() -> None:
    picture = demo.draw(demo.sample("passed", 1))
    assert picture.shape == (demo.HEIGHT, demo.WIDTH, 3)
    assert picture.dtype == np.uint8
    assert 10 < picture.std() < 120


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first = [demo.jpeg(frame) for frame in demo.frames(20, 3)]
    assert first == [demo.jpeg(frame) for frame in demo.frames(20, 3)]
    assert not {*first} & {demo.jpeg(frame) for frame in demo.frames(20, 4)}
    assert len({*first}) == 20


def test_more_frames_of_a_seed_begin_with_the_same_ones() -> None:
    assert demo.frames(12, 5)[:7] == demo.frames(7, 5)


def test_frames_take_the_labels_in_turn() -> None:
    assert Counter(frame.label for frame in demo.frames(23, 0)) == {
        "passed": 5, "Xplus": 5, "Xminus": 5, "Yplus": 4, "Yminus": 4
    }  # fmt: skip


def test_light_place_and_sharpness_vary_within_a_class() -> None:
    frames = [demo.sample("Xplus", seed) for seed in range(40)]
    assert {frame.blur for frame in frames} == {0, 1, 2}
    for values in (
        [frame.light for frame in frames],
        [frame.centre[0] for frame in frames],
        [frame.centre[1] for frame in frames],
        [frame.offset[0] for frame in frames],
    ):
        assert np.std(values) > 0.15 * (max(values) - min(values)) > 0


def test_the_jpeg_shows_the_drawn_picture() -> None:
    frame = demo.sample("Yminus", 2)
    with Image.open(io.BytesIO(demo.jpeg(frame))) as image:
        assert image.format == "JPEG"
        stored = np.asarray(image)
    assert np.abs(grey(stored) - grey(demo.draw(frame))).mean() < 4


def test_the_response_is_a_python_dict_that_says_label_and_box() -> None:
    frame = demo.sample("Xminus", 9)
    text = demo.response(frame)
    assert list(ast.literal_eval(text)) == ["bboxes", "labels"]
    annotation = parse_response(text)
    assert annotation.labels == ("Xminus",)
    assert annotation.boxes[0] == pytest.approx(frame.box, abs=0.51)


def test_a_quarter_turn_that_changes_the_pictures_shape_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError, match="quarter turn"):
        demo.sample("passed", 0).seen(GENERATORS["rot90"])


GOLDEN = {
    "passed": [[87, 163, 164, 106], [87, 36, 30, 100], [67, 124, 126, 75]],
    "Xplus": [[84, 92, 102, 94], [74, 36, 106, 93], [80, 93, 88, 104]],
    "Xminus": [[117, 190, 201, 114], [134, 167, 29, 115], [108, 96, 134, 102]],
    "Yplus": [[82, 132, 137, 109], [87, 37, 165, 92], [93, 85, 92, 103]],
    "Yminus": [[105, 90, 90, 88], [97, 56, 127, 71], [73, 73, 61, 65]],
}
"""Every fortieth red pixel of a frame of each class, as version 1 draws it."""
