"""Runs that are killed, stopped, filled up or started twice: nothing is lost, and a resumed run is the same run."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TINY
from tests.processes import Nursery, run_framevit

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")

LONG = """
  gradient_accumulation: 2
  layer_decay: 0.8
  ema: 0.9
  eval_steps: 7
  save_steps: 3
augment: {brightness: 0.2, shift: 0.1}
"""


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A folder with long.yaml, whose training takes a few seconds and has everything random switched on."""
    folder = tmp_path_factory.mktemp("resume")
    config = yaml.safe_load(TINY + LONG)
    config["training"] |= {"epochs": 12, "batch_size": 4}
    config["data"]["demo"] = {"train": 61, "test": 10}
    config["model"]["scratch"] |= {"layers": 2, "hidden_size": 64, "dropout": 0.1}
    (folder / "long.yaml").write_text(yaml.safe_dump(config))
    with Nursery(folder) as nursery:
        yield nursery


@pytest.fixture(scope="module")
def whole(nursery: Nursery) -> Path:
    """The run that nobody interrupts."""
    assert nursery.run("train", "-c", "long.yaml", "-o", "whole") == 0, nursery.said
    return nursery.folder / "whole"


def until(condition: Callable[[], bool], process: int) -> None:
    """Waits for a moment of a process that is running."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the moment did not come"
        os.kill(process, 0)


def saved(run: Path) -> int:
    """How many checkpoints are complete."""
    return len(list(run.glob("checkpoints/step-*")))


def half_done(run: Path) -> set[str]:
    """The checkpoints that are being written, or were when the run was killed."""
    return {path.name for path in run.glob("checkpoints/.step-*.part")}


def another_save_begins(run: Path, before: set[str]) -> bool:
    return bool(half_done(run) - before)


def same(run: Path, whole: Path) -> None:
    """All that a run is, bit for bit: weights, history, the state at the end, the answers."""
    last = sorted(path.name for path in (whole / "checkpoints").glob("step-*"))[-1]
    files = [
        "model/model.safetensors",
        "history.csv",
        "evaluation/test/metrics.json",
        "evaluation/test/predictions.csv",
    ]
    files += [f"checkpoints/{last}/{name}.safetensors" for name in ("model", "optimizer", "average")]
    for name in [*files, f"checkpoints/{last}/state.json"]:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert timeless(run / f"checkpoints/{last}/trainer_state.json") == timeless(
        whole / f"checkpoints/{last}/trainer_state.json"
    )


def timeless(file: Path) -> dict[str, Any]:
    """The Trainer's state without what a clock said."""
    state: dict[str, Any] = json.loads(file.read_text())
    log = [
        {k: v for k, v in row.items() if not k.endswith(("_runtime", "_per_second"))} for row in state["log_history"]
    ]
    return state | {"log_history": log}


def test_a_run_that_is_killed_again_and_again_equals_the_one_that_is_not(nursery: Nursery, whole: Path) -> None:
    """SIGKILL at random moments, and whenever a save is under way; every start must come further than the last."""
    run, during_save, kills, random_ = nursery.folder / "killed", 0, 0, random.Random(1)
    words: list[str | Path] = ["train", "-c", "long.yaml", "-o", run]
    for attempt in range(9):
        process = nursery.start(*words)
        words = ["train", "--resume", run]
        before = saved(run)
        if attempt % 2:
            until(partial(another_save_begins, run, half_done(run)), process)
        else:
            until(lambda: saved(run) > 0 and (run / "history.csv").exists(), process)
            time.sleep(random_.uniform(0, 0.3))
        os.kill(process, signal.SIGKILL)
        if nursery.wait() == 0:
            break
        kills += 1
        during_save += bool(half_done(run))
        assert saved(run) >= min(before, 1)
    else:
        assert nursery.run(*words) == 0, nursery.said
    assert kills >= 4
    assert during_save >= 1
    same(run, whole)
    assert not list(run.glob("checkpoints/.step-*")), "what was left half done is cleared"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_says_how_to_resume(
    nursery: Nursery, whole: Path, number: int, code: int
) -> None:
    run = nursery.folder / f"signal {number}"
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: saved(run) > 0, process)
    os.kill(process, number)
    assert nursery.wait() == code, nursery.said
    last = nursery.said.splitlines()[-1]
    assert last == f"framevit train --resume '{run}'"
    assert "Traceback" not in nursery.said
    assert not (run / "model").exists()
    step = max(path.name for path in run.glob("checkpoints/step-*"))
    assert f"stopped and saved after step {int(step.removeprefix('step-'))}" in (run / "train.log").read_text()
    assert nursery.run("train", "--resume", run) == 0, nursery.said
    assert f"resuming after step {int(step.removeprefix('step-'))}" in nursery.said
    same(run, whole)


