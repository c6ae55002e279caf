"""`framevit doctor` as a command: what it prints, how it leaves, and what it deletes only after asking."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Framevit
from tests.processes import environment, run_many
from tests.system.test_doctor import requiring


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """A cached entry in the cache of `framevit` in this folder."""
    file = tmp_path / "cache" / "pixels" / "key" / "state" / "pixels.u8"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(1500))
    weights = tmp_path / "hf" / "hub" / "models--a--b" / "blobs" / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(2500))
    return file


def test_it_shows_every_group_in_80_columns_and_as_json_and_clears_with_yes(tmp_path: Path, cached: Path) -> None:
    shown, first, cleared = run_many(
        tmp_path, [["doctor"], ["doctor", "--json"], ["doctor", "--clear-cache", "--yes", "--json"]], COLUMNS="80"
    )
    assert [answer.returncode for answer in (shown, first, cleared)] == [0, 0, 0], shown.stderr
    titles = [line for line in shown.stdout.splitlines() if line and not line.startswith(" ")]
    assert [title.split()[0] for title in titles][:7] == [
        "framevit", "Devices", "Caches", "Free", "Extras", "Hub", "framevit" if "Notes" not in titles else "Notes",
    ]  # fmt: skip
    assert titles[-1] == "framevit can train and predict here."
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "HF_HUB_OFFLINE is set" in shown.stdout
    assert "1.5 kB of decoded pictures" in shown.stdout
    assert "2.5 kB, " in shown.stdout
    assert "data.cache is not looked at" in " ".join(shown.stdout.split())
    assert json.loads(first.stdout)["caches"][0]["bytes"] == 1500
    assert json.loads(cleared.stdout)["caches"][0]["bytes"] == 0
    assert "1.5 kB deleted" in cleared.stderr
    assert not cached.exists()


def test_in_a_pipe_nothing_is_deleted_without_yes(framevit: Framevit, cached: Path) -> None:
    done = framevit("doctor", "--clear-cache")
    assert done.returncode == 2
    assert "Add --yes" in done.stderr
    assert cached.exists()


@pytest.fixture
def quick(tmp_path: Path) -> dict[str, str]:
    """Variables for a framevit that requires one small package, so that examining it takes no time."""
    site = requiring(tmp_path / "site", "rich>=13")
    return {"PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).parents[2])])}


@pytest.mark.parametrize(("answer", "kept"), [(b"n\n", True), (b"y\n", False)])
def test_on_a_terminal_it_asks_before_it_deletes(
    tmp_path: Path, cached: Path, quick: dict[str, str], answer: bytes, kept: bool
) -> None:
    master, terminal = pty.openpty()
    os.write(master, answer)
    done = subprocess.run(
        [sys.executable, "-m", "frame_vit", "doctor", "--clear-cache", "--json"],
        cwd=tmp_path,
        env=environment(tmp_path, **quick),
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=200,
    )
    os.close(terminal)
    os.close(master)
    assert "Delete 1.5 kB" in done.stderr
    assert done.returncode == 0
    assert cached.exists() == kept
    assert json.loads(done.stdout)["healthy"] is True


def test_a_broken_installation_leaves_with_1_and_says_what_is_broken(
    tmp_path: Path, framevit: Framevit, quick: dict[str, str]
) -> None:
    (tmp_path / "file").touch()
    done = framevit("doctor", **quick | {"FRAMEVIT_CACHE": str(tmp_path / "file" / "cache")})
    assert done.returncode == 1
    assert "Problems" in done.stdout
    assert "cannot be written" in " ".join(done.stdout.split())
    assert done.stdout.endswith("framevit cannot work here until this is solved.\n")
