"""A run from the config to the tested model: begun, interrupted, gone on with, finished."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import platform
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from transformers import set_seed

from frame_vit import __version__, checkpoints, identity, model, training
from frame_vit.config import dump_config, load_config
from frame_vit.data.audit import warn_of_errors
from frame_vit.data.prepare import Prepared, prepare
from frame_vit.devices import describe, resolve_device, resolve_precision
from frame_vit.directions import check_costs
from frame_vit.errors import FrameVitError, Interrupted, UsageError
from frame_vit.evaluation import Evaluation, evaluate_split
from frame_vit.evaluation_report import write_evaluation
from frame_vit.history import read_history
from frame_vit.operating import choose_point
from frame_vit.predictor import Predictor
from frame_vit.processes import Team
from frame_vit.progress import Tick, log, silent, speed
from frame_vit.report import draw_curves, model_card
from frame_vit.runs import RUNS, check_apart, check_new, find_model, new_run, set_latest, write_json, write_text
from frame_vit.saved import load_trained
from frame_vit.schema import Config
from frame_vit.stopping import terminable
from frame_vit.torch_backend import Torch
from frame_vit.train_log import logged, remembered
from frame_vit.training import Outcome, check_possible, check_trackers


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, what training came to, and the evaluation of the saved model."""

    run: Path
    outcome: Outcome
    evaluation: Evaluation
    skipped: int


def train(config: Config, name: str, output: Path | None = None, tick: Tick = silent) -> Trained | None:
    """Prepares, trains, saves the best model, and tests what was saved. None in processes that only help."""
    team = Team(config.training.device)
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
    team = Team(config.training.device)
    with remembered() as memory, _says_how_to_go_on(run, team):
        check_trackers(config.training.report_to)
        with team.first():
            prepared, classifier = _start(config, tick)
        return _train_in(run, _Start(config, prepared, classifier, fresh=False), tick, team, memory)


def finished(run: Path) -> bool:
    """Whether a run has been trained and tested."""
    return (run / "model" / "README.md").is_file() and any((run / "evaluation").glob("*/metrics.json"))


def located(config: Config) -> Config:
    """The same, with a run folder in model.name replaced by the model in it."""
    if config.model.init == "scratch":
        return config
    place, _ = find_model(config.model.name)
    return config.model_copy(update={"model": config.model.model_copy(update={"name": place})})


def _start(config: Config, tick: Tick) -> tuple[Prepared, model.Classifier]:
    """The data and the model to begin with; what starts at random starts from the config's seed."""
    processor = model.load_processor(config.model)
    pixels = model.pixels_of(processor, config.data.bit_depth, config.data.roi)
    prepared = prepare(config, pixels, tick)
    check_costs(prepared.labels, config.decision.costs)
    set_seed(config.training.seed)
    begin = model.create if config.model.init == "scratch" else model.load_pretrained
    return prepared, begin(config.model, prepared.labels, pixels, processor)


@dataclass(frozen=True)
class _Start:
    """What a run begins or goes on with."""

    config: Config
    prepared: Prepared
    classifier: model.Classifier
    fresh: bool


def _train_in(run: Path, begin: _Start, tick: Tick, team: Team, memory: MemoryHandler) -> Trained | None:
    place = run / "checkpoints"
    tick = tick if team.main else silent
    with _alone(place) if team.main else nullcontext(), logged(memory, run / "train.log" if team.main else None):
        if team.main:
            log.info("run folder: %s", run)
            splits = begin.prepared.splits
            log.info("%s", ", ".join(f"{name} {len(split)} pictures" for name, split in splits.items()))
            if not begin.prepared.labels.ok:
                log.warning("labels.ok names no class: escape and overkill rates will not be defined")
            _write_down(run, begin, _environment(begin, team))
        start = team.share(None if begin.fresh or not team.main else _newest(place))
        outcome = training.train(begin.classifier, begin.prepared.splits, begin.config, run, tick, start)
        return _finish(run, begin, outcome, tick) if team.main else None


@contextmanager
def _says_how_to_go_on(run: Path, team: Team) -> Iterator[None]:
    """Whatever a signal or a full disk interrupts ends in `FrameVitError` with the command that goes on."""

    def go_on() -> str:
        begun = (run / "config.yaml").is_file()
        return f"{team.launcher} train --resume {shlex.quote(str(run))}" if begun else ""

    try:
        with terminable():
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
    found = identity.identity(named, splits, model.fingerprint(begin.classifier.module), chosen)
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
    evaluation = evaluate_split(predictor, split, config.decision.costs, tick)
    evaluation.metrics["skipped"] = len(prepared.rejects)
    _warn_of_chance(evaluation.metrics)
    write_evaluation(evaluation, predictor, run / "evaluation" / split.name, run_facts(str(run), prepared, split.name))
    base = "scratch" if config.model.init == "scratch" else config.model.name
    (run / "model" / "README.md").write_text(
        model_card(prepared.labels, begin.classifier.pixels, base, evaluation.metrics), encoding="utf-8"
    )
    set_latest(run)
    return Trained(run, outcome, evaluation, len(prepared.rejects))


def _warn_of_chance(metrics: dict[str, Any]) -> None:
    """Of a model that may have learned nothing, no number below should be taken for a result."""
    most, row = max((row["support"], name) for name, row in metrics["per_class"].items())
    share = most / metrics["n"]
    if metrics["accuracy_interval"]["low"] <= share:
        log.warning(
            "accuracy %.3f is not shown to be better than always saying %r (%.3f): train longer, check the labels",
            metrics["accuracy"],
            row,
            share,
        )


def run_facts(model_of: str, prepared: Prepared, split: str) -> dict[str, str]:
    """What a report says of where its numbers come from."""
    facts = {
        "data": prepared.source_of(split),
        "fingerprint of the split": prepared.split_fingerprint(split),
    }
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "numpy"))
    return {"model": model_of, "packages": packages} | facts


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


def _environment(begin: _Start, team: Team) -> dict[str, Any]:
    packages = ("torch", "transformers", "datasets", "accelerate", "torchvision", "numpy", "pillow")
    prepared, settings = begin.prepared, begin.config.training
    device = resolve_device(settings.device)
    return {
        "framevit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "device": describe(device),
        "precision": resolve_precision(settings.precision, device),
        "processes": team.count,
        "model_revision": begin.classifier.revision,
        "data": {
            "fingerprint": prepared.fingerprint,
            "splits": {name: prepared.split_fingerprint(name) for name in prepared.splits},
            "sources": prepared.sources,
            "skipped": len(prepared.rejects),
        },
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _git_commit() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
