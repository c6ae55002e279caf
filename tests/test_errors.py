"""The errors that a person meets: which is which, exit codes, messages and hints."""

from __future__ import annotations

import signal

import pytest

from frame_vit.errors import (
    ConfigError,
    DamagedModelError,
    DataError,
    FrameVitError,
    Interrupted,
    ModelError,
    RowError,
    UsageError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(FrameVitError, 1), (UsageError, 2), (ConfigError, 2), (DataError, 1), (ModelError, 1), (DamagedModelError, 2)],
)
def test_a_wrong_call_exits_with_2_and_a_failed_run_with_1(kind: type[FrameVitError], code: int) -> None:
    error = kind("what happened", "what to do")
    assert error.exit_code == code
    assert (error.message, error.hint, str(error)) == ("what happened", "what to do", "what happened")
    assert kind("what happened").hint == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_a_signal_stopped_exits_as_a_shell_expects(number: signal.Signals, code: int) -> None:
    error = Interrupted(number, "stopped", "framevit train --resume")
    assert error.exit_code == code
    assert error.hint == "framevit train --resume"
    assert FrameVitError.exit_code == 1, "only this error has the code of the signal"


def test_a_bad_row_is_bad_data_and_carries_the_code_of_its_finding() -> None:
    assert RowError("empty file").code == "FV101"
    error = RowError("not a picture", "FV103")
    assert error.code == "FV103"
    with pytest.raises(DataError):
        raise error


def test_a_wrong_config_is_a_wrong_call() -> None:
    with pytest.raises(UsageError):
        raise ConfigError("data.train: not set")
