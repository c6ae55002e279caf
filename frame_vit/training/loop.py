"""One training: from a classifier and splits to the classifier with its best weights.

    task   the module to train and its batches come from `batches`
    fit    the Trainer runs; where memory is short, it is started again with smaller batches. The head of a frozen
           backbone needs no steps: `logistic_regression` fits it
    best   the weights of the best validation are loaded from their checkpoint

Of the run folder it writes checkpoints/, history.csv and logs/. What else is in there, `train` knows.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn
from transformers import TrainerState
from transformers.trainer_callback import PrinterCallback

from frame_vit.config.schema import Config, TrainingConfig
from frame_vit.data.examples import Split
from frame_vit.errors import ConfigError, FrameVitError, Interrupted, ModelError
from frame_vit.model.classifier import Classifier
from frame_vit.model.hub import silence_transformers
from frame_vit.model.probe import trains_on_one_picture
from frame_vit.runs import checkpoints
from frame_vit.runs.checkpoints import CHECKPOINTS, Checkpoint, checkpoints_in, step_folder
from frame_vit.runs.estimates import Work, estimate_memory, free_bytes, in_words
from frame_vit.runs.history import write_history
from frame_vit.system.devices import describe, resolve_device, resolve_precision
from frame_vit.system.distributed import ProcessGroup
from frame_vit.system.files import check_room, size
from frame_vit.system.progress import Tick, log, silent
from frame_vit.system.signals import GracefulStop
from frame_vit.training.arguments import out_of_memory, schedule_evaluations, smaller_batches, training_arguments
from frame_vit.training.batches import Compute, RowNumbers, Task, prepare_task
from frame_vit.training.callback import TrainingCallback, stopped_early
from frame_vit.training.frozen import cut_model
from frame_vit.training.logistic_regression import can_fit, fit_head, fit_new_head
from frame_vit.training.optimizer import Loss
from frame_vit.training.trainer import FrameTrainer
from frame_vit.training.transforms import augmentation

GROUPS_OF_ONE_RATE = 2
"""Parameters with weight decay, and those without: the optimizer's groups where layers do not differ."""


@dataclass(frozen=True)
class Outcome:
    """What a training came to: the best validation macro-F1, its step, and the number of steps.

    `pictures_per_second` and `batching_share` (the share of the time spent on making batches) leave out validations
    and saves, and cover the time since the last start.
    """

    best_macro_f1: float
    best_step: int
    steps: int
    pictures_per_second: float
    batching_share: float


@dataclass(frozen=True)
class _Session:
    """What stays the same when a training is started again with smaller batches."""

    task: Task
    run: Path
    callback: TrainingCallback
    compute: Compute


def train(
    model: Classifier,
    splits: Mapping[str, Split],
    config: Config,
    run: Path,
    tick: Tick = silent,
    start: Checkpoint | None = None,
) -> Outcome:
    """Trains on splits["train"] and keeps the weights with the best macro-F1 on splits["val"], in `model`.

    With `start` it resumes from that checkpoint, bit for bit as if it had never been interrupted. After a SIGINT or
    SIGTERM it saves a checkpoint and raises `Interrupted`.
    """
    config = config.with_rate()
    silence_transformers()
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run / "logs"))
    device = resolve_device(config.training.device)
    compute = Compute(device, resolve_precision(config.training.precision, device))
    log.info("device: %s, precision %s", describe(device), compute.precision)
    fits_first = model.has_new_head and config.training.head == "fitted" and config.training.freeze != "backbone"
    if fits_first and start is None:
        fit_new_head(model, splits, config, compute, tick)
    task = prepare_task(model, splits, config, compute, tick)
    if can_fit(task):
        is_main = ProcessGroup(config.training.device).main
        return _fit_head(task, model, config, run, tick) if is_main else Outcome(0.0, 0, 0, 0.0, 0.0)
    _tell_memory(task, config.training, compute)
    existing = sum(file.stat().st_size for each in checkpoints_in(run / CHECKPOINTS) for file in each.folder.iterdir())
    needed = _checkpoint_bytes(task.module, config.training) - existing
    check_room(run, needed, "the checkpoints", "Make room, or lower training.save_total_limit")
    with GracefulStop() as stop:
        callback = TrainingCallback(run, tick, model.labels, stop, config.training.early_stopping)
        callback.work = _work(task, model, config, compute)
        state = _fit(_Session(task, run, callback, compute), config.training, start)
        if stop.requested:
            raise Interrupted(stop.requested, "stopped; the training is complete and saved")
    best = _load_best(task.module, state, run)
    log.info("best model: step %d of %d, validation macro-F1 %.4f", best.step, state.global_step, state.best_metric)
    return Outcome(
        state.best_metric, best.step, state.global_step, callback.pictures_per_second, callback.batching_share
    )


