"""Holding out: every class in its proportion, by a seed, nothing lost and nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.config.schema import DataConfig
from frame_vit.data.examples import Example, Split
from frame_vit.data.rows import Marks, RawRow, RawSplit
from frame_vit.data.splits import SplitChoice, apply_exclusions, divide, hold_out, joined
from frame_vit.errors import DataError, UsageError
from frame_vit.images.pixel_array import PixelArray
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
    examples = [Example(f"row-{i}", label, (), 1, 1, str(i), bytes, seal=str(i)) for i, label in enumerate(labels)]
    return Split(
        "train", examples, PixelArray.of(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, 3))
    )


def grouped(*rows: tuple[int, str, str]) -> Split:
    """One example a (label, group, seal)."""
    examples = [
        Example(f"row-{i}", label, (), 1, 1, str(i), bytes, seal or f"own-{i}", Marks(group))
        for i, (label, group, seal) in enumerate(rows)
    ]
    return Split(
        "train", examples, PixelArray.of(np.arange(len(rows), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, 3))
    )


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


class TestGroups:
    def test_a_group_is_never_divided(self) -> None:
        whole = grouped(*((label, f"lot{lot}", "") for lot in range(20) for label in (0, 1) for _ in range(5)))
        for seed in range(10):
            kept, held = hold_out(whole, 0.2, seed, "val", SPACE)
            assert not {e.marks.group for e in kept.examples} & {e.marks.group for e in held.examples}
            assert held.counts(2) == [20, 20]
            assert len(kept) + len(held) == len(whole)

    def test_the_same_picture_in_several_rows_is_never_divided(self) -> None:
        whole = grouped(*((i % 2, "", f"picture {i // 4 * 2 + i % 2}") for i in range(80)))
        for seed in range(10):
            kept, held = hold_out(whole, 0.25, seed, "val", SPACE)
            assert not {e.seal for e in kept.examples} & {e.seal for e in held.examples}
            assert len(held) == 20

    def test_without_groups_and_doubles_the_division_is_what_it_was(self) -> None:
        """A seed must go on giving the same division in later versions: this one is from version 0.1.0."""
        _, held = hold_out(split_of(10, 10), 0.2, 7, "val", SPACE)
        assert keys(held) == ["row-8", "row-12", "row-15", "row-17"]

    def test_the_same_seed_gives_the_same_division_and_another_another(self) -> None:
        whole = grouped(*((i % 2, f"g{i // 2}", "") for i in range(60)))
        first = keys(hold_out(whole, 0.2, 1, "val", SPACE)[1])
        assert keys(hold_out(whole, 0.2, 1, "val", SPACE)[1]) == first
        assert keys(hold_out(whole, 0.2, 2, "val", SPACE)[1]) != first

    def test_too_few_groups_are_refused_with_the_number_needed(self) -> None:
        whole = grouped(*((label, f"g{label}", "") for label in (0, 1) for _ in range(20)), (0, "g2", ""))
        with pytest.raises(
            DataError, match="too few groups to hold out 20% of train as val: every class needs 2; 'Xplus' has 1"
        ):
            hold_out(whole, 0.2, 0, "val", SPACE)

    def test_a_share_that_groups_do_not_give_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        whole = grouped(*((label, f"g{lot}", "") for lot in range(2) for label in (0, 1) for _ in range(5)))
        kept, held = hold_out(whole, 0.2, 0, "val", SPACE)
        assert (len(kept), len(held)) == (10, 10)
        assert "val has 50 % of the pictures instead of 20 %" in caplog.text

    @given(
        rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh"), st.just("")), min_size=4, max_size=60),
        fraction=st.floats(0.1, 0.9),
    )
    @settings(deadline=None, max_examples=60)
    def test_whatever_the_groups_nothing_is_lost_and_every_class_is_on_both_sides(
        self, rows: list[tuple[int, str, str]], fraction: float
    ) -> None:
        whole = grouped(*rows)
        try:
            kept, held = hold_out(whole, fraction, 0, "val", SPACE)
        except DataError:
            return
        assert sorted(keys(kept) + keys(held)) == sorted(keys(whole))
        assert not {e.marks.group for e in kept.examples} & {e.marks.group for e in held.examples}
        assert {*kept.labels.tolist()} == {*held.labels.tolist()} == {*whole.labels.tolist()}


class TestDivide:
    def test_shares_are_of_the_whole(self) -> None:
        data = DataConfig(test_fraction=0.2, val_fraction=0.2, calibration_fraction=0.1)
        divided = divide({"train": split_of(100, 50)}, data, SPACE)
        assert {name: len(split) for name, split in divided.items()} == {
            "train": 75,
            "val": 30,
            "calibration": 15,
            "test": 30,
        }
        assert [*divided] == ["train", "val", "calibration", "test"]

    def test_splits_that_are_given_are_not_touched(self) -> None:
        test = split_of(3, 4)
        divided = divide({"train": split_of(20, 20), "test": test}, DataConfig(), SPACE)
        assert divided["test"] is test
        assert (len(divided["train"]), len(divided["val"])) == (32, 8)

    def test_a_division_that_was_written_down_comes_back(self, tmp_path: Path) -> None:
        first = divide({"train": split_of(20, 20)}, DataConfig(seed=5, calibration_fraction=0.1), SPACE)
        file = written(tmp_path, first)
        again = divide({"train": split_of(20, 20)}, DataConfig(seed=99, splits=str(file)), SPACE)
        assert {name: keys(split) for name, split in again.items()} == {n: keys(s) for n, s in first.items()}

    def test_a_division_of_other_data_is_refused_row_by_row(self, tmp_path: Path) -> None:
        file = written(tmp_path, divide({"train": split_of(10, 10)}, DataConfig(), SPACE))
        whole = split_of(10, 11)
        whole.examples[3] = replace(whole.examples[3], digest="another")
        with pytest.raises(DataError) as caught:
            divide({"train": whole}, DataConfig(splits=str(file)), SPACE)
        assert "row-20 is new, row-3 has another picture" in caught.value.message
        with pytest.raises(DataError, match="row-19 is gone"):
            divide({"train": split_of(10, 9)}, DataConfig(splits=str(file)), SPACE)

    @pytest.mark.parametrize("content", ["", "{}", "[]", '{"splits": 3}', '{"splits": {"train": [{"key": "a"}]}}'])
    def test_what_is_no_manifest_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "m.json").write_text(content)
        with pytest.raises(UsageError, match=r"m\.json is not a manifest\.json of framevit prepare"):
            divide({"train": split_of(10, 10)}, DataConfig(splits=str(tmp_path / "m.json")), SPACE)


def written(folder: Path, splits: dict[str, Split]) -> Path:
    """The part of a manifest that says how the data was divided."""
    rows = {name: [{"key": e.key, "sha256": e.digest} for e in split.examples] for name, split in splits.items()}
    (folder / "manifest.json").write_text(json.dumps({"splits": rows}))
    return folder / "manifest.json"


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from("pqrst")), max_size=12))
def test_rows_are_joined_exactly_where_a_chain_of_groups_and_pictures_leads(rows: list[tuple[str, str]]) -> None:
    numbers = joined([group for group, _ in rows], [digest for _, digest in rows])
    reach = [{i} for i in range(len(rows))]
    for _ in rows:
        for i, (group, digest) in enumerate(rows):
            for j, (other, picture) in enumerate(rows):
                if digest == picture or (group and group == other):
                    reach[i] |= reach[j]
    for i in range(len(rows)):
        for j in range(len(rows)):
            assert (numbers[i] == numbers[j]) == (j in reach[i])


# Rows that a person left out: by key, listed, counted, and never others


def raw_splits() -> dict[str, RawSplit]:
    return {
        name: RawSplit(f"{name}-set", "train", "label", [RawRow(f"row {i}", "a", bytes) for i in range(4)])
        for name in ("train", "test")
    }


def raw_keys(split: RawSplit) -> list[str]:
    return [row.key for row in split.rows]


def test_without_a_file_nothing_is_left_out() -> None:
    splits = raw_splits()
    assert apply_exclusions(splits, None) == (splits, [])


def test_rows_are_left_out_by_key_and_source(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("source,key,reason\ntrain-set,row 1,blurred\n,row 3,double\n")
    kept, gone = apply_exclusions(raw_splits(), str(tmp_path / "x.csv"))
    assert raw_keys(kept["train"]) == ["row 0", "row 2"]
    assert raw_keys(kept["test"]) == ["row 0", "row 1", "row 2"]
    assert [exclusion[:2] for exclusion in gone] == [
        ("train-set", "row 1"),
        ("train-set", "row 3"),
        ("test-set", "row 3"),
    ]
    assert [exclusion.reason for exclusion in gone] == ["blurred", "double", "double"]


def test_what_is_listed_and_not_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x.csv").write_text("\ufeffkey\nrow 9\nrow 1\n", encoding="utf-8")
    _, gone = apply_exclusions(raw_splits(), str(tmp_path / "x.csv"))
    assert "lists 1 rows that are not in the data: row 9" in caplog.text
    assert len(gone) == 2


@pytest.mark.parametrize(("text", "said"), [("name\nrow 1\n", "no column key; it has name"), ("", "it has no columns")])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        apply_exclusions(raw_splits(), str(tmp_path / "x.csv"))
    with pytest.raises(UsageError, match="cannot be read"):
        apply_exclusions(raw_splits(), str(tmp_path / "not there.csv"))


# One split of another data set


def named(*names: str) -> list[RawSplit]:
    return [RawSplit("s", name, "label", []) for name in names]


@pytest.mark.parametrize(
    ("splits", "choice", "chosen"),
    [
        (("train",), SplitChoice("s"), ["train"]),
        (("train",), SplitChoice("s", "test"), ["train"]),
        (("train", "test"), SplitChoice("s"), ["test"]),
        (("train", "testing"), SplitChoice("s"), ["testing"]),
        (("train", "valid"), SplitChoice("s", "val"), ["valid"]),
        (("train", "extra"), SplitChoice("s", "extra"), ["extra"]),
        (("train", "test"), SplitChoice("s", "all"), ["train", "test"]),
        (("train", "val", "calibration"), SplitChoice("s", None, ("calibration", "val")), ["calibration"]),
    ],
)
def test_the_test_split_is_taken_unless_another_is_named(
    splits: tuple[str, ...], choice: SplitChoice, chosen: list[str]
) -> None:
    assert [split.name for split in choice.among(named(*splits))] == chosen


@pytest.mark.parametrize(
    ("splits", "choice", "said"),
    [
        (("train", "val"), SplitChoice("s"), "there is no split 'test'; the splits are train, val"),
        (("train",), SplitChoice("s", "val"), "there is no split 'val'; the splits are train"),
        (("valid", "dev"), SplitChoice("s", "val"), "there is no split 'val'; the splits are valid, dev"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused_with_the_splits(
    splits: tuple[str, ...], choice: SplitChoice, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        choice.among(named(*splits))
