"""A classifier and splits -> the classifier with its best weights: what the Trainer is given, and how it is started.

What a run folder is beyond checkpoints/, history.csv and logs/ is known to `workflow`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import nn
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from frame_vit.config.schema import Config, TrainingConfig
from frame_vit.data.examples import Split
from frame_vit.errors import ConfigError, FrameVitError, Interrupted, ModelError
from frame_vit.images.geometry import GENERATORS
from frame_vit.labels import LabelledView
from frame_vit.model.classifier import Classifier, blocks
from frame_vit.model.pretrained import quiet
from frame_vit.runs import checkpoints
from frame_vit.runs.checkpoints import Checkpoint
from frame_vit.runs.history import write_history
from frame_vit.system.caches import cache_folder
from frame_vit.system.devices import describe, resolve_device, resolve_precision
from frame_vit.system.files import check_room
from frame_vit.system.progress import Tick, log, silent
from frame_vit.system.signals import GracefulStop
from frame_vit.training.arguments import every_epoch, training_arguments
from frame_vit.training.batches import Batches, FeatureBatches, PixelBatches, RowNumbers
from frame_vit.training.callback import TrainingCallback, stopped_early
from frame_vit.training.frozen import FrozenFeatures, cut
from frame_vit.training.loss import Loss
from frame_vit.training.trainer import FrameTrainer
from frame_vit.training.transforms import Augmentation, check_square


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
    feed: Batches
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
    with GracefulStop() as stop:
        watch = TrainingCallback(run, tick, model.labels, stop, config.training.early_stopping)
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
        feed = PixelBatches(train_split, val, augment, model.preprocessing, device)
        return Work(model.module, feed, splits, augment.views, _path_of_blocks(model, config.training))
    if augment.brightness or augment.contrast or augment.shift:
        log.info("frozen blocks are computed once a view: brightness, contrast and shift are not drawn")
    found = cut(model, freeze)
    frozen = FrozenFeatures(found, model.preprocessing, device, precision, cache_folder(config.data.cache))
    still = augment.views[:1]
    features = frozen.features(train_split, augment.views, tick), frozen.features(val, still, tick)
    path = None if freeze == "backbone" else _path_of_blocks(model, config.training)
    return Work(found.tail, FeatureBatches(train_split, *features, augment, device), splits, augment.views, path)


def _path_of_blocks(model: Classifier, training: TrainingConfig) -> str | None:
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


def _fitted(
    work: Work,
    training: TrainingConfig,
    run: Path,
    watch: TrainingCallback,
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


def _out_of_memory(training: TrainingConfig, error: RuntimeError) -> FrameVitError:
    return FrameVitError(
        f"out of memory with {training.batch_size} pictures at once: {' '.join(str(error).split())[:200]}",
        "Set a smaller training.batch_size with more gradient_accumulation, or gradient_checkpointing",
    )


def _smaller(training: TrainingConfig, error: RuntimeError) -> TrainingConfig:
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


def _trainer(
    work: Work, training: TrainingConfig, run: Path, watch: TrainingCallback, arguments: TrainingArguments
) -> FrameTrainer:
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


def _best(module: nn.Module, state: Any, run: Path, watch: TrainingCallback) -> Outcome:
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


def augmentation(config: Config, model: Classifier) -> Augmentation:
    """The training augmentation that a config asks for, over a model's label space."""
    # What is set to false is not drawn, also where the others together would produce it.
    off = [GENERATORS[key] for key in GENERATORS if getattr(config.augment, key) is False]
    views = tuple(view for view in model.labels.group(config.flips()) if view.view not in off)
    if not check_square(views, model.preprocessing):
        raise ConfigError(
            f"augment.rot90: the model's pictures are {model.preprocessing.size_text}, not square",
            "Set augment.rot90 to false and leave rot90 out of labels.symmetries",
        )
    settings = config.augment
    return Augmentation(views, settings.brightness, settings.contrast, settings.shift, config.training.seed)


def _checkpoint_bytes(module: nn.Module, training: TrainingConfig) -> int:
    """What the checkpoints take: weights and two moments each; the kept ones, the best, and the one being written."""
    weights: int = sum(tensor.nbytes for tensor in module.state_dict().values())
    return weights * (4 if training.ema else 3) * (training.save_total_limit + 2)


def _as_it_is(batch: Any) -> Any:
    return batch
