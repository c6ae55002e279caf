"""The schema: every key is explained, every default is a valid value, and class names stay what the user wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from frame_vit.config.schema import AuditConfig, Config, LabelsConfig, Section, TrainingConfig
from frame_vit.findings import KINDS
from frame_vit.labels import LabelSpace

MIRROR = {"hflip": {"a": "b", "b": "a"}}


def sections(section: Section, name: str = "config") -> Iterator[tuple[str, Section]]:
    """A section and all below it, with their dotted names."""
    yield name, section
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from sections(value, f"{name}.{key}")


EVERY = dict(sections(Config()))


def where(error: pytest.ExceptionInfo[ValidationError]) -> list[tuple[int | str, ...]]:
    """The keys that an error names."""
    return [mistake["loc"] for mistake in error.value.errors()]


def test_the_sections_of_the_file_are_these() -> None:
    assert list(EVERY) == [
        "config", "config.labels", "config.data", "config.data.audit", "config.data.demo", "config.model",
        "config.model.scratch", "config.augment", "config.training", "config.decision", "config.decision.costs",
        "config.export",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in EVERY if name != "config"])
def test_every_key_is_explained(name: str) -> None:
    for key, field in type(EVERY[name]).model_fields.items():
        explanation = field.description or ""
        assert len(explanation.split()) >= 2, f"{name}.{key}"
        assert explanation == explanation.strip()


@pytest.mark.parametrize("name", EVERY)
def test_every_default_is_a_valid_value(name: str) -> None:
    """pydantic does not check defaults by itself."""
    section = EVERY[name]
    assert type(section).model_validate(section.model_dump()) == section


@pytest.mark.parametrize("name", EVERY)
def test_every_section_refuses_a_key_that_it_does_not_know(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        type(EVERY[name]).model_validate({"no_such_key": 1})
    assert where(error) == [("no_such_key",)]
    assert error.value.errors()[0]["type"] == "extra_forbidden"


@pytest.mark.parametrize("name", EVERY)
def test_every_section_is_frozen(name: str) -> None:
    section = EVERY[name]
    key = next(iter(type(section).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section, key, getattr(section, key))


def test_class_names_that_are_numbers_become_texts_wherever_classes_are_named() -> None:
    config = Config.model_validate(
        {
            "labels": {
                "names": [10, "x", 0],
                "ok": [10],
                "symmetries": {"hflip": {0: "x", "x": 0}},
                "aliases": {7: 10},
            },
            "decision": {"costs": {"matrix": {10: {0: 5.0}}}},
        }
    )
    assert config.labels.names == ["10", "x", "0"]
    assert config.labels.ok == ["10"]
    assert config.labels.symmetries == {"hflip": {"0": "x", "x": "0"}}
    assert config.labels.aliases == {"7": "10"}
    assert config.decision.costs.matrix == {"10": {"0": 5.0}}


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize(
    ("key", "around"),
    [
        ("names", lambda name: ["yes", name]),
        ("ok", lambda name: [name]),
        ("aliases", lambda name: {"passed": name}),
        ("aliases", lambda name: {name: "passed"}),
        ("symmetries", lambda name: {"hflip": {"a": name}}),
    ],
)
def test_a_truth_value_is_no_class_name(key: str, around: Any, value: bool) -> None:
    """YAML reads `no` as false in its older version; whether the class is called no or false is not guessed."""
    with pytest.raises(ValidationError) as error:
        LabelsConfig.model_validate({key: around(value)})
    assert [place[0] for place in where(error)] == [key]
    assert error.value.errors()[0]["type"] == "string_type"


@pytest.mark.parametrize("value", [1.5, None, ["a"]])
def test_only_whole_numbers_become_class_names(value: Any) -> None:
    with pytest.raises(ValidationError):
        LabelsConfig.model_validate({"names": ["a", value]})


@pytest.mark.parametrize(
    ("names", "kind"), [(["a"], "too_short"), ([], "too_short"), ("automatic", "literal_error"), (3, "literal_error")]
)
def test_names_are_auto_or_a_list_of_two_and_a_mistake_is_one_mistake(names: Any, kind: str) -> None:
    with pytest.raises(ValidationError) as error:
        LabelsConfig.model_validate({"names": names})
    assert [mistake["type"] for mistake in error.value.errors()] == [kind]


@pytest.mark.parametrize("value", ["none", "backbone", 1, 24])
def test_what_is_frozen_is_a_word_or_a_number_of_blocks(value: Any) -> None:
    assert TrainingConfig.model_validate({"freeze": value}).freeze == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, "greater_than_equal"),
        (-1, "greater_than_equal"),
        ("all", "literal_error"),
        ("3", "literal_error"),
        (None, "literal_error"),
        (2.5, "literal_error"),
        (True, "int_type"),
    ],
)
def test_anything_else_to_freeze_is_one_mistake(value: Any, kind: str) -> None:
    with pytest.raises(ValidationError) as error:
        TrainingConfig.model_validate({"freeze": value})
    assert [mistake["type"] for mistake in error.value.errors()] == [kind]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "batch_size", "16"),
        ("training", "batch_size", 16.5),
        ("training", "learning_rate", "fast"),
        ("training", "deterministic", 1),
        ("augment", "hflip", "yes"),
        ("data", "train", ""),
        ("data", "seed", 2**32),
        ("data", "roi", [0.1, 0.2, 0.3]),
        ("data", "val_fraction", 0.0),
        ("decision", "confidence", 1.0),
        ("export", "tolerance", 0.0),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_not_converted(section: str, key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as error:
        Config.model_validate({section: {key: value}})
    assert where(error)[0][:2] == (section, key)


def test_every_threshold_that_a_finding_names_is_a_key_of_the_audit() -> None:
    assert {kind.threshold for kind in KINDS.values() if kind.threshold} <= set(AuditConfig.model_fields)


def test_the_label_space_is_that_of_the_section() -> None:
    config = Config.model_validate({"labels": {"ok": ["c"], "symmetries": MIRROR, "aliases": {"A": "a"}}})
    assert config.label_space(["a", "b", "c"]) == LabelSpace.build(["a", "b", "c"], ["c"], MIRROR, {"A": "a"})


def test_flips_are_those_that_are_declared_and_not_switched_off() -> None:
    declared = {"rot180": {"a": "b", "b": "a"}, **MIRROR}
    config = Config.model_validate({"labels": {"symmetries": declared}})
    assert set(config.flips()) == {"hflip", "rot180"}
    off = Config.model_validate({"labels": {"symmetries": declared}, "augment": {"hflip": False, "vflip": True}})
    assert off.flips() == ["rot180"]
    assert Config().flips() == []


def test_names_are_put_in_place_of_auto_and_the_config_itself_stays() -> None:
    config = Config.model_validate({"labels": {"ok": ["a"]}, "training": {"epochs": 3}})
    named = config.with_names(("a", "b"))
    assert config.labels.names == "auto"
    assert named.labels.names == ["a", "b"]
    changed = named.model_dump()
    changed["labels"]["names"] = "auto"
    assert changed == config.model_dump()


@pytest.mark.parametrize(
    ("model", "training", "rate"),
    [
        ({}, {}, 3e-5),
        ({"init": "scratch"}, {}, 5e-4),
        ({}, {"freeze": 3}, 3e-5),
        ({}, {"freeze": "backbone"}, 2e-3),
        ({"init": "scratch"}, {"learning_rate": 0.01}, 0.01),
    ],
)
def test_the_automatic_learning_rate_depends_on_what_is_trained(
    model: dict[str, str], training: dict[str, object], rate: float
) -> None:
    config = Config.model_validate({"model": model, "training": training})
    assert config.with_rate().training.learning_rate == rate
    assert config.with_rate().with_rate() == config.with_rate()
