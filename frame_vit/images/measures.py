"""What can be measured of pictures as the model sees them: light, contrast, sharpness, and a small fingerprint.

Everything is taken from the decoded pixels at the model's size, chunk by chunk on all cores, so memory does not grow
with the pictures but by some hundred bytes for each.
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

from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.system.progress import Tick, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frame_vit.images.pixel_array import PixelArray


CELLS = 16
"""A fingerprint has this many cells a side. An 8 x 8 hash of one bit a cell cannot see a terminal move by a hundredth
of the picture; means of light in 16 x 16 cells can."""
FINE = 64
"""Sharpness is looked for at this size at most: above it, it would be the noise of the camera that is measured."""
CHUNK = 64
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as Pillow's conversion to grey."""


@dataclass(frozen=True)
class Measures:
    """Of N pictures: light and contrast (mean and deviation of the grey levels, 0 to 255), the levels of the darkest
    and the brightest spots (2 in 1,000), and sharpness, each (N,) float32; prints (N, CELLS * CELLS) float32, each of
    mean 0 and mean square 1 (0 where the picture is flat)."""

    light: Float32
    contrast: Float32
    darkest: Float32
    brightest: Float32
    sharpness: Float32
    prints: Float32


def measure(splits: Sequence[PixelArray], tick: Tick = silent) -> Measures:
    """Measures of all pictures, one split after the other. Each is (N, height, width, 3) uint8."""
    from threadpoolctl import threadpool_limits  # here: predict measures one batch, in one thread

    chunks = [(rows, slice(start, start + CHUNK)) for rows in splits for start in range(0, len(rows), CHUNK)]
    total, workers = sum(map(len, splits)), os.cpu_count() or 1
    found: list[Measures] = []
    done, rest = 0, iter(chunks)
    # Small products in many threads: were each of them to use all cores as well, they would wait for one another.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(_read_and_measured, *chunk) for chunk in islice(rest, 2 * workers)]
        while pending:
            found.append(pending.pop(0).result())
            pending += [pool.submit(_read_and_measured, *chunk) for chunk in islice(rest, 1)]
            done += len(found[-1].light)
            tick("measuring", done, total, "")
    return Measures(*(np.concatenate(parts) for parts in zip(*map(_fields, found), strict=True)))


def measured(pixels: UInt8) -> Measures:
    """Measures of a batch (N, height, width, 3) uint8, in this thread."""
    grey = pixels @ LUMA
    fine = _cells(grey, min(FINE, grey.shape[1]), min(FINE, grey.shape[2]))
    inner = fine[:, 1:-1, 1:-1]
    edges = 4 * inner - fine[:, :-2, 1:-1] - fine[:, 2:, 1:-1] - fine[:, 1:-1, :-2] - fine[:, 1:-1, 2:]
    spread = np.maximum(fine.std(axis=(1, 2)), 1e-6)
    sharpness = edges.std(axis=(1, 2)) / spread if edges.size else np.ones(len(grey), np.float32)
    darkest, brightest = np.quantile(fine.reshape(len(fine), -1), (0.002, 0.998), axis=1).astype(np.float32)
    return Measures(grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), darkest, brightest, sharpness, _prints(grey))


def prints(pixels: UInt8) -> Float32:
    """The fingerprints of pictures (N, height, width, 3) uint8: (N, CELLS * CELLS) float32.

    Light and contrast are divided out, so that a brighter copy has the same one. The root of the mean square of the
    difference of two lies between 0 (alike) and 2 (a negative).
    """
    return _prints(pixels @ LUMA)


def _fields(measures: Measures) -> tuple[Float32, ...]:
    return tuple(getattr(measures, field.name) for field in fields(measures))


def _read_and_measured(rows: PixelArray, part: slice) -> Measures:
    return measured(rows[part])


def _prints(grey: Float32) -> Float32:
    cells = _cells(grey, CELLS, CELLS).reshape(len(grey), -1)
    cells -= cells.mean(axis=1, keepdims=True)
    spread = cells.std(axis=1, keepdims=True)
    return np.asarray(np.where(spread > 1e-3, cells / np.maximum(spread, 1e-3), 0), np.float32)


def _cells(grey: Float32, rows: int, columns: int) -> Float32:
    """(N, height, width) -> (N, rows, columns): means of the light that falls into each cell."""
    down, across = _shares(grey.shape[1], rows), _shares(grey.shape[2], columns)
    return np.asarray(down @ grey @ across.T)


@cache
def _shares(pixels: int, cells: int) -> NDArray[np.float32]:
    """(cells, pixels): what share of a cell each pixel is; the cells are of one size and may cut through pixels."""
    edges = np.linspace(0, pixels, cells + 1)[:, None]
    start = np.arange(pixels)[None, :]
    overlap = np.minimum(edges[1:], start + 1) - np.maximum(edges[:-1], start)
    shares = np.clip(overlap, 0, None)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
