"""Nearly the same pictures, as they are and in the declared views."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.audit import near_duplicates, near_pairs
from frame_vit.audit.near_duplicates import NearDuplicate, NearDuplicates, find_near_duplicates
from frame_vit.data import demo
from frame_vit.data.examples import Example
from frame_vit.images.geometry import View
from frame_vit.images.measures import measure
from frame_vit.images.pixel_array import Float32, PixelArray
from frame_vit.labels import LabelledView, LabelSpace

SPACE = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
SQUARE = LabelSpace.build(
    ["passed", "right", "left", "down", "up"],
    ["passed"],
    {
        "hflip": {"right": "left", "left": "right"},
        "rot90": {"right": "up", "up": "left", "left": "down", "down": "right"},
    },
)


def example(label: int, seal: str) -> Example:
    return Example(seal, label, (), 8, 8, "", bytes, seal)


def fingerprints(*pictures: np.ndarray) -> Float32:
    return measure([PixelArray.of(np.stack(pictures).astype(np.uint8))]).fingerprints


def picture(seed: int) -> np.ndarray:
    """Light and dark at random, in fields of four pixels."""
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 1), np.uint8).repeat(4, 0).repeat(4, 1).repeat(3, 2)


def turned(array: np.ndarray, view: View) -> np.ndarray:
    array = np.rot90(array, view.turns)
    return array[:, ::-1] if view.mirror else array


@pytest.mark.parametrize("view", SQUARE.group(), ids=lambda view: view.view.name)
def test_a_copy_is_found_in_every_declared_view_with_the_label_it_then_has(view: LabelledView) -> None:
    seen, classes = view
    original = picture(1)
    rows = [example(1, "a"), example(3, "b"), example(classes[1], "c")]
    result = find_near_duplicates(
        rows, [0, 0, 1], fingerprints(original, picture(2), turned(original, seen)), SQUARE.group(), 0.1
    )
    assert {row: other.row for row, other in result.across.items()} == {0: 2}
    assert result.held == {2}
    assert result.unfit == {}
    wrong = [example(1, "a"), example(3, "b"), example((classes[1] + 1) % 5, "c")]
    result = find_near_duplicates(
        wrong, [0, 0, 1], fingerprints(original, picture(2), turned(original, seen)), SQUARE.group(), 0.1
    )
    assert {row: other.row for row, other in result.unfit.items()} == {0: 2, 2: 0}


def test_views_that_are_not_declared_are_not_compared() -> None:
    original = picture(1)
    rows = [example(1, "a"), example(2, "b")]
    result = find_near_duplicates(rows, [0, 1], fingerprints(original, original[:, ::-1]), SPACE.group(["vflip"]), 0.1)
    assert result == NearDuplicates()


def test_the_very_same_pixels_and_flat_pictures_are_not_counted() -> None:
    flat = np.full((64, 64, 3), 90)
    rows = [example(0, "same"), example(1, "same"), example(0, "x"), example(1, "y")]
    result = find_near_duplicates(
        rows, [0, 1, 0, 1], fingerprints(picture(1), picture(1), flat, flat), SPACE.group(), 0.1
    )
    assert result == NearDuplicates()


def test_the_nearest_is_named_with_its_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the pictures lie in different tiles."""
    monkeypatch.setattr(near_pairs, "TILE", 2)
    monkeypatch.setattr(near_pairs, "_are_masses", lambda *_: True)
    random = np.random.default_rng(0)
    base = picture(1).astype(float)
    noisy = [base, base + random.normal(0, 8, base.shape), base + random.normal(0, 2, base.shape)]
    others = [picture(seed) for seed in range(2, 9)]
    rows = [example(0, str(i)) for i in range(10)]
    sides = [0, 1, 1, *[0] * 7]
    result = find_near_duplicates(
        rows, sides, fingerprints(*(p.clip(0, 255) for p in noisy), *others), SPACE.group(), 0.2
    )
    assert {row: other.row for row, other in result.across.items()} == {0: 2}
    assert result.held == {1, 2}
    assert 0 < result.across[0].distance < 0.05
    assert result.within == 1


def test_every_row_of_the_lower_split_gets_its_twin_in_a_higher_one() -> None:
    """A chain: train, like val, like test. Leaving out what is listed leaves no leak."""
    random = np.random.default_rng(0)
    base = picture(1).astype(float)
    chain = [base, base + random.normal(0, 4, base.shape), base + random.normal(0, 8, base.shape)]
    rows = [example(0, str(i)) for i in range(3)]
    result = find_near_duplicates(rows, [0, 1, 3], fingerprints(*(p.clip(0, 255) for p in chain)), SPACE.group(), 0.2)
    assert {row: other.row for row, other in result.across.items()} == {0: 1, 1: 2}
    assert result.held == {1, 2}


def test_of_the_same_pixels_the_row_in_the_test_stands_for_all() -> None:
    base = picture(1).astype(float)
    near = (base + np.random.default_rng(0).normal(0, 4, base.shape)).clip(0, 255)
    rows = [example(0, "same"), example(0, "same"), example(0, "near")]
    result = find_near_duplicates(rows, [0, 3, 0], fingerprints(base, base, near), SPACE.group(), 0.2)
    assert {row: other.row for row, other in result.across.items()} == {2: 1}