def test_the_second_signal_leaves_at_once_and_loses_nothing(nursery: Nursery, whole: Path) -> None:
    """Python handles a signal between two of its instructions, so the second finds the first step still to be done."""
    run = nursery.folder / "twice"
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: saved(run) > 0, process)
    os.kill(process, signal.SIGINT)
    os.kill(process, signal.SIGTERM)
    assert nursery.wait() in (130, 143)
    assert "stopped and saved" not in nursery.said
    assert nursery.run("train", "--resume", run) == 0, nursery.said
    same(run, whole)


def test_a_signal_before_the_training_leaves_with_the_same_words(nursery: Nursery) -> None:
    """What is done then (here: the frozen blocks' answers) need not be finished: it is whole or absent."""
    run = nursery.folder / "early"
    many = ["--set", "data.demo.train=3000", "--set", "training.freeze=1"]
    process = nursery.start("train", "-c", "long.yaml", "-o", run, *many)
    until(lambda: any(nursery.folder.glob("cache/activations/*/.whole.part")), process)
    os.kill(process, signal.SIGTERM)
    assert nursery.wait() == 143, nursery.said
    assert nursery.said.splitlines()[-1] == f"framevit train --resume {run}"
    assert not list(nursery.folder.glob("cache/activations/*/.whole.part"))


def test_a_damaged_checkpoint_is_passed_over_by_name(nursery: Nursery, whole: Path) -> None:
    run = nursery.folder / "damaged"
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: (run / "checkpoints/step-000027").exists(), process)
    os.kill(process, signal.SIGKILL)
    nursery.wait()
    newest = max(run.glob("checkpoints/step-*"))
    file = newest / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert nursery.run("train", "--resume", run) == 0, nursery.said
    assert f"{newest} is skipped: changed since it was written: optimizer.safetensors" in nursery.said
    same(run, whole)


