"""Model folders that were damaged or edited after the export: refused with one panel, or passed over with a warning."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frame_vit.data import demo
from tests.processes import run_many

Done = subprocess.CompletedProcess[str]


def flip_a_bit(folder: Path, file: str = "model.onnx") -> None:
    content = bytearray((folder / file).read_bytes())
    content[len(content) * 2 // 3] ^= 0x40
    (folder / file).write_bytes(content)


def flip_a_weight(folder: Path) -> None:
    flip_a_bit(folder, "model.safetensors")


def only_the_damaged_export(folder: Path) -> None:
    flip_a_bit(folder)
    (folder / "model.safetensors").unlink()


def edit(file: str, *path: str, value: Any) -> Callable[[Path], None]:
    """Sets one value in a JSON file of the folder."""

    def change(folder: Path) -> None:
        values = inner = json.loads((folder / file).read_text())
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (folder / file).write_text(json.dumps(values))

    return change


def other_embeddings(folder: Path) -> None:
    np.save(folder / "embeddings.npy", np.zeros((5, 7), np.float16))


def no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def other_ids(folder: Path) -> None:
    names = json.loads((folder / "config.json").read_text())["id2label"]
    names["7"] = names.pop("4")
    edit("config.json", "id2label", value=names)(folder)


ONNX, TORCH, AUTO = ("--backend", "onnxruntime"), ("--backend", "torch"), ()
DAMAGES: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "a bit of the export": (flip_a_bit, ONNX, "its sha256 is not the one in export.json"),
    "a bit of the weights": (flip_a_weight, TORCH, "model.safetensors is not the file that framevit.json belongs to"),
    "nothing else left": (only_the_damaged_export, AUTO, "its sha256 is not the one in export.json"),
    "thresholds": (edit("framevit.json", "decision", "accept_below", value=2.0), AUTO, "decision.accept_below is 2.0"),
    "not a number": (edit("framevit.json", "temperature", value=float("nan")), ONNX, "NaN is not a number"),
    "mean": (edit("framevit.json", "pixels", "mean", value=[0.5, 0.5, 0.6]), AUTO, "different preprocessing (mean)"),
    "processor": (edit("preprocessor_config.json", "size", value={"height": 16, "width": 32}), TORCH, "(height)"),
    "no processor": (no_processor, ONNX, "preprocessor_config.json is missing"),
    "embeddings": (other_embeddings, AUTO, "have 7 dimensions"),
    "ids": (other_ids, TORCH, "its ids are 0, 1, 2, 3, 7"),
}


@pytest.fixture(scope="module")
def answers(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What `predict` says for each damage, and for a whole folder, in one process for all."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "picture.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", 0)))
    commands: dict[str, list[str | Path]] = {}
    for number, (name, (damage, backend, _)) in enumerate(DAMAGES.items()):
        model = shutil.copytree(exported / "runs/tiny-001/model", folder / f"model-{number}")
        (model / "model-int8.onnx").unlink(missing_ok=True)
        damage(model)
        commands[name] = ["predict", "picture.jpg", "--model", model, *backend]
    whole = shutil.copytree(exported / "runs/tiny-001/model", folder / "whole")
    # Whether int8 was kept depends on its speed here; where it answers, framevit says that the thresholds are fp32's.
    (whole / "model-int8.onnx").unlink(missing_ok=True)
    commands["whole"] = ["predict", "picture.jpg", "--model", whole]
    commands["passed over"] = ["predict", "picture.jpg", "--model", folder / "model-0", "--device", "cpu"]
    return dict(zip(commands, run_many(folder, list(commands.values())), strict=True))


@pytest.mark.parametrize("name", DAMAGES)
def test_what_cannot_be_believed_is_refused_in_one_panel(answers: dict[str, Done], name: str) -> None:
    done, said = answers[name], DAMAGES[name][2]
    words = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2, done.stderr
    assert said in words
    assert done.stderr.count("─ Error ─") == 1
    assert "not a mistake of yours" not in words
    assert not done.stdout


def test_a_whole_folder_answers_without_a_warning(answers: dict[str, Done]) -> None:
    assert answers["whole"].returncode == 0
    assert "warning" not in answers["whole"].stderr


def test_a_damaged_export_is_passed_over_where_torch_can_answer(answers: dict[str, Done]) -> None:
    done = answers["passed over"]
    assert done.returncode == 0, done.stderr
    assert "using torch instead" in done.stderr
    assert json.loads(done.stdout)["status"] == "ok"
