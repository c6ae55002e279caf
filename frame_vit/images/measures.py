"""Light, contrast and sharpness of pictures, and a fingerprint to compare them with. The audit and novelty use them.

Everything is measured on the pixels at the model's size, so it describes what the model sees, not what the camera
stored. `measure` works in chunks on all cores: its memory grows by about a kilobyte for each picture, for the
fingerprint. This module knows no thresholds; it does not say which picture is dark.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from frame_vit.images.geometry import Area
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.system.progress import Tick, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frame_vit.images.pixel_array import PixelArray


CELLS = 16
"""Cells of a fingerprint along each side. The mean light of 16 x 16 cells shows a terminal that moved by a hundredth of
the picture; a hash of 8 x 8 bits does not."""
FINE = 64
"""Sharpness is measured at this size at most; on larger pictures it would measure the noise of the camera."""
CHUNK = 64
"""Pictures that one thread measures at a time."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as Pillow's conversion to grey."""


@dataclass(frozen=True)
class Measures:
    """The measures of N pictures; each (N,) float32, but for the fingerprints. Levels are grey levels, 0 to 255."""

    light: Float32
    """mean level"""
    contrast: Float32
    """standard deviation of the levels"""
    darkest: Float32
    """the level that 2 in 1,000 cells of the reduced picture lie below"""
    brightest: Float32
    """the level that 2 in 1,000 cells of the reduced picture lie above"""
    sharpness: Float32
    """deviation of the Laplacian, divided by that of the levels"""
    fingerprints: Float32
    """(N, CELLS * CELLS), each of mean 0 and mean square 1; all 0 if the picture is flat"""


def measure(splits: Sequence[PixelArray], tick: Tick = silent, areas: Sequence[Area] | None = None) -> Measures:
    """The measures of all pictures of several splits, in order. Each split is (N, height, width, 3) uint8.

    Of padded pictures, only the `areas` that they cover are measured, one for each picture.
    """
    from threadpoolctl import (
        threadpool_limits,  # imported here, because prediction measures in one thread and must start fast
    )

    starts = [sum(map(len, splits[:number])) for number in range(len(splits))]
    chunks = [
        (rows, slice(start, start + CHUNK), areas and areas[first + start : first + min(start + CHUNK, len(rows))])
        for rows, first in zip(splits, starts, strict=True)
        for start in range(0, len(rows), CHUNK)
    ]
    total, workers = sum(map(len, splits)), os.cpu_count() or 1
    measures: list[Measures] = []
    done, rest = 0, iter(chunks)
    # One BLAS thread for each of ours: if each used all cores for its small products, they would block each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(_measure_chunk, *chunk) for chunk in islice(rest, 2 * workers)]
        while pending:
            measures.append(pending.pop(0).result())
            pending += [pool.submit(_measure_chunk, *chunk) for chunk in islice(rest, 1)]
            done += len(measures[-1].light)
            tick("measuring", done, total, "")
    return Measures(*(np.concatenate(parts) for parts in zip(*map(_fields, measures), strict=True)))


def measured(pixels: UInt8, areas: Sequence[Area] | None = None) -> Measures:
    """The measures of one batch (N, height, width, 3) uint8, in this thread."""
    grey = pixels @ LUMA  # (N, height, width)
    if areas is None:
        return Measures(*_levels(grey), _fingerprints(grey))
    levels = np.empty((5, len(grey)), np.float32)
    for area in set(areas):  # pictures of a batch are nearly always of one size
        rows = [row for row, other in enumerate(areas) if other == area]
        levels[:, rows] = _levels(grey[rows, area.top : area.bottom, area.left : area.right])
    light, contrast, darkest, brightest, sharpness = levels
    return Measures(light, contrast, darkest, brightest, sharpness, _fingerprints(grey))


def _levels(grey: Float32) -> tuple[Float32, Float32, Float32, Float32, Float32]:
    """Light, contrast, darkest, brightest and sharpness, each (N,), of (N, height, width) grey levels."""
    fine = _cells(grey, min(FINE, grey.shape[1]), min(FINE, grey.shape[2]))
    inner = fine[:, 1:-1, 1:-1]
    # four times the level less its four neighbours: the discrete Laplacian
    edges = 4 * inner - fine[:, :-2, 1:-1] - fine[:, 2:, 1:-1] - fine[:, 1:-1, :-2] - fine[:, 1:-1, 2:]
    spread = np.maximum(fine.std(axis=(1, 2)), 1e-6)
    sharpness = edges.std(axis=(1, 2)) / spread if edges.size else np.ones(len(grey), np.float32)
    darkest, brightest = _ends(fine.reshape(len(fine), -1), 0.002)
    light, contrast = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
    return light, contrast, darkest, brightest, sharpness


def _ends(levels: Float32, share: float) -> tuple[Float32, Float32]:
    """The quantiles `share` and 1 - `share` of each row of (N, M) levels, each (N,), as `np.quantile` gives them.

    `np.quantile` imports numpy.ma, which takes a tenth of what a prediction of one picture imports.
    """
    last = levels.shape[1] - 1
    low, part = divmod(share * last, 1)
    first, next_up = int(low), min(int(low) + 1, last)
    in_place = np.partition(levels, sorted({first, next_up, last - next_up, last - first}), axis=1).astype(np.float64)
    darkest = in_place[:, first] + part * (in_place[:, next_up] - in_place[:, first])
    brightest = in_place[:, last - first] - part * (in_place[:, last - first] - in_place[:, last - next_up])
    return darkest.astype(np.float32), brightest.astype(np.float32)


def fingerprints_of(pixels: UInt8) -> Float32:
    """The fingerprints of pictures: (N, height, width, 3) uint8 -> (N, CELLS * CELLS) float32.

    They are normalised for light and contrast, so a brighter copy has the same fingerprint. The distance of two, the
    root mean square of their difference, lies between 0 (the same) and 2 (a negative).
    """
    return _fingerprints(pixels @ LUMA)


def _fields(measures: Measures) -> tuple[Float32, ...]:
    return tuple(getattr(measures, field.name) for field in fields(measures))


def _measure_chunk(rows: PixelArray, part: slice, areas: Sequence[Area] | None) -> Measures:
    return measured(rows[part], areas)


def _fingerprints(grey: Float32) -> Float32:
    """(N, height, width) grey levels -> (N, CELLS * CELLS)."""
    cells = _cells(grey, CELLS, CELLS).reshape(len(grey), -1)
    cells -= cells.mean(axis=1, keepdims=True)
    spread = cells.std(axis=1, keepdims=True)
    return np.asarray(np.where(spread > 1e-3, cells / np.maximum(spread, 1e-3), 0), np.float32)


def _cells(grey: Float32, rows: int, columns: int) -> Float32:
    """(N, height, width) -> (N, rows, columns): the mean light of each cell."""
    down, across = _shares(grey.shape[1], rows), _shares(grey.shape[2], columns)
    return np.asarray(down @ grey @ across.T)


@cache
def _shares(pixels: int, cells: int) -> NDArray[np.float32]:
    """(cells, pixels): the share of each pixel in each cell. Cells are of equal size and may cut through pixels."""
    edges = np.linspace(0, pixels, cells + 1)[:, None]
    start = np.arange(pixels)[None, :]
    overlap = np.minimum(edges[1:], start + 1) - np.maximum(edges[:-1], start)
    shares = np.clip(overlap, 0, None)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
