"""Light, contrast, sharpness and fingerprints: known pictures have known ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from frame_vit.data import demo
from frame_vit.images.measures import CELLS, Measures, _ends, fingerprints_of, measure
from frame_vit.images.pixel_array import PixelArray, UInt8
from frame_vit.images.preprocessing import Preprocessing, padded_areas, resize


def of(*pictures: UInt8) -> Measures:
    return measure([PixelArray.of(np.stack(pictures))])


def frame(seed: int, side: int = 64) -> UInt8:
    return resize(Image.fromarray(demo.draw(demo.sample("Xplus", seed))), Preprocessing(side, side))


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_flat_picture_has_its_level_no_contrast_and_no_fingerprint(level: int) -> None:
    result = of(np.full((40, 50, 3), level, np.uint8))
    assert result.light == pytest.approx(level, abs=0.01)
    assert result.darkest == pytest.approx(level, abs=0.01)
    assert result.brightest == pytest.approx(level, abs=0.01)
    assert result.contrast == pytest.approx(0, abs=0.01)
    assert not result.fingerprints.any()


def test_the_ground_of_a_padded_picture_is_not_measured() -> None:
    drawn = [Image.fromarray(demo.draw(demo.sample("Xplus", seed))) for seed in range(3)]
    drawn += [
        Image.new("RGB", (160, 120), (90, 90, 90)),
        drawn[0].rotate(90, expand=True),
        Image.new("RGB", (160, 120)),
    ]
    square = Preprocessing(80, 80, pad=True)
    padded = np.stack([resize(image, square) for image in drawn])
    alone = [resize(image, Preprocessing(image.height // 2, image.width // 2)) for image in drawn]
    result = measure([PixelArray.of(padded[:2]), PixelArray.of(padded[2:])], areas=padded_areas(drawn, square))
    for name in ("light", "contrast", "darkest", "brightest", "sharpness"):
        wanted = [float(getattr(of(picture), name)[0]) for picture in alone]
        assert getattr(result, name) == pytest.approx(wanted, abs=1e-3), name
    assert result.contrast[3] == pytest.approx(0, abs=0.01), "a covered lens is seen"


@given(rows=st.integers(1, 5), levels=st.integers(1, 4096), share=st.floats(0, 0.5), seed=st.integers(0, 9))
def test_the_ends_are_the_quantiles_that_numpy_gives(rows: int, levels: int, share: float, seed: int) -> None:
    grey = np.random.default_rng(seed).uniform(0, 255, (rows, levels)).astype(np.float32)
    wanted = np.quantile(grey, (share, 1 - share), axis=1)
    np.testing.assert_allclose(np.stack(_ends(grey, share)), wanted, rtol=1e-6)


def test_light_is_that_of_pillows_grey() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.float32)
    result = of(picture)
    assert result.light == pytest.approx(grey.mean(), abs=0.5)
    assert result.contrast == pytest.approx(grey.std(), abs=0.5)


def test_a_few_spots_make_a_picture_neither_dark_nor_bright_but_its_lamp_does() -> None:
    dark = np.full((64, 64, 3), 10, np.uint8)
    lit = dark.copy()
    lit[10:16, 10:16] = 250
    result = of(dark, lit)
    assert result.brightest[0] == pytest.approx(10, abs=0.1)
    assert result.brightest[1] > 240


def test_blur_takes_sharpness_and_brightness_does_not() -> None:
    picture = Image.fromarray(frame(1))
    blurred = [np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    sharpness = of(*blurred).sharpness
    assert (np.diff(sharpness) < 0).all()
    darker = np.asarray(picture.point(lambda level: level // 2))
    assert of(darker).sharpness == pytest.approx(sharpness[0], rel=0.05)


@given(st.integers(0, 1000), st.floats(0.4, 1.0), st.integers(0, 60))
def test_a_fingerprint_does_not_know_light_and_contrast(seed: int, gain: float, offset: int) -> None:
    """As long as nothing becomes white, and what is left of the contrast outweighs the rounding to whole levels."""
    picture = frame(seed).astype(float)
    assume((picture.max() - picture.min()) * gain > 40)
    changed = np.round(picture * gain + min(offset, 255 - picture.max() * gain)).astype(np.uint8)
    one, other = fingerprints_of(np.stack([picture.astype(np.uint8), changed]))
    assert np.sqrt(((one - other) ** 2).mean()) < 0.02
    assert one.mean() == pytest.approx(0, abs=1e-4)
    assert (one**2).mean() == pytest.approx(1, abs=1e-3)


@given(st.integers(17, 90), st.integers(17, 90))
def test_cells_of_any_size_hold_all_the_light(height: int, width: int) -> None:
    picture = np.zeros((1, height, width, 3), np.uint8)
    picture[:, : height // 2] = 200
    mark = fingerprints_of(picture).reshape(CELLS, CELLS)
    assert (np.diff(mark, axis=0) <= 1e-4).all(), "light above, dark below"
    assert np.abs(np.diff(mark, axis=1)).max() < 1e-3
    mirrored = fingerprints_of(picture[:, ::-1]).reshape(CELLS, CELLS)
    assert mirrored[::-1] == pytest.approx(mark, abs=1e-3) or height % 2, "the halves are of one size"


def test_the_order_is_that_of_the_splits_however_many_there_are() -> None:
    first = PixelArray.of(np.stack([np.full((8, 8, 3), level, np.uint8) for level in range(150)]))
    second = PixelArray.of(np.stack([np.full((8, 8, 3), level, np.uint8) for level in range(150, 170)]))
    ticks: list[int] = []
    result = measure([first, second], lambda stage, done, total, note: ticks.append(done))
    assert result.light == pytest.approx(np.arange(170), abs=0.01)
    assert ticks[-1] == 170
    assert ticks == sorted(ticks)
