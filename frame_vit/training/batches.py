"""What the Trainer is fed: row numbers. The pictures behind them become model inputs on the device, a batch at a time.

Two feeds, one interface: pixels that are augmented by the coins of (seed, step, row), or the stored answers of frozen
blocks, of which the coins choose the view. Either way the labels go along. No worker process has a part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from frame_vit.data.examples import Split
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.images.tensors import normalise, normalise_
from frame_vit.system.devices import send
from frame_vit.training.transforms import Augmentation

RowIds = NDArray[np.int64]


class RowNumbers(Dataset[Any]):
    """A split as row numbers (numpy, so that nothing moves them to a device) and labels, a whole batch at once."""

    def __init__(self, split: Split) -> None:
        self.labels = split.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Any]:
        index = np.asarray(rows)
        return {"rows": index, "labels": torch.from_numpy(self.labels[index])}


class Batches(Protocol):
    """Model inputs for rows of the training split, changed by the coins of a step, or of the validation split.

    For training the labels come with them: they are changed by the same coins.
    """

    def training(self, rows: RowIds, step: int) -> tuple[Tensor, Tensor]: ...

    def validation(self, rows: RowIds) -> Tensor: ...


class PixelBatches:
    """Pictures, augmented and normalised on the device; they stay there where it is a GPU with room for them."""

    def __init__(
        self, train: Split, val: Split, augment: Augmentation, preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self.augment, self.preprocessing, self.device = augment, preprocessing, device
        self._labels = train.labels
        self._train, self._val = _near(train.pixels, device), _near(val.pixels, device)

    def training(self, rows: RowIds, step: int) -> tuple[Tensor, Tensor]:
        coins = self.augment.draw(torch.from_numpy(rows), step, self.preprocessing.width)
        pictures = self.augment.pixels(self._train(rows).permute(0, 3, 1, 2), coins)
        labels = self.augment.labels(torch.from_numpy(self._labels[rows]), coins)
        return normalise_(pictures, self.preprocessing), send(labels, self.device)

    def validation(self, rows: RowIds) -> Tensor:
        return normalise(self._val(rows).permute(0, 3, 1, 2), self.preprocessing)


class FeatureBatches:
    """What frozen blocks answered: (views, N, ...) for the training split, (1, N, ...) for the validation split."""

    def __init__(self, split: Split, train: Any, val: Any, augment: Augmentation, device: torch.device) -> None:
        self.augment, self.device = augment, device
        self._labels = split.labels
        views, self._count = train.shape[:2]
        # One axis for view and row: a picture's view is then an index like its row.
        whole = train.reshape(views * self._count, *train.shape[2:])
        self._train, self._val = _near(PixelArray.of(whole), device), _near(PixelArray.of(val[0]), device)

    def training(self, rows: RowIds, step: int) -> tuple[Tensor, Tensor]:
        coins = self.augment.draw(torch.from_numpy(rows), step, 1)
        answers = self._train(coins.view.numpy() * self._count + rows)
        labels = self.augment.labels(torch.from_numpy(self._labels[rows]), coins)
        return answers.float(), send(labels, self.device)

    def validation(self, rows: RowIds) -> Tensor:
        return self._val(rows).float()


def fits(count: int, device: torch.device) -> bool:
    """Whether so many bytes may live on the device: on CUDA, at most a quarter of what is free now."""
    return device.type == "cuda" and count * 4 <= torch.cuda.mem_get_info(device)[0]


def _near(array: PixelArray, device: torch.device) -> Callable[[RowIds], Tensor]:
    """Rows of an array on the device, from the device itself or from the mapped file."""
    if len(array) and fits(array[:1].nbytes * len(array), device):
        resident = torch.from_numpy(array[:]).to(device)
        return lambda rows: resident[send(torch.from_numpy(rows), device)]
    return lambda rows: send(torch.from_numpy(array[rows]), device)
