"""A model on the split of its run or on another data set: what is tested, and where the report goes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from frame_vit.data import demo
from frame_vit.errors import ConfigError, UsageError
from frame_vit.evaluation.evaluate import evaluate
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import DataRequest, evaluation_config


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained run, whose report may be written anew."""
    monkeypatch.chdir(tmp_path)
    ignored = shutil.ignore_patterns("checkpoints", "evaluation")
    shutil.copytree(trained / "runs" / "tiny-001", tmp_path / "run", ignore=ignored)
    return tmp_path / "run"


def predictor(model: Path) -> Predictor:
    return load_predictor(str(model), PredictorOptions(backend="torch", device="cpu", precision="fp32"))


def request(run: Path | None, source: str | None = None, *overrides: str, split: str = "test") -> DataRequest:
    return DataRequest(evaluation_config(run, None, list(overrides)), source, split)


def test_the_test_split_of_the_run_is_tested_and_the_report_lies_in_the_run(run: Path) -> None:
    done = evaluate(predictor(run), request(run))
    assert done.folder == run / "evaluation" / "test"
    assert done.evaluation.metrics.n == 20
    assert done.evaluation.metrics.robustness is None
    assert json.loads((done.folder / "metrics.json").read_text())["split"] == "test"
    assert done.evaluation.metrics.decision.independent


def test_the_split_that_the_thresholds_were_chosen_on_is_recognised(run: Path) -> None:
    done = evaluate(predictor(run), request(run, split="val"))
    assert done.folder == run / "evaluation" / "val"
    assert not done.evaluation.metrics.decision.independent


def test_a_split_that_has_changed_since_the_training_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="not the one of the training any more"):
        evaluate(predictor(run), request(run, None, "data.demo.test=21"))


def test_another_data_set_is_tested_whole_and_bad_rows_are_counted(run: Path, tmp_path: Path) -> None:
    rows = ["image,label"]
    for number, name in enumerate(demo.NAMES):
        (tmp_path / f"{name}.jpg").write_bytes(demo.jpeg(demo.sample(name, number)))
        rows.append(f"{name}.jpg,{name}")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "labels.csv").write_text("\n".join([*rows, "broken.jpg,passed"]))
    wanted = request(run, str(tmp_path / "labels.csv"), "data.on_bad_row=skip")
    done = evaluate(predictor(run), wanted, tmp_path / "report", corrupt=True)
    assert (done.skipped, done.evaluation.metrics.skipped, done.evaluation.metrics.n) == (1, 1, 5)
    assert done.folder == tmp_path / "report"
    values = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert values["robustness"]["pictures"] == 5
    assert list(values)[-2:] == ["skipped", "robustness"]


def test_a_model_without_a_run_writes_nothing_unless_a_folder_is_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    done = evaluate(predictor(tmp_path / "model"), request(None, "demo", "data.demo.test=10"))
    assert done.folder is None
    assert not list(tmp_path.rglob("report.html"))


def test_costs_of_unknown_classes_are_refused_before_anything_is_read(run: Path) -> None:
    with pytest.raises(ConfigError, match="'Nowhere' is not a class"):
        evaluate(predictor(run), request(run, "no-such-data", "decision.costs.matrix={Nowhere: {passed: 3}}"))
