"""Run folders: numbered, never overwritten, found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.runs.folder import ModelPlace, find_model, latest_run, new_run, set_latest
from frame_vit.system.files import write_json


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def finished(run: Path) -> Path:
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
    set_latest(finished(Path(place)))
    assert latest_run().resolve() == Path(place).resolve()


def test_without_a_run_the_way_out_is_named() -> None:
    with pytest.raises(UsageError, match="no finished run") as caught:
        latest_run()
    assert "--model" in caught.value.hint


def test_a_latest_run_that_is_gone_is_said() -> None:
    set_latest(Path("runs/demo-001"))
    with pytest.raises(UsageError, match="not there any more"):
        latest_run()


def test_a_model_is_found_by_run_folder_and_by_model_folder() -> None:
    run = finished(Path("runs/demo-001"))
    assert find_model(str(run)) == ModelPlace(str(run / "model"), run)
    assert find_model(str(run / "model")) == ModelPlace(str(run / "model"), run)
    alone = Path("alone")
    alone.mkdir()
    (alone / "config.json").write_text("{}")
    assert find_model("alone") == ModelPlace("alone", None)
    assert find_model("owner/name") == ModelPlace("owner/name", None)
    with pytest.raises(UsageError, match="neither"):
        find_model("runs")


def test_json_is_written_whole_or_not_at_all() -> None:
    write_json(Path("a.json"), {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(Path("a.json"), {"a": float("nan")})
    assert Path("a.json").read_text() == '{\n  "a": 1\n}\n'


def test_a_run_that_is_not_there_is_not_taken_for_a_hub_name() -> None:
    Path("runs").mkdir()
    with pytest.raises(UsageError, match="runs/nope-001: neither a run folder nor a model folder"):
        find_model("runs/nope-001")
    assert find_model("google/vit-large-patch16-224") == ModelPlace("google/vit-large-patch16-224", None)
