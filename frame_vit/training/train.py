"""A run from the config to the tested model: begun, interrupted, gone on with, finished."""

from __future__ import annotations

import errno
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from transformers import set_seed

from frame_vit.audit.audit import warn_of_errors
from frame_vit.backends.torch_backend import Torch
from frame_vit.config.load import dump_config, load_config
from frame_vit.config.schema import Config
from frame_vit.data.dataset import Dataset, prepare
from frame_vit.errors import FrameVitError, Interrupted, UsageError
from frame_vit.evaluation.calibrate import choose_point
from frame_vit.evaluation.directions import check_costs
from frame_vit.evaluation.metrics import Metrics
from frame_vit.evaluation.report import write_evaluation
from frame_vit.evaluation.results import Evaluation, evaluate_split
from frame_vit.model.classifier import Classifier, fingerprint
from frame_vit.model.pretrained import create, load_pretrained
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.model.saving import load_trained
from frame_vit.prediction.predictor import Predictor
from frame_vit.report.figures import draw_curves
from frame_vit.report.model_card import model_card
from frame_vit.runs import checkpoints, identity
from frame_vit.runs.environment import environment_facts, run_facts
from frame_vit.runs.folder import RUNS, check_apart, check_new, located, new_run, set_latest
from frame_vit.runs.history import read_history
from frame_vit.runs.log import logged, remembered
from frame_vit.system.devices import resolve_device, resolve_precision
from frame_vit.system.distributed import ProcessGroup
from frame_vit.system.files import write_json, write_text
from frame_vit.system.progress import Tick, log, silent, speed
from frame_vit.system.signals import interruptible
from frame_vit.training import loop as training
from frame_vit.training.arguments import check_trackers
from frame_vit.training.loop import Outcome, check_possible


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, what training came to, and the evaluation of the saved model."""

    run: Path
    outcome: Outcome
    evaluation: Evaluation
    skipped: int


def train(config: Config, name: str, output: Path | None = None, tick: Tick = silent) -> Trained | None:
    """Prepares, trains, saves the best model, and tests what was saved. None in processes that only help."""
    team = ProcessGroup(config.training.device)
    with remembered() as memory:
        # What cannot work is found out before a run folder is made, and if possible before the data is read.
        config = located(config)
        check_new(output)
        check_apart(output or RUNS, config.data.train, config.data.test)
        check_trackers(config.training.report_to)
        resolve_precision(config.training.precision, resolve_device(config.training.device))
        with team.first():
            prepared, classifier = _start(config, tick)
        if team.main:
            warn_of_errors(prepared, config.data.audit)
        check_possible(classifier, config, len(prepared.splits["train"]), team.count)
        run = team.share(new_run(name, output) if team.main else Path())
        with _says_how_to_go_on(run, team):
            return _train_in(run, _Start(config, prepared, classifier, fresh=True), tick, team, memory)


def resume(run: Path, tick: Tick = silent) -> Trained | None:
    """Goes on with an interrupted run from its newest whole checkpoint, by the config it was started with.

    None in processes that only help.
    """
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is not a run folder (no config.yaml)")
    config = load_config(run / "config.yaml")
    team = ProcessGroup(config.training.device)
    with remembered() as memory, _says_how_to_go_on(run, team):
        check_trackers(config.training.report_to)
        with team.first():
            prepared, classifier = _start(config, tick)
        return _train_in(run, _Start(config, prepared, classifier, fresh=False), tick, team, memory)


def _start(config: Config, tick: Tick) -> tuple[Dataset, Classifier]:
    """The data and the model to begin with; what starts at random starts from the config's seed."""
    processor = load_processor(config.model)
    preprocessing = preprocessing_of(processor, config.data.bit_depth, config.data.roi)
    prepared = prepare(config, preprocessing, tick)
    check_costs(prepared.labels, config.decision.costs)
    set_seed(config.training.seed)
    begin = create if config.model.init == "scratch" else load_pretrained
    return prepared, begin(config.model, prepared.labels, preprocessing, processor)


@dataclass(frozen=True)
class _Start:
    """What a run begins or goes on with."""

    config: Config
    prepared: Dataset
    classifier: Classifier
    fresh: bool


def _train_in(run: Path, begin: _Start, tick: Tick, team: ProcessGroup, memory: MemoryHandler) -> Trained | None:
    place = run / "checkpoints"
    tick = tick if team.main else silent
    with _alone(place) if team.main else nullcontext(), logged(memory, run / "train.log" if team.main else None):
        if team.main:
            log.info("run folder: %s", run)
            splits = begin.prepared.splits
            log.info("%s", ", ".join(f"{name} {len(split)} pictures" for name, split in splits.items()))
            if not begin.prepared.labels.ok:
                log.warning("labels.ok names no class: escape and overkill rates will not be defined")
            _write_down(
                run,
                begin,
                environment_facts(begin.prepared, begin.config.training, begin.classifier.revision, team.count),
            )
        start = team.share(None if begin.fresh or not team.main else _newest(place))
        outcome = training.train(begin.classifier, begin.prepared.splits, begin.config, run, tick, start)
        return _finish(run, begin, outcome, tick) if team.main else None


