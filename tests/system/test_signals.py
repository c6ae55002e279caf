"""Interrupts of real processes: the first signal is remembered, the second ends the process, SIGTERM cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from frame_vit.system.signals import GracefulStop, interruptible

_LOOP = """
import sys, time
from frame_vit.system.signals import GracefulStop
with GracefulStop() as stop:
    print("ready", flush=True)
    for _ in range(2000):
        time.sleep(0.01)
        if stop.requested and "stubborn" not in sys.argv:
            print("saved after", stop.requested, flush=True)
            break
        if stop.requested and "seen" not in sys.argv:
            sys.argv.append("seen")
            print("seen", flush=True)
"""


def start(*words: str) -> subprocess.Popen[str]:
    """The loop in a process of its own, as soon as it handles signals."""
    clean = {key: value for key, value in os.environ.items() if key not in ("RANK", "TORCHELASTIC_RUN_ID")}
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_loop_finish_its_step(number: signal.Signals) -> None:
    with start() as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f"saved after {int(number)}\n")
    assert "stopping after this step" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    with start("stubborn") as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "seen\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "exited immediately" in err


_TWICE = """
import os, signal
from frame_vit.system.signals import GracefulStop
with GracefulStop() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
print(stop.requested)
"""


def test_a_launcher_that_passes_the_same_signal_on_is_not_a_second_one() -> None:
    """In a process of its own: a second signal, and a slow machine could make one of it, ends the process at once."""
    environment = os.environ | {"TORCHELASTIC_RUN_ID": "1"}
    done = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout == f"{int(signal.SIGTERM)}\n", done.stderr


def test_the_handlers_from_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with GracefulStop(), interruptible():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_changes() -> None:
    handlers: list[object] = []

    def work() -> None:
        with GracefulStop(), interruptible():
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=30)
    assert handlers == [before]


_WRITER = """
import os, signal, sys
from pathlib import Path
from frame_vit.errors import Interrupted
from frame_vit.system.files import replacing
from frame_vit.system.signals import interruptible
try:
    with interruptible(), replacing(Path(sys.argv[1])) as part:
        part.touch()
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
except Interrupted as stopped:
    sys.exit(stopped.exit_code)
"""


def test_sigterm_runs_the_clean_up_and_ends_with_143(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _WRITER, str(tmp_path / "file")], capture_output=True, timeout=60)
    assert done.returncode == 143, done.stderr
    assert not list(tmp_path.iterdir())
