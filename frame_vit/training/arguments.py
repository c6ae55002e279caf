"""The `training` section of a config, translated into transformers' TrainingArguments.

Also the changes of that section that happen while a training is running: smaller batches where memory is short.
Knows no data and no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from frame_vit.config.schema import TrainingConfig
from frame_vit.errors import FrameVitError, UsageError
from frame_vit.runs.checkpoints import CHECKPOINTS
from frame_vit.system.progress import log

SCHEDULES = {"constant": "constant_with_warmup"}
"""The config's schedules that transformers calls by another name."""


def check_trackers(names: Sequence[str]) -> None:
    """Raises `UsageError` for an experiment tracker that is unknown or not installed, before any work is done."""
    try:
        for kind in get_reporting_integration_callbacks(list(names)):
            kind()
    except (RuntimeError, ValueError, ImportError) as error:
        raise UsageError(
            f"training.report_to: {' '.join(str(error).split())}", "Install the tracker, or leave --report-to out"
        ) from None


def training_arguments(training: TrainingConfig, run: Path, device: torch.device, precision: str) -> TrainingArguments:
    """The Trainer's arguments for a config; checkpoints go to `run`/checkpoints.

    How often to validate and save may still be open: `schedule_evaluations` fills it in.
    """
    # Not load_best_model_at_end: it loads without checking that any name fits. `loop` loads the best weights itself.
    arguments = TrainingArguments(
        output_dir=str((run / CHECKPOINTS).resolve()),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=max(32, training.batch_size),
        gradient_accumulation_steps=training.gradient_accumulation,
        activation_checkpointing=training.gradient_checkpointing and training.freeze != "backbone",
        torch_compile=training.compile,
        full_determinism=training.deterministic and device.type == "cuda",
        learning_rate=float(training.learning_rate),
        lr_scheduler_type=SCHEDULES.get(training.schedule, training.schedule),
        warmup_steps=training.warmup,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=training.eval_steps,
        save_steps=training.save_steps or training.eval_steps or 500,
        save_total_limit=training.save_total_limit,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        logging_steps=training.logging_steps,
        logging_nan_inf_filter=False,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device.type == "cpu",
        # Only row numbers and labels pass through the loader.
        dataloader_pin_memory=device.type == "cuda",
        accelerator_config={"non_blocking": device.type == "cuda"},
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=training.report_to or "none",
        disable_tqdm=True,
        log_level="error",
        seed=training.seed,
        data_seed=training.seed,
    )
    if arguments.n_gpu > 1:
        # One process uses one card: the Trainer would split every batch over all cards and count the loss twice.
        arguments._n_gpu = 1
    return arguments


def batch_count(pictures: int, batch_size: int, joins_lone_picture: bool = False) -> int:
    """How many batches an epoch has; a last batch of a single picture may join the one before it."""
    lone = joins_lone_picture and pictures > 1 and pictures % batch_size == 1
    return math.ceil(pictures / batch_size) - lone


def schedule_evaluations(
    arguments: TrainingArguments, training: TrainingConfig, pictures: int, joins_lone_picture: bool = False
) -> TrainingArguments:
    """The same arguments, with "validate and save after every epoch" as a number of steps.

    At a step, everything due is done before the checkpoint is written. What the Trainer does at the end of an epoch
    comes after the checkpoint, and a resumed run would leave it out.
    """
    batches = math.ceil(batch_count(pictures, training.batch_size, joins_lone_picture) / arguments.world_size)
    steps = math.ceil(batches / training.gradient_accumulation)
    arguments.eval_steps = training.eval_steps or steps
    arguments.save_steps = training.save_steps or arguments.eval_steps
    return arguments


def smaller_batches(training: TrainingConfig, error: RuntimeError) -> TrainingConfig:
    """Half the batch size (or the next smaller divisor) and more accumulation: a step takes as many pictures as before.

    Raises `FrameVitError` where the batch size is 1 already; `error` is what the device said.
    """
    effective = training.batch_size * training.gradient_accumulation
    smaller = next((size for size in range(training.batch_size // 2, 0, -1) if effective % size == 0), None)
    if smaller is None:
        raise out_of_memory(training, error) from None
    accumulation = effective // smaller
    log.warning(
        "out of memory with batches of %d: trying %d accumulated batches of %d, so that a step still takes %d pictures",
        training.batch_size,
        accumulation,
        smaller,
        effective,
    )
    return training.model_copy(update={"batch_size": smaller, "gradient_accumulation": accumulation})


def out_of_memory(training: TrainingConfig, error: RuntimeError) -> FrameVitError:
    """The error for a person, made of the device's own."""
    return FrameVitError(
        f"out of memory with batches of {training.batch_size}: {' '.join(str(error).split())[:200]}",
        "Set a smaller training.batch_size with more gradient_accumulation, or gradient_checkpointing",
    )
