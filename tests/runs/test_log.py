"""train.log: every message of a training, the ones before its folder existed too."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.runs.log import logged, remembered
from frame_vit.system.progress import log


@pytest.fixture(autouse=True)
def _info() -> Iterator[None]:
    level, handlers = log.level, list(log.handlers)
    log.setLevel(logging.INFO)
    yield
    assert log.handlers == handlers, "no handler is left behind"
    log.setLevel(level)


def test_messages_from_before_and_during_are_written_in_order_with_time_and_level(tmp_path: Path) -> None:
    with remembered() as memory:
        log.info("before")
        with logged(memory, tmp_path / "train.log"):
            log.warning("during")
        log.info("after")
    lines = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"^[\d-]+ [\d:,]+ ", "", line) for line in lines] == ["INFO before", "WARNING during"]


def test_an_error_is_the_last_message_and_goes_on(tmp_path: Path) -> None:
    with (
        remembered() as memory,
        pytest.raises(UsageError, match="the disk is full"),
        logged(memory, tmp_path / "train.log"),
    ):
        raise UsageError("the disk is full")
    assert (tmp_path / "train.log").read_text().endswith("ERROR the disk is full\n")


def test_processes_that_do_not_write_have_no_log(tmp_path: Path) -> None:
    with remembered() as memory, logged(memory, None):
        log.info("unseen")
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_goes_on_in_the_same_log(tmp_path: Path) -> None:
    for word in ("first", "second"):
        with remembered() as memory, logged(memory, tmp_path / "train.log"):
            log.info(word)
    assert [line.split()[-1] for line in (tmp_path / "train.log").read_text().splitlines()] == ["first", "second"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_silent_here(capsys: pytest.CaptureFixture[str]) -> None:
    with remembered() as memory, logged(memory, Path("/dev/full")):
        log.info("no room")
    assert "Traceback" not in capsys.readouterr().err
