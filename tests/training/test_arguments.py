"""The config as the Trainer's arguments: schedules, cadences, precision, smaller batches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import get_scheduler

from frame_vit.config.load import load_config
from frame_vit.config.schema import TrainingConfig
from frame_vit.errors import FrameVitError, UsageError
from frame_vit.training.arguments import (
    check_trackers,
    schedule_evaluations,
    smaller_batches,
    training_arguments,
)

CPU = torch.device("cpu")


def rates(tmp_path: Path, steps: int, **settings: Any) -> list[float]:
    """The learning rate of each step, by the scheduler that the arguments name."""
    training = TrainingConfig(learning_rate=1.0, **settings)
    arguments = training_arguments(training, tmp_path, CPU, "fp32")
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=arguments.learning_rate)
    warmup = arguments.get_warmup_steps(steps)
    schedule = get_scheduler(arguments.lr_scheduler_type, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    values = []
    for _ in range(steps):
        values.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return [*values, schedule.get_last_lr()[0]]


def test_a_linear_schedule_rises_in_the_warmup_and_falls_to_nothing(tmp_path: Path) -> None:
    values = rates(tmp_path, 10, schedule="linear", warmup=0.2)
    assert values == pytest.approx([0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0])


def test_a_cosine_schedule_is_halfway_in_the_middle(tmp_path: Path) -> None:
    values = rates(tmp_path, 10, schedule="cosine", warmup=0.0)
    assert (values[0], values[5], values[10]) == pytest.approx((1, 0.5, 0), abs=1e-9)
    assert values == sorted(values, reverse=True)


def test_a_constant_schedule_has_its_warmup_too(tmp_path: Path) -> None:
    assert rates(tmp_path, 10, schedule="constant", warmup=0.2) == pytest.approx([0, 0.5, *[1.0] * 9])


def test_the_notebooks_arguments_reach_the_trainer(tmp_path: Path) -> None:
    config = load_config(Path(__file__).parents[2] / "configs" / "notebook.yaml")
    arguments = training_arguments(config.training, tmp_path, CPU, "fp32")
    changed = (
        arguments.per_device_train_batch_size,
        arguments.num_train_epochs,
        arguments.learning_rate,
        arguments.eval_steps,
        arguments.save_steps,
        arguments.logging_steps,
        arguments.save_total_limit,
        str(arguments.lr_scheduler_type.value),
        arguments.warmup_steps,
        arguments.weight_decay,
    )
    assert changed == (16, 3, 2e-4, 20, 100, 50, 2, "linear", 0, 0)


@pytest.mark.parametrize(
    ("settings", "evaluations", "saves"),
    [
        ({"batch_size": 16}, 3, 3),  # 40 pictures: 3 batches an epoch
        ({"batch_size": 16, "gradient_accumulation": 2}, 2, 2),
        ({"batch_size": 16, "eval_steps": 5}, 5, 5),
        ({"batch_size": 16, "save_steps": 7}, 3, 7),
        ({"batch_size": 16, "eval_steps": 5, "save_steps": 10}, 5, 10),
    ],
)
def test_every_epoch_becomes_a_number_of_steps(
    tmp_path: Path, settings: dict[str, int], evaluations: int, saves: int
) -> None:
    training = TrainingConfig.model_validate({"learning_rate": 0.1, **settings})
    arguments = schedule_evaluations(training_arguments(training, tmp_path, CPU, "fp32"), training, 40)
    assert (arguments.eval_steps, arguments.save_steps) == (evaluations, saves)


def test_an_epoch_whose_last_picture_joins_is_a_step_shorter(tmp_path: Path) -> None:
    training = TrainingConfig(batch_size=13, learning_rate=1e-3)
    for joins, steps in ((False, 4), (True, 3)):
        arguments = training_arguments(training, tmp_path, CPU, "fp32")
        assert schedule_evaluations(arguments, training, 40, joins).eval_steps == steps


def test_the_checkpoints_of_a_run_stay_in_its_folder(tmp_path: Path) -> None:
    arguments = training_arguments(TrainingConfig(learning_rate=1e-3), tmp_path / "run", CPU, "fp32")
    assert arguments.output_dir == str((tmp_path / "run" / "checkpoints").resolve())
    assert arguments.use_cpu
    assert not (arguments.fp16 or arguments.bf16 or arguments.load_best_model_at_end)


def test_frozen_backbones_recompute_no_activations(tmp_path: Path) -> None:
    """They have none: the head is trained on stored activations."""
    for freeze, expected in (("none", True), (2, True), ("backbone", False)):
        training = TrainingConfig.model_validate(
            {"gradient_checkpointing": True, "freeze": freeze, "learning_rate": 0.1}
        )
        assert training_arguments(training, tmp_path, CPU, "fp32").activation_checkpointing is expected


@pytest.mark.parametrize(
    ("batch", "accumulation", "smaller"),
    [(16, 1, (8, 2)), (8, 2, (4, 4)), (6, 1, (3, 2)), (9, 1, (3, 3)), (5, 1, (1, 5))],
)
def test_smaller_batches_keep_the_pictures_of_a_step(
    batch: int, accumulation: int, smaller: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    training = TrainingConfig(learning_rate=1e-3, batch_size=batch, gradient_accumulation=accumulation)
    with caplog.at_level(logging.WARNING, "framevit"):
        changed = smaller_batches(training, RuntimeError("CUDA out of memory"))
    assert (changed.batch_size, changed.gradient_accumulation) == smaller
    assert changed.batch_size * changed.gradient_accumulation == batch * accumulation
    assert f"so that a step still takes {batch * accumulation} pictures" in caplog.text


def test_batches_of_one_picture_cannot_be_smaller() -> None:
    training = TrainingConfig(learning_rate=1e-3, batch_size=1, gradient_accumulation=8)
    with pytest.raises(FrameVitError, match="out of memory with batches of 1: CUDA out of memory") as error:
        smaller_batches(training, RuntimeError("CUDA out of memory"))
    assert "gradient_checkpointing" in error.value.hint


def test_a_tracker_that_does_not_exist_is_a_usage_error() -> None:
    check_trackers([])
    with pytest.raises(UsageError, match="nosuchtracker"):
        check_trackers(["nosuchtracker"])
