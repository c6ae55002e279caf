"""Many pictures: in order, flushed, gone on with after a kill, shared by several processes, from any source."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest

from frame_vit.data import demo
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.prediction.predictor import Predictor
from tests.processes import environment, run_framevit, run_many


@pytest.fixture
def work(exported: Path, tmp_path: Path) -> Path:
    """A folder with an exported run and 40 pictures."""
    shutil.copytree(exported / "runs", tmp_path / "runs")
    (tmp_path / "pictures").mkdir()
    for number, name in enumerate(demo.NAMES):
        (tmp_path / "pictures" / f"{number:03d}.jpg").write_bytes(demo.jpeg(demo.sample(name, number)))
    for number in range(5, 40):
        shutil.copy(tmp_path / "pictures" / f"{number % 5:03d}.jpg", tmp_path / "pictures" / f"{number:03d}.jpg")
    return tmp_path


def test_killed_and_gone_on_with_the_rows_are_those_of_one_run(work: Path) -> None:
    words = ["predict", "pictures", "--batch-size", "1", "--backend", "onnxruntime", "--precision", "fp32"]
    command = [sys.executable, "-m", "frame_vit", *words, "-o", "rows.csv"]
    with subprocess.Popen(command, cwd=work, env=environment(work), stderr=subprocess.DEVNULL) as process:
        while not (work / "rows.csv").exists() or (work / "rows.csv").read_bytes().count(b"\n") < 5:
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    with (work / "rows.csv").open("ab") as file:
        file.write(b"pictures/0")
    refused, gone_on, whole = run_many(
        work, [[*words, "-o", "rows.csv"], [*words, "-o", "rows.csv", "--skip-done"], [*words, "-o", "whole.csv"]]
    )
    assert refused.returncode == 2
    assert "already exists" in refused.stderr
    assert gone_on.returncode == whole.returncode == 0, gone_on.stderr
    assert "of 40 inputs have a row in rows.csv and are skipped" in gone_on.stderr
    assert (work / "rows.csv").read_text() == (work / "whole.csv").read_text()


def test_stopped_it_says_the_command_that_goes_on(work: Path) -> None:
    command = [sys.executable, "-m", "frame_vit", "predict", *["pictures"] * 200, "--batch-size", "1", "-o", "r.jsonl"]
    with subprocess.Popen(command, cwd=work, env=environment(work), stderr=subprocess.PIPE, text=True) as process:
        while not (work / "r.jsonl").exists() or not (work / "r.jsonl").stat().st_size:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
    assert process.returncode == 143
    assert said[-1].startswith("framevit predict pictures")
    assert said[-1].endswith("--batch-size 1 -o r.jsonl --skip-done")
    for row in (work / "r.jsonl").read_text().splitlines():
        assert json.loads(row)["status"] == "ok"


def test_two_processes_write_what_one_does(work: Path) -> None:
    words = ["predict", "pictures", "gone.jpg", "--device", "cpu", "--precision", "fp32", "--backend", "onnxruntime"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "frame_vit"]
    done = subprocess.run(
        [*launcher, *words, "-o", "two.jsonl"],
        cwd=work,
        env=environment(work),
        capture_output=True,
        text=True,
        timeout=200,
    )
    alone = run_framevit(work, *words, "-o", "one.jsonl")
    assert alone.returncode == 3
    two, one = (
        [json.loads(line) for line in (work / name).read_text().splitlines()] for name in ("two.jsonl", "one.jsonl")
    )
    assert all(row.pop("record")["picture"] for row in [*one[:-1], *two[:-1]])
    assert [*two[-1]] == [*one[-1]]
    assert two[:-1] == one[:-1], done.stderr
    assert "1 of the inputs could not be read" in done.stderr
    assert done.returncode == 1, "torchrun makes that of every exit code"
    assert not list(work.glob("*part*"))


def test_data_sets_and_lists_are_predicted_with_and_without_labels(work: Path) -> None:
    files = sorted((work / "pictures").glob("00[0-4].jpg"))
    with (work / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name"], *([f"pictures/{path.name}"] for path in files), ["pictures/no.jpg"]])
    table = datasets.Dataset.from_dict({"image": [str(path) for path in files]})
    table = table.cast_column("image", datasets.Image())
    table.save_to_disk(work / "saved")
    table.to_parquet(work / "t.parquet")
    for name, path in zip(demo.NAMES, files, strict=True):
        (work / "classes" / name).mkdir(parents=True)
        shutil.copy(path, work / "classes" / name)
    sources: list[list[str | Path]] = [
        ["list.csv"],
        ["--data", "saved"],
        ["t.parquet"],
        ["--data", "classes"],
        ["pictures"],
    ]
    done = run_many(work, [["predict", *source, "--precision", "fp32"] for source in sources])
    scores = []
    for found, source in zip(done, sources, strict=True):
        assert found.returncode == (3 if source == ["list.csv"] else 0), found.stderr
        rows = [json.loads(row) for row in found.stdout.splitlines()]
        scores.append(sorted(row["score"] for row in rows if row["status"] == "ok")[:5])
        assert len(rows) == {"list.csv": 6, "pictures": 40}.get(str(source[0]), 5)
    first, *others = scores[:4]
    for other in others:
        assert other == pytest.approx(first, abs=1e-5)
    assert json.loads(done[0].stdout.splitlines()[-1])["file"].endswith("pictures/no.jpg")


def test_no_more_is_read_ahead_than_two_batches(exported: Path) -> None:
    """Memory is bounded because reading waits for the rows to be taken."""
    predictor: Predictor = load_predictor(
        str(exported / "runs/tiny-001"), PredictorOptions(precision="fp32", batch_size=4), 1
    )
    data, read = demo.jpeg(demo.sample("passed", 1)), []

    def source(number: int) -> Input:
        def give() -> bytes:
            read.append(number)
            return data

        return Input(str(number), give)

    rows = predictor.predict(source(number) for number in range(1000))
    for number in range(40):
        assert next(rows).file == str(number)
        assert len(read) <= number + 1 + 3 * predictor.batch_size
    rows.close()  # type: ignore[attr-defined]