def _fit_head(task: Task, model: Classifier, config: Config, run: Path, tick: Tick) -> Outcome:
    """The head of a frozen backbone, by logistic regression; after an interruption all of it is fitted again."""
    log.info(
        "the head is fitted by logistic regression: head, epochs, learning_rate and other settings of steps are unused"
    )
    if config.training.report_to:
        log.warning("training.report_to: nothing is reported of a head that is fitted; history.csv has the numbers")
    fitted, rows = fit_head(task, model.labels, config.training, tick)
    write_history(run / "history.csv", rows)
    return Outcome(fitted.row["eval_macro_f1"], int(fitted.row["step"]), len(rows), 0.0, 0.0)


def _tell_memory(task: Task, training: TrainingConfig, compute: Compute) -> None:
    """Says before the first step what it will take, and what to do where that is more than there is."""
    if training.gradient_checkpointing:
        log.info("memory is not estimated with training.gradient_checkpointing")
        return
    if len(task.splits["val"]) < 2:
        return
    module, pictures = task.module.to(compute.device), task.batches.validation(np.arange(2))
    try:
        estimate = estimate_memory(module, pictures, training.batch_size, compute.precision, training.ema is not None)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        return  # not even two pictures fit; the first step says so
    log.info("%s", in_words(estimate, training.batch_size, compute.precision))
    free = free_bytes(compute.device)
    if free is not None and estimate.total > free + sum(tensor.nbytes for tensor in module.state_dict().values()):
        log.warning(
            "only %s are free: with a smaller training.batch_size, as many times more training.gradient_accumulation "
            "trains alike; training.gradient_checkpointing saves memory, too",
            size(free),
        )


def _work(task: Task, model: Classifier, config: Config, compute: Compute) -> Work:
    training, train_split, val = config.training, task.splits["train"], task.splits["val"]
    frozen = None
    if compute.device.type == "cpu" and training.freeze == "none":
        with suppress(ModelError):
            cut_model(model, "backbone")
            frozen = len(train_split) * len(task.views) + len(val)
    step = training.batch_size * training.gradient_accumulation * ProcessGroup(training.device).count
    return Work(min(len(train_split), step), len(val), frozen)


def check_trainable(model: Classifier, config: Config, pictures: int, processes: int) -> None:
    """Checks before the first step that this model can be trained as the config asks.

    Raises `FrameVitError` where it cannot; warns of settings that make little sense.
    """
    augmentation(config, model.labels, model.preprocessing)
    training = config.training
    if training.freeze != "none":
        cut_model(model, training.freeze)
        if config.model.init == "scratch":
            log.warning("training.freeze with model.init scratch: the frozen weights are random and stay random")
    _check_architecture(model, training)
    step = training.batch_size * training.gradient_accumulation * processes
    if step > pictures:
        log.warning(
            "one step could take %d pictures, but there are only %d to train on: an epoch is one step", step, pictures
        )
    if training.compile:
        log.info("training.compile: the first steps take minutes")


def _check_architecture(model: Classifier, training: TrainingConfig) -> None:
    """Raises `ConfigError` where the config asks for what the model's architecture cannot do."""
    name = type(model.module).__name__
    if training.gradient_checkpointing and training.freeze != "backbone":
        try:
            model.module.activation_checkpointing_enable()
        except ValueError:
            raise ConfigError(
                f"training.gradient_checkpointing: {name} cannot do that",
                "Set it to false; smaller batches with more training.gradient_accumulation save memory, too",
            ) from None
        model.module.activation_checkpointing_disable()
    alone = training.batch_size == 1 and training.freeze == "none"
    if alone and not trains_on_one_picture(model.module, model.preprocessing):
        raise ConfigError(
            f"training.batch_size: {name} has batch normalisation, which takes at least 2 pictures at once",
            "Set training.batch_size to 2 or more",
        )


