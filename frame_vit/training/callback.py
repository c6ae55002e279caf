"""transformers' Trainer, made exact: what is random is a function of (seed, step), what is saved is whole.

The Trainer's loop, accumulation, mixed precision, devices and processes are kept. Replaced are what it is fed, the
groups of its optimizer, its checkpoints (its own are pickles, written in place), and what happens when a number is
none or somebody wants it to stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from frame_vit.errors import FrameVitError, Interrupted
from frame_vit.evaluation.metrics import score
from frame_vit.labels import LabelSpace
from frame_vit.runs.history import write_history
from frame_vit.system.devices import later
from frame_vit.system.progress import Tick, log, speed
from frame_vit.system.signals import GracefulStop
from frame_vit.training.trainer import SKIPPED_IN_A_ROW, FrameTrainer


class TrainingCallback(TrainerCallback):  # type: ignore[misc]
    """Progress, history and messages; validation at the end; a checkpoint of every new best; the wish to stop."""

    def __init__(self, run: Path, tick: Tick, labels: LabelSpace, stop: GracefulStop, patience: int | None) -> None:
        self.run, self.tick, self.labels, self.stop, self.patience = run, tick, labels, stop, patience
        self.trainer: FrameTrainer | None = None
        self.rate, self.loss, self.share_fed = 0.0, float("nan"), 0.0
        self._since, self._skipped = 0.0, 0
        self._stopping = 0
        self._asked: Callable[[], float] = float

    def compute_metrics(self, answer: Any) -> dict[str, float]:
        logits = answer.predictions[0] if isinstance(answer.predictions, tuple) else answer.predictions
        numbers = score(answer.label_ids, np.asarray(logits, np.float32), self.labels)
        return {"accuracy": numbers.accuracy, "macro_f1": numbers.macro_f1}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        self.trainer.carry_on()
        self._since = time.perf_counter()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        if self.trainer.average is not None:
            self.trainer.average.update(state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        self._count_skipped(state.global_step)
        seconds = time.perf_counter() - self._since - self.trainer.paused_s
        self.rate = self.trainer.seen / max(seconds, 1e-9)
        self.share_fed = self.trainer.fed_s / max(seconds, 1e-9)
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        self._stopping = self._asked_to_stop()
        if self._stopping:
            control.should_save = True
        loss = "" if math.isnan(self.loss) else f"loss {self.loss:.3f}, "
        note = f"epoch {state.epoch:.1f}, {loss}{speed(self.rate)}"
        self.tick("training", state.global_step, state.max_steps, note)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        self.loss = logs.get("loss", self.loss)
        if state.is_world_process_zero:
            write_history(self.run / "history.csv", state.log_history)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        if not math.isfinite(metrics["eval_loss"]):
            # The largest of answers that are no numbers is the first class: it could even count as the best model.
            raise FrameVitError(
                f"the validation loss after step {state.global_step} is {metrics['eval_loss']}",
                "What was saved before is kept. Try a lower training.learning_rate, or --precision fp32",
            )
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
        if args.world_size == 1 and self.stop.requested:
            self._stopping, control.should_save = self.stop.requested, True
        if stopped_early(state, self.patience):
            log.info("no better validation in %d: the training ends early", self.patience)
            control.should_training_stop = True
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._stopping:
            raise Interrupted(self._stopping, f"stopped and saved after step {state.global_step}")

    def _asked_to_stop(self) -> int:
        """The signal that any of the processes got, or 0: all must stop after the same step."""
        assert self.trainer is not None
        if self.trainer.args.world_size == 1:
            return self.stop.requested
        asked = torch.full((), float(self.stop.requested), device=self.trainer.args.device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        # What was asked after the step before: that answer is there, and no card has to be waited for.
        before, self._asked = self._asked, later(asked)
        return int(before())

    def _count_skipped(self, step: int) -> None:
        assert self.trainer is not None
        if not self.trainer.accelerator.optimizer_step_was_skipped:
            self._skipped = 0
            return
        self._skipped += 1
        if self._skipped == SKIPPED_IN_A_ROW:
            raise FrameVitError(
                f"{SKIPPED_IN_A_ROW} steps one after the other, up to step {step}, had gradients too large for fp16",
                "Try a lower training.learning_rate, or --precision fp32",
            )


def stopped_early(state: Any, patience: int | None) -> bool:
    """Whether the last `patience` validations in the log were no better than one before them."""
    scores = [entry["eval_macro_f1"] for entry in state.log_history if "eval_macro_f1" in entry]
    if patience is None or len(scores) <= patience:
        return False
    return bool(max(scores[-patience:]) <= max(scores[:-patience]))
