"""Trainings that are stopped, killed, damaged, poisoned and started twice: real processes, on a processor.

Each is the short form of tests that stand in tests/training, with everything random switched on there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from frame_vit.data import demo
from tests.conftest import TINY, run_framevit
from tests.nursery import Nursery

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A folder with long.yaml, whose training takes a second or two and saves every third step."""
    folder = tmp_path_factory.mktemp("training")
    config = yaml.safe_load(TINY)
    config["training"] |= {"epochs": 15, "save_steps": 3, "save_total_limit": 3, "precision": "fp32"}
    (folder / "long.yaml").write_text(yaml.safe_dump(config))
    with Nursery(folder) as nursery:
        yield nursery


def words(nursery: Nursery) -> str:
    """What the last command said, without frames and line breaks."""
    return " ".join("".join(c if c not in "│╭╮╰╯─" else " " for c in nursery.said).split())


def saved(run: Path) -> int:
    return len(list(run.glob("checkpoints/step-*")))


def until(condition: Callable[[], bool], process: int) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the moment did not come"
        os.kill(process, 0)
        time.sleep(0.005)


def begun(nursery: Nursery, run: Path) -> int:
    """A training that has saved a checkpoint and goes on."""
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: saved(run) > 0, process)
    return process


@pytest.fixture(scope="module")
def whole(nursery: Nursery) -> Path:
    """The run that nobody interrupts."""
    assert nursery.run("train", "-c", "long.yaml", "-o", "whole") == 0, nursery.said
    return nursery.folder / "whole"


def same(run: Path, whole: Path) -> None:
    for name in ("model/model.safetensors", "history.csv", "evaluation/test/metrics.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(
    nursery: Nursery, whole: Path, number: signal.Signals, code: int
) -> None:
    """Rows 61, 62, 63 and 70: it ends soon with its code and the command that resumes it; a kill loses one interval.

    The weights, the history and the numbers are those of the run that nobody stopped, bit for bit.
    """
    run = nursery.folder / number.name
    os.kill(begun(nursery, run), number)
    began = time.monotonic()
    assert nursery.wait() == code, nursery.said
    assert time.monotonic() - began < 30
    if number != signal.SIGKILL:
        assert nursery.said.splitlines()[-1] == f"framevit train --resume {run}"
        assert "stopped and saved after step" in (run / "train.log").read_text()
    assert not (run / "model").exists()
    assert nursery.run("train", "--resume", run) == 0, nursery.said
    same(run, whole)


def test_a_damaged_checkpoint_is_skipped_by_name_and_a_changed_run_is_refused(nursery: Nursery, whole: Path) -> None:
    """Rows 61, 66, 68 and 69: two in a folder, two signals, a flipped bit, half a checkpoint, other seed and data."""
    run = nursery.folder / "odd"
    process = begun(nursery, run)
    until(lambda: saved(run) > 2, process)
    os.kill(process, signal.SIGSTOP)
    try:
        second = run_framevit(nursery.folder, "train", "--resume", run)
        assert second.returncode == 2
        assert "is being trained by another process" in " ".join(second.stderr.replace("│", " ").split())
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
    finally:
        os.kill(process, signal.SIGCONT)
    assert nursery.wait() in (130, 143), nursery.said
    assert "stopped and saved" not in nursery.said, "the second signal does not wait for the first"
    older, *_, newest = sorted(run.glob("checkpoints/step-*"))
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    shutil.copytree(older, run / "checkpoints/step-000999")
    (run / "checkpoints/step-000999/optimizer.safetensors").unlink()
    text = (run / "config.yaml").read_text()
    for key, value, said in (
        ("training", {"seed": 9}, "training.seed: was 0, is 9"),
        ("data", {"demo": {"train": 51, "test": 20}}, "pictures and labels of train: was"),
    ):
        config = yaml.safe_load(text)
        config[key] |= value
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        assert nursery.run("train", "--resume", run) == 2, nursery.said
        assert said in words(nursery)
    (run / "config.yaml").write_text(text)
    assert nursery.run("train", "--resume", run) == 0, nursery.said
    assert f"{newest} is skipped: changed since it was written: model.safetensors" in words(nursery)
    assert "step-000999 is skipped" in words(nursery)
    same(run, whole)


def test_a_finished_run_is_not_trained_again(nursery: Nursery, whole: Path) -> None:
    """Row 67: it says so, and every file stays as it is."""
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert nursery.run("train", "--resume", whole) == 0
    assert "is finished" in words(nursery)
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after.get(path)} <= {whole / "train.log"}
    assert nursery.run("train", "-c", "long.yaml", "-o", whole) == 2
    assert "already exists" in words(nursery)


def test_numbers_that_are_not_finite_end_the_training_and_name_the_pictures(nursery: Nursery, whole: Path) -> None:
    """Row 56: the answers of these weights are finite, their gradients are not; exit code 1 in the first step."""
    start = nursery.folder / "overflows"
    shutil.copytree(whole / "model", start)
    weights = load_file(start / "model.safetensors")
    for name, factor in (("classifier.weight", 1e20), ("vit.layernorm.weight", 1e10)):
        weights[name] = weights[name] * factor
    save_file(weights, start / "model.safetensors", {"format": "pt"})
    assert nursery.run("train", "-c", "long.yaml", "--model", start, "-o", "poisoned") == 1, nursery.said
    said = words(nursery)
    assert re.search("the gradient of step 1 is (nan|inf)", said), said
    assert "demo-0-" in said, "the pictures of the batch"
    assert "Traceback" not in said
    assert not (nursery.folder / "poisoned/model").exists()


def test_no_card_is_no_silent_processor(nursery: Nursery) -> None:
    """Row 71: a card that is asked for and not there is refused with the way out."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    for device in ("cuda", "cuda:3"):
        assert nursery.run("train", "-c", "long.yaml", "--device", device, "-o", "card") == 2
        assert "no usable CUDA device" in words(nursery)
        assert "--device cpu" in words(nursery)
    assert not (nursery.folder / "card").exists()


def test_rare_classes_are_warned_of_and_have_their_own_numbers(nursery: Nursery) -> None:
    """Row 73: the audit names the imbalance, and recall stands by class beside an accuracy that looks fine."""
    folder = nursery.folder / "rare"
    for label, count in (("passed", 200), ("Xplus", 8)):
        for number in range(count):
            path = folder / label / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(demo.jpeg(demo.sample(label, number)))
    options: list[str | Path] = ["--data", folder, "--set", "data.test=null", "--set", "labels.names=[passed, Xplus]"]
    options += ["--set", "labels.symmetries={}"]
    assert nursery.run("prepare", "-c", "long.yaml", *options, "-o", "prepared") in (0, 3), nursery.said
    assert "FV403" in nursery.said
    assert "classes of very different size" in words(nursery)
    assert nursery.run("train", "-c", "long.yaml", *options, "--epochs", "1", "-o", "uneven") == 0, nursery.said
    metrics = json.loads((nursery.folder / "uneven/evaluation/test/metrics.json").read_text())
    assert metrics["accuracy"] > 0.9
    assert metrics["per_class"]["Xplus"]["recall"] == 0
    assert metrics["macro_f1"] < 0.6
    assert metrics["escape_rate"]["n"] == metrics["per_class"]["Xplus"]["support"]
    assert "is not significantly better than always answering 'passed'" in words(nursery)
