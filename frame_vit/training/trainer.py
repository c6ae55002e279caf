"""FrameTrainer: transformers' Trainer, made reproducible and safe to interrupt.

Kept from transformers are the loop, gradient accumulation, mixed precision, devices and processes. Replaced are:

- the inputs: batches are made on the device from row numbers (`batches`);
- randomness: augmentation and dropout depend on (seed, step), so that a checkpoint holds no state of generators;
- the parameter groups of the optimizer (`optimizer`) and, on request, a moving average of the weights;
- checkpoints: safetensors and JSON, complete or absent (`runs.checkpoints`); transformers writes pickles in place;
- a loss or gradient that is not finite ends the training with the names of the pictures that caused it.

Much of this has no documented interface. `SEAMS` lists everything undocumented or overridden that this folder relies
on; a test compares it with the installed libraries.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer

from frame_vit.config.schema import TrainingConfig
from frame_vit.errors import FrameVitError
from frame_vit.runs import checkpoints
from frame_vit.runs.checkpoints import CHECKPOINTS, Checkpoint
from frame_vit.system.devices import later
from frame_vit.system.progress import log
from frame_vit.training.batches import Batches, JoinedBatches, RowIds
from frame_vit.training.optimizer import OptimizerState, WeightAverage, parameter_groups, restore_optimizer
from frame_vit.training.transforms import derive_seed


class Seam(NamedTuple):
    """One thing of transformers or accelerate that framevit uses or overrides although it may change.

    `owner` is a class or module by its dotted name. `parameters` are those of a function or method, in order; None
    stands for a field, a property or a class.
    """

    owner: str
    name: str
    parameters: tuple[str, ...] | None
    why: str


_TRAINER, _ACCELERATOR = "transformers.Trainer", "accelerate.Accelerator"
_STATE, _CONTROL, _CALLBACK = "transformers.TrainerState", "transformers.TrainerControl", "transformers.TrainerCallback"
_HOOK = ("self", "args", "state", "control", "kwargs")

SEAMS = (
    # Overridden in FrameTrainer.
    Seam(_TRAINER, "create_optimizer", ("self", "model"), "to group the parameters by depth"),
    Seam(
        _TRAINER,
        "compute_loss",
        ("self", "model", "inputs", "return_outputs", "num_items_in_batch"),
        "to make the pictures of a batch from its row numbers",
    ),
    Seam(
        _TRAINER,
        "training_step",
        ("self", "model", "inputs", "num_items_in_batch"),
        "to seed dropout by step and to look at the loss",
    ),
    Seam(_TRAINER, "_get_grad_norm", ("self", "model", "grad_norm"), "to look at the gradient before it is applied"),
    Seam(
        _TRAINER,
        "evaluate",
        ("self", "eval_dataset", "ignore_keys", "metric_key_prefix"),
        "to validate the average, with smaller batches where memory is short",
    ),
    Seam(_TRAINER, "_save_checkpoint", ("self", "model", "trial"), "to write checkpoints without pickles"),
    Seam(_TRAINER, "_load_from_checkpoint", ("self", "resume_from_checkpoint", "model"), "to read weights from them"),
    Seam(_TRAINER, "_load_optimizer_and_scheduler", ("self", "checkpoint"), "to read the optimizer and the schedule"),
    Seam(_TRAINER, "_load_scaler", ("self", "checkpoint"), "to read the loss scale of fp16"),
    Seam(_TRAINER, "_load_rng_state", ("self", "checkpoint"), "to read nothing: seeds follow from the step"),
    Seam(_TRAINER, "floating_point_ops", ("self", "inputs"), "to skip an estimate made for text"),
    Seam(_TRAINER, "get_train_dataloader", ("self",), "to join a last batch of a single picture to the one before"),
    # Called or read.
    Seam(_TRAINER, "_get_train_sampler", ("self", "train_dataset"), "draws the order of the rows"),
    Seam(_ACCELERATOR, "prepare", ("self", "args", "device_placement"), "makes that order follow from the seed"),
    Seam(_TRAINER, "get_optimizer_cls_and_kwargs", ("args", "model"), "gives the class of the optimizer"),
    Seam(_TRAINER, "get_decay_parameter_names", ("self", "model"), "names all but norms and biases; needs no self"),
    Seam(_TRAINER, "remove_callback", ("self", "callback"), "takes PrinterCallback off"),
    Seam(_TRAINER, "log", ("self", "logs", "start_time"), "adds step and epoch, and calls on_log"),
    Seam(_TRAINER, "_tr_loss", None, "the sum of losses since the last log entry: saved and restored"),
    Seam(_TRAINER, "_globalstep_last_logged", None, "the step of the last log entry: saved and restored"),
    Seam("transformers.TrainingArguments", "_n_gpu", None, "set to 1: one process uses one card"),
    Seam("transformers.trainer_callback", "PrinterCallback", None, "prints each log entry: removed"),
    Seam(
        "transformers.integrations.integration_utils",
        "get_reporting_integration_callbacks",
        ("report_to",),
        "names an experiment tracker that is unknown before any work is done",
    ),
    Seam(_STATE, "load_from_json", ("json_path",), "tells whether a resumed training is complete"),
    *(
        Seam(_STATE, name, None, why)
        for name, why in {
            "log_history": "history.csv and early stopping are made from it",
            "best_metric": "the best macro-F1 so far",
            "best_global_step": "the checkpoint that is kept as the best",
            "global_step": "seeds, names of checkpoints, progress",
            "max_steps": "progress, and whether a training is complete",
            "epoch": "progress",
            "is_world_process_zero": "one process writes history.csv",
        }.items()
    ),
    *(
        Seam(_CONTROL, name, None, "set by TrainingCallback")
        for name in ("should_evaluate", "should_save", "should_training_stop")
    ),
    *(
        Seam(_CALLBACK, name, _HOOK, why)
        for name, why in {
            "on_train_begin": "restores the sum of losses: called after the Trainer has cleared it",
            "on_optimizer_step": "moves the average of the weights: called before global_step is counted up",
            "on_step_end": "progress and the wish to stop: called before evaluation and saving",
            "on_log": "writes history.csv",
            "on_evaluate": "early stopping: called before best_metric is updated",
            "on_save": "ends a run that was asked to stop: called after the checkpoint is written",
        }.items()
    ),
    Seam(_ACCELERATOR, "optimizer_step_was_skipped", None, "counts the steps that fp16 leaves out"),
    Seam(_ACCELERATOR, "scaler", None, "the loss scale of fp16: saved and restored"),
    Seam(_ACCELERATOR, "gather", ("self", "tensor"), "collects the processes' sums of losses"),
    Seam(_ACCELERATOR, "wait_for_everyone", ("self",), "no process goes on before the checkpoint is written"),
    Seam(_ACCELERATOR, "free_memory", ("self", "objects"), "frees the card before a smaller batch is tried"),
    Seam("accelerate.utils.memory", "should_reduce_batch_size", ("exception",), "recognises running out of memory"),
)
"""Everything undocumented or overridden that this folder uses of transformers and accelerate, and why."""

SKIPPED_IN_A_ROW = 20
"""The training ends after so many consecutive fp16 steps whose gradients were too large to apply."""


class _PendingNumber(NamedTuple):
    """A loss (of the pictures `rows`) or a gradient norm (no rows) of a step, on its way from the device."""

    step: int
    rows: RowIds
    read: Callable[[], float]


class FrameTrainer(Trainer):  # type: ignore[misc]
    """The Trainer over `Batches`.

    `keys` name the training pictures in messages; `blocks_path` is the path of the transformer blocks in the model,
    for `layer_decay` (None: all parameters learn at the same rate). With `joins_lone_picture`, a last batch of a single
    picture joins the one before it.
    """

    def __init__(
        self,
        *,
        batches: Batches,
        training: TrainingConfig,
        keys: Sequence[str],
        blocks_path: str | None,
        run: Path,
        joins_lone_picture: bool = False,
        **options: Any,
    ) -> None:
        self.batches, self.training, self.keys, self.blocks_path = batches, training, keys, blocks_path
        self.checkpoint_folder, self.joins_lone_picture = run / CHECKPOINTS, joins_lone_picture
        self.average: WeightAverage | None = None
        self._pending: list[_PendingNumber] = []
        self._last_step, self._batch_of_step = -1, 0
        self._resumed_state: dict[str, Any] | None = None
        self.batching_s = self.paused_s = 0.0
        self.pictures_seen = 0
        self.optimizer: Any = None
        super().__init__(**options)
        if training.ema:
            self.average = WeightAverage(self.model, training.ema)

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(parameter_groups(self.model, self.training, self.blocks_path), **options)
        return self.optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        if not self.joins_lone_picture:
            return cast("DataLoader[Any]", super().get_train_dataloader())
        batches = JoinedBatches(self._get_train_sampler(self.train_dataset), self.args.per_device_train_batch_size)
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return cast("DataLoader[Any]", self.accelerator.prepare(loader))

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        if model.training:
            values, labels = self.batches.training(inputs["rows"], self.state.global_step)
            self.batching_s += time.perf_counter() - began
        else:
            values, labels = self.batches.validation(inputs["rows"]), inputs["labels"]
        return super().compute_loss(model, {"pixel_values": values, "labels": labels}, *args, **options)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Tensor:
        step = self.state.global_step
        self.pictures_seen += len(inputs["rows"]) * self.args.world_size
        self._batch_of_step = self._batch_of_step + 1 if self._last_step == step else 0
        self._last_step = step
        # Dropout, too, depends on seed, step, batch and process only: a checkpoint needs no state of generators.
        torch.manual_seed(derive_seed(self.args.seed, step, self._batch_of_step, self.args.process_index))
        loss: Tensor = super().training_step(model, inputs, *args, **options)
        # The loss is read once the next step is queued, so that the card need not wait for Python.
        self.check_numbers(before=step)
        self._pending.append(_PendingNumber(step, inputs["rows"], later(loss)))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not self.args.fp16:  # the loss scaler of fp16 skips steps with gradients that are too large
            no_rows = np.array([], np.int64)
            self._pending.append(_PendingNumber(self.state.global_step, no_rows, later(torch.as_tensor(norm))))
        return norm

    def check_numbers(self, before: int | None = None) -> None:
        """Reads the losses and gradient norms of all steps, or of those before the step `before`.

        Raises `FrameVitError` for the first one that is not finite, with the names of its pictures.
        """
        due = [number for number in self._pending if before is None or number.step < before]
        self._pending = self._pending[len(due) :]
        for number in due:
            value = number.read()
            if not math.isfinite(value):
                raise self._not_finite(number, value, due)

    def _not_finite(self, number: _PendingNumber, value: float, due: Sequence[_PendingNumber]) -> FrameVitError:
        is_loss = len(number.rows) > 0
        rows = number.rows if is_loss else np.concatenate([other.rows for other in due if other.step == number.step])
        self.log({"loss" if is_loss else "grad_norm": value})
        process = f" in process {self.args.process_index}" if self.args.world_size > 1 else ""
        names = ", ".join(self.keys[row] for row in rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
        saved = checkpoints.checkpoints_in(self.checkpoint_folder)
        kept = f"The last good checkpoint, of step {saved[-1].step}, is kept" if saved else "No checkpoint exists yet"
        return FrameVitError(
            f"the {'loss' if is_loss else 'gradient'} of step {number.step + 1} is {value}; "
            f"pictures of this step{process}: {names}",
            f"{kept}. Try a lower training.learning_rate, or --precision fp32",
        )

    def evaluate(self, *args: Any, **options: Any) -> Any:
        self.check_numbers()
        with self._paused(), self.average.applied() if self.average else nullcontext():
            while True:
                try:
                    return super().evaluate(*args, **options)
                except torch.OutOfMemoryError:
                    size = self.args.per_device_eval_batch_size
                    if size == 1 or self.args.world_size > 1:
                        raise
                    log.warning("validation ran out of memory with batches of %d: trying %d", size, size // 2)
                    self.args.per_device_eval_batch_size = size // 2
                    torch.cuda.empty_cache()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Time spent in here does not count as training."""
        began = time.perf_counter()
        yield
        self.paused_s += time.perf_counter() - began

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        self.check_numbers()
        with self._paused():
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        losses = self.accelerator.gather(self._tr_loss.reshape(1)).tolist()
        if self.args.should_save:
            optimizer = OptimizerState.of(self.optimizer)
            tensors = {"model": self.model.state_dict(), "optimizer": optimizer.tensors}
            if self.average is not None:
                tensors["average"] = self.average.state()
            scaler = self.accelerator.scaler
            state = {
                "best_step": self.state.best_global_step,
                "rates": optimizer.rates,
                "schedule": self.lr_scheduler.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
                "losses": losses,
                "logged": self._globalstep_last_logged,
            }
            values = {"trainer_state": dataclasses.asdict(self.state), "state": state}
            checkpoints.write(self.checkpoint_folder, self.state.global_step, tensors, values, self._steps_to_keep())
        self.accelerator.wait_for_everyone()

    def _steps_to_keep(self) -> set[int]:
        """The newest `save_total_limit` checkpoints, counting the one being written, and the best one."""
        steps = [checkpoint.step for checkpoint in checkpoints.checkpoints_in(self.checkpoint_folder)]
        earlier = [step for step in steps if step < self.state.global_step]
        newest = earlier[max(0, len(earlier) - self.args.save_total_limit + 1) :]
        return {*newest, self.state.best_global_step or -1}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint = Checkpoint(Path(resume_from_checkpoint))
        self.model.load_state_dict(checkpoint.tensors("model"))
        if self.average is not None:
            self.average.restore(checkpoint.tensors("average"))

    def load_weights(self, checkpoint: Checkpoint) -> None:
        """The weights of a checkpoint, and their average, without training on."""
        self._load_from_checkpoint(str(checkpoint.folder))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            saved = Checkpoint(Path(checkpoint))
            self._resumed_state = state = saved.values("state")
            restore_optimizer(self.optimizer, OptimizerState(saved.tensors("optimizer"), state["rates"]))
            self.lr_scheduler.load_state_dict(state["schedule"])

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self._resumed_state and self._resumed_state["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(self._resumed_state["scaler"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing to load: `training_step` derives every seed from the step."""

    def restore_running_loss(self) -> None:
        """Restores the sum of losses since the last row of the history, which the Trainer has just set to 0."""
        if self._resumed_state:
            losses = self._resumed_state["losses"]
            self._tr_loss.fill_(losses[self.args.process_index % len(losses)])
            self._globalstep_last_logged = self._resumed_state["logged"]

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # transformers estimates them from the tokens of a text, which means nothing here
