"""One pixel path: encoded picture -> RGB -> uint8 of the model's size -> what the model reads. Pillow and numpy only.

prepare, train, evaluate and predict all come through here, so that a model is fed at work as it was in training, and a
line PC needs no torch for it. What the path does is what the model's own processor does (`model.pixels_of` proves it
on probe pictures when a model is loaded); what happens before the processor's part is decided here, once:

- EXIF orientation is applied; colour profiles are not.
- grey, 1-bit, palette, CMYK become RGB as Pillow converts them; transparency is laid on white.
- 16-bit grey is scaled by the declared bit depth, and refused without one: `convert("RGB")` would clip it to white.
- only the formats in FORMATS are tried, at most MAX_PIXELS are decoded, a truncated file is an error.

---
Pictures decoded and resized once, for every later run: uint8 arrays on disk, memory-mapped. Never imports torch.

A raw split at given pixel settings has a folder of its own, in it one folder for each state of its files:

    pixels/<source, split, pixel settings, decoding code>/<stamps of all rows>/pixels.u8, rows.json

It is built beside and renamed, so it is whole or absent, by one process at a time; every row has a checksum that is
looked at before use. Rows whose stamp has not changed are taken over from the state before. What lies here can be
deleted at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import NDArray  # importing it takes 20 ms of the start of `predict`


UInt8: TypeAlias = "NDArray[np.uint8]"
Float32: TypeAlias = "NDArray[np.float32]"


@dataclass(frozen=True)
class PixelArray:
    """Some rows of an array, read when they are asked for; (N, height, width, 3) uint8."""

    array: Any
    index: NDArray[np.int64]

    @classmethod
    def of(cls, array: UInt8) -> PixelArray:
        """All rows of an array."""
        return cls(array, np.arange(len(array)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> UInt8:
        return np.asarray(self.array[self.index[rows]])
