"""A run that 0.5.0 trained and exported still works: it is evaluated, predicts, counts as finished, is exported again.

`run_of_0_5_0/` was made by the last commit before the folders by stage: drawn frames as small PNG files, a tiny ViT,
its metrics and predictions. Only what the tests read was kept of the run folder.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run_many

OLD = Path(__file__).parent / "run_of_0_5_0"
RUN = "runs/old-001"
FP32 = ("--backend", "torch", "--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each command gave, by name, with the folder that they ran in."""
    folder = tmp_path_factory.mktemp("old") / "work"
    shutil.copytree(OLD, folder)
    picture = "data/test/Xplus/00.png"
    commands: dict[str, list[str | Path]] = {
        "resume": ["train", "--resume", RUN],
        "evaluate": ["evaluate", RUN, *FP32, "--json", "-o", "evaluated"],
        "torch": ["predict", "--model", RUN, picture, *FP32, "--format", "json"],
        "onnxruntime": ["predict", "--model", RUN, picture, "--backend", "onnxruntime", "--format", "json"],
        "openvino": ["predict", "--model", RUN, picture, "--backend", "openvino", "--precision", "fp32"],
        "latest": ["predict", picture, "--format", "json"],
        "explain": ["explain", "--model", RUN, picture, "-o", "maps"],
        "calibrate": ["calibrate", RUN, "--set", "decision.max_escape_rate=0.2"],
        "export": ["export", RUN, "-o", "line", "--json"],
    }
    done = run_many(folder, list(commands.values()))
    return {"folder": folder} | dict(zip(commands, done, strict=True))


@pytest.mark.parametrize(
    "name", ["resume", "evaluate", "torch", "onnxruntime", "openvino", "latest", "explain", "calibrate", "export"]
)
def test_every_command_takes_the_old_run(answers: dict[str, Any], name: str) -> None:
    assert answers[name].returncode == 0, answers[name].stderr


def test_the_old_run_is_known_to_be_finished(answers: dict[str, Any]) -> None:
    assert "finished" in answers["resume"].stderr


def test_the_evaluation_is_what_it_was(answers: dict[str, Any]) -> None:
    before = json.loads((OLD / RUN / "evaluation/test/metrics.json").read_text())
    after = json.loads(answers["evaluate"].stdout)
    assert [key for key in after if key in before] == [*before], "no key is gone, and they have the same order"
    assert after.keys() - before.keys() == {"escape_by_class", "macro_f1_interval", "kappa"}
    for key in ("split", "n", "labels", "confusion_matrix", "accuracy", "macro_f1"):
        assert after[key] == before[key], key
    for name, scores in before["per_class"].items():
        assert scores.items() <= after["per_class"][name].items(), name
    for key in ("escape_rate", "overkill_rate", "review_rate"):
        assert after[key] == pytest.approx(before[key]), key
    assert after["decision"]["point"] == before["decision"]["point"]
    assert after["calibration"]["temperature"] == before["calibration"]["temperature"]


def test_the_rows_are_what_they_were(answers: dict[str, Any]) -> None:
    with (OLD / RUN / "evaluation/test/predictions.csv").open(newline="") as old:
        before = list(csv.DictReader(old))
    with (answers["folder"] / "evaluated/predictions.csv").open(newline="") as new:
        after = list(csv.DictReader(new))
    assert [*after[0]] == [*before[0]]
    for old_row, new_row in zip(before, after, strict=True):
        numbers = [key for key in old_row if key.startswith("p_") or key in ("confidence", "score")]
        assert {k: v for k, v in new_row.items() if k in ("file", "true", "label", "decision", "flags")} == {
            k: v for k, v in old_row.items() if k in ("file", "true", "label", "decision", "flags")
        }
        assert [float(new_row[key]) for key in numbers] == pytest.approx(
            [float(old_row[key]) for key in numbers], abs=1e-4
        )


def test_the_exported_file_of_the_old_run_answers_as_its_weights(answers: dict[str, Any]) -> None:
    (torch,), (runtime,) = json.loads(answers["torch"].stdout), json.loads(answers["onnxruntime"].stdout)
    assert runtime["label"] == torch["label"]
    assert runtime["probabilities"] == pytest.approx(torch["probabilities"], abs=1e-4)
    assert "was made from other weights" not in answers["onnxruntime"].stderr