def test_a_disk_that_is_full_costs_nothing_that_was_saved(nursery: Nursery, whole: Path) -> None:
    """A limit on the size of files, which a log keeps and a checkpoint does not, stands for the disk."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux can limit another process")
    run = nursery.folder / "full"
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: saved(run) > 0, process)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (100_000, 100_000))
    assert nursery.wait() == 1, nursery.said
    words = " ".join(nursery.said.replace("│", " ").split())
    assert "could not be written" in words
    assert "What was saved before is whole. Make room, then resume the run with --resume" in words
    assert "Traceback" not in words
    assert not half_done(run)
    assert nursery.run("train", "--resume", run) == 0, nursery.said
    same(run, whole)


class Harm:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_no_pickle_in_a_run_folder_is_loaded(nursery: Nursery, whole: Path) -> None:
    run, mark = nursery.folder / "pickles", nursery.folder / "loaded"
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: saved(run) > 0, process)
    os.kill(process, signal.SIGKILL)
    nursery.wait()
    for folder in (run, run / "checkpoints", run / "checkpoints" / "checkpoint-500", *run.glob("checkpoints/step-*")):
        folder.mkdir(exist_ok=True)
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "pytorch_model.bin"):
            (folder / name).write_bytes(pickle.dumps(Harm(mark)))
    assert nursery.run("train", "--resume", run) == 0, nursery.said
    same(run, whole)
    assert nursery.run("evaluate", run) == 0, nursery.said
    assert not mark.exists()
    pickle.loads((run / "optimizer.pt").read_bytes())
    assert mark.exists(), "the pickle was not a harmful one"


@pytest.fixture(scope="module")
def stopped(nursery: Nursery, whole: Path) -> Path:
    """A run that was stopped after some steps."""
    run = nursery.folder / "stopped"
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: saved(run) > 0, process)
    os.kill(process, signal.SIGINT)
    assert nursery.wait() == 130
    return run


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training.seed", 5, "training.seed: was 0, is 5"),
        ("training.learning_rate", 0.01, "training.learning_rate: was 0.0005, is 0.01"),
        ("labels.ok", ["passed", "Xplus"], 'labels.ok: was ["passed"], is ["passed", "Xplus"]'),
        ("labels.names", ["passed", "Xminus", "Xplus", "Yplus", "Yminus"], "labels.names: was"),
        ("data.demo", {"train": 61, "test": 10, "seed": 9}, "pictures and labels of train: was"),
        ("model.scratch", {"layers": 3, "hidden_size": 64}, "weights at the start: was"),
    ],
)
def test_another_run_is_not_resumed(nursery: Nursery, stopped: Path, key: str, value: object, said: str) -> None:
    path = stopped / "config.yaml"
    before = path.read_text()
    config = yaml.safe_load(before)
    section, _, name = key.partition(".")
    config[section][name] = value
    path.write_text(yaml.safe_dump(config))
    try:
        assert nursery.run("train", "--resume", stopped) == 2, nursery.said
        words = " ".join(nursery.said.replace("│", " ").split())
        assert said in words
        assert "this is not the run that was interrupted" in words
    finally:
        path.write_text(before)


@pytest.mark.parametrize("damage", ["missing", "empty", "other"])
def test_a_run_without_its_environment_is_not_resumed(nursery: Nursery, stopped: Path, damage: str) -> None:
    path = stopped / "environment.json"
    before = path.read_text()
    path.write_text({"missing": "", "empty": "", "other": "{}"}[damage])
    if damage == "missing":
        path.unlink()
    try:
        assert nursery.run("train", "--resume", stopped) == 2, nursery.said
        assert "environment.json is missing or damaged" in " ".join(nursery.said.replace("│", " ").split())
    finally:
        path.write_text(before)


def test_a_run_without_a_model_is_no_model_yet(nursery: Nursery, stopped: Path) -> None:
    for words in (("predict", "x.jpg"), ("train", "-c", "long.yaml")):
        assert nursery.run(*words, "--model", stopped) == 2, nursery.said
        assert "a run that has no model yet" in " ".join(nursery.said.replace("│", " ").split())


def test_what_changes_nothing_may_be_changed(nursery: Nursery, stopped: Path, whole: Path) -> None:
    path = stopped / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["training"]["save_total_limit"] = 5
    config["data"]["cache"] = str(nursery.folder / "elsewhere")
    path.write_text(yaml.safe_dump(config))
    assert nursery.run("train", "--resume", stopped) == 0, nursery.said
    assert (stopped / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    assert (stopped / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()


def test_a_run_that_was_killed_after_its_training_is_only_tested(nursery: Nursery, whole: Path) -> None:
    for name in ("model/README.md", "evaluation/test/metrics.json"):
        (whole / name).unlink()
    before = (whole / "history.csv").read_bytes()
    assert nursery.run("train", "--resume", whole) == 0, nursery.said
    assert "training: " not in nursery.said
    assert (whole / "history.csv").read_bytes() == before
    assert (whole / "evaluation/test/metrics.json").exists()
    assert nursery.run("train", "--resume", whole) == 0
    assert "is finished" in nursery.said


def test_the_second_of_two_runs_in_one_folder_is_refused(nursery: Nursery) -> None:
    run = nursery.folder / "shared"
    process = nursery.start("train", "-c", "long.yaml", "-o", run)
    until(lambda: saved(run) > 0, process)
    os.kill(process, signal.SIGSTOP)
    try:
        other = run_framevit(nursery.folder, "train", "--resume", run)
        assert other.returncode == 2, other.stderr
        assert "is being trained by another process" in " ".join(other.stderr.replace("│", " ").split())
    finally:
        os.kill(process, signal.SIGCONT)
    os.kill(process, signal.SIGKILL)
    nursery.wait()
    # A lock goes with its process, however it ended.
    before, process = saved(run), nursery.start("train", "--resume", run)
    until(lambda: saved(run) > before, process)
    os.kill(process, signal.SIGKILL)
    nursery.wait()


def test_the_state_of_a_checkpoint_is_json_without_surprises(whole: Path) -> None:
    last = max(whole.glob("checkpoints/step-*"))
    state = json.loads((last / "state.json").read_text())
    assert set(state) == {"best_step", "rates", "schedule", "scaler", "losses", "logged"}
