"""Holding out: every class in its proportion, by a seed, nothing lost and nothing twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.data.cache import Rows
from frame_vit.data.examples import Example, Split
from frame_vit.data.splits import hold_out
from frame_vit.errors import DataError
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["passed", "Xplus", "Xminus", "Yplus", "Yminus"])


def split_of(*counts: int) -> Split:
    """So many examples of each class, in turn; the pixels of each are its number."""
    left = list(counts)
    labels = []
    while any(left):
        for label, n in enumerate(left):
            if n:
                labels.append(label)
                left[label] -= 1
    examples = [Example(f"row-{i}", label, (), 1, 1, str(i), bytes) for i, label in enumerate(labels)]
    return Split("train", examples, Rows.of(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, 3)))


def keys(split: Split) -> list[str]:
    return [example.key for example in split.examples]


def test_a_fifth_of_every_class_is_held_out() -> None:
    kept, held = hold_out(split_of(50, 10, 25), 0.2, 0, "val", SPACE)
    assert kept.counts(5) == [40, 8, 20, 0, 0]
    assert held.counts(5) == [10, 2, 5, 0, 0]
    assert (kept.name, held.name) == ("train", "val")


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    whole = split_of(20, 20)
    first = [keys(part) for part in hold_out(whole, 0.2, 3, "val", SPACE)]
    assert [keys(part) for part in hold_out(whole, 0.2, 3, "val", SPACE)] == first
    assert [keys(part) for part in hold_out(whole, 0.2, 4, "val", SPACE)] != first


def test_over_many_seeds_every_picture_is_held_out_about_as_often() -> None:
    whole = split_of(10, 10)
    times = Counter(key for seed in range(200) for key in keys(hold_out(whole, 0.2, seed, "val", SPACE)[1]))
    assert set(times) == set(keys(whole))
    # 200 draws with chance 1/5: 40 on average, a standard deviation of 5.7, and 20 pictures.
    assert all(15 <= n <= 65 for n in times.values())


def test_the_split_is_not_changed_and_its_pixels_go_along() -> None:
    whole = split_of(10, 10)
    before = keys(whole)
    for part in hold_out(whole, 0.3, 1, "test", SPACE):
        assert [f"row-{n}" for n in part.pixels[:][:, 0, 0, 0]] == keys(part)
        assert keys(part) == sorted(keys(part), key=before.index), "in the order of the source"
    assert keys(whole) == before


@given(
    extra=st.lists(st.integers(0, 40), min_size=2, max_size=5),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=80)
def test_where_it_is_not_refused_every_class_is_on_both_sides(extra: list[int], fraction: float, seed: int) -> None:
    whole = split_of(*(2 + n for n in extra))
    try:
        kept, held = hold_out(whole, fraction, seed, "val", SPACE)
    except DataError:
        assert min(extra) + 2 < 1 / min(fraction, 1 - fraction)
        return
    assert sorted(keys(kept) + keys(held)) == sorted(keys(whole))
    for side in (kept, held):
        assert min(side.counts(len(extra))) > 0
    assert abs(len(held) - fraction * len(whole)) <= 1


@pytest.mark.parametrize(
    ("counts", "fraction", "needed", "named"),
    [
        ((20, 4), 0.2, 5, "'Xplus' has 4"),
        ((1, 20, 3), 0.25, 4, "'passed' has 1, 'Xminus' has 3"),
        ((1, 1), 0.5, 2, "'passed' has 1, 'Xplus' has 1"),
        ((30, 9), 0.1, 10, "'Xplus' has 9"),
        ((3, 3), 0.7, 4, "'passed' has 3, 'Xplus' has 3"),
        ((), 0.2, 5, "there are none"),
    ],
)
def test_too_few_of_a_class_is_refused_with_the_number_needed(
    counts: tuple[int, ...], fraction: float, needed: int, named: str
) -> None:
    with pytest.raises(DataError) as caught:
        hold_out(split_of(*counts), fraction, 0, "val", SPACE)
    assert caught.value.message == (
        f"too few pictures to hold out {fraction:.0%} of train as val: every class needs {needed}; {named}"
    )
    assert "data.val_fraction" in caught.value.hint


@pytest.mark.parametrize(("count", "fraction"), [(5, 0.2), (10, 0.1), (4, 0.25), (2, 0.5), (5, 0.8)])
def test_exactly_as_many_as_needed_is_enough(count: int, fraction: float) -> None:
    kept, held = hold_out(split_of(count, count), fraction, 0, "val", SPACE)
    assert min(kept.counts(5)[:2]) >= 1 and min(held.counts(5)[:2]) >= 1


def test_a_larger_share_is_not_advised_where_it_would_not_help() -> None:
    with pytest.raises(DataError) as caught:
        hold_out(split_of(5, 5), 0.9, 0, "val", SPACE)
    assert "raise data.val_fraction" not in caught.value.hint
