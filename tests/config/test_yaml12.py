"""YAML as people mean it, and nothing that could harm."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.config.yaml12 import MAX_CHARACTERS, parse_yaml
from frame_vit.errors import ConfigError


def value(text: str) -> Any:
    """What a plain word becomes."""
    return parse_yaml(f"key: {text}", "a.yaml")["key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5e-5", 5e-5),
        ("1E4", 1e4),
        ("2.0e-4", 2e-4),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0.25", -0.25),
        ("+3.5", 3.5),
        ("0.1", 0.1),
        ("-.inf", -math.inf),
        ("3", 3),
        ("-7", -7),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_numbers_truth_values_and_nothing_follow_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_not_a_number_is_read_as_one() -> None:
    assert math.isnan(value(".nan"))


@pytest.mark.parametrize(
    "text",
    ["no", "No", "yes", "on", "off", "y", "n", "007", "-01", "1_000", "12:30:45", "2024-01-31", "1e", "e5", "1.2.3"],
)
def test_words_that_only_look_like_values_stay_texts(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize("text", ["'5e-5'", '"true"', "'12'", "'null'"])
def test_quoted_words_stay_texts(text: str) -> None:
    assert value(text) == text[1:-1]


def test_blocks_and_flows_nest() -> None:
    text = "labels:\n  names: [passed, 'no', 10]\n  symmetries:\n    hflip: {a: b}\n"
    assert parse_yaml(text, "a.yaml") == {
        "labels": {"names": ["passed", "no", 10], "symmetries": {"hflip": {"a": "b"}}}
    }


def test_a_duplicate_key_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml, line 4: duplicate key 'epochs'"):
        parse_yaml("training:\n  epochs: 1\n  seed: 2\n  epochs: 3\n", "a.yaml")


def test_the_same_key_in_two_blocks_is_no_duplicate() -> None:
    assert parse_yaml("a: {seed: 1}\nb: {seed: 2}", "a.yaml") == {"a": {"seed": 1}, "b": {"seed": 2}}


def test_an_alias_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml, line 2: aliases"):
        parse_yaml("a: &x [1, 2]\nb: *x\n", "a.yaml")


def test_an_alias_bomb_is_refused() -> None:
    levels = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml("\n".join(levels), "bomb.yaml")


def test_a_merge_key_merges_nothing() -> None:
    assert parse_yaml("<<: {a: 1}", "a.yaml") == {"<<": {"a": 1}}


@pytest.mark.parametrize(
    "text",
    ["!!python/object:os.system x", "!!python/object/apply:os.system [true]", "!!python/name:os.system ''", "!own x"],
)
def test_python_objects_and_unknown_tags_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml, line 2"):
        parse_yaml(f"a: 1\nb: {text}", "a.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\n\tb: 2", 2),
        ("a: [1, 2", 1),
        ("a: 1\nb: @x", 2),
        ("a: 1\n? [b]\n: 2", 2),
        ("a: 1\n---\nb: 2", 2),
        ("a: 1\n1.5: 2", 2),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"a\.yaml, line {line}: "):
        parse_yaml(text, "a.yaml")


@pytest.mark.parametrize("tag", ["bool", "int", "float", "timestamp", "binary", "seq", "map", "set", "omap", "str"])
@pytest.mark.parametrize("content", ["''", "x", "'-'", "[x]", "{x: y}"])
def test_a_standard_tag_over_the_wrong_content_is_a_config_error_or_a_value(tag: str, content: str) -> None:
    try:
        assert list(parse_yaml(f"a: !!{tag} {content}", "a.yaml")) == ["a"]
    except ConfigError as error:
        assert error.message.startswith("a.yaml")


@given(text=st.text(max_size=60) | st.text("[]{}:-,&*!?|>'\"%@ \n\tab01.e", max_size=60))
@settings(deadline=None, max_examples=300)
def test_any_text_is_a_value_or_a_config_error(text: str) -> None:
    try:
        parse_yaml(text, "a.yaml")
    except ConfigError as error:
        assert error.message.startswith("a.yaml")


def test_bytes_that_are_not_utf8_on_a_command_line_are_kept_or_a_config_error() -> None:
    try:
        assert parse_yaml("frames\udcff", "--set data.train") == "frames\udcff"
    except ConfigError as error:
        assert error.message.startswith("--set data.train")


@pytest.mark.parametrize("opener", ["[", "{", "- "])
def test_deep_nesting_is_refused(opener: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        parse_yaml(opener * 100_000, "a.yaml")


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        parse_yaml("a: " + "é" * MAX_CHARACTERS, "a.yaml")


def test_an_endless_number_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        parse_yaml("a: " + "9" * 10_000, "a.yaml")
