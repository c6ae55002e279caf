"""transformers' Trainer, fed with uint8 batches that are augmented on the device, with labels.

Takes a classifier and splits, gives the classifier with the best weights back; what a run folder is beyond
checkpoints/, history.csv and curves.png is known to `workflow`.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (everybody's name for it)
from safetensors.torch import load_model
from torch import Tensor
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from frame_vit.config import Config, Training
from frame_vit.data.examples import Split
from frame_vit.devices import describe, resolve_device, resolve_precision
from frame_vit.errors import ConfigError, FrameVitError, UsageError
from frame_vit.geometry import GENERATORS
from frame_vit.images import Pixels
from frame_vit.labels import LabelledView
from frame_vit.metrics import score
from frame_vit.model import Classifier, quiet
from frame_vit.progress import Tick, log, silent
from frame_vit.transforms import Augment, check_square, normalise

HISTORY = ("step", "epoch", "loss", "grad_norm", "learning_rate", "val_loss", "val_accuracy", "val_macro_f1")


@dataclass(frozen=True)
class Outcome:
    """What training came to: the best validation macro-F1 and its step, steps in all, pictures seen a second."""

    best_macro_f1: float
    best_step: int
    steps: int
    pictures_per_second: float
    device: torch.device
    precision: str


def train(
    model: Classifier, splits: Mapping[str, Split], config: Config, run: Path, tick: Tick = silent, resume: bool = False
) -> Outcome:
    """Trains on splits["train"], chooses on splits["val"] by macro-F1; `model` then holds the best weights."""
    quiet()
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run / "logs"))
    device = resolve_device(config.training.device)
    precision = resolve_precision(config.training.precision, device)
    log.info("device: %s, precision %s", describe(device), precision)
    augment = augmentation(config, model)
    watch = _Watch(run, tick, model)
    callbacks: list[Any] = [watch]
    if config.training.early_stopping:
        callbacks.append(EarlyStoppingCallback(config.training.early_stopping))
    trainer = _trainer(
        config.training.report_to,
        model=model.module,
        args=training_arguments(config.training, run, device, precision),
        train_dataset=PixelDataset(splits["train"]),
        eval_dataset=PixelDataset(splits["val"]),
        data_collator=_as_it_is,
        compute_loss_func=Loss(splits["train"], config.training, augment.views),
        compute_metrics=watch.compute_metrics,
        callbacks=callbacks,
        augment=augment,
        pixels=model.pixels,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_checkpoint(run) if resume else None)
    state = trainer.state
    if state.best_model_checkpoint is None:
        raise FrameVitError(
            "no validation gave a usable macro-F1, so there is no best model", "See history.csv; try a lower rate"
        )
    load_model(model.module, Path(state.best_model_checkpoint) / "model.safetensors", device=str(trainer.args.device))
    return Outcome(state.best_metric, state.best_global_step, state.global_step, watch.rate, device, precision)


def _trainer(report_to: list[str], **options: Any) -> FrameTrainer:
    try:
        return FrameTrainer(**options)
    except (RuntimeError, ValueError) as error:
        if report_to and ("installed" in str(error) or "is not supported" in str(error)):
            raise UsageError(f"training.report_to: {' '.join(str(error).split())}") from None
        raise


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
    strategy = "steps" if training.eval_steps else "epoch"
    # Not load_best_model_at_end: it loads without checking that any name fits; `train` loads the best itself.
    arguments = TrainingArguments(
        output_dir=str((run / "checkpoints").resolve()),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=max(32, training.batch_size),
        gradient_accumulation_steps=training.gradient_accumulation,
        activation_checkpointing=training.gradient_checkpointing,
        learning_rate=training.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(training.schedule, training.schedule),
        warmup_steps=training.warmup,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        eval_strategy=strategy,
        save_strategy="steps" if training.save_steps else strategy,
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
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=training.report_to or "none",
        disable_tqdm=True,
        log_level="error",
        seed=training.seed,
    )
    if arguments.n_gpu > 1:
        # One process uses one card: the Trainer would split every batch over all it sees, and count the loss twice.
        arguments._n_gpu = 1
    return arguments


class PixelDataset(Dataset[Any]):
    """A split as batches: the loader asks for many rows at once and gets one stacked batch, no collating."""

    def __init__(self, split: Split) -> None:
        self.pixels = split.pixels
        self.labels = split.labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        index = np.asarray(rows)
        return {
            "pixels": torch.from_numpy(self.pixels[index]),
            "labels": torch.from_numpy(self.labels[index]),
            "rows": torch.from_numpy(index),
        }


class Loss:
    """Cross entropy with label smoothing and class weights, averaged over the pictures of the accumulated batch.

    Weights are scaled so that they average 1 over the training pictures: the learning rate keeps its meaning. How often
    a class is seen is counted as augmentation shows it: a mirrored Xplus is seen as an Xminus.
    """

    def __init__(self, split: Split, training: Training, views: Sequence[LabelledView]) -> None:
        self.smoothing = training.label_smoothing
        self.weight: Tensor | None = None
        if training.class_weights == "balanced":
            seen = np.array([view.classes for view in views])
            counts = np.bincount(seen[:, split.labels].ravel(), minlength=seen.shape[1]) / len(views)
            present = np.where(counts > 0, counts, 1)
            weight = np.where(counts > 0, len(split) / ((counts > 0).sum() * present), 0)
            self.weight = torch.tensor(weight, dtype=torch.float32)

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"].float()
        each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)
        if self.weight is not None:
            # Not cross_entropy's own weight: with smoothing it would weigh the share of the other classes too.
            each = each * self.weight.to(each.device)[labels]
        return each.sum() / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


class FrameTrainer(Trainer):  # type: ignore[misc]
    """The Trainer, with pixels made into model inputs on the device; while training they are augmented first."""

    def __init__(self, *, augment: Augment, pixels: Pixels, **options: Any) -> None:
        self.augment = augment
        self.pixels = pixels
        super().__init__(**options)

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **options: Any) -> Any:
        pixels, labels = inputs["pixels"].permute(0, 3, 1, 2), inputs["labels"]
        if model.training:
            coins = self.augment.draw(inputs["rows"], self.state.global_step, self.pixels.width)
            pixels, labels = self.augment.pixels(pixels, coins), self.augment.labels(labels, coins)
        batch = {"pixel_values": normalise(pixels, self.pixels), "labels": labels}
        return super().compute_loss(model, batch, *args, **options)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # By the module's own names. transformers writes the names of the hub's files, which for ViT are others since
        # version 5, and its resume then loads nothing from them without a word.
        if self.args.should_save:
            self.model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # estimated from a text's tokens; means nothing here


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Progress, history and messages; and a checkpoint of every new best, whatever the save cadence."""

    def __init__(self, run: Path, tick: Tick, model: Classifier) -> None:
        self.run, self.tick, self.labels = run, tick, model.labels
        self.rate, self.loss = 0.0, float("nan")
        self._since, self._first_step = 0.0, 0

    def compute_metrics(self, answer: Any) -> dict[str, float]:
        logits = answer.predictions[0] if isinstance(answer.predictions, tuple) else answer.predictions
        numbers = score(answer.label_ids, np.asarray(logits, np.float32), self.labels)
        return {"accuracy": numbers["accuracy"], "macro_f1": numbers["macro_f1"]}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._since, self._first_step = time.perf_counter(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seconds = time.perf_counter() - self._since
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.rate = (state.global_step - self._first_step) * batch / max(seconds, 1e-9)
        loss = "" if math.isnan(self.loss) else f"loss {self.loss:.3f}, "
        note = f"epoch {state.epoch:.1f}, {loss}{self.rate:.0f} pictures/s"
        self.tick("training", state.global_step, state.max_steps, note)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        self.loss = logs.get("loss", self.loss)
        if state.is_world_process_zero:
            write_history(self.run / "history.csv", state.log_history)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        best = state.best_metric is None or metrics["eval_macro_f1"] > state.best_metric
        # With saves rarer than validations the best model of a run would mostly have no checkpoint to load.
        control.should_save = control.should_save or best
        log.info(
            "epoch %.1f, step %d: validation loss %.3f, accuracy %.3f, macro-F1 %.3f%s",
            state.epoch,
            state.global_step,
            metrics["eval_loss"],
            metrics["eval_accuracy"],
            metrics["eval_macro_f1"],
            ", the best so far" if best else "",
        )


def history_rows(log_history: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row a step that was logged or validated, under the names in HISTORY."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log_history:
        row = rows.setdefault(int(entry["step"]), {"step": entry["step"], "epoch": entry["epoch"]})
        row.update(
            {
                key.replace("eval_", "val_"): value
                for key, value in entry.items()
                if key.replace("eval_", "val_") in HISTORY
            }
        )
    return list(rows.values())


def write_history(path: Path, log_history: list[dict[str, float]]) -> None:
    """history.csv, anew each time: a resumed run thus has the steps before the interruption too."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HISTORY)
        writer.writeheader()
        writer.writerows(history_rows(log_history))


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of history.csv, without the empty cells."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]


def _as_it_is(batch: Any) -> Any:
    return batch


def _last_checkpoint(run: Path) -> str:
    from transformers.trainer_utils import get_last_checkpoint

    found = get_last_checkpoint(str(run / "checkpoints")) if (run / "checkpoints").is_dir() else None
    if found is None:
        raise UsageError(f"{run} has no checkpoint to go on from", "Start a new run")
    return str(found)
