"""The commands as plain functions: each takes what the command line parsed and returns a value; none prints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frame_vit import model
from frame_vit.audit_report import write_audit
from frame_vit.benchmark import benchmark, store
from frame_vit.compare import compare as compare_answers
from frame_vit.config import load_config
from frame_vit.data.audit import audit
from frame_vit.data.measures import measure
from frame_vit.data.prepare import Prepared, prepare, prepare_other
from frame_vit.decision import Operating
from frame_vit.directions import check_costs
from frame_vit.errors import DataError, UsageError
from frame_vit.evaluation import Evaluation, evaluate_split, robustness
from frame_vit.evaluation_report import write_evaluation
from frame_vit.explaining import Looked, look
from frame_vit.explanation_report import write_looked
from frame_vit.export import Request, check_installed, export
from frame_vit.loading import load_predictor
from frame_vit.operating import calibration_split, choose_thresholds
from frame_vit.predictor import Predictor
from frame_vit.progress import Tick, log, silent
from frame_vit.report import draw_samples
from frame_vit.runs import check_apart, write_json
from frame_vit.saved import load_trained
from frame_vit.schema import Config
from frame_vit.settings import SETTINGS
from frame_vit.torch_backend import Torch
from frame_vit.train_run import located, run_facts
from frame_vit.unlike import some


@dataclass(frozen=True)
class Audited:
    """What audit.json says, and the files that were written, by what they are to people."""

    facts: dict[str, Any]
    files: dict[str, Path]

    def passes(self, strict: bool) -> bool:
        """Whether training would take the data and nothing grave was found; if strict, nothing but notes."""
        found = self.facts["found"]
        return self.facts["divided"] and not found["error"] and not (strict and found["warning"])


def prepare_data(config: Config, output: Path, tick: Tick = silent) -> Audited:
    """Reads, checks and splits the data, and audits it: audit.json, audit.html and pictures in `output`.

    Rows to leave out are proposed in exclude.csv. manifest.json, the division, is written last, and only where
    training would accept all rows. What an earlier preparation left there and this one does not write is removed.
    """
    check_apart(output, config.data.train, config.data.test)
    pixels = model.pixels_of(model.load_processor(located(config).model), config.data.bit_depth, config.data.roi)
    prepared = prepare(config, pixels, tick, tolerant=True)
    found = audit(prepared, config.data, pixels, tick)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {output}: {error.strerror}") from None
    in_use = {Path(name).expanduser().resolve() for name in (config.data.exclude, config.data.splits) if name}
    for name in ("displacement.png", "exclude.csv", "exclude-more.csv", "manifest.json"):
        if (output / name).resolve() not in in_use:
            (output / name).unlink(missing_ok=True)
    draw_samples(output / "samples.png", prepared.splits["train"], prepared.labels, pixels)
    facts = write_audit(output, found, pixels, config.data.exclude)
    files = {"report": output / "audit.html", "pictures": output / "samples.png"}
    if "exclude" in facts:
        files["to leave out"] = output / facts["exclude"]
    if found.divided:
        files["division"] = output / "manifest.json"
        write_json(files["division"], prepared.manifest())
    return Audited(facts, files)


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, the folder it was written to (None: nowhere), and how many rows were left out."""

    evaluation: Evaluation
    folder: Path | None
    skipped: int


def evaluate(
    predictor: Predictor,
    run: Path | None,
    config: Config,
    data: str | None = None,
    split: str = "test",
    output: Path | None = None,
    corrupt: bool = False,
    tick: Tick = silent,
) -> Evaluated:
    """Tests a model on a split of its run's own data, or on all of another data set, by the `data` keys of `config`.

    With `corrupt`, pictures that were made worse are tried as well.
    """
    check_costs(predictor.labels, config.decision.costs)
    prepared, split = _asked_for(predictor, run, config, data, split, tick)
    evaluation = evaluate_split(predictor, prepared.splits[split], config.decision.costs, tick)
    evaluation.metrics["skipped"] = len(prepared.rejects)
    if corrupt:
        evaluation.metrics["robustness"] = robustness(predictor, prepared.splits[split], tick)
    folder = output or (run / "evaluation" / split if run else None)
    if folder:
        write_evaluation(evaluation, predictor, folder, run_facts(str(run or "given"), prepared, split))
    return Evaluated(evaluation, folder, len(prepared.rejects))


