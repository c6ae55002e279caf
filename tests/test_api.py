"""The Python interface: every example of `framevit help python` runs, and importing the package stays light."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import frame_vit
from frame_vit import api
from frame_vit.config.load import load_config
from frame_vit.data import demo
from frame_vit.errors import DataError, UsageError
from frame_vit.help.topics import topic_text
from frame_vit.model.metadata import read_metadata
from frame_vit.runs.data import DataRequest
from tests.conftest import TINY
from tests.processes import environment
from tests.test_layers import HEAVY, loaded

EXAMPLES = re.findall(r"```python\n(.*?)```", topic_text("python"), re.DOTALL)


@pytest.mark.long
def test_every_example_runs(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/demo.yaml").write_text(TINY)
    assert pictures.parent == tmp_path
    program = "\n".join(f"print('== example', {i})\n{example}" for i, example in enumerate(EXAMPLES))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout.split("== example ")
    assert len(shown) == len(EXAMPLES) + 1
    assert all(len(each.splitlines()) > 1 for each in shown[1:]), "every example prints what it got"
    for path in (
        "prepared/demo/audit.json",
        "runs/demo-001/model/framevit.json",
        "runs/demo-001/explanation/test/attention.json",
        "line/benchmark.json",
        "tested/metrics.json",
        "tested-other/report.html",
        "line/model.onnx",
    ):
        assert (tmp_path / path).is_file(), path
    assert len(list((tmp_path / "maps").glob("*.png"))) == 1


def test_every_function_has_an_example() -> None:
    imported = {name for example in EXAMPLES for line in re.findall(r"from frame_vit import (.*)", example)
                for name in line.split(", ")}  # fmt: skip
    functions = {name for name in frame_vit.__all__ if name.islower()}
    assert functions <= imported <= set(frame_vit.__all__)


def test_every_name_is_there_and_no_other() -> None:
    for name in frame_vit.__all__:
        assert callable(getattr(frame_vit, name)), name
        assert name in dir(frame_vit)
    assert frame_vit.train is api.train
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        frame_vit.trane  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_functions_loads_nothing_heavy() -> None:
    assert not loaded("from frame_vit import train, predict, load_predictor, UsageError") & (HEAVY | {"typer"})


def test_predicting_with_an_exported_file_loads_no_torch(exported: Path, pictures: Path) -> None:
    program = (
        "from frame_vit import predict\n"
        f"rows = predict({str(pictures)!r}, {str(exported / 'runs/tiny-001')!r})\n"
        "assert [row.status for row in rows] == ['ok'] * 5, rows"
    )
    assert not loaded(program) & {"torch", "transformers", "datasets", "sklearn", "scipy"}


def test_pictures_come_in_order_and_a_bad_one_is_a_row(exported: Path, pictures: Path) -> None:
    (pictures / "torn.jpg").write_bytes(demo.jpeg(demo.sample("passed", 1))[:400])
    predictor = api.load_predictor(exported / "runs/tiny-001", backend="onnxruntime", precision="fp32")
    names = [pictures / "torn.jpg", pictures / "Xplus.jpg"]
    rows = api.predict(names, predictor)
    assert [row.file for row in rows] == [str(name) for name in names]
    assert [row.status for row in rows] == ["error", "ok"]
    assert rows[1] == api.predict(str(names[1]), predictor)[0]


def test_mistakes_are_refused_with_what_to_do(
    exported: Path, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    predictor = api.load_predictor(exported / "runs/tiny-001", backend="onnxruntime")
    with pytest.raises(UsageError, match="name pictures, or one data set"):
        api.predict(model=predictor)
    with pytest.raises(UsageError, match="only be computed with torch, not with onnxruntime"):
        api.draw_maps(pictures, "maps", predictor)
    with pytest.raises(UsageError, match="lies in"):
        api.draw_maps(pictures, pictures / "maps", predictor)
    with pytest.raises(UsageError, match=r"data\.train: not set"):
        api.train(api.load_config())
    with pytest.raises(UsageError, match="only be chosen by the command"):
        api.train(api.load_config(None, ["data.train=demo", "training.device=cuda:1"]))
    with pytest.raises(UsageError, match="is finished"):
        api.resume(exported / "runs/tiny-001")
    with pytest.raises(UsageError, match="config of its own"):
        api.calibrate(predictor, DataRequest(load_config(None, complete=False)), ["decision.confidence=0.9"])
    assert not Path("runs").exists()


def test_a_predictor_that_was_calibrated_answers_by_what_was_stored(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs/tiny-001", tmp_path / "run")
    predictor = api.load_predictor(tmp_path / "run", device="cpu", precision="fp32")
    changes = ["decision.tta=auto", "decision.tta_changed=0.5", "decision.max_escape_rate=0.4"]
    for more in (changes, ["decision.tta=all"]):
        point = api.calibrate(predictor, overrides=more)
        stored = read_metadata(tmp_path / "run/model")
        assert predictor.metadata.operating_point == stored.operating_point == point
        assert predictor.metadata.settling_limit == stored.settling_limit
        assert (stored.settling_limit is None) == (more != changes)
    before = predictor.metadata
    (tmp_path / "good" / "passed").mkdir(parents=True)
    (tmp_path / "good" / "passed" / "a.jpg").write_bytes(demo.jpeg(demo.sample("passed", 1)))
    with pytest.raises(DataError, match="no good or no bad parts"):
        api.calibrate(predictor, str(tmp_path / "good"))
    assert predictor.metadata == before


def test_a_split_of_the_run_or_another_data_set_is_tested(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "runs/tiny-001", run, ignore=shutil.ignore_patterns("checkpoints"))
    predictor = api.load_predictor(run, device="cpu", precision="fp32")
    ticks: list[str] = []
    own = api.evaluate(predictor, tick=lambda stage, *_: ticks.append(stage))
    assert own.folder == run / "evaluation/test"
    assert own.evaluation.metrics.n == 20
    assert "testing" in ticks
    request = DataRequest(api.load_config(run / "config.yaml"))
    assert api.evaluate(predictor, request, "val", output=tmp_path / "val").evaluation.metrics.split == "val"
    assert request.split is None


def test_a_predictor_is_used_as_it_is(trained: Path) -> None:
    predictor = api.load_predictor(trained / "runs/tiny-001", device="cpu", precision="fp32", tta=False)
    assert [view.name for view, _ in predictor.views] == ["identity"]
    assert api.compare(predictor, predictor).accuracy.only_a == 0
