"""Pictures out of distribution are flagged, others are not, and false alarms are as rare as promised."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from frame_vit.data import demo
from frame_vit.decision.novelty import (
    KEPT,
    NoveltyReference,
    PictureFeatures,
    distances,
    novelty_flags,
    novelty_reference,
    packed,
    sample_rows,
    unpacked,
)
from frame_vit.model.metadata import read_metadata
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.load import PredictorOptions, load_predictor


def features(count: int, seed: int = 0, **changed: object) -> PictureFeatures:
    random = np.random.default_rng(seed)
    values = {name: random.normal(100, 10, count).astype(np.float32) for name in ("light", "contrast", "sharpness")}
    columns: dict[str, object] = {"width": [160] * count, "height": [120] * count, "modes": ["RGB"] * count, **values}
    return PictureFeatures(**(columns | changed))  # type: ignore[arg-type]


def reference(count: int = 50, mode: str = "review") -> NoveltyReference:
    vectors = np.random.default_rng(5).normal(0, 1, (count, 8)).astype(np.float32) + 5
    return novelty_reference(features(count), np.linspace(0, 0.2, count, dtype=np.float32), vectors, mode)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"width": [161]}, "size"),
        ({"height": [60], "width": [80]}, "size"),
        ({"modes": ["CMYK"]}, "mode"),
        ({"light": np.array([5], np.float32)}, "light"),
        ({"contrast": np.array([500], np.float32)}, "contrast"),
        ({"sharpness": np.array([0], np.float32)}, "sharpness"),
        ({"distance": np.array([0.5], np.float32)}, "distance"),
    ],
)
def test_each_thing_is_flagged_by_its_name_and_told_with_both_numbers(changed: dict[str, object], name: str) -> None:
    (flags,) = novelty_flags(features(1, 7, **changed), reference())
    assert set(flags) == {name}
    assert "in training" in flags[name]


def test_a_picture_like_the_others_is_not_flagged_nor_is_any_where_nothing_is_reference() -> None:
    assert novelty_flags(features(1, light=np.array([100], np.float32)), reference()) == [{}]
    assert novelty_flags(features(3, light=np.zeros(3, np.float32)), None) == [{}, {}, {}]


def test_new_pictures_of_the_same_kind_are_flagged_as_seldom_as_is_promised() -> None:
    """Beyond the smallest or largest of n: 2 in n + 1; the slack makes it fewer."""
    n, fresh, shares = 40, 400, []
    for seed in range(200):
        stored = novelty_reference(features(n, seed), None, None, "review")
        flagged = novelty_flags(features(fresh, 1000 + seed), stored)
        shares.append(sum("light" in flags for flags in flagged) / fresh)
    assert 0 < np.mean(shares) < 2 / (n + 1)


def test_the_nearest_of_the_kept_counts_and_length_does_not() -> None:
    kept = np.eye(3, dtype=np.float32)
    nearest = distances(np.array([[5, 0, 0], [0, -1, 0], [1, 1, 0]], np.float32), kept)
    assert nearest is not None
    assert nearest == pytest.approx([0, 1, 1 - 1 / np.sqrt(2)], abs=1e-6)
    assert distances(None, kept) is None


@given(st.integers(0, 3000), st.integers(1, KEPT))
def test_some_rows_are_different_rows_in_order_and_always_the_same(count: int, kept: int) -> None:
    rows = sample_rows(count, kept)
    assert len(set(rows)) == min(count, kept)
    assert rows == sorted(rows) == sample_rows(count, kept)
    assert set(rows) <= set(range(count))


def test_no_class_is_left_out_where_classes_alternate() -> None:
    counts = np.bincount([row % 5 for row in sample_rows(500, 200)], minlength=5)
    assert counts.min() > 25


def test_what_is_stored_comes_back() -> None:
    stored = reference()
    assert stored.embeddings is not None
    embeddings = unpacked(packed(stored.embeddings))
    assert np.abs(embeddings - stored.embeddings).max() < 0.01
    again = NoveltyReference.from_json(stored.to_json(), embeddings)
    assert (again.ranges, again.modes, again.n) == (stored.ranges, stored.modes, stored.n)
    assert NoveltyReference.from_json(stored.to_json(), None).ranges == stored.ranges


def test_switched_off_nothing_is_flagged_and_all_is_kept() -> None:
    stored = reference(mode="off")
    assert novelty_flags(features(1, light=np.zeros(1, np.float32)), stored) == [{}]
    assert stored.ranges == reference().ranges


def test_a_training_stores_what_its_pictures_were_like_and_flags_none_of_them(trained: Path) -> None:
    model = trained / "runs" / "tiny-001" / "model"
    stored = read_metadata(model).novelty
    assert stored is not None
    assert stored.n == 50
    assert stored.embeddings is not None
    assert stored.embeddings.shape == (40, 16)
    assert set(stored.ranges) == {"width", "height", "aspect", "light", "contrast", "sharpness", "distance"}
    predictor = load_predictor(str(model), PredictorOptions(backend="torch", device="cpu", precision="fp32"))
    frames = [Input(str(i), lambda f=f: demo.jpeg(f)) for i, f in enumerate(demo.frames(50, 0))]  # type: ignore[misc]
    rows = list(predictor.predict(frames))
    assert [row.status for row in rows] == ["ok"] * 50
    assert sum(bool(row.flags) for row in rows) == 0
    dark = Input("dark", lambda: _darkened(demo.jpeg(demo.frames(1, 0)[0])))
    assert next(predictor.predict([dark])).flags[:1] == ("light",)


def _darkened(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).point(lambda level: level // 8).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_equal_to_a_training_picture_is_at_no_distance_and_is_not_flagged() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 48)).astype(np.float32)
    own = distances(vectors, vectors)
    assert own is not None
    assert own.min() >= 0
    assert own.max() < 1e-5
