"""`prepare` as a function: which files it writes, which it removes, and when the data passes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frame_vit.audit.prepare import Preparation, prepare
from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.errors import DataError, UsageError
from tests.audit.planted import LABELS, Planted, drawn, said

FEW = {"FV402": "off"}
"""Findings that a small data set always has."""


def config(folder: Path, **data: Any) -> Config:
    data = {"train": str(folder / "all.jsonl"), "test_fraction": 0.0, "audit": {"severity": FEW}} | data
    scratch = {"image_size": 32, "patch_size": 16}
    return Config.model_validate({"labels": LABELS, "data": data, "model": {"init": "scratch", "scratch": scratch}})


@pytest.fixture
def sound(tmp_path: Path) -> Planted:
    """Ten sound frames of each class."""
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 10))
    frames.write()
    return frames


def test_sound_data_passes_and_its_division_is_written(sound: Planted, tmp_path: Path) -> None:
    preparation = prepare(config(sound.folder), tmp_path / "out")
    assert preparation.passes(strict=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "audit.json", "audit.html", "samples.png", "displacement.png", "manifest.json"
    }  # fmt: skip
    assert preparation.files == {
        "report": tmp_path / "out/audit.html",
        "samples": tmp_path / "out/samples.png",
        "division": tmp_path / "out/manifest.json",
    }
    assert all(path.is_file() for path in preparation.files.values())
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest == json.loads(json.dumps(preparation.audit.dataset.manifest()))
    assert {name: len(rows) for name, rows in manifest["splits"].items()} == {"train": 40, "val": 10}


def test_data_with_a_bad_row_is_audited_but_not_divided(sound: Planted, tmp_path: Path) -> None:
    bad = sound.add(b"", said("passed"))
    sound.write()
    preparation = prepare(config(sound.folder), tmp_path / "out")
    assert not preparation.passes(strict=False)
    assert "division" not in preparation.files
    assert not (tmp_path / "out/manifest.json").exists()
    with preparation.files["exclusions"].open(newline="") as file:
        assert [(row["key"], row["code"]) for row in csv.DictReader(file)] == [(bad, "FV101")]
    skipped = prepare(config(sound.folder, on_bad_row="skip"), tmp_path / "out")
    assert (tmp_path / "out/manifest.json").is_file()
    assert not skipped.passes(strict=False), "the bad row is still an error"


def test_warnings_fail_only_a_strict_preparation(sound: Planted, tmp_path: Path) -> None:
    preparation = prepare(config(sound.folder, audit={"min_per_class": 20}), tmp_path / "out")
    assert [finding.kind.code for finding in preparation.audit.findings] == ["FV402"]
    assert preparation.passes(strict=False)
    assert not preparation.passes(strict=True)
    undivided = Preparation(replace(preparation.audit, refusal="rows cannot be used"), preparation.files)
    assert not undivided.passes(strict=False)


def test_files_of_an_earlier_preparation_go_unless_they_are_in_use(sound: Planted, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(config(sound.folder), out)
    sound.add(b"", said("passed"))
    sound.write()
    mine = "key\nline 51 (0050.jpg)\n"
    (out / "exclude.csv").write_text(mine)
    used = {"exclude": str(out / "exclude.csv"), "splits": str(out / "manifest.json")}
    before = json.loads((out / "manifest.json").read_text())["splits"]
    again = prepare(config(sound.folder, **used), out)
    assert again.passes(strict=True)
    assert (out / "exclude.csv").read_text() == mine
    assert json.loads((out / "manifest.json").read_text())["splits"] == before
    other = prepare(config(sound.folder), out)
    assert "division" not in other.files
    assert not (out / "manifest.json").exists(), "it divided other rows"


def test_a_list_in_use_is_never_overwritten(sound: Planted, tmp_path: Path) -> None:
    for _ in range(2):
        sound.add(b"", said("passed"))
    sound.write()
    out = tmp_path / "out"
    out.mkdir()
    mine = "key\nline 51 (0050.jpg)\n"
    (out / "exclude.csv").write_text(mine)
    preparation = prepare(config(sound.folder, exclude=str(out / "exclude.csv")), out)
    assert (out / "exclude.csv").read_text() == mine
    assert preparation.files["exclusions"] == out / "exclude-more.csv"
    assert json.loads((out / "audit.json").read_text())["exclude"] == "exclude-more.csv"
    assert "line 52 (0051.jpg)" in (out / "exclude-more.csv").read_text()


def test_nothing_is_written_into_the_data_or_below_a_file(sound: Planted, tmp_path: Path) -> None:
    before = {path.name for path in sound.folder.iterdir()}
    with pytest.raises(UsageError, match="a folder of data"):
        prepare(config(sound.folder, train=str(sound.folder)), sound.folder)
    assert {path.name for path in sound.folder.iterdir()} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no results can be written") as caught:
        prepare(config(sound.folder), tmp_path / "file/out")
    assert "--output" in caught.value.hint


def test_data_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    frames = Planted(tmp_path / "set")
    for label in demo.NAMES:
        frames.add(b"", said(label))
    frames.write()
    with pytest.raises(DataError, match="5 rows cannot be used"):
        prepare(config(frames.folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()
