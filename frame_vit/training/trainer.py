"""transformers' Trainer, made exact: what is random is a function of (seed, step), what is saved is whole.

The Trainer's loop, accumulation, mixed precision, devices and processes are kept. Replaced are what it is fed, the
groups of its optimizer, its checkpoints (its own are pickles, written in place), and what happens when a number is
none or somebody wants it to stop.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Trainer

from frame_vit.config.schema import TrainingConfig
from frame_vit.errors import FrameVitError
from frame_vit.runs import checkpoints
from frame_vit.runs.checkpoints import Checkpoint
from frame_vit.system.devices import later
from frame_vit.system.progress import log
from frame_vit.training.batches import Batches, RowIds
from frame_vit.training.optimizer import Average, groups, optimizer_state, restore_optimizer
from frame_vit.training.transforms import mix

SKIPPED_IN_A_ROW = 20
"""fp16 steps left out one after the other, because gradients were too large, before the run is stopped."""


class FrameTrainer(Trainer):  # type: ignore[misc]
    """The Trainer over `Batches`. `keys` name the training pictures; `path` is that of the blocks, for layer decay."""

    def __init__(
        self,
        *,
        feed: Batches,
        training: TrainingConfig,
        keys: Sequence[str],
        path: str | None,
        run: Path,
        **options: Any,
    ) -> None:
        self.feed, self.training, self.keys, self.path, self.run_folder = feed, training, keys, path, run
        self.average: Average | None = None
        self._unchecked: list[tuple[int, RowIds, Callable[[], float]]] = []
        self._batch = (-1, 0)
        self._carried: dict[str, Any] | None = None
        self.fed_s = self.paused_s = 0.0
        self.seen = 0
        self.optimizer: Any = None
        super().__init__(**options)
        if training.ema:
            self.average = Average(self.model, training.ema)

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(groups(self.model, self.training, self.path), **options)
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        if model.training:
            values, labels = self.feed.training(inputs["rows"], self.state.global_step)
            self.fed_s += time.perf_counter() - began
        else:
            values, labels = self.feed.validation(inputs["rows"]), inputs["labels"]
        return super().compute_loss(model, {"pixel_values": values, "labels": labels}, *args, **options)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Tensor:
        step = self.state.global_step
        self.seen += len(inputs["rows"]) * self.args.world_size
        self._batch = (step, self._batch[1] + 1 if self._batch[0] == step else 0)
        # Dropout too is a function of seed, step, batch and process: a checkpoint needs no state of generators.
        torch.manual_seed(mix(self.args.seed, step, self._batch[1], self.args.process_index))
        loss: Tensor = super().training_step(model, inputs, *args, **options)
        # Looked at when the next step has been asked for: the card need not wait for Python.
        self.check_numbers(before=step)
        self._unchecked.append((step, inputs["rows"], later(loss)))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if self.args.fp16:  # a gradient too large for fp16 is the scaler's business: it leaves the step out
            return norm
        self._unchecked.append((self.state.global_step, np.array([], np.int64), later(torch.as_tensor(norm))))
        return norm

    def check_numbers(self, before: int | None = None) -> None:
        """Raises `FrameVitError` where the loss or the gradient of a step (before `before`) is not a number."""
        due = [entry for entry in self._unchecked if before is None or entry[0] < before]
        self._unchecked = self._unchecked[len(due) :]
        found = ((step, rows, read()) for step, rows, read in due)
        bad = next((entry for entry in found if not math.isfinite(entry[2])), None)
        if bad is None:
            return
        step, rows, value = bad
        what = "loss" if len(rows) else "gradient"
        if what == "gradient":
            rows = np.concatenate([r for s, r, _ in due if s == step])
        share = f" in process {self.args.process_index}" if self.args.world_size > 1 else ""
        self.log({"loss" if what == "loss" else "grad_norm": value})
        named = ", ".join(self.keys[row] for row in rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
        last = checkpoints.found(self.run_folder / "checkpoints")
        kept = (
            f"The last good checkpoint, of step {last[-1].step}, is kept" if last else "No checkpoint was written yet"
        )
        raise FrameVitError(
            f"the {what} of step {step + 1} is {value}; its pictures{share}: {named}",
            f"{kept}. Try a lower training.learning_rate, or --precision fp32",
        )

    def evaluate(self, *args: Any, **options: Any) -> Any:
        self.check_numbers()
        with self._paused(), self.average.worn() if self.average else nullcontext():
            while True:
                try:
                    return super().evaluate(*args, **options)
                except torch.OutOfMemoryError:
                    size = self.args.per_device_eval_batch_size
                    if size == 1 or self.args.world_size > 1:
                        raise
                    log.warning("%d pictures at once do not fit in a validation: %d at once", size, size // 2)
                    self.args.per_device_eval_batch_size = size // 2
                    torch.cuda.empty_cache()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Time that does not count as training."""
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
            tensors, rates = optimizer_state(self.optimizer)
            files = {"model": self.model.state_dict(), "optimizer": tensors}
            if self.average is not None:
                files["average"] = self.average.state()
            scaler = self.accelerator.scaler
            state = {
                "best_step": self.state.best_global_step,
                "rates": rates,
                "schedule": self.lr_scheduler.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
                "losses": losses,
                "logged": self._globalstep_last_logged,
            }
            values = {"trainer_state": dataclasses.asdict(self.state), "state": state}
            checkpoints.write(self.run_folder / "checkpoints", self.state.global_step, files, values, self._kept())
        self.accelerator.wait_for_everyone()

    def _kept(self) -> set[int]:
        """The steps whose checkpoints stay: the newest ones and the best one."""
        root, limit = self.run_folder / "checkpoints", self.args.save_total_limit
        before = [c.step for c in checkpoints.found(root) if c.step < self.state.global_step]
        return {*before[max(0, len(before) - limit + 1) :], self.state.best_global_step or -1}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint = Checkpoint(Path(resume_from_checkpoint))
        self.model.load_state_dict(checkpoint.tensors("model"))
        if self.average is not None:
            self.average.restore(checkpoint.tensors("average"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            found = Checkpoint(Path(checkpoint))
            self._carried = found.values("state")
            restore_optimizer(self.optimizer, found.tensors("optimizer"), self._carried["rates"])
            self.lr_scheduler.load_state_dict(self._carried["schedule"])

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self._carried and self._carried["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(self._carried["scaler"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """There is none: see `training_step`."""

    def carry_on(self) -> None:
        """Takes up the sum of losses since the last row of the history, which the Trainer begins anew."""
        if self._carried:
            losses = self._carried["losses"]
            self._tr_loss.fill_(losses[self.args.process_index % len(losses)])
            self._globalstep_last_logged = self._carried["logged"]

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # estimated from a text's tokens; means nothing here
