"""The main job as a user starts it: one command, a run folder with exactly the promised files, answers that agree."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from frame_vit.config.load import load_config
from frame_vit.data import demo
from tests.processes import run_framevit, run_many

EXPECTED = {
    "config.yaml",
    "environment.json",
    "train.log",
    "history.csv",
    "curves.png",
    "model/config.json",
    "model/model.safetensors",
    "model/preprocessor_config.json",
    "model/framevit.json",
    "model/embeddings.npy",
    "model/README.md",
    "evaluation/test/metrics.json",
    "evaluation/test/predictions.csv",
    "evaluation/test/confusion_matrix.png",
    "evaluation/test/report.html",
}


CHECKPOINT = {"model.safetensors", "optimizer.safetensors", "trainer_state.json", "state.json", "manifest.json"}


@pytest.fixture(scope="module")
def run(trained: Path) -> Path:
    return trained / "runs" / "tiny-001"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_run_folder_has_exactly_the_promised_files(run: Path) -> None:
    found = files(run)
    checkpoints = {name for name in found if name.startswith("checkpoints/")}
    assert found - checkpoints == EXPECTED
    steps = {name.split("/")[1] for name in checkpoints} - {".lock"}
    assert "step-000006" in steps
    assert steps <= {"step-000003", "step-000006"}
    assert {name.rpartition("/")[2] for name in checkpoints if "step-000006" in name} == CHECKPOINT
    assert (run.parent / "latest.txt").read_text() == "tiny-001\n"


def test_metrics_have_the_promised_keys(run: Path) -> None:
    metrics = json.loads((run / "evaluation/test/metrics.json").read_text())
    promised = {"split", "n", "labels", "confusion_matrix", "accuracy", "macro_f1", "escape_rate", "overkill_rate"}
    assert promised | {"per_class"} <= set(metrics)
    for rate in ("escape_rate", "overkill_rate"):
        assert set(metrics[rate]) == {"value", "low", "high", "n"}
    assert set(metrics["per_class"]) == set(demo.NAMES)
    of_class = {"precision", "recall", "f1", "support", "precision_rate", "recall_rate"}
    assert all(set(row) == of_class for row in metrics["per_class"].values())
    assert sum(map(sum, metrics["confusion_matrix"])) == metrics["n"] == 20
    assert metrics["tta"]["views"] == ["identity", "hflip", "vflip", "rot180"]


def test_predictions_are_the_rows_behind_the_matrix(run: Path) -> None:
    metrics = json.loads((run / "evaluation/test/metrics.json").read_text())
    with (run / "evaluation/test/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    matrix = [[sum(r["true"] == a and r["label"] == b for r in rows) for b in demo.NAMES] for a in demo.NAMES]
    assert matrix == metrics["confusion_matrix"]


def test_history_and_log_tell_the_run(run: Path) -> None:
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["val_macro_f1"]] == ["3", "6"]
    text = (run / "train.log").read_text()
    for said in ("run folder", "validation loss", "the best so far", "precision"):
        assert said in text


def test_pictures_open(run: Path) -> None:
    for path in run.rglob("*.png"):
        with Image.open(path) as image:
            image.load()
            assert image.width > 300


def test_the_environment_names_what_made_the_run(run: Path) -> None:
    facts = json.loads((run / "environment.json").read_text())
    assert facts["identity"]["training.batch_size"] == 16
    assert facts["precision"] in ("fp32", "bf16")
    assert len(facts["data"]["fingerprint"]) == 64
    assert {"torch", "transformers", "datasets"} <= set(facts["packages"])


@pytest.fixture(scope="module")
def others(trained: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Four more trainings, one after the other in one process: their folder, and what each said."""
    from datasets import ClassLabel, Dataset, Features, Image

    folder = tmp_path_factory.mktemp("others")
    features = Features({"image": Image(), "label": ClassLabel(names=["Yminus", "passed", "Xplus", "Xminus", "Yplus"])})
    for name, count, seed in (("first", 25, 1), ("second", 10, 2)):
        frames = demo.frames(count, seed)
        rows = {"image": [{"bytes": demo.jpeg(f), "path": None} for f in frames], "label": [f.label for f in frames]}
        Dataset.from_dict(rows, features=features).save_to_disk(folder / name)
    settings = ["data.train=first", "data.test=second", "labels.names=auto", "training.epochs=1"]
    tiny: list[str | Path] = ["train", "-c", trained / "tiny.yaml"]
    commands: dict[str, list[str | Path]] = {
        "tracked": [*tiny, "--epochs", "1", "--report-to", "tensorboard"],
        "on": [*tiny, "--model", run, "--epochs", "1"],
        "two": [*tiny, *(word for setting in settings for word in ("--set", setting))],
        "again": ["train", "--config", run / "config.yaml"],
    }
    done = run_many(folder, [[*words, "-o", folder / name] for name, words in commands.items()])
    for found in done:
        assert found.returncode == 0, found.stderr
    return folder, {name: found.stderr for name, found in zip(commands, done, strict=True)}


def test_the_written_config_gives_the_same_run_again(run: Path, others: tuple[Path, dict[str, str]]) -> None:
    again = others[0] / "again"
    assert load_config(run / "config.yaml").labels.names == list(demo.NAMES)
    for name in ("history.csv", "evaluation/test/metrics.json", "evaluation/test/predictions.csv", "config.yaml"):
        assert (again / name).read_text() == (run / name).read_text(), name
    assert (again / "model/model.safetensors").read_bytes() == (run / "model/model.safetensors").read_bytes()
    assert (others[0] / "runs" / "latest.txt").read_text().strip() == str(again.resolve())


def test_transformers_own_pipeline_loads_the_model_and_agrees(trained: Path, run: Path, pictures: Path) -> None:
    from transformers import pipeline

    classify = pipeline("image-classification", str(run / "model"), device="cpu", top_k=None)
    options = ["--no-tta", "--precision", "fp32", "--format", "json", "--device", "cpu"]
    done = run_framevit(trained, "predict", pictures, *options)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout):
        theirs = {answer["label"]: answer["score"] for answer in classify(row["file"])}
        assert max(theirs, key=lambda name: theirs[name]) == row["label"]
        assert theirs == pytest.approx(row["probabilities"], abs=2e-3)


def test_a_pipe_that_closes_early_is_no_error(trained: Path, pictures: Path) -> None:
    program = f"{sys.executable} -m frame_vit predict {pictures} {pictures} --format jsonl"
    command = f"{program} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=trained, capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.endswith("\n0\n")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_run_folder_can_be_gone_on_from(others: tuple[Path, dict[str, str]]) -> None:
    """Although the config says scratch: --model says where to start."""
    folder, said = others
    assert "knows these classes: its head is kept" in said["on"]
    assert "init: pretrained" in (folder / "on" / "config.yaml").read_text()


def test_a_tracker_gets_the_run(others: tuple[Path, dict[str, str]]) -> None:
    logs = others[0] / "tracked" / "logs"
    assert [path.name[:6] for path in logs.rglob("*tfevents*")] == ["events"]


def test_the_notebooks_way_of_naming_two_data_sets(others: tuple[Path, dict[str, str]]) -> None:
    """Two saved data sets, each with a single split called train; classes from the data; a plain label column."""
    config = yaml.safe_load((others[0] / "two/config.yaml").read_text())
    assert config["labels"]["names"] == ["Yminus", "passed", "Xplus", "Xminus", "Yplus"]
    manifest = json.loads((others[0] / "two/evaluation/test/metrics.json").read_text())
    assert (manifest["n"], manifest["labels"][0]) == (10, "Yminus")
