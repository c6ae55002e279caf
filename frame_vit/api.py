"""The Python interface: one plain function for each command, imported from `frame_vit` itself.

Each function joins what its command joins and returns a value; none prints, and progress is silent unless a `tick` is
given. A config is a `Config` or a path to a YAML file. A model is named as on the command line (run folder, model
folder, exported file, hub name; None is the latest run), or is a `Predictor` that `load_predictor` made. A data set is
a name or a `DataRequest`, which also says how the data is read; without one a split of the model's own run is used.

Heavy libraries are imported inside the functions, so that predicting with an exported file loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from frame_vit.errors import UsageError
from frame_vit.system.progress import Tick, silent

if TYPE_CHECKING:
    from frame_vit.audit.prepare import Preparation
    from frame_vit.config.schema import Config
    from frame_vit.decision.thresholds import OperatingPoint
    from frame_vit.evaluation.compare import Comparison
    from frame_vit.evaluation.evaluate import Evaluated
    from frame_vit.explanation.explain import Explained
    from frame_vit.export.benchmark import BenchmarkResult
    from frame_vit.export.export import ExportResult
    from frame_vit.prediction.inputs import Input
    from frame_vit.prediction.predictor import Prediction, Predictor
    from frame_vit.runs.data import DataRequest
    from frame_vit.runs.folder import ModelPlace
    from frame_vit.training.train import Trained

Paths = str | Path | Sequence[str | Path]


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The config in a YAML file (None: all defaults), changed by overrides such as `training.epochs=5`.

    Raises `ConfigError`, which lists every mistake.
    """
    from frame_vit.config.load import load_config as load

    return load(Path(path) if path is not None else None, overrides, complete=False)


def prepare(config: Config | str | Path, output: str | Path | None = None, tick: Tick = silent) -> Preparation:
    """Reads, checks and splits the data and writes the audit into `output` (prepared/NAME).

    Raises `UsageError` or `DataError` where the data cannot be read at all.
    """
    from frame_vit.audit.prepare import prepare as prepare_data
    from frame_vit.runs.folder import run_name

    folder = Path(output) if output is not None else Path("prepared") / run_name(_file(config))
    return prepare_data(_complete(config), folder, tick)


def train(config: Config | str | Path, output: str | Path | None = None, tick: Tick = silent) -> Trained | None:
    """Prepares the data, trains, and tests what was saved, in a new run folder (runs/NAME-001, ...).

    None in those of several processes that only help. Raises `UsageError` for `cuda:N`: choose a card with the
    variable CUDA_VISIBLE_DEVICES instead, before torch is imported.
    """
    from frame_vit.runs.folder import run_name
    from frame_vit.training.train import train as train_run

    complete = _complete(config)
    if complete.training.device.startswith("cuda:"):
        raise UsageError(
            f"training.device: {complete.training.device} can only be chosen by the command `framevit train`",
            "Set CUDA_VISIBLE_DEVICES before the program starts, and training.device to cuda",
        )
    return train_run(complete, run_name(_file(config)), Path(output) if output is not None else None, tick)


def resume(run: str | Path, tick: Tick = silent) -> Trained | None:
    """Resumes an interrupted run from its newest whole checkpoint. Raises `UsageError` where the run is finished."""
    from frame_vit.runs.folder import finished
    from frame_vit.training.train import resume as resume_run

    if finished(Path(run)):
        raise UsageError(f"{run} is finished; there is nothing to resume", "Train a new run, or evaluate this one")
    return resume_run(Path(run), tick)


def load_predictor(
    model: str | Path | None = None,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    tta: bool = True,
    batch_size: int | None = None,
) -> Predictor:
    """A model that is ready to predict, to be used several times. `tta`: average over the declared symmetries.

    All cores share a picture, so that each is answered soon. With a `batch_size` of at least a picture a core, an
    exported file computes pictures side by side instead, which answers more of them in the same time.
    Raises `UsageError` where there is no such model, or where nothing here can run it in this way.
    """
    from frame_vit.prediction.load import PredictorOptions
    from frame_vit.prediction.load import load_predictor as load

    options = PredictorOptions(backend, device, precision, tta, batch_size)
    return load(_text(model), options, one_by_one=None if batch_size else True)


def evaluate(
    model: str | Path | Predictor | None = None,
    data: str | DataRequest | None = None,
    split: str | None = None,
    *,
    output: str | Path | None = None,
    corrupt: bool = False,
    tick: Tick = silent,
) -> Evaluated:
    """Tests a model on a labelled split (test) or data set; the report is written to RUN/evaluation/SPLIT.

    The numbers are in `.evaluation.metrics` of the result; their `to_json()` is metrics.json. With `corrupt`, damaged
    copies of the pictures are tested, too.
    """
    from frame_vit.evaluation.evaluate import evaluate as evaluate_model

    predictor = _predictor(model)
    folder = Path(output) if output is not None else None
    return evaluate_model(predictor, _request(predictor.run, data, split or "test"), folder, corrupt, tick)


def calibrate(
    model: str | Path | Predictor | None = None,
    data: str | DataRequest | None = None,
    overrides: Sequence[str] = (),
    tick: Tick = silent,
) -> OperatingPoint:
    """Chooses a model's thresholds again and stores them with it; its weights stay.

    `overrides` set the target, such as `decision.max_escape_rate=0.02`. Without `data`, the thresholds are chosen on
    the calibration split of the model's run or, if it has none, on its validation split.
    """
    from frame_vit.evaluation.calibrate import calibrate as calibrate_model
    from frame_vit.evaluation.calibrate import overridden

    predictor = _predictor(model, "weights")
    request = _request(predictor.run, data, None, overrides)
    return calibrate_model(predictor, request, tick, overridden(request.config, overrides))