@contextmanager
def _says_how_to_go_on(run: Path, team: ProcessGroup) -> Iterator[None]:
    """Whatever a signal or a full disk interrupts ends in `FrameVitError` with the command that goes on."""

    def go_on() -> str:
        begun = (run / "config.yaml").is_file()
        return f"{team.launcher} train --resume {shlex.quote(str(run))}" if begun else ""

    try:
        with interruptible():
            yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        number = stopped.exit_code - 128 if isinstance(stopped, Interrupted) else signal.SIGINT
        said = stopped.message if isinstance(stopped, Interrupted) else "stopped"
        raise Interrupted(number, said, go_on()) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        reason = f"no room to write {error.filename or run}: {error.strerror}"
        way_out = (
            f"What was saved before is whole. Make room, then: {go_on()}" if go_on() else "Make room, and begin again"
        )
        raise FrameVitError(reason, way_out) from None


def _write_down(run: Path, begin: _Start, facts: dict[str, Any]) -> None:
    """Writes down what the run is, or checks that it still is."""
    prepared, named = begin.prepared, begin.config.with_names(begin.prepared.labels.names)
    splits = {name: prepared.split_fingerprint(name) for name in prepared.splits}
    chosen = {key: facts[key] for key in ("device", "precision", "processes", "framevit")}
    chosen |= {f"packages.{name}": facts["packages"][name] for name in identity.PACKAGES}
    found = identity.identity(named, splits, fingerprint(begin.classifier.module), chosen)
    path = run / "environment.json"
    if begin.fresh:
        write_json(path, facts | {"identity": found})
        write_text(run / "config.yaml", dump_config(named))  # last: with it, the folder is a run that can be resumed
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is missing or damaged: it says what the run was", "Begin a new run") from None
    identity.check(before, found)


def _newest(place: Path) -> checkpoints.Checkpoint | None:
    start = checkpoints.newest(place)
    if start is None:
        log.warning("there is no checkpoint: the run begins anew")
    else:
        log.info("going on after step %d (%s)", start.step, start.folder)
    return start


def _finish(run: Path, begin: _Start, outcome: Outcome, tick: Tick) -> Trained:
    config, prepared = begin.config, begin.prepared
    log.info("best: step %d of %d, validation macro-F1 %.4f", outcome.best_step, outcome.steps, outcome.best_macro_f1)
    if outcome.pictures_per_second:
        rate, fed = speed(outcome.pictures_per_second), 100 * outcome.share_fed
        log.info("trained at %s; %.1f %% of the time went into making the batches", rate, fed)
    draw_curves(run / "curves.png", read_history(run / "history.csv"), outcome.best_step)
    choose_point(begin.classifier, run / "model", prepared.splits, config, tick)
    if "test" not in prepared.splits:
        log.warning("there is no test set; the validation split is tested, which also chose the model")
    split = prepared.splits["test" if "test" in prepared.splits else "val"]
    # What is tested is what lies on the disk, through the predictor that `predict` uses.
    predictor = Predictor(Torch(load_trained(str(run / "model")), config.training.device, config.training.precision))
    evaluation = evaluate_split(predictor, split, config.decision.costs, tick).completed(len(prepared.rejects))
    _warn_of_chance(evaluation.metrics)
    write_evaluation(evaluation, predictor, run / "evaluation" / split.name, run_facts(str(run), prepared, split.name))
    base = "scratch" if config.model.init == "scratch" else config.model.name
    (run / "model" / "README.md").write_text(
        model_card(prepared.labels, begin.classifier.preprocessing, base, evaluation.metrics.for_card()),
        encoding="utf-8",
    )
    set_latest(run)
    return Trained(run, outcome, evaluation, len(prepared.rejects))


def _warn_of_chance(metrics: Metrics) -> None:
    """Of a model that may have learned nothing, no number below should be taken for a result."""
    most, row = max((row.support, name) for name, row in metrics.scores.per_class.items())
    share = most / metrics.n
    if metrics.scores.accuracy_interval.low <= share:
        log.warning(
            "accuracy %.3f is not shown to be better than always saying %r (%.3f): train longer, check the labels",
            metrics.scores.accuracy,
            row,
            share,
        )


@contextmanager
def _alone(checkpoints: Path) -> Iterator[None]:
    """Keeps a second process out of a run's checkpoints; the lock goes with the process, however it ends."""
    checkpoints.mkdir(exist_ok=True)
    lock = FileLock(checkpoints / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"{checkpoints.parent} is being trained by another process", "Let it finish, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()
