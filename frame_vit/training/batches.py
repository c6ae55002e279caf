"""Batches for the Trainer: its loader passes row numbers, and the model inputs behind them are made on the device.

Two kinds with one interface: pictures, augmented by the draws of (seed, step, row); or stored activations of frozen
blocks, where the same draws choose the view. The labels change with the view in both. No worker processes are needed.
`prepare_task` decides which kind a config needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import BatchSampler, Dataset, Sampler

from frame_vit.config.schema import Config
from frame_vit.data.examples import Split
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.images.tensors import normalise, normalise_
from frame_vit.labels import LabelledView
from frame_vit.model.classifier import Classifier
from frame_vit.model.probe import trains_on_one_picture
from frame_vit.system.caches import cache_folder
from frame_vit.system.devices import send
from frame_vit.system.progress import Tick, log, silent
from frame_vit.training.arguments import batch_count
from frame_vit.training.frozen import FrozenFeatures, cut_model
from frame_vit.training.optimizer import blocks_path
from frame_vit.training.transforms import Augmentation, augmentation

ENOUGH = 2000
"""Activations of training pictures, counted in every view, to which the head is fitted before the whole model is
trained: of large sets one view will do, of small ones all views are worth it."""
RowIds = NDArray[np.int64]
"""(N,) positions in a split."""


class RowNumbers(Dataset[Any]):
    """A split as torch's data set of row numbers and labels; a whole batch is fetched at once.

    The rows are numpy, so that accelerate does not move them to the device.
    """

    def __init__(self, split: Split) -> None:
        self.labels = split.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Any]:
        """`rows` (N,) int64 and `labels` (N,) int64, as one batch."""
        index = np.asarray(rows)
        return {"rows": index, "labels": torch.from_numpy(self.labels[index])}


class JoinedBatches(BatchSampler):
    """Batches of row numbers whose last one joins the one before it where it would be a single picture.

    Batch normalisation takes its mean and variance from the batch, and those of one picture are none.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        held: list[int] = []
        for batch in super().__iter__():
            if held and len(batch) == 1 < self.batch_size:
                held = held + batch
            else:
                if held:
                    yield held
                held = batch
        if held:
            yield held

    def __len__(self) -> int:
        return batch_count(len(self.sampler), self.batch_size, True)  # type: ignore[arg-type]


class Batch(NamedTuple):
    """Model inputs (N, ...) float32 and class ids (N,) int64, on the device."""

    values: Tensor
    labels: Tensor


class Batches(Protocol):
    """Gives the model inputs for rows of the training split, augmented for a step, or of the validation split.

    The labels of a training batch come with it, because augmentation changes them too.
    """

    def training(self, rows: RowIds, step: int) -> Batch: ...

    def validation(self, rows: RowIds) -> Tensor: ...


