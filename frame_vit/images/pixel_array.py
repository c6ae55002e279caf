"""Rows of a large array of pictures, read only when they are used.

The cache hands out memory-mapped arrays of whole splits. A split that was divided or lost bad rows is a selection of
such an array; copying it would read everything into memory. This module knows nothing of files: any array will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray  # importing it takes 20 ms of the start of `predict`


UInt8: TypeAlias = "NDArray[np.uint8]"
Float32: TypeAlias = "NDArray[np.float32]"


@dataclass(frozen=True)
class PixelArray:
    """The rows `index` (N,) of an array of pictures; indexing it reads them as (n, height, width, 3) uint8."""

    array: Any
    index: NDArray[np.int64]

    @classmethod
    def of(cls, array: UInt8) -> PixelArray:
        """All rows of an array (N, height, width, 3)."""
        return cls(array, np.arange(len(array)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> UInt8:
        return np.asarray(self.array[self.index[rows]])
