"""The pictures of a batch computed side by side, each on a core of its own.

Cores that share a picture wait for each other after every layer, and longer where a decoder has taken one of them. Of
many pictures more are answered in the same time if no core waits for another; a single one is answered later.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from frame_vit.backends.backend import ON_A_CPU, BackendAnswer
from frame_vit.system.machine import cores

if TYPE_CHECKING:
    from frame_vit.images.pixel_array import UInt8


class SideBySide:
    """Splits a batch for `compute`, which several threads may call at once, and joins the answers in order.

    At the end of a batch all wait for the last picture, so that a large `batch_size` is best.
    """

    def __init__(self, compute: Callable[[UInt8], BackendAnswer]) -> None:
        self.batch_size = max(2 * ON_A_CPU, 4 * cores())
        self._compute, self._threads = compute, ThreadPoolExecutor(cores())

    def run(self, pixels: UInt8) -> BackendAnswer:
        """The answer for (N, height, width, 3) uint8."""
        alone = [pixels[row : row + 1] for row in range(len(pixels))]
        logits, embeddings = zip(*self._threads.map(self._compute, alone), strict=True)
        vectors = [embedding for embedding in embeddings if embedding is not None]
        return BackendAnswer(np.concatenate(logits), np.concatenate(vectors) if vectors else None)