class PixelBatches:
    """Pictures (N, 3, H, W), augmented and normalised on the device; kept on a GPU that has room for them."""

    def __init__(
        self, train: Split, val: Split, augment: Augmentation, preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self.augment, self.preprocessing, self.device = augment, preprocessing, device
        self._labels = train.labels
        self._train, self._val = _on_device(train.pixels, device), _on_device(val.pixels, device)

    def training(self, rows: RowIds, step: int) -> Batch:
        draws = self.augment.draw(torch.from_numpy(rows), step, self.preprocessing.width)
        pictures = self.augment.pixels(self._train(rows).permute(0, 3, 1, 2), draws)
        labels = self.augment.labels(torch.from_numpy(self._labels[rows]), draws)
        return Batch(normalise_(pictures, self.preprocessing), send(labels, self.device))

    def validation(self, rows: RowIds) -> Tensor:
        return normalise(self._val(rows).permute(0, 3, 1, 2), self.preprocessing)


class FeatureBatches:
    """Stored activations of frozen blocks: `train` (views, N, ...) and `val` (1, M, ...), both float16."""

    def __init__(self, split: Split, train: Any, val: Any, augment: Augmentation, device: torch.device) -> None:
        self.augment, self.device, self.train, self.val = augment, device, train, val
        self._labels = split.labels
        views, self._count = train.shape[:2]
        # View and row become one axis, so that choosing a view is one index.
        flat = train.reshape(views * self._count, *train.shape[2:])
        (untouched,) = val  # the only view of the validation pictures
        self._train, self._val = _on_device(PixelArray.of(flat), device), _on_device(PixelArray.of(untouched), device)

    def training(self, rows: RowIds, step: int) -> Batch:
        draws = self.augment.draw(torch.from_numpy(rows), step, 1)
        activations = self._train(draws.view.numpy() * self._count + rows)
        labels = self.augment.labels(torch.from_numpy(self._labels[rows]), draws)
        return Batch(activations.float(), send(labels, self.device))

    def validation(self, rows: RowIds) -> Tensor:
        return self._val(rows).float()


@dataclass(frozen=True)
class Compute:
    """Where and in which number format a model is trained."""

    device: torch.device
    precision: str


@dataclass(frozen=True)
class Task:
    """What is trained on what: the module whose weights change, its batches, the splits, and the views drawn.

    `blocks_path` is the path of the transformer blocks in the module, where their learning rates differ. A module with
    batch normalisation may not be `trainable_alone`, on a single picture.
    """

    module: nn.Module
    batches: Batches
    splits: Mapping[str, Split]
    views: Sequence[LabelledView]
    blocks_path: str | None
    trainable_alone: bool = True


def prepare_task(
    model: Classifier, splits: Mapping[str, Split], config: Config, compute: Compute, tick: Tick = silent
) -> Task:
    """The whole model on augmented pictures or, with frozen blocks, the part above them on stored activations."""
    augment, freeze = augmentation(config, model.labels, model.preprocessing), config.training.freeze
    if freeze == "none":
        pixels = PixelBatches(splits["train"], splits["val"], augment, model.preprocessing, compute.device)
        alone = trains_on_one_picture(model.module, model.preprocessing)
        return Task(model.module, pixels, splits, augment.views, blocks_path(model, config.training), alone)
    if augment.brightness or augment.contrast or augment.shift:
        log.info("frozen blocks are computed once for each view: brightness, contrast and shift are not used")
    frozen = _frozen(model, freeze, config, compute)
    path = None if freeze == "backbone" else blocks_path(model, config.training)
    return Task(frozen.parts.tail, _stored(frozen, splits, augment, tick), splits, augment.views, path)


def prepare_head(
    model: Classifier, splits: Mapping[str, Split], config: Config, compute: Compute, tick: Tick = silent
) -> Task:
    """The head alone, on the activations of the backbone as it is, in as many views as make `ENOUGH` of them.

    Raises `ModelError` where the model has more than one head.
    """
    augment = augmentation(config, model.labels, model.preprocessing)
    few = replace(augment, views=augment.views[: math.ceil(ENOUGH / len(splits["train"]))])
    frozen = _frozen(model, "backbone", config, compute)
    return Task(frozen.parts.tail, _stored(frozen, splits, few, tick), splits, few.views, None)


def _frozen(model: Classifier, freeze: int | str, config: Config, compute: Compute) -> FrozenFeatures:
    cache = cache_folder(config.data.cache)
    return FrozenFeatures(cut_model(model, freeze), model.preprocessing, compute.device, compute.precision, cache)


def _stored(frozen: FrozenFeatures, splits: Mapping[str, Split], augment: Augmentation, tick: Tick) -> FeatureBatches:
    train = frozen.features(splits["train"], augment.views, tick)
    val = frozen.features(splits["val"], augment.views[:1], tick)
    return FeatureBatches(splits["train"], train, val, augment, frozen.device)


def fits(count: int, device: torch.device) -> bool:
    """Whether `count` bytes may be kept on the device: on CUDA, at most a quarter of what is free now."""
    return device.type == "cuda" and count * 4 <= torch.cuda.mem_get_info(device)[0]


def _on_device(array: PixelArray, device: torch.device) -> Callable[[RowIds], Tensor]:
    """Gives rows of an array on the device: from a copy kept there where it fits, else from the mapped file."""
    if len(array) and fits(array[:1].nbytes * len(array), device):
        resident = torch.from_numpy(array[:]).to(device)
        return lambda rows: resident[send(torch.from_numpy(rows), device)]
    return lambda rows: send(torch.from_numpy(array[rows]), device)