def evaluation_config(run: Path | None, path: Path | None, overrides: list[str]) -> Config:
    """By what `evaluate` reads data: the given file, else the run's own config, with the overrides."""
    return load_config(path or (run / "config.yaml" if run else None), overrides, complete=False)


def _asked_for(
    predictor: Predictor, run: Path | None, config: Config, data: str | None, split: str | None, tick: Tick
) -> tuple[Prepared, str]:
    """The data to ask a model about and the name of its split: all of `data`, or a split of the model's own run.

    Without a name, the split that thresholds are chosen on. One that is not that of the training any more is refused:
    rows that have moved between the splits would be tested on although trained on.
    """
    if data is not None:
        prepared = prepare_other(data, config, predictor.labels, predictor.pixels, tick)
        return prepared, next(iter(prepared.splits))
    if run is None:
        raise UsageError("this model belongs to no run, so it has no split of its own", "Name a data set with --data")
    prepared = prepare(config, predictor.pixels, tick, only=split)
    name = split or calibration_split(prepared.splits).name
    if _recorded(run, name) != prepared.split_fingerprint(name):
        raise UsageError(
            f"the {name} split is not the one of the training any more: its pictures, labels or division have changed",
            "To test on what is there now, name it with --data",
        )
    return prepared, name


def _recorded(run: Path, split: str) -> str | None:
    """The fingerprint that a split had when the run was trained; None where that is not known."""
    try:
        facts = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        return str(facts["data"]["splits"][split])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def calibrate(
    predictor: Predictor,
    place: tuple[str, Path | None],
    config: Config,
    data: str | None = None,
    tick: Tick = silent,
    mode: str | None = None,
) -> Operating:
    """Chooses a model's thresholds anew, by the `decision` keys of `config`, and stores them in its folder.

    `mode` is what shall become of pictures unlike the training's (None: as before).

    On all of `data`, or on the calibration split of its run, else its validation split. Raises `UsageError` where the
    model has no folder here or no class that is fine, `DataError` where there are no good or no bad parts.
    """
    folder, run = Path(place[0]), place[1]
    if not (folder / SETTINGS).is_file():
        raise UsageError(f"{place[0]} is no folder with a {SETTINGS}, so there is no place to store thresholds in")
    if not predictor.labels.ok:
        raise UsageError("this model calls no class fine (labels.ok), so nothing can be accepted")
    prepared, name = _asked_for(predictor, run, config, data, None, tick)
    if any(folder.glob("*.onnx")):
        log.warning(
            "exported files keep the thresholds that they had; beside the weights they obey the new ones, for other "
            "places export again"
        )
    point = choose_thresholds(predictor, folder, prepared.splits[name], config.decision, tick, mode)
    if point is None:
        raise DataError(f"{name} has no good or no bad parts to choose thresholds by")
    return point


