"""Pictures made worse by known amounts, and by no more than that."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from frame_vit.data import demo
from frame_vit.images.corruptions import LEVELS, Corruption, corruptions
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import Preprocessing, resize

ALL = list(corruptions())


def frames(count: int = 3) -> UInt8:
    drawn = (Image.fromarray(demo.draw(demo.sample("Xplus", seed))) for seed in range(count))
    return np.stack([resize(image, Preprocessing(48, 64)) for image in drawn])


@pytest.mark.parametrize("corruption", ALL, ids=lambda c: f"{c.kind}-{c.level:g}")
def test_shape_and_input_stay_and_the_picture_changes(corruption: Corruption) -> None:
    pixels = frames()
    before = pixels.copy()
    changed = corruption.apply(pixels)
    assert changed.shape == pixels.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert not np.array_equal(changed, pixels)
    assert np.array_equal(changed, corruption.apply(pixels))


@pytest.mark.parametrize("kind", ["darker", "brighter", *(kind for kind in LEVELS if kind != "light")])
def test_worse_is_further_away(kind: str) -> None:
    pixels = frames()
    distances: dict[float, list[float]] = {}
    for corruption in ALL:
        if corruption.kind == kind or (
            corruption.kind == "light" and kind == ("darker", "brighter")[corruption.level > 1]
        ):
            away = np.abs(corruption.apply(pixels).astype(float) - pixels).mean()
            distances.setdefault(corruption.level, []).append(float(away))
    means = [np.mean(distances[level]) for level in sorted(distances, reverse=kind in ("jpeg", "darker"))]
    assert len(means) >= 3
    assert (np.diff(means) > 0).all()


def test_a_shift_moves_every_pixel_by_its_amount_in_each_direction() -> None:
    pixels = frames(1)
    shifts = [c.apply(pixels)[0] for c in ALL if c.kind == "shift" and c.level == 3]
    right, left, down, up = shifts
    assert np.array_equal(right[:, 3:], pixels[0][:, :-3])
    assert np.array_equal(left[:, :-3], pixels[0][:, 3:])
    assert np.array_equal(down[3:], pixels[0][:-3])
    assert np.array_equal(up[:-3], pixels[0][3:])
    assert np.array_equal(right[:, 0], pixels[0][:, 0]), "the margin is repeated"


def test_a_turn_keeps_the_middle_and_brings_in_no_black() -> None:
    pixels = np.full((1, 60, 60, 3), 200, np.uint8)
    pixels[:, 28:32, 28:32] = 20
    for corruption in (c for c in ALL if c.kind == "turn"):
        turned = corruption.apply(pixels)[0]
        assert turned[29:31, 29:31].max() < 60
        assert turned[:5].min() == turned[-5:].min() == 200
