"""A selection of rows of an array: the right rows, and nothing is read before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frame_vit.images.pixel_array import PixelArray


def numbered(count: int) -> np.ndarray:
    """`count` pictures of 2 x 3 pixels; all values of a picture are its number."""
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)


def test_all_rows_of_an_array_are_the_array() -> None:
    pictures = numbered(5)
    rows = PixelArray.of(pictures)
    assert len(rows) == 5
    assert np.array_equal(rows[:], pictures)


def test_rows_come_in_the_order_of_the_index() -> None:
    rows = PixelArray(numbered(9), np.array([7, 2, 2, 0]))
    assert len(rows) == 4
    assert rows[:].shape == (4, 2, 3, 3)
    assert rows[:][:, 0, 0, 0].tolist() == [7, 2, 2, 0]
    assert rows[1:3][:, 0, 0, 0].tolist() == [2, 2]
    assert rows[[3, 0]][:, 0, 0, 0].tolist() == [0, 7]


def test_a_selection_of_a_selection_reads_the_rows_of_the_first() -> None:
    first = PixelArray(numbered(9), np.array([8, 6, 4]))
    assert PixelArray(first, np.array([2, 0]))[:][:, 0, 0, 0].tolist() == [4, 8]


def test_rows_of_a_file_are_read_when_they_are_used(tmp_path: Path) -> None:
    numbered(4).tofile(tmp_path / "pixels")
    array = np.memmap(tmp_path / "pixels", np.uint8, "r+", shape=(4, 2, 3, 3))
    rows = PixelArray(array, np.array([3, 1]))
    array[1] = 99
    assert rows[:][:, 0, 0, 0].tolist() == [3, 99]
