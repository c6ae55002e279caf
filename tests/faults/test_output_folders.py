"""A folder for results that cannot be made is a mistake of the user, and is noticed before the work begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.evaluation.evaluate import evaluate
from frame_vit.explanation.explain import explain
from frame_vit.export.export import export
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.runs.data import DataRequest, evaluation_config
from frame_vit.runs.folder import find_model


@pytest.fixture
def below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "results"


def no_such_split(run: Path) -> DataRequest:
    """The data cannot be read, so any work on it would end with another message."""
    return DataRequest(evaluation_config(run, None, []), None, "gone")


@pytest.mark.parametrize("work", [evaluate, explain])
def test_it_is_noticed_before_the_data_is_read(work: Callable[..., object], trained: Path, below_a_file: Path) -> None:
    run = trained / "runs/tiny-001"
    predictor = load_predictor(str(run), PredictorOptions("torch", "cpu", "fp32"))
    with pytest.raises(UsageError, match="no results can be written") as caught:
        work(predictor, no_such_split(run), output=below_a_file)
    assert "--output" in caught.value.hint


def test_it_is_noticed_before_an_export(trained: Path, below_a_file: Path) -> None:
    run = trained / "runs/tiny-001"
    with pytest.raises(UsageError, match="no results can be written"):
        export(find_model(str(run)), no_such_split(run), below_a_file)
