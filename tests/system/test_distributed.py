"""Several processes train one model: the same model that one process trains with the same effective batch."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from frame_vit.runs.history import read_history
from tests.conftest import TINY
from tests.processes import environment, run_framevit

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc-per-node", "2", "--master-port"],
    # --multi_gpu is how accelerate says "several processes"; with --cpu it starts only one.
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"],
}
LAUNCHERS["accelerate"] += ["--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port"]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def starting(launcher: str, *words: str | Path) -> list[str]:
    """The command for `framevit WORDS` in two gloo processes."""
    module, *options = LAUNCHERS[launcher]
    return [sys.executable, "-m", module, *options, free_port(), "-m", "frame_vit", *map(str, words)]


def launched(launcher: str, cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    env = environment(cwd, OMP_NUM_THREADS="1")
    return subprocess.run(starting(launcher, *words), cwd=cwd, env=env, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """two.yaml for two processes of 8 pictures, one.yaml for one of 16: four steps an epoch; and the run of the one."""
    folder = tmp_path_factory.mktemp("processes")
    config = yaml.safe_load(TINY)
    config["data"]["demo"] = {"train": 80, "test": 11}
    for name, batch in (("one", 16), ("two", 8)):
        config["training"] |= {"batch_size": batch, "precision": "fp32", "logging_steps": 1, "ema": 0.5, "epochs": 3}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    done = run_framevit(folder, "train", "-c", "one.yaml", "-o", "one")
    assert done.returncode == 0, done.stderr
    return folder


def alike(run: Path, expected: Path) -> None:
    """The same run but for the order in which numbers were added up."""
    rows, others = read_history(run / "history.csv"), read_history(expected / "history.csv")
    assert len(rows) == len(others) == 12
    for row, other in zip(rows, others, strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    weights, others_ = load_file(run / "model/model.safetensors"), load_file(expected / "model/model.safetensors")
    for name, value in weights.items():
        assert (value - others_[name]).abs().max() < 1e-4, name


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_the_model_that_one_trains(folder: Path, launcher: str) -> None:
    done = launched(launcher, folder, "train", "-c", "two.yaml", "-o", launcher)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("run folder: ") == 1
    assert done.stdout.count("macro-F1") == 1
    assert ("accelerate's mixed_precision=bf16 is not used" in done.stderr) == (launcher == "accelerate")
    alike(folder / launcher, folder / "one")


def test_what_one_process_began_two_end(folder: Path) -> None:
    """Not bit for bit, and that is said: sums over two processes are added up in another order."""
    run = folder / "cut"
    shutil.copytree(folder / "one", run)
    for name in ("model", "evaluation", "history.csv", "checkpoints/step-000012"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["training"]["batch_size"] = 8
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    done = launched("torchrun", folder, "train", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert "processes: was 1, is 2: not bit for bit the same run" in done.stderr
    alike(run, folder / "one")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_stops_all_after_the_same_step(folder: Path) -> None:
    """The terminal's signal reaches the launcher and the processes, and the launcher hands it on to them once more."""
    long = ["train", "-c", "two.yaml", "-o", "long", "--epochs", "2000", "--set", "training.eval_steps=50"]
    run, env = folder / "long", environment(folder, OMP_NUM_THREADS="1")
    command = starting("torchrun", *long)
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        while not list(run.glob("checkpoints/step-*")):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=100)
    assert process.returncode != 0
    step = int(max(run.glob("checkpoints/step-*")).name.removeprefix("step-"))
    assert step < 8000
    assert f"after step {step}; to resume:\ntorchrun --nproc-per-node 2 -m frame_vit train --resume long\n" in said
    assert not list(run.glob("checkpoints/.step-*"))
