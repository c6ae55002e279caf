"""`framevit train`: one run, from a config to an evaluated model; started, interrupted, resumed, finished.

    check      what cannot work is refused before a run folder is made and, if possible, before the data is read
    describe   config.yaml and environment.json say what the run is; a resumed run must still be the same
    train      `loop`, from the newest complete checkpoint if there is one
    finish     temperature and thresholds, the evaluation of the saved model, its model card

Several processes may train one model (torchrun); only the main one writes. Must not know the terminal.
"""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from pathlib import Path

from transformers import set_seed

from frame_vit.audit.audit import refuse_distorting_turns, warn_of_errors
from frame_vit.backends.torch_backend import Torch
from frame_vit.config.load import dump_config, load_config
from frame_vit.config.schema import Config
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.errors import Interrupted, UsageError
from frame_vit.evaluation.calibrate import choose_point
from frame_vit.evaluation.directions import check_costs
from frame_vit.evaluation.metrics import Metrics
from frame_vit.evaluation.report import write_evaluation
from frame_vit.evaluation.results import Evaluation, evaluate_split
from frame_vit.model.classifier import Classifier, fingerprint
from frame_vit.model.pretrained import check_base, create, load_pretrained
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.model.saving import load_trained
from frame_vit.prediction.predictor import Predictor
from frame_vit.report.figures import draw_curves
from frame_vit.report.model_card import model_card
from frame_vit.runs import checkpoints
from frame_vit.runs.checkpoints import CHECKPOINTS
from frame_vit.runs.environment import Environment, RunFacts
from frame_vit.runs.folder import RUNS, check_apart, check_new, located, new_run, set_latest
from frame_vit.runs.history import read_history
from frame_vit.runs.identity import Identity, check
from frame_vit.runs.log import logged, remembered
from frame_vit.system.devices import resolve_device, resolve_precision
from frame_vit.system.distributed import ProcessGroup
from frame_vit.system.files import full_disk_explained, locked, write_json, write_text
from frame_vit.system.progress import Tick, log, silent, speed
from frame_vit.system.signals import interruptible
from frame_vit.training import loop
from frame_vit.training.arguments import check_trackers
from frame_vit.training.loop import Outcome, check_trainable


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the outcome of the training, and the evaluation of the saved model.

    `skipped` is the number of rows of the data that could not be used.
    """

    run: Path
    outcome: Outcome
    evaluation: Evaluation
    skipped: int


@dataclass(frozen=True)
class _Inputs:
    """What a run starts from: its config, the data, and the classifier with its first weights."""

    config: Config
    dataset: Dataset
    classifier: Classifier


@dataclass(frozen=True)
class _Run:
    """A run folder, the processes that train it, and the log messages from before there was a folder."""

    folder: Path
    processes: ProcessGroup
    early_log: MemoryHandler


def train(config: Config, name: str, output: Path | None = None, tick: Tick = silent) -> Trained | None:
    """Trains a model in a new run folder, `output` or runs/NAME-NNN, saves the best weights and evaluates them.

    None in processes other than the main one. Raises `UsageError` and other `FrameVitError`s; after a signal
    `Interrupted`, with the command that resumes the run.
    """
    processes = ProcessGroup(config.training.device)
    with remembered() as early_log:
        config = located(config).with_rate()
        check_new(output)
        check_apart(output or RUNS, config.data.train, config.data.test)
        check_trackers(config.training.report_to)
        resolve_precision(config.training.precision, resolve_device(config.training.device))
        with processes.first():
            inputs = _inputs(config, tick)
        if processes.main:
            warn_of_errors(inputs.dataset, config.data.audit)
        check_trainable(inputs.classifier, config, len(inputs.dataset.splits["train"]), processes.count)
        folder = processes.share(new_run(name, output) if processes.main else Path())
        with _explains_how_to_resume(folder, processes):
            return _train_in(_Run(folder, processes, early_log), inputs, tick, is_new=True)


def resume(run: Path, tick: Tick = silent) -> Trained | None:
    """Resumes an interrupted run from its newest complete checkpoint, with the config that it was started with.

    None in processes other than the main one. Raises `UsageError` where the folder is no run, or the config, the data
    or the first weights have changed.
    """
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is not a run folder (it has no config.yaml)")
    config = load_config(run / "config.yaml")
    if "head" not in config.training.model_fields_set:  # a run of a version in which every new head was random
        config = config.model_copy(update={"training": config.training.model_copy(update={"head": "random"})})
    processes = ProcessGroup(config.training.device)
    with remembered() as early_log, _explains_how_to_resume(run, processes):
        check_trackers(config.training.report_to)
        with processes.first():
            inputs = _inputs(config, tick)
        return _train_in(_Run(run, processes, early_log), inputs, tick, is_new=False)


def _inputs(config: Config, tick: Tick) -> _Inputs:
    """Reads the data and the model; random first weights follow from the config's seed."""
    processor = load_processor(config.model, config.data.fit)
    preprocessing = preprocessing_of(processor, config.data)
    if config.model.init == "pretrained":
        check_base(config.model, preprocessing)
    dataset = read_dataset(config, preprocessing, tick)
    refuse_distorting_turns(dataset, config.data.audit, preprocessing)
    check_costs(dataset.labels, config.decision.costs)
    set_seed(config.training.seed)
    start_model = create if config.model.init == "scratch" else load_pretrained
    return _Inputs(config, dataset, start_model(config.model, dataset.labels, preprocessing, processor))


