"""The table of all usable rows, and what it says about one of them."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.audit.table import CheckResult, Table, rank
from frame_vit.data.dataset import Dataset, Origin
from frame_vit.data.examples import Example, Split
from frame_vit.findings import Row
from frame_vit.images.pixel_array import PixelArray
from frame_vit.labels import LabelSpace


def split(name: str, *keys: str) -> Split:
    examples = [Example(key, 0, (), 8, 8, "", bytes) for key in keys]
    return Split(name, examples, PixelArray.of(np.zeros((len(keys), 1, 1, 3), np.uint8)))


@pytest.fixture
def table() -> Table:
    splits = {"train": split("train", "a", "b"), "val": split("val", "c"), "test": split("test", "d")}
    sources = {"train": Origin("frames", "train"), "test": Origin("other", "all")}
    return Table.of(Dataset(LabelSpace.build(["x", "y"]), splits, [], sources, {}))


def test_rows_come_split_after_split_with_the_source_they_were_read_from(table: Table) -> None:
    assert [example.key for example in table.examples] == ["a", "b", "c", "d"]
    assert table.splits == ["train", "train", "val", "test"]
    assert table.sources == ["frames", "frames", "frames", "other"], "val was held out of train"


def test_a_row_of_a_finding_names_the_row_that_it_is_a_duplicate_of(table: Table) -> None:
    assert table.row(0) == Row("train", "a", "", "frames")
    assert table.row(1, "is also test, d", 3) == Row("train", "b", "is also test, d", "frames", ("test", "d"))
    assert table.name(3) == "test, d"


def test_a_test_is_left_untouched_before_all_others() -> None:
    assert sorted(["test", "train", "calibration", "val"], key=rank) == ["train", "val", "calibration", "test"]
    assert rank("data-elsewhere") == rank("train")


def test_a_result_counts_its_rows_or_else_its_things() -> None:
    assert CheckResult("FV301").count == 0
    assert CheckResult("FV301", [Row("train", "a")], number=9).count == 1
    assert CheckResult("FV402", number=3).count == 3
