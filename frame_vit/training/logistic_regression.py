"""The head of a frozen backbone: logistic regression on the stored activations of every view of every picture.

A linear head on fixed activations is a convex problem, so it is solved instead of being trained step by step: in
seconds, with the best strength of regularisation by the validation split. On the activations of a pretrained model that
matters more than any learning rate (`framevit help training` has the numbers). The new head of a model that is trained
as a whole starts so, too. Activations come from `frozen`, by way of `batches`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frame_vit.config.schema import Config, TrainingConfig
from frame_vit.data.examples import Split
from frame_vit.errors import DataError, ModelError
from frame_vit.evaluation.metrics import score
from frame_vit.images.pixel_array import Float32
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier, head_module, head_parameters
from frame_vit.system.distributed import ProcessGroup
from frame_vit.system.progress import Tick, log
from frame_vit.training.batches import Compute, FeatureBatches, Task, prepare_head

PENALTIES = (0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
"""Strengths of the L2 penalty that are tried, per picture: half the squared weights, against the mean loss."""
MOST_NUMBERS = 1_000_000_000
"""Numbers that are fitted at once: 4 GB as float32, and half as much again while they are read. Of larger sets, every
picture is taken in every second, third ... of its views."""
MOST_ITERATIONS = 1000
LEAST_SPREAD = 1e-4
"""A number whose deviation is below this share of its mean is a constant but for rounding; it is not scaled up."""


@dataclass(frozen=True)
class Fitted:
    """A head's weights (classes, size) and biases (classes,), with the row of history.csv that describes it."""

    weight: Float32
    bias: Float32
    row: Mapping[str, float]

    def is_better_than(self, other: Fitted | None) -> bool:
        """By macro-F1 and, where that is the same, by the loss: both of the validation split."""
        return other is None or self._rank() > other._rank()

    def _rank(self) -> tuple[float, float]:
        return self.row["eval_macro_f1"], -self.row["eval_loss"]


def can_fit(task: Task) -> bool:
    """Whether all that is trained is one linear layer on vectors, and its activations are stored."""
    batches = task.batches
    return isinstance(batches, FeatureBatches) and isinstance(_head(task), nn.Linear) and batches.train.ndim == 3


def fit_new_head(model: Classifier, splits: Mapping[str, Split], config: Config, compute: Compute, tick: Tick) -> None:
    """Fits a new head before the whole model is trained; every process then has the one that the main process fitted.

    The first gradients of a random head would undo what the backbone has learnt (Kumar et al. 2022, "Fine-tuning can
    distort pretrained features"). A head that cannot be fitted stays random, which is said.
    """
    processes = ProcessGroup(config.training.device)
    if processes.main:
        _fit_first(model, splits, config, compute, tick)
    if processes.count > 1:
        names = head_parameters(model.module)
        tensors = processes.share({name: model.module.get_parameter(name).detach().cpu() for name in names})
        model.module.load_state_dict(tensors, strict=False)


def _fit_first(model: Classifier, splits: Mapping[str, Split], config: Config, compute: Compute, tick: Tick) -> None:
    try:
        if not isinstance(head_module(model.module), nn.Linear):
            log.info("the new head starts at random: it is more than one linear layer")
            return
        log.info("the new head is fitted by logistic regression, before the rest is trained with it")
        task = prepare_head(model, splits, config, compute, tick)
    except ModelError as error:
        log.info("the new head starts at random: %s", error.message)
        return
    if can_fit(task):
        fit_head(task, model.labels, config.training, tick)
    else:
        log.info("the new head starts at random: what it is given is not one vector for each picture")
    if compute.device.type == "cuda":
        torch.cuda.empty_cache()  # for the pictures, which stay on a card that has room for them


