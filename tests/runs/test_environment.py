"""environment.json: what a run was made with, and what a report says of where its numbers come from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from frame_vit import __version__
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.runs.data import recorded_fingerprint
from frame_vit.runs.environment import Environment, RunFacts
from frame_vit.system.files import write_json
from tests.small import tiny


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(tiny(tmp_path_factory.mktemp("data")), Preprocessing(32, 32))


def test_the_facts_survive_json_and_have_the_keys_that_old_runs_have(dataset: Dataset, tmp_path: Path) -> None:
    facts = Environment.of(dataset, tiny(tmp_path).training, "abc", 2).to_json()
    assert json.loads(json.dumps(facts)) == facts
    assert list(facts) == [
        "framevit", "python", "platform", "packages", "device", "precision", "processes", "model_revision", "data",
        "git_commit", "command",
    ]  # fmt: skip
    assert list(facts["data"]) == ["fingerprint", "splits", "sources", "skipped", "trained_on"]
    assert facts["data"]["sources"]["train"] == dataset.sources["train"].to_json()
    assert (facts["framevit"], facts["processes"], facts["model_revision"]) == (__version__, 2, "abc")
    assert (facts["precision"], facts["device"].split()[0]) == ("fp32", "cpu")


def test_the_fingerprints_are_found_again_by_split(dataset: Dataset, tmp_path: Path) -> None:
    write_json(tmp_path / "environment.json", Environment.of(dataset, tiny(tmp_path).training, "", 1).to_json())
    for name in dataset.splits:
        assert recorded_fingerprint(tmp_path, name) == dataset.split_fingerprint(name)


def test_the_commit_is_that_of_the_working_folder_and_none_outside_of_one(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    training = tiny(tmp_path).training
    assert Environment.of(dataset, training, "", 1).git_commit is None
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert Environment.of(dataset, training, "", 1).git_commit == head


def test_a_report_names_the_model_its_packages_and_its_data(dataset: Dataset) -> None:
    facts = RunFacts.of("runs/a", dataset, "val").to_json()
    assert list(facts) == ["model", "packages", "data", "fingerprint of the split"]
    assert facts["model"] == "runs/a"
    assert facts["data"] == dataset.source_of("val")
    assert facts["fingerprint of the split"] == dataset.split_fingerprint("val")
    assert all(f"{name} " in facts["packages"] for name in ("torch", "transformers", "numpy"))
