"""What happens between the steps: early stopping, checkpoints of new best models, interrupts, skipped steps, speed."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import EvalPrediction, TrainerControl, TrainerState

from frame_vit.errors import FrameVitError, Interrupted
from frame_vit.labels import LabelSpace
from frame_vit.runs.history import read_history
from frame_vit.system.signals import GracefulStop
from frame_vit.training.callback import TrainingCallback, stopped_early
from frame_vit.training.loop import train
from frame_vit.training.trainer import SKIPPED_IN_A_ROW
from tests.small import begin, tiny

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])
ONE_PROCESS = SimpleNamespace(world_size=1)


@pytest.fixture
def callback(tmp_path: Path) -> Iterator[TrainingCallback]:
    with GracefulStop() as stop:
        yield TrainingCallback(tmp_path, lambda *_: None, SPACE, stop, patience=2)


def validated(callback: TrainingCallback, *scores: float, loss: float = 1.0) -> TrainerControl:
    """The control after validations with these macro-F1, the last of which the callback is told of."""
    log: list[Any] = [{"eval_macro_f1": score} for score in scores]
    best = max(scores[:-1], default=None)
    state = TrainerState(epoch=1.0, global_step=5, log_history=log, best_metric=best)
    control = TrainerControl()
    metrics = {"eval_loss": loss, "eval_accuracy": 0.5, "eval_macro_f1": scores[-1]}
    callback.on_evaluate(ONE_PROCESS, state, control, metrics)
    return control


def test_every_new_best_model_is_saved_and_no_other(callback: TrainingCallback) -> None:
    assert validated(callback, 0.5).should_save
    assert validated(callback, 0.5, 0.6).should_save
    assert not validated(callback, 0.6, 0.6).should_save
    assert not validated(callback, 0.6, 0.5).should_save


def test_early_stopping_ends_the_training_with_a_checkpoint(
    callback: TrainingCallback, caplog: pytest.LogCaptureFixture
) -> None:
    assert not validated(callback, 0.6, 0.5).should_training_stop
    assert not validated(callback, 0.6, 0.5, 0.7).should_training_stop
    with caplog.at_level(logging.INFO, "framevit"):
        control = validated(callback, 0.6, 0.5, 0.6)
    assert control.should_training_stop
    assert control.should_save
    assert "early stopping: no better macro-F1 in the last 2 validations" in caplog.messages


def test_without_patience_no_training_ends_early(callback: TrainingCallback) -> None:
    callback.patience = None
    assert not validated(callback, *[0.6] * 20).should_training_stop


@pytest.mark.parametrize(
    ("scores", "patience", "stopped"),
    [
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.6, 0.5, 0.55], 2, True),
        ([0.6, 0.5, 0.61], 2, False),
        ([0.6, 0.5, 0.55], None, False),
    ],
)
def test_when_a_training_ends_early(scores: list[float], patience: int | None, stopped: bool) -> None:
    log: list[Any] = [{"loss": 1.0}, *({"eval_macro_f1": score} for score in scores)]
    assert stopped_early(TrainerState(log_history=log), patience) == stopped


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_validation_loss_that_is_not_finite_ends_the_training(callback: TrainingCallback, loss: float) -> None:
    with pytest.raises(FrameVitError, match=f"the validation loss after step 5 is {loss}"):
        validated(callback, 0.9, loss=loss)


def test_metrics_are_those_of_the_logits(callback: TrainingCallback) -> None:
    labels = np.array([0, 0, 1, 2])
    logits = np.eye(3)[[0, 1, 1, 2]]
    expected = {"accuracy": pytest.approx(3 / 4), "macro_f1": pytest.approx((2 / 3 + 2 / 3 + 1) / 3)}
    assert callback.compute_metrics(EvalPrediction(logits, labels)) == expected
    assert callback.compute_metrics(EvalPrediction((logits, "hidden states"), labels)) == expected


def test_a_signal_during_a_validation_ends_the_run_once_it_is_saved(callback: TrainingCallback) -> None:
    callback.on_save(ONE_PROCESS, TrainerState(global_step=4), TrainerControl())
    # What a signal leaves; real ones are sent to processes of their own, in test_resume and tests/system/test_signals.
    callback.stop.requested = signal.SIGTERM
    assert validated(callback, 0.9, 0.5).should_save
    with pytest.raises(Interrupted, match="stopped and saved after step 5") as error:
        callback.on_save(ONE_PROCESS, TrainerState(global_step=5), TrainerControl())
    assert error.value.exit_code == 128 + signal.SIGTERM


def test_many_skipped_steps_in_a_row_end_the_training(callback: TrainingCallback) -> None:
    accelerator = SimpleNamespace(optimizer_step_was_skipped=True)
    trainer: Any = SimpleNamespace(
        accelerator=accelerator, args=ONE_PROCESS, paused_s=0.0, batching_s=0.0, pictures_seen=0
    )
    callback.trainer = trainer
    state = TrainerState(epoch=0.5, global_step=7, max_steps=100)

    def step(skipped: bool) -> None:
        accelerator.optimizer_step_was_skipped = skipped
        callback.on_step_end(ONE_PROCESS, state, TrainerControl())

    for _ in range(SKIPPED_IN_A_ROW - 1):
        step(skipped=True)
    step(skipped=False)  # one that was applied: the count starts again
    for _ in range(SKIPPED_IN_A_ROW - 1):
        step(skipped=True)
    with pytest.raises(FrameVitError, match="20 consecutive steps, up to step 7, were too large for fp16"):
        step(skipped=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
def test_progress_and_history_follow_the_steps(tmp_path: Path) -> None:
    config = tiny(tmp_path, "training.eval_steps=4", "training.logging_steps=1")
    model, dataset = begin(config)
    ticks: list[tuple[int, int]] = []

    def tick(stage: str, done: int, total: int, note: str) -> None:
        if stage == "training":
            ticks.append((done, total))

    outcome = train(model, dataset.splits, config, tmp_path, tick)
    assert ticks == [(step, 6) for step in range(1, 7)]
    rows = read_history(tmp_path / "history.csv")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "val_loss" in row] == [4, 6]  # the last step is always validated
    assert outcome.pictures_per_second > 0
    assert 0 < outcome.batching_share < 1
