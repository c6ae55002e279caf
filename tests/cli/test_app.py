"""The command line as a whole: its version, a call without a command, and a command that does not exist."""

from __future__ import annotations

import re

import pytest

from frame_vit.cli.app import COMMANDS
from tests.cli.calls import Call, one_panel


@pytest.mark.parametrize(("arguments", "said"), [(["nonsense"], "nonsense")])
def test_a_mistake_is_one_panel_and_exit_code_2(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)


def test_version(call: Call) -> None:
    assert re.fullmatch(r"framevit \d+\.\d+\.\d+\n", call("--version").out)


def test_the_version_goes_before_a_command_and_nothing_runs(call: Call) -> None:
    answer = call("--version", "train", "-c", "gone.yaml")
    assert answer == (0, call("--version").out, "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_without_a_command_the_help_is_shown(call: Call, flag: str) -> None:
    alone, asked = call(), call(flag)
    assert (alone.code, asked.code) == (2, 0)
    assert (alone.out + alone.err).strip() == asked.out.strip()
    assert all(re.search(rf"^  {name} ", asked.out, re.M) for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--epochs", "1", "--epochs", "2"], "--epochs is given twice"),
        (["train", "-c", "tiny.yaml", "--config", "other.yaml"], "--config is given twice"),
        (["predict", "x.jpg", "--tta", "--no-tta"], "--tta/--no-tta is given twice"),
    ],
)
def test_an_option_given_twice_is_refused(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "--watch", ""], "--watch has an empty value"),
        (["evaluate", "-o", ""], "--output has an empty value"),
        (["train", "--data="], "--data has an empty value"),
    ],
)
def test_an_empty_value_is_refused(call: Call, arguments: list[str], said: str) -> None:
    """It would be the current folder, as where a script's variable is not set."""
    one_panel(call, arguments, said)


def test_an_option_that_may_be_repeated_is_not(call: Call) -> None:
    words = ["train", "-c", "tiny.yaml", "--set", "training.epochs=3", "--set", "training.seed=4", "--print-config"]
    answer = call(*words)
    assert (answer.code, "epochs: 3" in answer.out, "seed: 4" in answer.out) == (0, True, True)
