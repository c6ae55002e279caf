"""`framevit export` and `benchmark`: what they print, as text and as JSON, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frame_vit.backends.export_record import EXPORT_FILE
from tests.cli.calls import Call, one_panel


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export"], "no finished run here"),
        (["export", "empty"], "neither a run folder nor a model folder"),
        (["export", "gone"], "gone"),
        (["benchmark"], "no finished run here"),
        (["benchmark", "--limit", "0"], "--limit"),
    ],
)
def test_a_mistake_is_one_panel_and_exit_code_2(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)


def test_with_json_an_export_prints_export_json_and_nothing_else(exported: Path) -> None:
    written = json.loads((exported / "runs/tiny-001/model" / EXPORT_FILE).read_text())
    assert json.loads((exported / "said.json").read_text()) == written
    assert "model.onnx" in written["files"]


def test_an_export_names_its_folder_and_leaves_the_run_as_it_is(
    call: Call, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    before = {path: path.stat().st_mtime_ns for path in (trained / "runs").rglob("*")}
    answer = call("export", "-o", tmp_path / "line", "--set", "export.pictures=4")
    assert answer.code == 0, answer.err
    assert "model.onnx: " in answer.out
    assert "compared on 4 pictures of test:" in answer.out
    assert f"written to     {tmp_path / 'line'}" in answer.out
    assert f"framevit predict --model {tmp_path / 'line'} PICTURE" in answer.out
    assert (tmp_path / "line" / EXPORT_FILE).is_file()
    assert {path: path.stat().st_mtime_ns for path in (trained / "runs").rglob("*")} == before