def test_masses_of_copies_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_pairs, "TILE", 16)
    monkeypatch.setattr(near_pairs, "_are_masses", lambda *_: True)
    monkeypatch.setattr(near_duplicates, "MANY", 5)
    random = np.random.default_rng(0)
    base = picture(1).astype(float)
    copies = [(base + random.normal(0, 2, base.shape)).clip(0, 255) for _ in range(60)]
    rows = [example(0, str(i)) for i in range(60)]
    result = find_near_duplicates(rows, [0] * 50 + [3] * 10, fingerprints(*copies), SPACE.group(), 0.2)
    assert {*result.across} == {*range(50)}
    assert result.held == {*range(50, 60)}
    assert result.within == 50 * 49 // 2 + 10 * 9 // 2


def by_comparing_all(
    rows: list[Example], ranks: list[int], prints: Float32, views: Sequence[LabelledView], limit: float
) -> NearDuplicates:
    """What is to be found, one pair after the other."""
    found, pairs = NearDuplicates(), 0
    stands_for = {row.seal: max((r for r in range(len(rows)) if rows[r].seal == row.seal), key=lambda r: (ranks[r], -r))
                  for row in rows}  # fmt: skip
    kept = sorted(row for row in stands_for.values() if prints[row].any())
    for (view, classes), one, other in itertools.product(views, kept, kept):
        seen = prints[other].reshape(16, 16)
        seen = np.rot90(seen, view.turns)[:, ::-1] if view.mirror else np.rot90(seen, view.turns)
        distance = float(np.sqrt(np.square(prints[one] - seen.ravel()).mean()))
        if one >= other or distance > limit:
            continue
        pairs += view.name == "identity"
        found.within += ranks[one] == ranks[other]
        low, high = sorted((one, other), key=lambda row: ranks[row])
        unfit = rows[one].label != classes[rows[other].label]
        if ranks[low] < ranks[high]:
            found.held.add(high)
            keep(found.across, low, NearDuplicate(high, distance, view.name))
        for row, near in ((one, other), (other, one)) if unfit else ():
            keep(found.unfit, row, NearDuplicate(near, distance, view.name))
    return found


def keep(nearest: dict[int, NearDuplicate], row: int, near: NearDuplicate) -> None:
    if row not in nearest or near.distance < nearest[row].distance:
        nearest[row] = near


@pytest.mark.parametrize("masses", [False, True], ids=["tree", "tiles"])
@settings(deadline=None, max_examples=30)
@given(count=st.integers(0, 25), seed=st.integers(0, 10_000))
def test_any_rows_give_what_comparing_one_by_one_gives(masses: bool, count: int, seed: int) -> None:
    random, views = np.random.default_rng(seed), SQUARE.group()
    ways, spread = random.normal(size=(4, 256)), random.choice([0.02, 0.5], (count, 1))
    drawn = ways[random.integers(0, 4, count)] + spread * random.normal(size=(count, 256))
    drawn /= np.sqrt(np.square(drawn).mean(axis=1, keepdims=True))
    prints = np.zeros((count, 256), np.float32)
    for drawn_row in np.flatnonzero(random.random(count) > 0.1):  # the others are flat
        prints[drawn_row] = turned(drawn[drawn_row].reshape(16, 16), views[random.integers(0, len(views))].view).ravel()
    rows = [example(int(random.integers(0, 5)), str(random.integers(0, 2 * count + 1))) for _ in range(count)]
    for row in range(count):  # rows of the same pixels have the same fingerprint
        prints[row] = prints[next(other for other in range(count) if rows[other].seal == rows[row].seal)]
    ranks = random.integers(0, 3, count).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_pairs, "_are_masses", lambda *_: masses)
        patch.setattr(near_duplicates, "MANY", 3 if masses else 10**6)
        found = find_near_duplicates(rows, ranks, prints, views, 0.3)
    expected = by_comparing_all(rows, ranks, prints, views, 0.3)
    assert (found.held, found.within) == (expected.held, expected.within)
    for ours, theirs in ((found.across, expected.across), (found.unfit, expected.unfit)):
        assert ours.keys() == theirs.keys()
        for row, near in ours.items():  # of two that are equally near, either may be named
            assert near.distance == pytest.approx(theirs[row].distance, abs=1e-3)


@pytest.mark.parametrize(
    ("nearest", "crowded"),
    [
        ([0.5, 0.6, 0.7], False),
        ([0.05, 0.06, 0.5, 0.6], False),
        ([0.05, 0.095, 0.11, 0.12, 0.13], True),
        ([0.05, 0.06, 0.11, 0.12, 0.13], False),
        ([0.05, 0.07, 0.08, 0.09, 0.11, 0.12], False),
    ],
    ids=["none", "apart", "running on", "a gap", "more within than beyond"],
)
def test_neighbours_are_no_copies_where_distances_run_on(nearest: list[float], crowded: bool) -> None:
    assert near_duplicates._crowded(np.array(nearest), 0.1) is crowded