def compare(
    first: str | Path | Predictor,
    second: str | Path | Predictor,
    data: str | DataRequest | None = None,
    split: str = "test",
    tick: Tick = silent,
) -> Comparison:
    """Two models on the same pictures: their rates, McNemar's test, the decisions that differ, and a conclusion."""
    from frame_vit.evaluation.compare import compare as compare_models

    one, other = _predictor(first, "weights"), _predictor(second, "weights")
    return compare_models(one, other, _request(one.run, data, split), tick)


def predict(
    paths: Paths = (),
    model: str | Path | Predictor | None = None,
    *,
    data: str | None = None,
    tick: Tick = silent,
) -> list[Prediction]:
    """One prediction for each picture, in order, from files, folders, globs and manifests, or from the data set `data`.

    A picture that cannot be read is a row whose `status` is `error`. Raises `UsageError` where no picture is named.
    """
    inputs = _inputs(paths, data)
    predictor = _predictor(model, count=len(inputs))
    return list(predictor.predict(inputs, tick, len(inputs)))


def draw_maps(
    paths: Paths, output: str | Path, model: str | Path | Predictor | None = None, tick: Tick = silent
) -> list[Path]:
    """Draws where the model looks in each picture, and returns the files. A predictor must have the torch backend."""
    from frame_vit.explanation.drawing import Explainer
    from frame_vit.runs.folder import check_apart

    check_apart(Path(output), *map(str, _several(paths)))
    inputs = _inputs(paths, None)
    predictor = _predictor(model, "torch", "fp32")
    explainer = Explainer(predictor, Path(output))
    drawn = (explainer.draw(row, each) for row, each in zip(predictor.predict(inputs, tick), inputs, strict=True))
    return [path for path in drawn if path is not None]


def explain(
    model: str | Path | Predictor | None = None,
    data: str | DataRequest | None = None,
    split: str | None = None,
    *,
    limit: int = 200,
    output: str | Path | None = None,
    tick: Tick = silent,
) -> Explained:
    """How much of the model's attention lies inside the boxes of at most `limit` labelled pictures.

    The report is written to RUN/explanation/SPLIT. A predictor must have the torch backend.
    """
    from frame_vit.explanation.explain import explain as explain_model

    predictor = _predictor(model, "torch", "fp32")
    folder = Path(output) if output is not None else None
    return explain_model(predictor, _request(predictor.run, data, split), limit, folder, tick)


def export_model(
    model: str | Path | None = None,
    data: str | DataRequest | None = None,
    *,
    output: str | Path | None = None,
    int8: bool = False,
    tick: Tick = silent,
) -> ExportResult:
    """Writes the model as one ONNX file, after a comparison with torch on real pictures; returns export.json.

    Raises `ModelError` where the exported model's answers differ from torch's; then nothing is written.
    """
    from frame_vit.export.export import export

    place = _place(model)
    folder = Path(output) if output is not None else None
    return export(place, _request(place.run, data, None), folder, int8, tick)


def benchmark(
    model: str | Path | None = None,
    data: str | DataRequest | None = None,
    *,
    limit: int = 64,
    device: str = "auto",
    batch_size: int | None = None,
    tick: Tick = silent,
) -> BenchmarkResult:
    """Measures every backend and precision on this machine with at most `limit` pictures; returns benchmark.json."""
    from frame_vit.export.benchmark import benchmark as benchmark_model

    place = _place(model)
    return benchmark_model(place, _request(place.run, data, None), limit, device, batch_size, tick)


def _complete(config: Config | str | Path) -> Config:
    """The config, checked as the command checks it."""
    from frame_vit.config.load import load_config as load
    from frame_vit.config.schema import Config

    if not isinstance(config, Config):
        return load(Path(config))
    if config.data.train is None:
        raise UsageError("data.train: not set", "load_config(path, ['data.train=...']) sets it")
    return config


def _file(config: Config | str | Path) -> Path | None:
    """The config's file, if it was named by one."""
    return Path(config) if isinstance(config, str | Path) else None


def _text(model: str | Path | None) -> str | None:
    return None if model is None else str(model)


def _place(model: str | Path | None) -> ModelPlace:
    from frame_vit.runs.folder import find_model

    return find_model(_text(model))


def _predictor(
    model: str | Path | Predictor | None, backend: str = "auto", precision: str = "auto", count: int | None = None
) -> Predictor:
    """The predictor itself, or one that is made from a model's name."""
    from frame_vit.prediction.load import PredictorOptions, load_predictor
    from frame_vit.prediction.predictor import Predictor

    if not isinstance(model, Predictor):
        return load_predictor(_text(model), PredictorOptions(backend, precision=precision), count)
    if backend == "torch" and model.backend.name != "torch":
        raise UsageError(
            f"where a model looks can only be computed with torch, not with {model.backend.name}",
            "load_predictor(model, backend='torch') makes such a predictor",
        )
    return model


def _request(
    run: Path | None, data: str | DataRequest | None, split: str | None, overrides: Sequence[str] = ()
) -> DataRequest:
    """Which labelled pictures to use, read by the config of the model's run."""
    from dataclasses import replace

    from frame_vit.runs.data import DataRequest, evaluation_config

    if isinstance(data, DataRequest):
        if overrides:
            raise UsageError("a DataRequest has a config of its own", "Put the overrides into it, with load_config")
        return data if data.source or data.split else replace(data, split=split)
    return DataRequest(evaluation_config(run, None, list(overrides)), data, split)


def _several(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _inputs(paths: Paths, data: str | None) -> list[Input]:
    from frame_vit.prediction.inputs import expand, from_data

    named = [str(path) for path in _several(paths)]
    if bool(named) == bool(data):
        raise UsageError("name pictures, or one data set with `data`, and not both")
    return from_data(data) if data else expand(named)
