"""A classifier and splits -> the classifier with its best weights: what the Trainer is given, and how it is started.

What a run folder is beyond checkpoints/, history.csv and logs/ is known to `workflow`.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import nn
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import PrinterCallback

from frame_vit import checkpoints
from frame_vit.checkpoints import Checkpoint
from frame_vit.data.cache import cache_folder, check_room
from frame_vit.data.examples import Split
from frame_vit.devices import describe, resolve_device, resolve_precision
from frame_vit.errors import ConfigError, FrameVitError, Interrupted, ModelError, UsageError
from frame_vit.feed import Feed, FrozenFeed, PixelFeed, RowNumbers
from frame_vit.frozen import Frozen, cut
from frame_vit.geometry import GENERATORS
from frame_vit.history import write_history
from frame_vit.labels import LabelledView
from frame_vit.loss import Loss
from frame_vit.model import Classifier, blocks, quiet
from frame_vit.progress import Tick, log, silent
from frame_vit.schema import Config, Training
from frame_vit.stopping import Stop
from frame_vit.trainer import FrameTrainer, Watch, stopped_early
from frame_vit.transforms import Augment, check_square


@dataclass(frozen=True)
class Outcome:
    """What training came to: the best validation macro-F1 and its step, steps in all.

    And how fast it was: pictures a second, and the share of the time that went into making batches (both without
    validations and saves; of the part since the last start).
    """

    best_macro_f1: float
    best_step: int
    steps: int
    pictures_per_second: float
    share_fed: float


@dataclass(frozen=True)
class Work:
    """What is trained: the module whose weights move, what it is fed, the splits, the path of its blocks."""

    module: nn.Module
    feed: Feed
    splits: Mapping[str, Split]
    views: Sequence[LabelledView]
    path: str | None


def train(
    model: Classifier,
    splits: Mapping[str, Split],
    config: Config,
    run: Path,
    tick: Tick = silent,
    start: Checkpoint | None = None,
) -> Outcome:
    """Trains on splits["train"], chooses on splits["val"] by macro-F1; `model` then holds the best weights.

    With `start` it goes on from there, bit for bit as if it had never stopped. Raises `Interrupted`, everything
    saved, after a SIGINT or SIGTERM.
    """
    quiet()
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run / "logs"))
    device = resolve_device(config.training.device)
    precision = resolve_precision(config.training.precision, device)
    log.info("device: %s, precision %s", describe(device), precision)
    work = prepare_work(model, splits, config, device, precision, tick)
    there = sum(file.stat().st_size for file in (run / "checkpoints").glob("step-*/*"))
    needed = _checkpoint_bytes(work.module, config.training) - there
    check_room(run, needed, "the checkpoints", "Make room, or lower save_total_limit")
    with Stop() as stop:
        watch = Watch(run, tick, model.labels, stop, config.training.early_stopping)
        state = _fitted(work, config.training, run, watch, precision, device, start)
        if stop.requested:
            raise Interrupted(stop.requested, "stopped; the training is complete and saved")
    return _best(work.module, state, run, watch)


def prepare_work(
    model: Classifier, splits: Mapping[str, Split], config: Config, device: torch.device, precision: str, tick: Tick
) -> Work:
    """The whole model on augmented pixels or, with frozen blocks, what is above them on their stored answers."""
    augment, freeze = augmentation(config, model), config.training.freeze
    train_split, val = splits["train"], splits["val"]
    if freeze == "none":
        feed = PixelFeed(train_split, val, augment, model.pixels, device)
        return Work(model.module, feed, splits, augment.views, _path_of_blocks(model, config.training))
    if augment.brightness or augment.contrast or augment.shift:
        log.info("frozen blocks are computed once a view: brightness, contrast and shift are not drawn")
    found = cut(model, freeze)
    frozen = Frozen(found, model.pixels, device, precision, cache_folder(config.data.cache))
    still = augment.views[:1]
    features = frozen.features(train_split, augment.views, tick), frozen.features(val, still, tick)
    path = None if freeze == "backbone" else _path_of_blocks(model, config.training)
    return Work(found.tail, FrozenFeed(train_split, *features, augment, device), splits, augment.views, path)


def _path_of_blocks(model: Classifier, training: Training) -> str | None:
    """Where the blocks lie whose rates differ by depth; None where all learn alike."""
    if training.layer_decay == 1:
        return None
    try:
        return blocks(model.module)[0]
    except ModelError as error:
        log.warning("%s: layer_decay is not used, all of it learns at the same rate", error.message)
        return None


def check_possible(model: Classifier, config: Config, pictures: int, processes: int) -> None:
    """Raises `UsageError` for a training that cannot be done with this model; warns of one that makes little sense."""
    augmentation(config, model)
    training = config.training
    if training.freeze != "none":
        cut(model, training.freeze)
        if config.model.init == "scratch":
            log.warning("training.freeze with model.init scratch: what is frozen is random and stays so")
    step = training.batch_size * training.gradient_accumulation * processes
    if step > pictures:
        log.warning(
            "a step sees up to %d pictures, and there are only %d to train on: one step an epoch", step, pictures
        )
    if training.compile:
        log.info("training.compile: the first steps take minutes")


def check_trackers(names: Sequence[str]) -> None:
    """Raises `UsageError` for an experiment tracker that is not known or not installed, before any work is done."""
    try:
        for kind in get_reporting_integration_callbacks(list(names)):
            kind()
    except (RuntimeError, ValueError, ImportError) as error:
        raise UsageError(
            f"training.report_to: {' '.join(str(error).split())}", "Install it, or leave --report-to out"
        ) from None


def _fitted(
    work: Work,
    training: Training,
    run: Path,
    watch: Watch,
    precision: str,
    device: torch.device,
    start: Checkpoint | None,
) -> Any:
    """The Trainer's state after training; micro-batches are halved until a step fits into the card's memory."""
    begin = (
        {name: value.cpu().clone() for name, value in work.module.state_dict().items()} if device.type == "cuda" else {}
    )
    while True:
        trainer = _trainer(work, training, run, watch, training_arguments(training, run, device, precision))
        if start is not None:
            state = _state_of(trainer, start)
            if state.global_step >= state.max_steps or stopped_early(state, training.early_stopping):
                write_history(run / "history.csv", state.log_history)
                return state
        try:
            trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
            trainer.check_numbers()
            return trainer.state
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            steps = trainer.state.global_step - (start.step if start else 0)
            # A card may run out in the second step, when the optimizer has its moments; the weights are put back then.
            if steps > (1 if begin else 0) or trainer.args.world_size > 1:
                raise _out_of_memory(training, error) from None
            training = _smaller(training, error)
        # All that holds on to the card's memory must go before it is tried again.
        trainer.model.zero_grad(set_to_none=True)
        trainer.accelerator.free_memory()
        watch.trainer = None
        del trainer
        if begin:
            work.module.load_state_dict(begin)
        gc.collect()
        torch.cuda.empty_cache()


def _state_of(trainer: FrameTrainer, start: Checkpoint) -> Any:
    from transformers import TrainerState

    trainer._load_from_checkpoint(str(start.folder))
    return TrainerState.load_from_json(str(start.folder / "trainer_state.json"))


def _out_of_memory(training: Training, error: RuntimeError) -> FrameVitError:
    return FrameVitError(
        f"out of memory with {training.batch_size} pictures at once: {' '.join(str(error).split())[:200]}",
        "Set a smaller training.batch_size with more gradient_accumulation, or gradient_checkpointing",
    )


def _smaller(training: Training, error: RuntimeError) -> Training:
    """Half the micro-batch (or the next smaller divisor) and more accumulation: the effective batch stays."""
    whole = training.batch_size * training.gradient_accumulation
    smaller = next((n for n in range(training.batch_size // 2, 0, -1) if whole % n == 0), None)
    if smaller is None:
        raise _out_of_memory(training, error) from None
    log.warning(
        "%d pictures at once do not fit: %d at once, %d times, so that a step still sees %d",
        training.batch_size,
        smaller,
        whole // smaller,
        whole,
    )
    return training.model_copy(update={"batch_size": smaller, "gradient_accumulation": whole // smaller})


def _trainer(work: Work, training: Training, run: Path, watch: Watch, arguments: TrainingArguments) -> FrameTrainer:
    train_split = work.splits["train"]
    options: dict[str, Any] = {
        "model": work.module,
        "args": every_epoch(arguments, training, len(train_split)),
        "train_dataset": RowNumbers(train_split),
        "eval_dataset": RowNumbers(work.splits["val"]),
        "data_collator": _as_it_is,
        "compute_loss_func": Loss(train_split, training, work.views),
        "compute_metrics": watch.compute_metrics,
        "callbacks": [watch],
    }
    keys = [example.key for example in train_split.examples]
    trainer = FrameTrainer(feed=work.feed, training=training, keys=keys, path=work.path, run=run, **options)
    trainer.remove_callback(PrinterCallback)
    watch.trainer = trainer
    return trainer


def _best(module: nn.Module, state: Any, run: Path, watch: Watch) -> Outcome:
    if state.best_global_step is None or state.best_metric is None:
        raise FrameVitError(
            "no validation gave a usable macro-F1, so there is no best model", "See history.csv; try a lower rate"
        )
    best = Checkpoint(run / "checkpoints" / f"step-{state.best_global_step:06d}")
    fault = checkpoints.verify(best.folder)
    if fault:
        raise FrameVitError(f"{best.folder}, the best model of the run: {fault}", "Go on from an earlier checkpoint")
    module.load_state_dict(best.tensors("model"))
    if (best.folder / "average.safetensors").exists():
        module.load_state_dict(best.tensors("average"), strict=False)  # buffers have no average
    return Outcome(state.best_metric, best.step, state.global_step, watch.rate, watch.share_fed)


def augmentation(config: Config, model: Classifier) -> Augment:
    """The training augmentation that a config asks for, over a model's label space."""
    # What is set to false is not drawn, also where the others together would produce it.
    off = [GENERATORS[key] for key in GENERATORS if getattr(config.augment, key) is False]
    views = tuple(view for view in model.labels.group(config.flips()) if view.view not in off)
    if not check_square(views, model.pixels):
        raise ConfigError(
            f"augment.rot90: the model's pictures are {model.pixels.width} x {model.pixels.height}, not square",
            "Set augment.rot90 to false and leave rot90 out of labels.symmetries",
        )
    settings = config.augment
    return Augment(views, settings.brightness, settings.contrast, settings.shift, config.training.seed)


def training_arguments(training: Training, run: Path, device: torch.device, precision: str) -> TrainingArguments:
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


def every_epoch(arguments: TrainingArguments, training: Training, pictures: int) -> TrainingArguments:
    """Validations and saves of every epoch as those of every so many steps.

    At a step everything that is due is done before a checkpoint is written; what the Trainer does at an epoch's end
    comes after it, and a run that goes on from there would leave it out.
    """
    batches = math.ceil(math.ceil(pictures / training.batch_size) / arguments.world_size)
    steps = math.ceil(batches / training.gradient_accumulation)
    arguments.eval_steps = training.eval_steps or steps
    arguments.save_steps = training.save_steps or arguments.eval_steps
    return arguments


def _checkpoint_bytes(module: nn.Module, training: Training) -> int:
    """What the checkpoints take: weights and two moments each; the kept ones, the best, and the one being written."""
    weights: int = sum(tensor.nbytes for tensor in module.state_dict().values())
    return weights * (4 if training.ema else 3) * (training.save_total_limit + 2)


def _as_it_is(batch: Any) -> Any:
    return batch
