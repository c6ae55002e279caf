"""The head of a frozen backbone: fitted to every view under its own class, with the best penalty of the validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frame_vit.config.schema import TrainingConfig
from frame_vit.data.examples import Example, Split
from frame_vit.errors import DataError
from frame_vit.images.pixel_array import PixelArray
from frame_vit.labels import LabelSpace
from frame_vit.system.progress import silent
from frame_vit.training import logistic_regression
from frame_vit.training.batches import FeatureBatches, Task
from frame_vit.training.logistic_regression import PENALTIES, can_fit, fit_head
from frame_vit.training.loop import train
from frame_vit.training.transforms import Augmentation
from tests.small import THREE_CLASSES, begin, tiny

SIZE = 6
CENTRES = np.random.default_rng(0).normal(0, 3, (3, SIZE))
"""Where the activations of each class of THREE_CLASSES (ok, left, right) lie."""


class Head(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(SIZE, classes)


def split(labels: list[int]) -> Split:
    examples = [Example(str(i), label, (), 4, 4, "", bytes) for i, label in enumerate(labels)]
    return Split("train", examples, PixelArray.of(np.zeros((len(labels), 4, 4, 3), np.uint8)))


def task(train: list[int], val: list[int], space: LabelSpace = THREE_CLASSES, noise: float = 1.0) -> Task:
    """Activations around the centre of the class that a picture has in each view, far from 0 and of odd scale."""
    random, views = np.random.default_rng(1), space.group()

    def activations(labels: list[int], views: Any) -> Any:
        classes = np.array([[view.classes[label] for label in labels] for view in views])
        return (100 + 7 * (CENTRES[classes] + random.normal(0, noise, (*classes.shape, SIZE)))).astype(np.float16)

    held_out = activations(val, views[:1])
    still = Augmentation(views, 0.0, 0.0, 0.0, 0)
    batches = FeatureBatches(split(train), activations(train, views), held_out, still, torch.device("cpu"))
    return Task(Head(len(space)), batches, {"train": split(train), "val": split(val)}, views, None)


def predicted(of: Task) -> list[int]:
    with torch.no_grad():
        logits: torch.Tensor = of.module.head(of.batches.validation(np.arange(len(of.splits["val"]))))  # type: ignore
    return logits.argmax(dim=1).tolist()


def test_the_head_tells_the_classes_apart() -> None:
    found = task([0, 1, 2] * 20, [0, 1, 2] * 10)
    assert can_fit(found)
    best, rows = fit_head(found, THREE_CLASSES, TrainingConfig(), silent)
    assert predicted(found) == [0, 1, 2] * 10
    assert [row["step"] for row in rows] == [*range(1, len(PENALTIES) + 1)]
    assert best.row["eval_macro_f1"] == max(row["eval_macro_f1"] for row in rows) == 1


def test_a_class_that_only_mirrored_pictures_show_is_learnt() -> None:
    """No picture of `right` is there, but every mirrored `left` is one."""
    found = task([0, 1] * 30, [0, 2] * 10)
    fit_head(found, THREE_CLASSES, TrainingConfig(), silent)
    assert predicted(found) == [0, 2] * 10


def test_a_class_without_any_picture_is_never_the_answer() -> None:
    plain = LabelSpace.build(THREE_CLASSES.names)
    found = task([0, 1] * 30, [0, 1] * 10, plain)
    fit_head(found, plain, TrainingConfig(), silent)
    assert predicted(found) == [0, 1] * 10


def test_two_classes_have_two_rows() -> None:
    two = LabelSpace.build(["ok", "bad"])
    found = task([0, 1] * 30, [0, 1] * 10, two)
    fit_head(found, two, TrainingConfig(), silent)
    assert predicted(found) == [0, 1] * 10


def test_the_weights_are_those_of_scikit_learn_on_the_activations_themselves() -> None:
    """The scaling of the activations goes into the weights and biases."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    found = task([0, 1, 2] * 30, [0, 1, 2] * 20, noise=4.0)
    best, _ = fit_head(found, THREE_CLASSES, TrainingConfig(), silent)
    batches: Any = found.batches
    pictures = batches.train.reshape(-1, SIZE).astype(np.float64)
    classes = np.array([[view.classes[label] for label in [0, 1, 2] * 30] for view in found.views]).ravel()
    scaler = StandardScaler().fit(pictures)
    penalty = PENALTIES[int(best.row["step"]) - 1]
    model = LogisticRegression(C=1 / (penalty * len(pictures)), tol=1e-8, max_iter=10_000)
    model.fit(scaler.transform(pictures), classes)
    held_out = batches.val[0].astype(np.float64)
    wanted = model.predict_log_proba(scaler.transform(held_out))
    logits = torch.from_numpy(held_out @ best.weight.T.astype(np.float64) + best.bias)
    assert torch.log_softmax(logits, dim=1).numpy() == pytest.approx(wanted, abs=0.02)


def test_balanced_weights_help_a_rare_class() -> None:
    rates = []
    for weights in ("none", "balanced"):
        found = task([0] * 300 + [1, 2] * 4, [1] * 40 + [2] * 40, noise=6.0)
        fit_head(found, THREE_CLASSES, TrainingConfig(class_weights=weights), silent)
        rates.append(np.mean(np.array(predicted(found)) != 0))
    assert rates[1] > rates[0] + 0.1


def test_of_a_set_that_is_too_large_some_views_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic_regression, "MOST_NUMBERS", 90 * SIZE)
    found = task([0, 1, 2] * 30, [0, 1, 2] * 10)
    activations, classes = logistic_regression._training_set(found)
    assert len(activations) == 90
    assert np.bincount(classes).tolist() == [30, 30, 30], "every picture, in one of its two views"
    fit_head(found, THREE_CLASSES, TrainingConfig(), silent)
    assert predicted(found) == [0, 1, 2] * 10


def test_pictures_of_one_class_are_refused() -> None:
    with pytest.raises(DataError, match="show one class"):
        fit_head(task([0] * 20, [0, 1]), THREE_CLASSES, TrainingConfig(), silent)


def test_a_number_that_is_constant_but_for_rounding_gets_no_weight_to_speak_of() -> None:
    found = task([0, 1, 2] * 60, [0, 1, 2] * 10)
    batches: Any = found.batches
    batches.train[..., 0], batches.val[..., 0] = 0.1, 0.1
    best, _ = fit_head(found, THREE_CLASSES, TrainingConfig(), silent)
    assert np.abs(best.weight[:, 0]).max() < 0.01


def test_only_a_linear_head_on_stored_vectors_is_fitted() -> None:
    found = task([0, 1, 2], [0, 1, 2])
    deep = Task(nn.Sequential(nn.Linear(SIZE, 3)), found.batches, found.splits, found.views, None)
    assert not can_fit(deep)


def test_a_frozen_training_writes_the_history_of_its_penalties(tmp_path: Path) -> None:
    config = tiny(tmp_path, "training.freeze=backbone", f"data.cache={tmp_path / 'cache'}")
    model, dataset = begin(config)
    outcome = train(model, dataset.splits, config, tmp_path)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert len(lines) == 1 + len(PENALTIES) == 1 + outcome.steps
    assert [float(line.split(",")[-1]) for line in lines[1:]] == [*PENALTIES]
    assert not (tmp_path / "checkpoints").exists()