def export_model(
    place: tuple[str, Path | None],
    config: Config,
    data: str | None,
    output: Path | None,
    int8: bool = False,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Exports a model into its folder, or into `output`, proven on the test split of its run or on all of `data`."""
    check_installed()
    if output is None and not Path(place[0]).is_dir():
        raise UsageError(f"{place[0]} is no folder here, so there is no place to write to", "Name one with -o/--output")
    if Path(place[0]).exists() and not any(Path(place[0]).glob("*.safetensors")):
        raise UsageError(f"{place[0]} holds no weights to export", "Name a run, or the model folder of one")
    classifier = load_trained(place[0])
    asker = Predictor(Torch(classifier, "cpu", "fp32"))
    prepared, name = _asked_for(asker, place[1], config, data, None if data else _tested(place[1]), tick)
    train = None
    if int8 and data is None and place[1] is not None:
        train = prepare(config, asker.pixels, tick).splits["train"]
    elif int8:
        log.warning("without the run's own training pictures only dynamic quantisation is tried")
    source = Path(place[0]) if Path(place[0]).is_dir() else None
    folder = output or Path(place[0])
    return export(Request(classifier, source, folder, prepared.splits[name], config.export, int8, train), tick)


def _tested(run: Path | None) -> str:
    """The split that a run was tested on: val, where there was no test set."""
    return "val" if run is not None and _recorded(run, "val") and not _recorded(run, "test") else "test"


def benchmark_model(
    place: tuple[str, Path | None], config: Config, data: str | None, count: int, options: dict[str, Any], tick: Tick
) -> dict[str, Any]:
    """How fast a model is here, on pictures of its run's test split or of `data`; without both, on drawn frames."""
    predictor, run = load_predictor(place[0], 1)
    if data is None and run is None:
        log.warning("this model belongs to no run: drawn frames are predicted (--data names a data set)")
        data = "demo"
    prepared, name = _asked_for(predictor, run, config, data, None if data else _tested(run), tick)
    examples = prepared.splits[name].examples
    pictures = [examples[row].read() for row in some(len(examples), count)]
    facts = benchmark(place[0], pictures, options["device"], options["batch_size"], tick)
    folder = Path(place[0]).parent if Path(place[0]).is_file() else Path(place[0])
    if (folder / SETTINGS).is_file():
        store(folder, facts)
    return facts


def explain_split(
    predictor: Predictor,
    run: Path | None,
    config: Config,
    asked: tuple[str | None, str | None, int],
    output: Path | None,
    tick: Tick = silent,
) -> tuple[Looked, Path | None]:
    """Where a model looks, over a labelled split: (data, split, at most how many pictures) are `asked` for."""
    data, split, limit = asked
    prepared, name = _asked_for(predictor, run, config, data, None if data else split or _tested(run), tick)
    looked = look(predictor, prepared.splits[name], limit, tick)
    folder = output or (run / "explanation" / name if run else None)
    if folder:
        write_looked(looked, predictor, folder, run_facts(str(run or "given"), prepared, name))
    return looked, folder


def compare(
    first: tuple[Predictor, Path | None],
    second: tuple[Predictor, Path | None],
    config: Config,
    data: str | None,
    split: str,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Two models on the same pictures: a split of the first one's run, or all of another data set.

    Raises `UsageError` where the two know different classes.
    """
    (one, run), (other, its_run) = first, second
    if {*one.labels.names} != {*other.labels.names} or one.labels.ok != other.labels.ok:
        raise UsageError(
            "the two models know different classes, or call others fine: "
            f"{', '.join(one.labels.names)} against {', '.join(other.labels.names)}"
        )
    config = config.model_copy(update={"data": config.data.model_copy(update={"slice_by": None, "part_by": None})})
    answers, judged, asked = [], [], []
    for predictor in (one, other):
        prepared, split = _asked_for(predictor, run, config, data, split, tick)
        asked.append(prepared.splits[split].examples)
        there = prepared.splits[split]
        found = predictor.split_answers(there.pixels, tick)
        logits = found.logits.mean(axis=1)
        odd = predictor.odd(there.examples, found, measure([there.pixels]))
        judged.append(predictor.judged(logits, odd))
        answers.append(logits[:, [predictor.labels.names.index(name) for name in one.labels.names]])
    if [e.digest for e in asked[0]] != [e.digest for e in asked[1]]:
        raise DataError("the two models cannot use the same pictures of this data: their bit depth or region differ")
    if data is None and its_run is not None and _recorded(its_run, split) != prepared.split_fingerprint(split):
        log.warning("%s divided its data otherwise: it may have been trained on pictures of this %s", its_run, split)
    labels = np.array([example.label for example in asked[0]], np.int64)
    result = compare_answers(labels, (answers[0], answers[1]), (judged[0], judged[1]), one.labels)
    for row in result.get("changed", []):
        example = asked[0][row.pop("row")]
        row |= {"file": example.key, "true": one.labels.names[example.label]}
    return {"split": split} | result
