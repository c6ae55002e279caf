"""TrainingCallback: what happens between the steps of a training.

Progress, history.csv and log messages; a checkpoint of every new best model; early stopping; and a clean end after an
interrupt. The Trainer calls the `on_...` methods; they set flags in its `control`, which it obeys after the call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import TrainerCallback

from frame_vit.errors import FrameVitError, Interrupted
from frame_vit.evaluation.metrics import score
from frame_vit.labels import LabelSpace
from frame_vit.runs.estimates import Work, duration
from frame_vit.runs.history import write_history
from frame_vit.system.devices import later
from frame_vit.system.progress import Tick, log, speed
from frame_vit.system.signals import GracefulStop
from frame_vit.training.trainer import SKIPPED_IN_A_ROW, FrameTrainer

UNTIMED_STEPS, TIMED_STEPS = 2, 4
"""The first steps allocate memory and choose algorithms; the next ones show how fast the training goes."""
LONG = 3600.0
"""Seconds on a CPU after which another way is worth naming."""


class _Clock(NamedTuple):
    """Seconds of training, and the pictures of that time."""

    seconds: float
    pictures: int


class TrainingCallback(TrainerCallback):  # type: ignore[misc]
    """Set `trainer` before the training starts, and `work` for a word on how long it will take.

    `patience` is how many validations without a better macro-F1 end the training early (None: it always runs to the
    end). `pictures_per_second` and `batching_share` (the share of the time spent on making batches) leave out
    validations and saves.
    """

    def __init__(self, run: Path, tick: Tick, labels: LabelSpace, stop: GracefulStop, patience: int | None) -> None:
        self.run, self.tick, self.labels, self.stop, self.patience = run, tick, labels, stop, patience
        self.trainer: FrameTrainer | None = None
        self.work: Work | None = None
        self._steps, self._timed_from = 0, _Clock(0.0, 0)
        self.pictures_per_second, self.batching_share, self.loss = 0.0, 0.0, float("nan")
        self._began, self._skipped = 0.0, 0
        self._signal = 0
        self._signal_of_all: Callable[[], float] = float

    def compute_metrics(self, prediction: Any) -> dict[str, float]:
        """Accuracy and macro-F1 of a validation, from the Trainer's EvalPrediction."""
        outputs = prediction.predictions
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        metrics = score(prediction.label_ids, np.asarray(logits, np.float32), self.labels)
        return {"accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        self.trainer.restore_running_loss()
        self._began = time.perf_counter()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        if self.trainer.average is not None:
            self.trainer.average.update(state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        self._count_skipped(state.global_step)
        seconds = max(time.perf_counter() - self._began - self.trainer.paused_s, 1e-9)
        self.pictures_per_second = self.trainer.pictures_seen / seconds
        self.batching_share = self.trainer.batching_s / seconds
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        self._tell_time(seconds, args, state)
        self._signal = self._signal_to_any_process()
        if self._signal:
            control.should_save = True
        loss = "" if math.isnan(self.loss) else f"loss {self.loss:.3f}, "
        note = f"epoch {state.epoch:.1f}, {loss}{speed(self.pictures_per_second)}"
        self.tick("training", state.global_step, state.max_steps, note)

    def _tell_time(self, seconds: float, args: Any, state: Any) -> None:
        """Says how long the rest will take, once the first steps have shown how fast it goes."""
        assert self.trainer is not None
        self._steps += 1
        if self._steps == UNTIMED_STEPS:
            self._timed_from = _Clock(seconds, self.trainer.pictures_seen)
        if self._steps != UNTIMED_STEPS + TIMED_STEPS or self.work is None or not state.is_world_process_zero:
            return
        rate = (self.trainer.pictures_seen - self._timed_from.pictures) / (seconds - self._timed_from.seconds)
        steps = state.max_steps - state.global_step
        left = self.work.seconds(steps, math.ceil(steps / args.eval_steps), rate)
        log.info("about %s to go, at %s", duration(left), speed(rate))
        frozen = self.work.frozen_seconds(rate)
        if frozen is not None and left > LONG:
            log.warning(
                "training all weights takes about %s on this CPU; training.freeze backbone fits only the head, in "
                "about %s, and is usually less accurate",
                duration(left),
                duration(frozen),
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        self.loss = logs.get("loss", self.loss)
        if state.is_world_process_zero:
            write_history(self.run / "history.csv", state.log_history)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        if not math.isfinite(metrics["eval_loss"]):
            # The class of logits that are all NaN is the first one: such a model could even count as the best.
            raise FrameVitError(
                f"the validation loss after step {state.global_step} is {metrics['eval_loss']}",
                "Earlier checkpoints are kept. Try a lower training.learning_rate, or --precision fp32",
            )
        is_best = state.best_metric is None or metrics["eval_macro_f1"] > state.best_metric
        # Where saves are rarer than validations, the best model would otherwise often have no checkpoint.
        control.should_save = control.should_save or is_best
        log.info(
            "epoch %.1f, step %d: validation loss %.3f, accuracy %.3f, macro-F1 %.3f%s",
            state.epoch,
            state.global_step,
            metrics["eval_loss"],
            metrics["eval_accuracy"],
            metrics["eval_macro_f1"],
            ", the best so far" if is_best else "",
        )
        if args.world_size == 1 and self.stop.requested:
            self._signal, control.should_save = self.stop.requested, True
        if stopped_early(state, self.patience):
            log.info("early stopping: no better macro-F1 in the last %d validations", self.patience)
            control.should_training_stop = True
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._signal:
            raise Interrupted(self._signal, f"stopped and saved after step {state.global_step}")

    def _signal_to_any_process(self) -> int:
        """The number of a signal that any of the processes got, or 0. All must stop after the same step."""
        assert self.trainer is not None
        if self.trainer.args.world_size == 1:
            return self.stop.requested
        highest = torch.full((), float(self.stop.requested), device=self.trainer.args.device)
        torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
        # Read one step late: the number of the step before has arrived, so that no card has to be waited for.
        previous, self._signal_of_all = self._signal_of_all, later(highest)
        return int(previous())

    def _count_skipped(self, step: int) -> None:
        assert self.trainer is not None
        if not self.trainer.accelerator.optimizer_step_was_skipped:
            self._skipped = 0
            return
        self._skipped += 1
        if self._skipped == SKIPPED_IN_A_ROW:
            raise FrameVitError(
                f"the gradients of {SKIPPED_IN_A_ROW} consecutive steps, up to step {step}, were too large for fp16",
                "Try a lower training.learning_rate, or --precision fp32",
            )


def stopped_early(state: Any, patience: int | None) -> bool:
    """Whether none of the last `patience` validations had a better macro-F1 than the best one before them."""
    scores = [entry["eval_macro_f1"] for entry in state.log_history if "eval_macro_f1" in entry]
    if patience is None or len(scores) <= patience:
        return False
    return bool(max(scores[-patience:]) <= max(scores[:-patience]))
