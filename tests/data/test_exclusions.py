"""Rows that a person left out: by key, listed, counted, and never others."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.data.exclusions import apply_exclusions
from frame_vit.data.sources import RawRow, RawSplit
from frame_vit.errors import UsageError


def raw() -> dict[str, RawSplit]:
    return {
        name: RawSplit(f"{name}-set", "train", "label", [RawRow(f"row {i}", "a", bytes) for i in range(4)])
        for name in ("train", "test")
    }


def keys(split: RawSplit) -> list[str]:
    return [row.key for row in split.rows]


def test_without_a_file_nothing_is_left_out() -> None:
    splits = raw()
    assert apply_exclusions(splits, None) == (splits, [])


def test_rows_are_left_out_by_key_and_source(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("source,key,reason\ntrain-set,row 1,blurred\n,row 3,double\n")
    kept, gone = apply_exclusions(raw(), str(tmp_path / "x.csv"))
    assert keys(kept["train"]) == ["row 0", "row 2"]
    assert keys(kept["test"]) == ["row 0", "row 1", "row 2"]
    assert [exclusion[:2] for exclusion in gone] == [
        ("train-set", "row 1"),
        ("train-set", "row 3"),
        ("test-set", "row 3"),
    ]
    assert [exclusion.reason for exclusion in gone] == ["blurred", "double", "double"]


def test_what_is_listed_and_not_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x.csv").write_text("\ufeffkey\nrow 9\nrow 1\n", encoding="utf-8")
    _, gone = apply_exclusions(raw(), str(tmp_path / "x.csv"))
    assert "lists 1 rows that are not in the data: row 9" in caplog.text
    assert len(gone) == 2


@pytest.mark.parametrize(("text", "said"), [("name\nrow 1\n", "no column key; it has name"), ("", "it has no columns")])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        apply_exclusions(raw(), str(tmp_path / "x.csv"))
    with pytest.raises(UsageError, match="cannot be read"):
        apply_exclusions(raw(), str(tmp_path / "not there.csv"))
