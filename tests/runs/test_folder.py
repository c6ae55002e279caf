"""Run folders: numbered, never overwritten, found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.config.schema import Config
from frame_vit.errors import UsageError
from frame_vit.runs.folder import (
    ModelPlace,
    check_apart,
    find_model,
    finished,
    latest_run,
    located,
    new_run,
    set_latest,
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def model_in(run: Path) -> Path:
    """A run folder with a model in it."""
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    (run / "config.yaml").write_text("")
    return run


def test_runs_are_numbered_by_name() -> None:
    assert [new_run("demo").name for _ in range(3)] == ["demo-001", "demo-002", "demo-003"]
    assert new_run("demo-b").name == "demo-b-001"
    Path("runs/demo-999").mkdir()
    assert [new_run("demo").name for _ in range(2)] == ["demo-1000", "demo-1001"]


def test_a_named_folder_is_used_where_it_is_new_or_empty_and_refused_otherwise(tmp_path: Path) -> None:
    assert new_run("demo", Path("a/b")) == Path("a/b")
    assert new_run("demo", Path("a/b")) == Path("a/b")
    Path("a/b/file").touch()
    with pytest.raises(UsageError, match="not empty"):
        new_run("demo", Path("a/b"))


@pytest.mark.parametrize("place", ["runs/demo-001", "elsewhere/run"])
def test_the_latest_run_is_found_wherever_it_lies(place: str) -> None:
    set_latest(model_in(Path(place)))
    assert latest_run().resolve() == Path(place).resolve()


def test_without_a_run_the_way_out_is_named() -> None:
    with pytest.raises(UsageError, match="no finished run") as caught:
        latest_run()
    assert "--model" in caught.value.hint


def test_a_latest_run_that_is_gone_is_said() -> None:
    set_latest(Path("runs/demo-001"))
    with pytest.raises(UsageError, match="no longer exists"):
        latest_run()


def test_a_model_is_found_by_run_folder_and_by_model_folder() -> None:
    run = model_in(Path("runs/demo-001"))
    assert find_model(str(run)) == ModelPlace(str(run / "model"), run)
    assert find_model(str(run / "model")) == ModelPlace(str(run / "model"), run)
    alone = Path("alone")
    alone.mkdir()
    (alone / "config.json").write_text("{}")
    assert find_model("alone") == ModelPlace("alone", None)
    assert find_model("owner/name") == ModelPlace("owner/name", None)
    with pytest.raises(UsageError, match="neither"):
        find_model("runs")


def test_a_run_that_is_not_there_is_not_taken_for_a_hub_name() -> None:
    Path("runs").mkdir()
    with pytest.raises(UsageError, match="runs/nope-001: neither a run folder nor a model folder"):
        find_model("runs/nope-001")
    assert find_model("google/vit-large-patch16-224") == ModelPlace("google/vit-large-patch16-224", None)


def test_data_is_not_written_into_a_folder_of_data(tmp_path: Path) -> None:
    Path("data").mkdir()
    with pytest.raises(UsageError, match="lies in data, a folder of data"):
        check_apart(Path("data/maps"), None, "owner/name", "data")
    check_apart(Path("maps"), "data", str(tmp_path / "nothing here"))


def test_a_run_is_finished_when_it_is_evaluated_too() -> None:
    run = model_in(Path("runs/demo-001"))
    (run / "model" / "README.md").touch()
    assert not finished(run)
    (run / "evaluation" / "test").mkdir(parents=True)
    (run / "evaluation" / "test" / "metrics.json").touch()
    assert finished(run)


def test_a_run_without_a_model_can_be_resumed_and_the_command_is_named() -> None:
    run = Path("runs/demo-001")
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    with pytest.raises(UsageError, match="no model yet") as error:
        find_model(str(run))
    assert "framevit train --resume runs/demo-001" in error.value.hint


def test_an_exported_file_is_a_model_and_its_run_is_known() -> None:
    run = model_in(Path("runs/demo-001"))
    (run / "model" / "model.onnx").touch()
    place = find_model("runs/demo-001/model/model.onnx")
    assert (place.run, place.folder, place.path) == (run, run / "model", run / "model" / "model.onnx")
    with pytest.raises(UsageError, match="no such file") as error:
        find_model("gone.onnx")
    assert "framevit export" in error.value.hint


def test_a_run_named_without_its_folder_is_suggested() -> None:
    model_in(Path("runs/demo-001"))
    with pytest.raises(UsageError) as error:
        find_model("demo-001")
    assert error.value.hint == "Did you mean runs/demo-001?"


def test_a_training_that_starts_from_a_run_starts_from_its_model() -> None:
    model_in(Path("runs/demo-001"))
    config = Config.model_validate({"model": {"name": "runs/demo-001"}})
    assert located(config).model.name == "runs/demo-001/model"
    scratch = Config.model_validate({"model": {"init": "scratch", "name": "nothing/here/at/all"}})
    assert located(scratch) is scratch


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = model_in(tmp_path / "home" / "runs" / "a-001")
    (run / "model" / "model.onnx").touch()
    assert find_model("~/runs/a-001") == ModelPlace(str(run / "model"), run)
    assert find_model("~/runs/a-001/model").folder == run / "model"
    assert find_model("~/runs/a-001/model/model.onnx").path == run / "model" / "model.onnx"
    config = located(Config.model_validate({"model": {"name": "~/runs/a-001"}}))
    assert config.model.name == str(run / "model")
    with pytest.raises(UsageError, match="neither a run folder nor a model folder"):
        find_model("~/gone")


def test_a_home_folder_of_nobody_is_one_error() -> None:
    with pytest.raises(UsageError, match="no such home folder"):
        find_model("~nobody-has-this-name/run")
