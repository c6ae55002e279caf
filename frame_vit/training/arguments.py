"""A classifier and splits -> the classifier with its best weights: what the Trainer is given, and how it is started.

What a run folder is beyond checkpoints/, history.csv and logs/ is known to `workflow`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from frame_vit.config.schema import TrainingConfig
from frame_vit.errors import UsageError


def check_trackers(names: Sequence[str]) -> None:
    """Raises `UsageError` for an experiment tracker that is not known or not installed, before any work is done."""
    try:
        for kind in get_reporting_integration_callbacks(list(names)):
            kind()
    except (RuntimeError, ValueError, ImportError) as error:
        raise UsageError(
            f"training.report_to: {' '.join(str(error).split())}", "Install it, or leave --report-to out"
        ) from None


def training_arguments(training: TrainingConfig, run: Path, device: torch.device, precision: str) -> TrainingArguments:
    """The Trainer's arguments for a config; batches and rates as they stand there."""
    # Not load_best_model_at_end: it loads without checking that any name fits; `train` loads the best itself.
    arguments = TrainingArguments(
        output_dir=str((run / "checkpoints").resolve()),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=max(32, training.batch_size),
        gradient_accumulation_steps=training.gradient_accumulation,
        activation_checkpointing=training.gradient_checkpointing and training.freeze != "backbone",
        torch_compile=training.compile,
        full_determinism=training.deterministic and device.type == "cuda",
        learning_rate=training.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(training.schedule, training.schedule),
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
        # Only row numbers and labels go through the loader.
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
        # One process uses one card: the Trainer would split every batch over all it sees, and count the loss twice.
        arguments._n_gpu = 1
    return arguments


def every_epoch(arguments: TrainingArguments, training: TrainingConfig, pictures: int) -> TrainingArguments:
    """Validations and saves of every epoch as those of every so many steps.

    At a step everything that is due is done before a checkpoint is written; what the Trainer does at an epoch's end
    comes after it, and a run that goes on from there would leave it out.
    """
    batches = math.ceil(math.ceil(pictures / training.batch_size) / arguments.world_size)
    steps = math.ceil(batches / training.gradient_accumulation)
    arguments.eval_steps = training.eval_steps or steps
    arguments.save_steps = training.save_steps or arguments.eval_steps
    return arguments