def fit_head(task: Task, labels: LabelSpace, training: TrainingConfig, tick: Tick) -> tuple[Fitted, list[Any]]:
    """Fits the head once for each penalty, the strongest first; the best is put into the model.

    Returns it with the rows of history.csv, one for each penalty.
    """
    from sklearn.linear_model import LogisticRegression

    batches, val = task.batches, task.splits["val"]
    assert isinstance(batches, FeatureBatches)
    activations, classes = _training_set(task)
    held_out = np.asarray(batches.val[0], np.float32)
    mean = activations.mean(axis=0, dtype=np.float64)
    activations -= mean.astype(np.float32)
    scale = np.sqrt(np.einsum("ij,ij->j", activations, activations, dtype=np.float64) / len(activations))
    scale[scale <= LEAST_SPREAD * np.abs(mean) + 1e-6] = 1
    activations /= scale.astype(np.float32)
    weights = "balanced" if training.class_weights == "balanced" else None
    model = LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True, class_weight=weights)
    best, rows, began = None, [], time.perf_counter()
    for number, penalty in enumerate(PENALTIES, start=1):
        tick("fitting the head", number - 1, len(PENALTIES), f"penalty {penalty:g}")
        model.set_params(C=1 / (penalty * len(classes))).fit(activations, classes)
        if max(model.n_iter_) >= MOST_ITERATIONS:
            log.warning("penalty %g: not settled after %d iterations", penalty, MOST_ITERATIONS)
        weight, bias = _linear(model, len(labels))
        weight, bias = weight / scale, bias - (weight / scale) @ mean
        logits = (held_out @ weight.T + bias).astype(np.float32)
        scores = score(val.labels, logits, labels)
        loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(val.labels)))
        row = {"step": number, "epoch": number, "penalty": penalty, "eval_loss": loss, "eval_accuracy": scores.accuracy}
        fitted = Fitted(weight.astype(np.float32), bias.astype(np.float32), row | {"eval_macro_f1": scores.macro_f1})
        is_best = fitted.is_better_than(best)
        log.info(
            "penalty %g: validation loss %.3f, accuracy %.3f, macro-F1 %.3f%s",
            penalty,
            loss,
            scores.accuracy,
            scores.macro_f1,
            ", the best so far" if is_best else "",
        )
        best = fitted if is_best else best
        rows.append(fitted.row)
    tick("fitting the head", len(PENALTIES), len(PENALTIES), "")
    assert best is not None
    log.info("the head was fitted to %d views of pictures in %.0f s", len(classes), time.perf_counter() - began)
    head = _head(task)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(best.weight))
        head.bias.copy_(torch.from_numpy(best.bias))
    return best, rows


def _head(task: Task) -> Any:
    return getattr(task.module, "head", None)


def _training_set(task: Task) -> tuple[Float32, Any]:
    """Activations (M, size) float32 of the training pictures in all views, and their class ids there, (M,)."""
    batches, labels = task.batches, task.splits["train"].labels
    assert isinstance(batches, FeatureBatches)
    views, pictures, size = batches.train.shape
    # A view changes the class with the picture: a mirrored Xplus is an Xminus.
    classes = np.array([view.classes for view in task.views])[:, labels].ravel()
    step = min(views, math.ceil(views * pictures * size / MOST_NUMBERS))
    if step > 1:
        log.info("one in %d views of each picture is used: all of them would take too much memory", step)
    rows = np.flatnonzero(np.add.outer(np.arange(views), np.arange(pictures)).ravel() % step == 0)
    if len(set(classes[rows].tolist())) < 2:
        raise DataError("all pictures to train on show one class, so there is nothing to tell apart", "Add the others")
    return batches.train.reshape(views * pictures, size)[rows].astype(np.float32), classes[rows]


def _linear(model: Any, classes: int) -> tuple[Any, Any]:
    """Weights (classes, size) and biases (classes,): of two classes scikit-learn fits the difference only.

    A class without a training picture keeps weights of 0 and a bias below all others.
    """
    coefficients, intercepts = model.coef_, model.intercept_
    if len(intercepts) == 1:
        coefficients, intercepts = np.vstack([-coefficients, coefficients]) / 2, np.r_[-intercepts, intercepts] / 2
    weight = np.zeros((classes, coefficients.shape[1]))
    bias = np.full(classes, float(intercepts.min()) - 10)
    weight[model.classes_], bias[model.classes_] = coefficients, intercepts
    return weight, bias
