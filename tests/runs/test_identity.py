"""What makes a run that run: every difference is named, and what changes nothing is let pass."""

from __future__ import annotations

from typing import Any

import pytest

from frame_vit.config.schema import Config
from frame_vit.errors import UsageError
from frame_vit.runs import identity

FACTS = {"processes": 1, "precision": "fp32", "device": "cpu (2 threads)", "packages.torch": "2.14.1"}


def of(*, data: str = "a", weights: str = "w", facts: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    config = Config.model_validate({"training": training, "labels": {"symmetries": {"hflip": {"a": "b", "b": "a"}}}})
    return identity.identity(config, {"train": data, "val": "v"}, weights, FACTS | (facts or {}))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (of(seed=3), "training.seed: was 0, is 3"),
        (of(data="b"), 'pictures and labels of train: was "a", is "b"'),
        (of(weights="x"), 'weights at the start: was "w", is "x"'),
        (of(batch_size=32), "pictures a step: was 16, is 32"),
        (of(facts={"processes": 2}), "pictures a step: was 16, is 32"),
    ],
)
def test_another_run_is_refused_with_the_difference(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        identity.check(of(), changed)
    assert said in error.value.message.splitlines()


def test_all_differences_are_named_at_once() -> None:
    with pytest.raises(UsageError) as error:
        identity.check(of(), of(seed=3, learning_rate=0.1, data="b"))
    assert len(error.value.message.splitlines()) == 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (of(batch_size=8, gradient_accumulation=2), "training.batch_size: was 16, is 8"),
        (of(batch_size=8, facts={"processes": 2}), "processes: was 1, is 2"),
        (of(facts={"packages.torch": "2.15.0"}), 'packages.torch: was "2.14.1", is "2.15.0"'),
        (of(facts={"device": "cpu (4 threads)"}), 'device: was "cpu (2 threads)", is "cpu (4 threads)"'),
    ],
)
def test_what_changes_only_the_bits_is_said_and_let_pass(
    changed: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    identity.check(of(), changed)
    assert f"{said}: not bit for bit the same run" in caplog.text


def test_what_changes_nothing_is_not_even_said(caplog: pytest.LogCaptureFixture) -> None:
    identity.check(of(), of(save_total_limit=7, report_to=["tensorboard"], device="cpu"))
    assert caplog.text == ""


def test_another_number_of_processes_is_named_as_the_way_out() -> None:
    with pytest.raises(UsageError) as error:
        identity.check(of(facts={"processes": 2}), of())
    assert "The run was started in 2 processes, now there are 1" in error.value.hint


def test_long_values_are_shortened_with_their_quotes() -> None:
    with pytest.raises(UsageError, match=r'was "a{11}\.\.\.", is "b{11}\.\.\."'):
        identity.check(of(weights="a" * 64), of(weights="b" * 64))
