"""Nothing leaves the machine: no command looks up a name, opens a connection, or leaves a device id in the home."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment, run_many

SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")

_GUARD = """
import os, socket

def _note(what, address):
    with open(os.environ["ATTEMPTS"], "a") as file:
        file.write(f"{what} {address!r}\\n")

def _refused(name):
    def refuse(*words, **options):
        _note(name, words[:2])
        raise OSError(f"{name} is not allowed here")
    return refuse

def _connecting(original):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            _note("connect", address)
            raise OSError("connect is not allowed here")
        return original(self, address)
    return connect

for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
    setattr(socket, name, _refused(name))
for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, _connecting(getattr(socket.socket, name)))
"""
"""A sitecustomize: Python imports it at every start, in child processes too."""


@pytest.fixture
def work(exported: Path, tmp_path: Path) -> Path:
    """A folder with an exported run, one picture, and an empty home."""
    shutil.copytree(exported / "runs", tmp_path / "runs")
    shutil.copytree(exported / "cache", tmp_path / "cache")
    (tmp_path / "home").mkdir()
    return tmp_path


def stays_at_home(work: Path, commands: list[list[str | Path]]) -> list[str]:
    """What the commands print under the guard; none makes an attempt or leaves an identity in the home."""
    (work / "guard").mkdir()
    (work / "guard" / "sitecustomize.py").write_text(_GUARD)
    paths, attempts = f"{work / 'guard'}:{Path(__file__).parents[2]}", work / "attempts"
    surroundings = {"HOME": str(work / "home"), "PYTHONPATH": paths, "ATTEMPTS": str(attempts)}
    # The hub is not switched off: that it is not asked either is what is tested.
    answers = run_many(work, commands, HF_HUB_OFFLINE="", **surroundings)
    for answer in answers:
        assert answer.returncode == 0, answer.stderr
    assert not attempts.exists(), attempts.read_text()
    left = {path.relative_to(work / "home").as_posix() for path in (work / "home").rglob("*")}
    assert not {name for name in left if name.lower().startswith((".cache/microsoft", "intel"))}
    return [answer.stdout for answer in answers]


def clean(work: Path, **extra: str) -> dict[str, str]:
    """The environment of a user who has none of the switches set."""
    found = environment(work, HOME=str(work / "home"), **extra)
    return {name: value for name, value in found.items() if name not in SWITCHES}


@pytest.mark.long
def test_no_command_looks_up_a_name_or_opens_a_connection(
    work: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    picture = pictures / "Xplus.jpg"
    commands: list[list[str | Path]] = [
        ["predict", picture, "--backend", "onnxruntime"],
        ["predict", picture, "--backend", "openvino"],
        ["explain", picture, "-o", "maps"],
        ["evaluate", "-o", "report"],
        ["export", "-o", "line", "--set", "export.pictures=4"],
        ["benchmark", "line", "--limit", "1", "--device", "cpu", "--json"],
    ]
    *_, measured = stays_at_home(work, commands)
    assert json.loads(measured) == json.loads((work / "line/benchmark.json").read_text()), "the last one did its work"


def test_the_guard_itself_notices_an_attempt(work: Path) -> None:
    (work / "guard").mkdir()
    (work / "guard" / "sitecustomize.py").write_text(_GUARD)
    program = "import socket; socket.create_connection(('127.0.0.1', 9))"
    surroundings = clean(work, PYTHONPATH=str(work / "guard"), ATTEMPTS=str(work / "attempts"))
    done = subprocess.run([sys.executable, "-c", program], env=surroundings, capture_output=True, text=True, timeout=60)
    assert "not allowed" in done.stderr
    assert "getaddrinfo" in (work / "attempts").read_text()


def test_the_native_code_of_a_watch_opens_no_socket_to_the_network(work: Path, pictures: Path) -> None:
    """Python's functions are not those of ONNX Runtime: the system calls are counted, of a watch that is stopped."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed, so native code cannot be watched")
    command = [sys.executable, "-m", "frame_vit", "predict", "--watch", str(pictures), "--backend", "onnxruntime"]
    watch = ["timeout", "-s", "INT", "6", strace, "-f", "-e", "trace=connect,sendto,sendmsg", "-o", "calls", *command]
    done = subprocess.run(
        [*watch, "-o", "rows.jsonl"], cwd=work, env=clean(work), capture_output=True, text=True, timeout=100
    )
    assert "stopped watching" in done.stderr, done.stderr
    assert len((work / "rows.jsonl").read_text().splitlines()) == 5
    assert "AF_INET" not in (work / "calls").read_text()
    assert not (work / "home" / ".cache" / "Microsoft").exists()


def test_a_user_who_wants_a_switch_off_keeps_it_off() -> None:
    program = "import os, frame_vit\nprint(os.environ['DO_NOT_TRACK'], os.environ['ORT_DISABLE_TELEMETRY'])"
    surroundings = environment(Path.cwd(), DO_NOT_TRACK="0")
    surroundings.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run([sys.executable, "-c", program], env=surroundings, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "1"], done.stderr
