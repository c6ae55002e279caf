"""Batches: row numbers become model inputs on the device, and their labels agree with them under every view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

from frame_vit.data import demo
from frame_vit.data.examples import Example, Split
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing, normalise
from frame_vit.labels import LabelSpace
from frame_vit.training.batches import (
    Compute,
    FeatureBatches,
    JoinedBatches,
    PixelBatches,
    RowNumbers,
    fits,
    prepare_task,
)
from frame_vit.training.transforms import Augmentation
from tests.small import begin, tiny

CPU = torch.device("cpu")
SPACE = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
PREPROCESSING = Preprocessing(demo.HEIGHT, demo.WIDTH, (0.5, 0.4, 0.3), (0.5, 0.3, 0.2))
ROWS = np.arange(20)[::-1].copy()


def drawn(count: int) -> tuple[list[demo.Frame], Split]:
    frames = [demo.sample(demo.NAMES[i % 5], i) for i in range(count)]
    examples = [
        Example(str(i), SPACE.id(frame.label), (), demo.WIDTH, demo.HEIGHT, "", bytes) for i, frame in enumerate(frames)
    ]
    return frames, Split("train", examples, PixelArray.of(np.stack([demo.draw(frame) for frame in frames])))


def test_a_batch_holds_the_rows_that_were_asked_for() -> None:
    _, split = drawn(4)
    rows = RowNumbers(split)
    assert len(rows) == 4
    batch = rows.__getitems__([2, 0])
    assert isinstance(batch["rows"], np.ndarray)
    assert batch["rows"].tolist() == [2, 0]
    assert batch["labels"].tolist() == [split.labels[2], split.labels[0]]
    assert rows[3]["rows"].tolist() == [3]


@pytest.mark.parametrize("keys", [[], ["hflip"], ["vflip"], ["hflip", "vflip"]], ids="+".join)
def test_pictures_and_labels_agree_under_every_view(keys: list[str]) -> None:
    """A frame in a view is the drawing of another frame; its label is the label of that frame."""
    frames, split = drawn(20)
    augment = Augmentation(SPACE.group(keys), seed=4)
    batches = PixelBatches(split, split, augment, PREPROCESSING, CPU)
    views = set()
    for step in range(4):
        pictures, labels = batches.training(ROWS, step)
        assert pictures.shape == (20, 3, demo.HEIGHT, demo.WIDTH)
        draws = augment.draw(torch.from_numpy(ROWS), step, demo.WIDTH)
        shown = [
            frames[row].seen(augment.views[view].view) for row, view in zip(ROWS, draws.view.tolist(), strict=True)
        ]
        assert [SPACE.names[label] for label in labels.tolist()] == [frame.label for frame in shown]
        expected = normalise(np.stack([demo.draw(frame) for frame in shown]), PREPROCESSING)
        assert np.allclose(pictures.numpy(), expected, atol=1e-5)
        views |= {augment.views[view].view.name for view in draws.view.tolist()}
    assert views == {view.name for view, _ in augment.views}


def test_validation_pictures_are_not_augmented() -> None:
    _, split = drawn(6)
    augment = Augmentation(SPACE.group(), brightness=0.5, contrast=0.5, shift=0.2, seed=1)
    batches = PixelBatches(split, split, augment, PREPROCESSING, CPU)
    rows = np.array([5, 0, 3])
    assert np.allclose(batches.validation(rows).numpy(), normalise(split.pixels[rows], PREPROCESSING), atol=1e-5)


def test_stored_activations_come_from_the_view_that_the_labels_show() -> None:
    """Activations that name their view and row show which of them a batch took."""
    _, split = drawn(20)
    augment = Augmentation(SPACE.group(), seed=2)
    views = len(augment.views)
    train = (100 * np.arange(views)[:, None] + np.arange(20)).astype(np.float16)[..., None]  # (views, N, 1)
    val = np.arange(7, dtype=np.float16)[None, :, None]  # (1, 7, 1)
    batches = FeatureBatches(split, train, val, augment, CPU)
    for step in range(4):
        values, labels = batches.training(ROWS, step)
        assert values.dtype == torch.float32
        taken = values[:, 0].long()
        assert (taken % 100).tolist() == ROWS.tolist()
        table = np.array([view.classes for view in augment.views])
        assert labels.tolist() == table[taken // 100, split.labels[ROWS]].tolist()
    assert batches.validation(np.array([6, 2]))[:, 0].tolist() == [6, 2]


def test_only_a_card_keeps_the_pictures() -> None:
    assert not fits(1, CPU)


def test_a_task_is_the_whole_model_or_the_part_above_the_frozen_blocks(tmp_path: Path) -> None:
    sizes = "model.scratch={image_size: 32, patch_size: 16, hidden_size: 16, layers: 3, heads: 2}"
    for freeze, kind, path in (
        ("none", PixelBatches, "vit.encoder.layer"),
        ("2", FeatureBatches, "vit.encoder.layer"),
        ("backbone", FeatureBatches, None),
    ):
        config = tiny(tmp_path, sizes, f"training.freeze={freeze}", f"data.cache={tmp_path / 'cache'}")
        model, dataset = begin(config)
        task = prepare_task(model, dataset.splits, config, Compute(CPU, "fp32"))
        assert isinstance(task.batches, kind)
        assert (task.blocks_path is None) == (path is None)
        assert (task.module is model.module) == (freeze == "none")
        assert [view.name for view, _ in task.views] == ["identity", "hflip", "vflip", "rot180"]
        values, labels = task.batches.training(np.arange(4), 0)
        assert task.module(pixel_values=values)["logits"].shape == (4, 5)
        assert labels.shape == (4,)


def test_without_layer_decay_no_blocks_are_looked_for(tmp_path: Path) -> None:
    config = tiny(tmp_path, "training.layer_decay=1")
    model, dataset = begin(config)
    assert prepare_task(model, dataset.splits, config, Compute(CPU, "fp32")).blocks_path is None


@pytest.mark.parametrize("pictures", [1, 2, 3, 7, 8, 9, 15, 16, 17])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 16, 32])
def test_only_a_last_single_picture_joins_the_batch_before_it(pictures: int, size: int) -> None:
    joined = list(JoinedBatches(SequentialSampler(range(pictures)), size))
    plain = list(BatchSampler(SequentialSampler(range(pictures)), size, drop_last=False))
    assert [row for batch in joined for row in batch] == list(range(pictures))
    assert len(joined) == len(JoinedBatches(SequentialSampler(range(pictures)), size))
    if len(plain) > 1 and len(plain[-1]) == 1 < size:
        assert joined == [*plain[:-2], plain[-2] + plain[-1]]
    else:
        assert joined == plain
