"""The diagnosis of a sound installation, and of broken ones that are really broken."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frame_vit.system.caches import cache_folder
from frame_vit.system.devices import resolve_device, resolve_precision
from frame_vit.system.doctor import LITTLE_SPACE, Diagnosis, Disk, _notes, _parsed, diagnose
from frame_vit.system.hub import HubState

_ASK = "import json; from frame_vit.system.doctor import diagnose; print(json.dumps(diagnose().to_json()))"


def elsewhere(path: Path, **variables: str) -> dict[str, Any]:
    """The diagnosis of a process that finds the modules and packages in `path` before the installed ones."""
    search = os.pathsep.join([str(path), str(Path(__file__).parents[2])])
    env = os.environ | {"PYTHONPATH": search, "HF_HUB_OFFLINE": "1"} | variables
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, env=env, timeout=200)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def requiring(path: Path, *lines: str) -> Path:
    """An installed framevit whose metadata has these requirements."""
    folder = path / "framevit-9.9.dist-info"
    folder.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {line}\n" for line in lines)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: framevit\nVersion: 9.9\n{needs}")
    return path


@pytest.fixture(scope="module")
def sound() -> Diagnosis:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        return diagnose()


def test_a_sound_installation_is_healthy_and_every_required_package_has_its_version(sound: Diagnosis) -> None:
    assert sound.problems == []
    assert sound.healthy
    versions = {package.name: package.version for package in sound.packages}
    assert versions["torch"] == importlib.metadata.version("torch")
    assert {"transformers", "pillow", "pyyaml", "scikit-learn", "typer"} <= set(versions)


def test_the_precision_is_the_one_that_auto_takes(sound: Diagnosis) -> None:
    device = resolve_device("auto")
    assert sound.precision is not None
    assert (sound.precision.device, sound.precision.precision) == (str(device), resolve_precision("auto", device))
    assert sound.precision.reason
    assert sound.devices[0].name == "cpu"
    assert device.type in {state.name.partition(":")[0] for state in sound.devices}


def test_the_json_has_every_part_with_paths_as_text(sound: Diagnosis) -> None:
    values = json.loads(json.dumps(sound.to_json()))
    assert set(values) == {
        "healthy", "framevit", "python", "platform", "packages", "devices", "precision", "caches", "hub_cache",
        "hub_cache_size", "disks", "extras", "hub", "problems", "notes",
    }  # fmt: skip
    assert {cache["name"] for cache in values["caches"]} == {"pixels", "activations", "digests", "compiled"}
    assert values["hub"]["answers"] is None
    assert [disk["path"] for disk in values["disks"]][1] == str(Path.cwd())


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("torch>=2.14", ("torch", None)),
        ("Types-PyYAML; extra == 'test'", ("types-pyyaml", "test")),
        ('onnx>=1.18 ; python_version < "4" and extra == "export"', ("onnx", "export")),
        ("framevit[export,openvino]; extra == 'test'", ("framevit", "test")),
    ],
)
def test_requirements_are_read_as_packaging_tools_write_them(line: str, package: tuple[str, str | None]) -> None:
    assert _parsed(line) == package


def test_packages_that_are_missing_old_or_broken_are_problems_each_with_its_reason(tmp_path: Path) -> None:
    path = requiring(tmp_path, "nobody-has-this>=1", "numpy>=99", "rich>=13", "torchvision", "absent; extra == 'plus'")
    (path / "torchvision").mkdir()
    (path / "torchvision" / "__init__.py").write_text("raise OSError('libcudart.so: cannot open')")
    found = elsewhere(path)
    assert found["healthy"] is False
    problems = "\n".join(found["problems"])
    assert "nobody-has-this cannot be used: it is not installed" in problems
    assert "does not satisfy >=99" in problems
    assert "torchvision cannot be used: importing it fails: OSError: libcudart.so: cannot open" in problems
    assert "rich" not in problems
    (extra,) = found["extras"]
    assert extra == {"name": "plus", "missing": ["absent"], "command": "pip install 'framevit[plus]'"}


def test_without_pytorch_the_rest_is_still_reported(tmp_path: Path) -> None:
    path = requiring(tmp_path, "torch")
    (path / "torch").mkdir()
    (path / "torch" / "__init__.py").write_text("raise ImportError('no torch')")
    found = elsewhere(path)
    assert found["precision"] is None
    assert [device["name"] for device in found["devices"]] == ["cpu"]
    assert found["caches"]


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    path = requiring(tmp_path, "rich")
    (tmp_path / "file").touch()
    found = elsewhere(path, FRAMEVIT_CACHE=str(tmp_path / "file" / "cache"))
    assert found["healthy"] is False
    assert "cannot be written" in found["problems"][0]
    assert "FRAMEVIT_CACHE" in found["problems"][0]


def test_looking_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    diagnose()
    assert cache_folder() == tmp_path / "cache"
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_nothing_is_a_note(tmp_path: Path) -> None:
    full = Disk("working folder", tmp_path, LITTLE_SPACE - 1, writable=False)
    notes = "\n".join(_notes([], [full], HubState("http://hub", False, "refused")))
    assert "not installed" in notes
    assert "cannot be written" in notes
    assert "Only 2 GB are free" in notes
    assert "http://hub does not answer (refused)" in notes
