"""What makes a run that run: every difference is named, and what changes nothing is let pass."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from frame_vit.config.schema import Config
from frame_vit.errors import UsageError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.runs.environment import DataFacts, Environment
from frame_vit.runs.identity import PACKAGES, Identity, IdentityDifference, check

ENVIRONMENT = Environment(
    framevit="0.5.0",
    python="3.11",
    platform="Linux",
    packages=dict.fromkeys(PACKAGES, "2.14.1"),
    device="cpu (2 threads)",
    precision="fp32",
    processes=1,
    model_revision="",
    data=DataFacts("f", {"train": "a", "val": "v"}, {}, 0),
    git_commit=None,
    command=[],
)


SQUARE = Preprocessing(32, 32)


def of(
    *,
    weights: str = "w",
    preprocessing: Preprocessing = SQUARE,
    environment: Environment = ENVIRONMENT,
    **training: Any,
) -> Identity:
    config = Config.model_validate({"training": training, "labels": {"symmetries": {"hflip": {"a": "b", "b": "a"}}}})
    return Identity.of(config, weights, preprocessing, environment)


TWO_PROCESSES = replace(ENVIRONMENT, processes=2)
OTHER_DATA = replace(ENVIRONMENT, data=replace(ENVIRONMENT.data, splits={"train": "b", "val": "v"}))
OTHER_TORCH = replace(ENVIRONMENT, packages=ENVIRONMENT.packages | {"torch": "2.15.0"})
OTHER_DEVICE = replace(ENVIRONMENT, device="cpu (4 threads)")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (of(seed=3), "training.seed: was 0, is 3"),
        (of(environment=OTHER_DATA), 'pictures and labels of train: was "a", is "b"'),
        (of(weights="x"), 'weights at the start: was "w", is "x"'),
        (of(batch_size=32), "pictures a step: was 16, is 32"),
        (of(environment=TWO_PROCESSES), "pictures a step: was 16, is 32"),
    ],
)
def test_another_run_is_refused_with_the_difference(changed: Identity, said: str) -> None:
    with pytest.raises(UsageError) as error:
        check(of(), changed)
    assert said in error.value.message.splitlines()


def test_all_differences_are_named_at_once() -> None:
    with pytest.raises(UsageError) as error:
        check(of(), of(seed=3, learning_rate=0.1, environment=OTHER_DATA))
    assert len(error.value.message.splitlines()) == 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (of(batch_size=8, gradient_accumulation=2), "training.batch_size: was 16, is 8"),
        (of(batch_size=8, environment=TWO_PROCESSES), "processes: was 1, is 2"),
        (of(environment=OTHER_TORCH), 'packages.torch: was "2.14.1", is "2.15.0"'),
        (of(environment=OTHER_DEVICE), 'device: was "cpu (2 threads)", is "cpu (4 threads)"'),
    ],
)
def test_what_changes_only_the_bits_is_said_and_let_pass(
    changed: Identity, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    check(of(), changed)
    assert f"{said}: not bit for bit the same run" in caplog.text


def test_what_changes_nothing_is_not_even_said(caplog: pytest.LogCaptureFixture) -> None:
    check(of(), of(save_total_limit=7, report_to=["tensorboard"], device="cpu"))
    assert caplog.text == ""


def test_another_number_of_processes_is_named_as_the_way_out() -> None:
    with pytest.raises(UsageError) as error:
        check(of(environment=TWO_PROCESSES), of())
    assert "The run was started in 2 processes, now there are 1" in error.value.hint


def test_long_values_are_shortened_with_their_quotes() -> None:
    with pytest.raises(UsageError, match=r'was "a{11}\.\.\.", is "b{11}\.\.\."'):
        check(of(weights="a" * 64), of(weights="b" * 64))


def test_an_identity_is_the_same_after_json() -> None:
    read = Identity.from_json(json.loads(json.dumps(of().to_json())))
    assert read == of()
    assert read.differences(of()) == []
    assert read.differences(of(environment=OTHER_TORCH)) == [IdentityDifference("packages.torch", "2.14.1", "2.15.0")]


def test_a_fact_that_the_recorded_run_lacks_is_a_difference() -> None:
    values = of().to_json()
    del values["training.seed"]
    assert Identity.from_json(values).differences(of()) == [IdentityDifference("training.seed", None, 0)]


@pytest.mark.parametrize("values", [None, [], "identity", 3])
def test_what_is_no_object_is_no_identity(values: object) -> None:
    with pytest.raises(TypeError):
        Identity.from_json(values)


def test_other_pixels_are_another_run_also_where_an_earlier_framevit_did_not_record_them() -> None:
    cropped, whole = Preprocessing(32, 32, resize=40), Preprocessing(32, 32)
    with pytest.raises(UsageError, match="preprocessing: was"):
        check(of(preprocessing=cropped), of(preprocessing=whole))
    earlier = {key: value for key, value in of().to_json().items() if key != "preprocessing"}
    check(Identity(earlier).completed("preprocessing", whole.to_json()), of(preprocessing=whole))
    with pytest.raises(UsageError, match="preprocessing: was"):
        check(Identity(earlier).completed("preprocessing", cropped.to_json()), of(preprocessing=whole))
