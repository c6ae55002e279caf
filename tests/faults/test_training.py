"""Trainings that are finished, poisoned, uneven or without their card. `training.test_resume` stops and kills them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from frame_vit.data import demo
from tests.conftest import TINY
from tests.processes import Nursery

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A folder with short.yaml, whose training takes a second."""
    folder = tmp_path_factory.mktemp("training")
    config = yaml.safe_load(TINY)
    config["training"] |= {"epochs": 3, "precision": "fp32"}
    (folder / "short.yaml").write_text(yaml.safe_dump(config))
    with Nursery(folder) as nursery:
        yield nursery


def words(nursery: Nursery) -> str:
    """What the last command said, without frames and line breaks."""
    return " ".join("".join(c if c not in "│╭╮╰╯─" else " " for c in nursery.said).split())


@pytest.fixture(scope="module")
def whole(nursery: Nursery) -> Path:
    """The run that nobody interrupts."""
    assert nursery.run("train", "-c", "short.yaml", "-o", "whole") == 0, nursery.said
    return nursery.folder / "whole"


def test_a_finished_run_is_not_trained_again(nursery: Nursery, whole: Path) -> None:
    """Row 67: it says so, and every file stays as it is."""
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert nursery.run("train", "--resume", whole) == 0
    assert "is finished" in words(nursery)
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after.get(path)} <= {whole / "train.log"}
    assert nursery.run("train", "-c", "short.yaml", "-o", whole) == 2
    assert "already exists" in words(nursery)


def test_numbers_that_are_not_finite_end_the_training_and_name_the_pictures(nursery: Nursery, whole: Path) -> None:
    """Row 56: the answers of these weights are finite, their gradients are not; exit code 1 in the first step."""
    start = nursery.folder / "overflows"
    shutil.copytree(whole / "model", start)
    weights = load_file(start / "model.safetensors")
    for name, factor in (("classifier.weight", 1e20), ("vit.layernorm.weight", 1e10)):
        weights[name] = weights[name] * factor
    save_file(weights, start / "model.safetensors", {"format": "pt"})
    assert nursery.run("train", "-c", "short.yaml", "--model", start, "-o", "poisoned") == 1, nursery.said
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
        assert nursery.run("train", "-c", "short.yaml", "--device", device, "-o", "card") == 2
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
    assert nursery.run("prepare", "-c", "short.yaml", *options, "-o", "prepared") in (0, 3), nursery.said
    assert "FV403" in nursery.said
    assert "classes of very different size" in words(nursery)
    assert nursery.run("train", "-c", "short.yaml", *options, "--epochs", "1", "-o", "uneven") == 0, nursery.said
    metrics = json.loads((nursery.folder / "uneven/evaluation/test/metrics.json").read_text())
    assert metrics["accuracy"] > 0.9
    assert metrics["per_class"]["Xplus"]["recall"] == 0
    assert metrics["macro_f1"] < 0.6
    assert metrics["escape_rate"]["n"] == metrics["per_class"]["Xplus"]["support"]
    assert "is not significantly better than always answering 'passed'" in words(nursery)