def _fit(session: _Session, training: TrainingConfig, start: Checkpoint | None) -> TrainerState:
    """The Trainer's state after training. The batch size is halved until a first step fits into memory."""
    module, on_card = session.task.module, session.compute.device.type == "cuda"
    original = {name: value.cpu().clone() for name, value in module.state_dict().items()} if on_card else {}
    while True:
        trainer = _trainer(session, training, start)
        state = _completed_state(trainer, training, start)
        if state is not None:
            write_history(session.run / "history.csv", state.log_history)
            return state
        try:
            trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
            trainer.check_numbers()
            return trainer.state
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            steps = trainer.state.global_step - (start.step if start else 0)
            # A card may run out of memory only in the second step, when the optimizer has its moments; the weights
            # are then put back.
            if steps > (1 if on_card else 0) or trainer.args.world_size > 1:
                raise out_of_memory(training, error) from None
            smaller = smaller_batches(training, error)
            if smaller.batch_size == 1 and not session.task.trainable_alone:
                raise out_of_memory(training, error) from None
            training = smaller
        # Everything that holds memory of the card must go before the next attempt, this local name included.
        _release(trainer, session.callback)
        del trainer
        _restore(module, original)


def _completed_state(trainer: FrameTrainer, training: TrainingConfig, start: Checkpoint | None) -> TrainerState | None:
    """The state of a checkpoint after which nothing is left to train; None where there is more to do."""
    if start is None:
        return None
    trainer.load_weights(start)
    state = TrainerState.load_from_json(str(start.folder / "trainer_state.json"))
    complete = state.global_step >= state.max_steps or stopped_early(state, training.early_stopping)
    return state if complete else None


def _release(trainer: FrameTrainer, callback: TrainingCallback) -> None:
    trainer.model.zero_grad(set_to_none=True)
    trainer.accelerator.free_memory()
    callback.trainer = None


def _restore(module: nn.Module, original: Mapping[str, Tensor]) -> None:
    if original:
        module.load_state_dict(original)
    gc.collect()
    torch.cuda.empty_cache()


def _trainer(session: _Session, training: TrainingConfig, start: Checkpoint | None) -> FrameTrainer:
    task, compute = session.task, session.compute
    # Earlier versions found no blocks in some architectures and trained them at one rate; such a run goes on so.
    flat = start is not None and len(start.values("state")["rates"]) <= GROUPS_OF_ONE_RATE
    train_split = task.splits["train"]
    arguments = training_arguments(training, session.run, compute.device, compute.precision)
    # Several processes get batches of equal size, so that none is left with a single picture.
    joins = not task.trainable_alone and arguments.world_size == 1
    options: dict[str, Any] = {
        "model": task.module,
        "args": schedule_evaluations(arguments, training, len(train_split), joins),
        "train_dataset": RowNumbers(train_split),
        "eval_dataset": RowNumbers(task.splits["val"]),
        "data_collator": _unchanged,
        "compute_loss_func": Loss(train_split, training, task.views),
        "compute_metrics": session.callback.compute_metrics,
        "callbacks": [session.callback],
    }
    trainer = FrameTrainer(
        batches=task.batches,
        training=training,
        keys=[example.key for example in train_split.examples],
        blocks_path=None if flat else task.blocks_path,
        run=session.run,
        joins_lone_picture=joins,
        **options,
    )
    trainer.remove_callback(PrinterCallback)
    session.callback.trainer = trainer
    return trainer


def _load_best(module: nn.Module, state: TrainerState, run: Path) -> Checkpoint:
    """Loads the weights of the best validation, or their average, into the module."""
    if state.best_global_step is None or state.best_metric is None:
        raise FrameVitError(
            "no validation gave a usable macro-F1, so there is no best model",
            "history.csv has the losses; try a lower training.learning_rate",
        )
    best = Checkpoint(step_folder(run / CHECKPOINTS, state.best_global_step))
    fault = checkpoints.verify(best.folder)
    if fault:
        raise FrameVitError(
            f"{best.folder}, the best checkpoint of the run: {fault}", "Resume from an earlier checkpoint"
        )
    module.load_state_dict(best.tensors("model"))
    if (best.folder / "average.safetensors").exists():
        module.load_state_dict(best.tensors("average"), strict=False)  # buffers have no average
    return best


def _checkpoint_bytes(module: nn.Module, training: TrainingConfig) -> int:
    """Disk space for the kept checkpoints, the best one, and the one being written; each holds two moments a weight."""
    weights: int = sum(tensor.nbytes for tensor in module.state_dict().values())
    return weights * (4 if training.ema else 3) * (training.save_total_limit + 2)


def _unchanged(batch: Any) -> Any:
    """The Trainer's collator: `RowNumbers` gives whole batches already."""
    return batch
