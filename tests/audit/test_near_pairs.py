"""The pairs that a tree and tiles find are those that comparing all with all finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.audit import near_pairs as module
from frame_vit.audit.near_pairs import main_directions, near_pairs
from frame_vit.images.pixel_array import Float32

Found = set[tuple[int, int]]


def normalised(prints: np.ndarray) -> Float32:
    """(N, D) of mean 0 and mean square 1, as fingerprints are."""
    centred = prints - prints.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True)), np.float32)


def like_frames(count: int, seed: int, copies: float = 0.1) -> Float32:
    """Fingerprints of pictures that differ in a few ways and by some noise; a share of them is a copy of another."""
    random = np.random.default_rng(seed)
    ways = random.normal(size=(6, 256)) * np.array([4, 3, 1, 1, 0.5, 0.5])[:, None]
    prints = random.uniform(-1, 1, (count, 6)) @ ways + 0.3 * random.normal(size=(count, 256))
    copied = random.random(count) < copies
    prints[copied] = prints[random.integers(0, count, copied.sum())]
    return normalised(prints + random.exponential(0.05, (count, 1)) * random.normal(size=(count, 256)))


def found(prints: Float32, viewed: Float32, limit: float) -> dict[tuple[int, int], float]:
    rows: list[int] = []
    pairs: dict[tuple[int, int], float] = {}
    for one, other, distance in near_pairs(prints, viewed, main_directions(prints), limit, rows.append):
        pairs |= zip(zip(one.tolist(), other.tolist(), strict=True), distance.tolist(), strict=True)
    assert sum(rows) == len(prints)
    return pairs


def by_comparing_all(prints: Float32, viewed: Float32, limit: float) -> tuple[Found, Found]:
    """The pairs that are certainly within the limit, and those that may be, but for rounding."""
    sure: Found = set()
    possible: Found = set()
    for start in range(0, len(prints), 1000):
        cosines = prints[start : start + 1000] @ viewed.T / prints.shape[1]
        distance = np.sqrt(np.maximum(2 - 2 * cosines, 0))
        for pairs, most in ((sure, limit - 2e-3), (possible, limit + 2e-3)):
            one, other = np.nonzero(distance < most)
            pairs |= {(i, j) for i, j in zip((one + start).tolist(), other.tolist(), strict=True) if i < j}
    return sure, possible


def mirrored(prints: Float32) -> Float32:
    return np.ascontiguousarray(prints.reshape(-1, 16, 16)[:, :, ::-1]).reshape(prints.shape)


def same_pairs(prints: Float32, viewed: Float32, limit: float) -> int:
    pairs = found(prints, viewed, limit)
    sure, possible = by_comparing_all(prints, viewed, limit)
    assert sure <= {*pairs} <= possible
    for (one, other), distance in pairs.items():
        assert distance == pytest.approx(np.sqrt(np.square(prints[one] - viewed[other]).mean()), abs=2e-3)
    return len(sure)


@pytest.mark.parametrize("masses", [False, True], ids=["tree", "tiles"])
def test_of_ten_thousand_all_pairs_are_found(masses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_are_masses", lambda *_: masses)
    prints = like_frames(10_000, 0)
    assert same_pairs(prints, prints, 0.1) > 300


@pytest.mark.parametrize("masses", [False, True], ids=["tree", "tiles"])
@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 120), seed=st.integers(0, 10_000), limit=st.floats(0.01, 1.9), view=st.booleans())
def test_of_any_fingerprints_all_pairs_are_found(masses: bool, count: int, seed: int, limit: float, view: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_are_masses", lambda *_: masses)
        for name, size in (("ROWS", 7), ("TILE", 5), ("LISTED", 4), ("BLOCK", 3)):
            patch.setattr(module, name, size)
        prints = like_frames(count, seed, copies=0.5)
        same_pairs(prints, mirrored(prints) if view else prints, limit)


def test_masses_of_copies_are_compared_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pairs of a tree they would need memory for each."""
    monkeypatch.setattr(module, "_measured", None)
    prints = normalised(like_frames(1, 0) + 0.01 * np.random.default_rng(1).normal(size=(400, 256)))
    assert len(found(prints, prints, 0.1)) == 400 * 399 // 2


def test_ordinary_pictures_are_not_compared_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_by_tiles", None)
    prints = like_frames(3000, 0, copies=0)
    assert len(found(prints, prints, 0.1)) < 30