def _train_in(run: _Run, inputs: _Inputs, tick: Tick, is_new: bool) -> Trained | None:
    """Trains and evaluates in a run folder that no other process may use meanwhile; all messages go to train.log."""
    folder, processes, splits = run.folder, run.processes, inputs.dataset.splits
    if not processes.main:
        loop.train(inputs.classifier, splits, inputs.config, folder, silent, processes.share(None))
        return None
    with _alone(folder / CHECKPOINTS), logged(run.early_log, folder / "train.log"):
        log.info("run folder: %s", folder)
        log.info("%s", ", ".join(f"{name} {len(split)} pictures" for name, split in splits.items()))
        if not inputs.dataset.labels.ok:
            log.warning("labels.ok names no class, so escape and overkill rates cannot be computed")
        _describe(folder, inputs, processes.count, is_new)
        start = processes.share(None if is_new else _newest_checkpoint(folder / CHECKPOINTS))
        outcome = loop.train(inputs.classifier, splits, inputs.config, folder, tick, start)
        return _finish(folder, inputs, outcome, tick)


@contextmanager
def _explains_how_to_resume(run: Path, processes: ProcessGroup) -> Iterator[None]:
    """Turns a signal or a full disk into a `FrameVitError` with the command that resumes the run."""

    def command() -> str:
        can_resume = (run / "config.yaml").is_file()
        return f"{processes.launcher} train --resume {shlex.quote(str(run))}" if can_resume else ""

    def way_out() -> str:
        again = command()
        return f"What was saved before is whole. Make room, then: {again}" if again else "Make room and start again"

    try:
        with interruptible(), full_disk_explained(run, way_out):
            yield
    except (Interrupted, KeyboardInterrupt) as interrupt:
        number = interrupt.exit_code - 128 if isinstance(interrupt, Interrupted) else signal.SIGINT
        message = interrupt.message if isinstance(interrupt, Interrupted) else "stopped"
        raise Interrupted(number, message, command()) from None


def _describe(run: Path, inputs: _Inputs, processes: int, is_new: bool) -> None:
    """Writes what the run is; for a run that is resumed, checks that it still is the same.

    Raises `UsageError` where it is not, or where environment.json is missing or damaged.
    """
    config, dataset = inputs.config.with_names(inputs.dataset.labels.names), inputs.dataset
    environment = Environment.of(dataset, config.training, inputs.classifier.revision, processes)
    preprocessing = inputs.classifier.preprocessing
    current = Identity.of(config, fingerprint(inputs.classifier.module), preprocessing, environment)
    path = run / "environment.json"
    if is_new:
        write_json(path, environment.to_json() | {"identity": current.to_json()})
        write_text(run / "config.yaml", dump_config(config))  # last: with this file, the run can be resumed
        return
    try:
        recorded = Identity.from_json(json.loads(path.read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path} is missing or damaged, so nothing shows that this is still the same run", "Start a new run"
        ) from None
    if "preprocessing" not in recorded.values:  # before data.fit it was what the model's own processor does
        own = load_processor(config.model, "processor")
        recorded = recorded.completed("preprocessing", preprocessing_of(own, config.data).to_json())
    recorded = recorded.completed("training.head", "random")
    check(recorded, current)


def _newest_checkpoint(folder: Path) -> checkpoints.Checkpoint | None:
    start = checkpoints.newest(folder)
    if start is None:
        log.warning("no checkpoint was written yet: the training starts from the beginning")
    else:
        log.info("resuming after step %d (%s)", start.step, start.folder)
    return start


def _finish(run: Path, inputs: _Inputs, outcome: Outcome, tick: Tick) -> Trained:
    """Saves the best model with its thresholds, evaluates what was saved, and writes the reports."""
    config, dataset = inputs.config, inputs.dataset
    if outcome.pictures_per_second:
        rate, share = speed(outcome.pictures_per_second), 100 * outcome.batching_share
        log.info("training speed: %s; making batches took %.1f %% of the time", rate, share)
    draw_curves(run / "curves.png", read_history(run / "history.csv"), outcome.best_step)
    choose_point(inputs.classifier, run / "model", dataset.splits, config, tick)
    if "test" not in dataset.splits:
        log.warning("there is no test set: the model is evaluated on the validation split, which also chose it")
    split = dataset.splits["test" if "test" in dataset.splits else "val"]
    # The evaluated model is the saved one, loaded as `predict` loads it.
    predictor = Predictor(Torch(load_trained(str(run / "model")), config.training.device, config.training.precision))
    evaluation = evaluate_split(predictor, split, config.decision.costs, tick).completed(len(dataset.rejects))
    _warn_of_chance(evaluation.metrics)
    facts = RunFacts.of(str(run), dataset, split.name)
    write_evaluation(evaluation, predictor, run / "evaluation" / split.name, facts)
    base = "scratch" if config.model.init == "scratch" else config.model.name
    write_text(
        run / "model" / "README.md",
        model_card(dataset.labels, inputs.classifier.preprocessing, base, evaluation.metrics.for_card()),
    )
    set_latest(run)
    return Trained(run, outcome, evaluation, len(dataset.rejects))


def _warn_of_chance(metrics: Metrics) -> None:
    """Warns where the accuracy may be no better than that of always answering the most frequent class."""
    most, name = max((row.support, name) for name, row in metrics.scores.per_class.items())
    share = most / metrics.n
    if metrics.scores.accuracy_interval.low <= share:
        log.warning(
            "accuracy %.3f is not significantly better than always answering %r (%.3f): "
            "train longer, or check the labels",
            metrics.scores.accuracy,
            name,
            share,
        )


@contextmanager
def _alone(checkpoints: Path) -> Iterator[None]:
    """Keeps other processes out of a run's checkpoints; the lock ends with the process, however that ends."""
    checkpoints.mkdir(exist_ok=True)
    busy = UsageError(f"{checkpoints.parent} is being trained by another process", "Let it finish, or stop it")
    with locked(checkpoints / ".lock", busy):
        yield
