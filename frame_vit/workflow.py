"""The commands as plain functions: each takes what the command line parsed and returns a value; none prints."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from transformers import set_seed

from frame_vit import __version__, model, training
from frame_vit.config import Config, dump_config, load_config
from frame_vit.data.prepare import Prepared, prepare, prepare_other
from frame_vit.devices import describe, resolve_device, resolve_precision
from frame_vit.errors import UsageError
from frame_vit.evaluation import Evaluation, evaluate_split, write_evaluation
from frame_vit.predictor import Predictor, load_predictor
from frame_vit.progress import Tick, log, silent
from frame_vit.report import draw_curves, draw_samples, model_card
from frame_vit.runs import new_run, set_latest, write_json
from frame_vit.training import Outcome


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, what training came to, and the evaluation of the saved model."""

    run: Path
    outcome: Outcome
    evaluation: Evaluation


def prepare_data(config: Config, output: Path, tick: Tick = silent) -> Prepared:
    """Reads, checks and splits the data; writes samples.png and, last, manifest.json into `output`."""
    pixels = model.pixels_of(model.load_processor(config.model), config.data.bit_depth)
    prepared = prepare(config, pixels, tick)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {output}: {error.strerror}") from None
    draw_samples(output / "samples.png", prepared.splits["train"], prepared.labels, config.data.bit_depth)
    write_json(output / "manifest.json", prepared.manifest())
    return prepared


def train(config: Config, name: str, output: Path | None = None, tick: Tick = silent) -> Trained:
    """Prepares, trains, saves the best model, and tests what was saved."""
    with _remembered() as memory:
        # What cannot work is found out before a run folder is made.
        resolve_precision(config.training.precision, resolve_device(config.training.device))
        prepared, classifier = _start(config, tick)
        run = new_run(name, output)
        (run / "config.yaml").write_text(dump_config(config.with_names(prepared.labels.names)), encoding="utf-8")
        with _logged(memory, run / "train.log"):
            return _train_in(run, config, prepared, classifier, tick, resume=False)


def resume(run: Path, tick: Tick = silent) -> Trained:
    """Goes on with an interrupted run from its last checkpoint, by the config it was started with."""
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is not a run folder (no config.yaml)")
    if (run / "model" / model.SETTINGS).is_file():
        raise UsageError(f"{run} is finished; there is nothing to go on with", f"framevit evaluate {run}")
    config = load_config(run / "config.yaml")
    with _remembered() as memory:
        prepared, classifier = _start(config, tick)
        with _logged(memory, run / "train.log"):
            return _train_in(run, config, prepared, classifier, tick, resume=True)


def evaluate(
    place: str | None,
    data: str | None = None,
    split: str | None = None,
    output: Path | None = None,
    *,
    tick: Tick = silent,
    **options: Any,
) -> tuple[Evaluation, Path | None]:
    """The evaluation of a model, on a split of its run's data or on another data set, and where it was written.

    `options` go to the `Predictor`: device, precision, tta, batch_size.
    """
    predictor, run = load_predictor(place, **options)
    config = load_config(run / "config.yaml") if run else None
    if data is not None:
        settings = config or load_config(None, complete=False)
        chosen = prepare_other(data, settings, predictor.labels, predictor.pixels, tick).splits["data"]
    elif config is None:
        raise UsageError(f"{place} belongs to no run, so it has no test split", "Name a data set with --data")
    else:
        chosen = prepare(config, predictor.pixels, tick, only=split or "test").splits[split or "test"]
    evaluation = evaluate_split(predictor, chosen, tick)
    folder = output or (run / "evaluation" / chosen.name if run else None)
    if folder:
        write_evaluation(evaluation, predictor, folder)
    return evaluation, folder


def _start(config: Config, tick: Tick) -> tuple[Prepared, model.Classifier]:
    """The data and the model to begin with; what starts at random starts from the config's seed."""
    processor = model.load_processor(config.model)
    pixels = model.pixels_of(processor, config.data.bit_depth)
    prepared = prepare(config, pixels, tick)
    set_seed(config.training.seed)
    begin = model.create if config.model.init == "scratch" else model.load_pretrained
    return prepared, begin(config.model, prepared.labels, pixels, processor)


def _train_in(
    run: Path, config: Config, prepared: Prepared, classifier: model.Classifier, tick: Tick, resume: bool
) -> Trained:
    log.info("run folder: %s", run)
    log.info("%s", ", ".join(f"{name} {len(split)} pictures" for name, split in prepared.splits.items()))
    write_json(run / "environment.json", _environment(config, prepared, classifier))
    outcome = training.train(classifier, prepared.splits, config, run, tick, resume)
    log.info("best: step %d of %d, validation macro-F1 %.4f", outcome.best_step, outcome.steps, outcome.best_macro_f1)
    draw_curves(run / "curves.png", training.read_history(run / "history.csv"), outcome.best_step)
    model.save(classifier, run / "model")
    if "test" not in prepared.splits:
        log.warning("there is no test set; the validation split is tested, which also chose the model")
    split = prepared.splits["test" if "test" in prepared.splits else "val"]
    # What is tested is what lies on the disk, through the predictor that `predict` uses.
    predictor = Predictor(model.load_trained(str(run / "model")), config.training.device, config.training.precision)
    evaluation = evaluate_split(predictor, split, tick)
    write_evaluation(evaluation, predictor, run / "evaluation" / split.name)
    base = "scratch" if config.model.init == "scratch" else config.model.name
    (run / "model" / "README.md").write_text(model_card(prepared.labels, base, evaluation.metrics), encoding="utf-8")
    set_latest(run)
    return Trained(run, outcome, evaluation)


def _environment(config: Config, prepared: Prepared, classifier: model.Classifier) -> dict[str, Any]:
    packages = ("torch", "transformers", "datasets", "accelerate", "torchvision", "numpy", "pillow")
    device = resolve_device(config.training.device)
    return {
        "framevit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "device": describe(device),
        "precision": resolve_precision(config.training.precision, device),
        "model_revision": classifier.revision,
        "data": {"fingerprint": prepared.fingerprint, "sources": prepared.sources, "rejects": len(prepared.rejects)},
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _git_commit() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


@contextmanager
def _remembered() -> Iterator[MemoryHandler]:
    """Keeps what is said before there is a run folder to write it into."""
    memory = MemoryHandler(capacity=1_000_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    log.addHandler(memory)
    try:
        yield memory
    finally:
        log.removeHandler(memory)
        memory.close()


@contextmanager
def _logged(memory: MemoryHandler, path: Path) -> Iterator[None]:
    """Everything said before and meanwhile also goes to `path`, with the time."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    memory.setTarget(file)
    memory.flush()
    log.removeHandler(memory)
    log.addHandler(file)
    try:
        yield
    finally:
        log.removeHandler(file)
        file.close()
