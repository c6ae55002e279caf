"""Every picture is asked in the views that it needs, and gets the answers that it would get alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.backends.backend import BackendAnswer
from frame_vit.errors import ModelError
from frame_vit.images.geometry import View
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.answers import ask, joined

SPACE = LabelSpace.build(
    ["passed", "Xplus", "Xminus", "Yplus", "Yminus"],
    ["passed"],
    {"hflip": {"Xplus": "Xminus", "Xminus": "Xplus"}, "vflip": {"Yplus": "Yminus", "Yminus": "Yplus"}},
)
VIEWS = SPACE.group()
SIDE = 8


class Halves:
    """A backend that answers from the light of the four halves, sure of some pictures; it counts what it is asked."""

    name, device, precision, batch_size = "halves", "cpu", "fp32", 4
    file: Path | None = None
    metadata = ModelMetadata(SPACE, Preprocessing(SIDE, SIDE))

    def __init__(self, slant: float = 3.0) -> None:
        self.batches: list[int] = []
        self.slant = slant

    def run(self, pixels: UInt8) -> BackendAnswer:
        self.batches.append(len(pixels))
        grey, half = pixels.mean(axis=3, dtype=np.float64) / 8, SIDE // 2
        right, left = grey[:, :, half:].mean(axis=(1, 2)), grey[:, :, :half].mean(axis=(1, 2))
        lower, upper = grey[:, half:].mean(axis=(1, 2)), grey[:, :half].mean(axis=(1, 2))
        columns = [np.full(len(grey), self.slant), right - left, left - right, lower - upper, upper - lower]
        logits = np.stack(columns, axis=1).astype(np.float32)
        return BackendAnswer(logits, logits[:, :2].copy())


def pictures(seed: int, count: int) -> UInt8:
    """Noise with one brighter quarter, by very different amounts."""
    random = np.random.default_rng(seed)
    made = random.integers(0, 60, (count, SIDE, SIDE, 3))
    for picture, (top, left) in zip(made, 4 * random.integers(0, 2, (count, 2)), strict=True):
        picture[top : top + 4, left : left + 4] += random.integers(0, 190)
    return made.astype(np.uint8)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 13), limit=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_each_picture_gets_the_answer_it_gets_alone(seed: int, count: int, limit: float) -> None:
    """Were the views of open pictures put back in another order, some would get the views of others."""
    together, backend = pictures(seed, count), Halves()
    answers = ask(backend, together, VIEWS, limit, 4)
    alone = joined([ask(Halves(), together[row : row + 1], VIEWS, limit, 4) for row in range(count)])
    assert answers.logits == pytest.approx(alone.logits, abs=1e-5)
    assert answers.embedding == pytest.approx(alone.embedding, abs=1e-5)
    full = ask(Halves(), together, VIEWS, None, 4)
    asked_once = (answers.logits == answers.logits[:, :1]).all(axis=(1, 2))
    assert answers.logits[~asked_once] == pytest.approx(full.logits[~asked_once], abs=1e-5)
    assert np.array_equal(answers.single, full.single)
    assert max(backend.batches[1:], default=0) <= 4


def test_a_sure_picture_is_asked_once_and_an_open_one_in_every_view() -> None:
    sure, open_ = np.full((3, SIDE, SIDE, 3), 9, np.uint8), pictures(1, 2)
    backend = Halves(slant=9.0)
    ask(backend, sure, VIEWS, 0.01, 4)
    assert backend.batches == [3]
    backend = Halves(slant=0.0)
    ask(backend, open_, VIEWS, 1e-9, 8)
    assert backend.batches == [2, 6]
    backend = Halves()
    ask(backend, sure, VIEWS, None, 8)
    assert backend.batches == [3] * 4


@pytest.mark.parametrize("limit", [None, 0.5])
def test_numbers_that_are_not_finite_settle_nothing(limit: float | None) -> None:
    with pytest.raises(ModelError, match="numbers that are not finite"):
        ask(Halves(slant=float("nan")), pictures(0, 2), VIEWS, limit, 4)


def test_the_first_view_is_the_untouched_picture() -> None:
    assert VIEWS[0] == (View(0, False), tuple(range(5)))
