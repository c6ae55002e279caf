"""The configuration: refused mistakes, overrides, and a dump that is the same configuration again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from frame_vit.config.load import dump_config, load_config
from frame_vit.config.schema import Config
from frame_vit.config.yaml12 import parse_yaml
from frame_vit.errors import ConfigError, UsageError
from frame_vit.labels import LabelSpace

NAMES = "labels: {names: [passed, Xplus, Xminus]"
HFLIP = NAMES + ", symmetries: {hflip: {Xplus: Xminus, Xminus: Xplus}}}\n"


def loaded(folder: Path, text: str, *overrides: str) -> Config:
    """The config of this text, as a file; data.train need not be set."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides, complete=False)


def mistakes(folder: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the error that this text must raise."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, *overrides)
    return caught.value.message.splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("training: {learing_rate: 0.1}", "training.learing_rate: unknown key; did you mean learning_rate?"),
        ("trainig: {epochs: 1}", "trainig: unknown key; did you mean training?"),
        ("data: {demo: {trian: 1}}", "data.demo.trian: unknown key; did you mean train?"),
        ("data: {demo: {zzz: 1}}", "data.demo.zzz: unknown key; the keys are train, test, seed"),
        ("epochs: 5", "epochs: unknown key; did you mean training.epochs?"),
        ("seed: 5", "seed: unknown key; did you mean data.seed or data.demo.seed or training.seed?"),
        ("data: {epochs: 5}", "data.epochs: unknown key; did you mean training.epochs?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path, text: str, line: str) -> None:
    assert mistakes(tmp_path, text) == [line]


def test_all_mistakes_are_shown_at_once(tmp_path: Path) -> None:
    text = "training: {learing_rate: 1, batch_size: 0, epochs: -1}\ndata: {multi: last}\nmodel: {init: fresh}"
    reported = mistakes(tmp_path, text)
    keys = {"training.learing_rate", "training.batch_size", "training.epochs", "data.multi", "model.init"}
    assert {line.split(":")[0] for line in reported} == keys
    assert len(reported) == len(keys)


def test_all_contradictions_are_shown_at_once(tmp_path: Path) -> None:
    text = NAMES + ", ok: [pased]}\naugment: {hflip: true}\nmodel: {scratch: {image_size: 30, hidden_size: 30}}"
    reported = mistakes(tmp_path, text)
    assert [line.split(":")[0] for line in reported] == [
        "labels.ok",
        "augment.hflip",
        "model.scratch.image_size",
        "model.scratch.hidden_size",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.learning_rate", "fast"),
        ("training.learning_rate", "0"),
        ("training.learning_rate", "-1e-4"),
        ("training.learning_rate", ".nan"),
        ("training.learning_rate", "1e9"),
        ("training.learning_rate", "'1e-4'"),
        ("training.learning_rate", "true"),
        ("training.epochs", "0"),
        ("training.epochs", ".inf"),
        ("training.batch_size", "0"),
        ("training.batch_size", "2.5"),
        ("training.warmup", "1"),
        ("training.precision", "fp8"),
        ("training.eval_steps", "0"),
        ("training.seed", "-1"),
        ("data.seed", "-1"),
        ("data.seed", "5000000000"),
        ("data.demo.seed", "-1"),
        ("data.demo.train", "0"),
        ("data.val_fraction", "0"),
        ("data.test_fraction", "1"),
        ("data.bit_depth", "17"),
        ("data.train", "''"),
        ("data.on_bad_row", "ignore"),
        ("augment.shift", "0.5"),
        ("augment.hflip", "'yes'"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_key(tmp_path: Path, key: str, value: str) -> None:
    reported = mistakes(tmp_path, "", f"{key}={value}")
    assert len(reported) == 1
    assert reported[0].startswith(f"{key}: ")


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "data: {val_fraction: 0.5, test_fraction: 0.5}") == [
        "data.val_fraction: together with test_fraction and calibration_fraction nothing is left to train on; "
        "their sum must be below 1"
    ]


def test_a_wrong_value_is_shown(tmp_path: Path) -> None:
    reported = mistakes(tmp_path, "training: {learning_rate: fast}")
    assert reported == ["training.learning_rate: input should be a valid number, not 'fast'"]


@pytest.mark.parametrize("text", ["5e-5", "1e-4", "2.0e-4", "0.0001", "1"])
def test_rates_may_be_written_in_any_way(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, f"training: {{learning_rate: {text}}}").training.learning_rate == float(text)


def test_a_section_that_is_no_mapping_is_refused_by_name(tmp_path: Path) -> None:
    assert [line.split(":")[0] for line in mistakes(tmp_path, "training: 5\nlabels: [a, b]")] == ["labels", "training"]


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "5"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "not a mapping of sections" in mistakes(tmp_path, text)[0]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "null"])
def test_an_empty_file_is_the_defaults(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, text) == Config()


def test_a_duplicate_key_is_refused_with_file_and_line(tmp_path: Path) -> None:
    reported = mistakes(tmp_path, "training:\n  epochs: 1\n  epochs: 2\n")
    assert reported == [f"{tmp_path / 'config.yaml'}, line 3: duplicate key 'epochs'"]


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    assert loaded(tmp_path, "\ufefftraining: {epochs: 2}").training.epochs == 2


def test_a_file_that_is_not_there_or_not_utf8_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such config file"):
        load_config(tmp_path / "nope.yaml")
    (tmp_path / "latin.yaml").write_bytes("data: {train: Flächen}".encode("latin-1"))
    with pytest.raises(UsageError, match=r"cannot read the config .*latin\.yaml"):
        load_config(tmp_path / "latin.yaml")
    with pytest.raises(UsageError, match="cannot read the config"):
        load_config(tmp_path)


def test_training_data_must_be_named_except_to_print_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.train: not set"):
        load_config(None)
    assert load_config(None, complete=False) == Config()
    assert load_config(None, ["data.train=demo"]).data.train == "demo"


def test_every_mistake_hints_at_where_all_keys_stand(tmp_path: Path) -> None:
    for text in ("training: {epoch: 1}", "model: {scratch: {image_size: 30}}"):
        with pytest.raises(ConfigError) as caught:
            loaded(tmp_path, text)
        assert "--print-config" in caught.value.hint


def test_a_new_model_has_its_size_in_the_scratch_section(tmp_path: Path) -> None:
    (reported,) = mistakes(tmp_path, "model: {init: scratch, image_size: 64}")
    assert reported.startswith("model.image_size: is for pretrained models")
    assert loaded(tmp_path, "model: {image_size: 336}").model.image_size == 336


# Flips


@pytest.mark.parametrize("key", ["hflip", "vflip", "rot180", "rot90"])
def test_a_flip_asked_for_but_not_declared_is_refused_and_explained(tmp_path: Path, key: str) -> None:
    reported = mistakes(tmp_path, f"{NAMES}}}\naugment: {{{key}: true}}")
    assert len(reported) == 1
    assert reported[0].startswith(f"augment.{key}: not declared in labels.symmetries.")
    assert "has another class" in reported[0]
    assert f"labels.symmetries.{key}" in reported[0]


def test_only_declared_flips_are_drawn_and_each_can_be_switched_off(tmp_path: Path) -> None:
    both = HFLIP.replace("hflip:", "vflip: {}, hflip:")
    assert loaded(tmp_path, NAMES + "}").flips() == []
    assert loaded(tmp_path, HFLIP).flips() == ["hflip"]
    assert loaded(tmp_path, both).flips() == ["hflip", "vflip"]
    assert loaded(tmp_path, both + "augment: {hflip: false, vflip: true}").flips() == ["vflip"]


def test_a_declared_symmetry_is_checked_against_the_names(tmp_path: Path) -> None:
    reported = mistakes(tmp_path, NAMES + ", symmetries: {hflip: {Xplus: Xminu}}}")
    assert reported == ["labels.symmetries.hflip: 'Xminu' is not a class (did you mean 'Xminus'?)"]


@pytest.mark.parametrize("names", ["", "names: [a, b], "])
def test_a_misspelt_symmetry_is_refused_before_any_data_is_read(tmp_path: Path, names: str) -> None:
    reported = mistakes(tmp_path, f"labels: {{{names}symmetries: {{hfilp: {{a: b, b: a}}}}}}")
    assert len(reported) == 1
    assert reported[0].startswith("labels.symmetries.hfilp:")
    assert "hflip" in reported[0]


# Class names


def test_class_names_that_look_like_values_become_texts(tmp_path: Path) -> None:
    labels = loaded(
        tmp_path,
        "labels: {names: [10, 2, no, 007, 1_000], ok: [2], symmetries: {hflip: {10: 2, 2: 10}}, aliases: {5: 10}}",
    ).labels
    assert labels.names == ["10", "2", "no", "007", "1_000"]
    assert labels.ok == ["2"]
    assert labels.symmetries == {"hflip": {"10": "2", "2": "10"}}
    assert labels.aliases == {"5": "10"}


def test_a_truth_value_as_a_class_name_is_refused_not_guessed(tmp_path: Path) -> None:
    reported = mistakes(tmp_path, "labels: {names: [true, false]}")
    assert any(line.startswith("labels.names.0: ") for line in reported)


@pytest.mark.parametrize(
    ("names", "key"), [("[a, true]", "labels.names.1"), ("[a]", "labels.names"), ("[a, 2.5]", "labels.names.1")]
)
def test_a_wrong_list_of_names_is_one_mistake(tmp_path: Path, names: str, key: str) -> None:
    reported = mistakes(tmp_path, f"labels: {{names: {names}}}")
    assert [line.split(":")[0] for line in reported] == [key]


def test_the_label_space_takes_names_found_in_the_data(tmp_path: Path) -> None:
    config = loaded(tmp_path, "labels: {ok: [passed], aliases: {OK: passed}}")
    space = config.label_space(["scratch", "passed"])
    assert space == LabelSpace.build(["scratch", "passed"], ["passed"], {}, {"OK": "passed"})
    with pytest.raises(ConfigError, match=r"labels\.ok: 'passed' is not a class"):
        config.label_space(["scratch", "dent"])


def test_names_written_out_change_nothing_else(tmp_path: Path) -> None:
    config = loaded(tmp_path, "labels: {ok: [b]}\ntraining: {epochs: 3}")
    assert config.with_names(("a", "b")) == loaded(tmp_path, "labels: {names: [a, b], ok: [b]}\ntraining: {epochs: 3}")


# Overrides


def test_overrides_win_over_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    config = loaded(tmp_path, "training: {epochs: 1, seed: 7}", "training.epochs=2", "training.epochs=3.5")
    assert (config.training.epochs, config.training.seed) == (3.5, 7)


def test_overrides_create_the_sections_they_name(tmp_path: Path) -> None:
    config = loaded(tmp_path, "data:\n", "data.demo.train=5", "labels.names=[a, b]", "labels.symmetries.hflip.a=b",
                    "labels.symmetries.hflip.b=a")  # fmt: skip
    assert config.data.demo.train == 5
    assert config.labels.names == ["a", "b"]
    assert config.flips() == ["hflip"]


def test_an_override_can_unset_a_key(tmp_path: Path) -> None:
    assert loaded(tmp_path, "data: {test: demo}", "data.test=").data.test is None


def test_an_override_may_hold_equals_signs_and_colons(tmp_path: Path) -> None:
    assert loaded(tmp_path, "", "data.train=/data/a=b:c").data.train == "/data/a=b:c"


@pytest.mark.parametrize("override", ["training.epochs", "=3", " =3", "epochs"])
def test_an_override_without_key_or_value_says_what_is_expected(tmp_path: Path, override: str) -> None:
    assert mistakes(tmp_path, "", override) == [f"--set {override}: expected section.key=value"]


def test_an_override_into_a_value_is_refused(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "labels: {names: [a, b]}", "labels.names.a=1") == [
        "--set labels.names.a=1: names is not a section"
    ]


def test_an_override_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "", "labels.names=[a, b")[0].startswith("--set labels.names")


def test_a_misspelt_override_is_refused_like_a_key_in_the_file(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "", "training.epoch=3") == ["training.epoch: unknown key; did you mean epochs?"]


# Writing it down again


def leaves(block: dict[str, Any], path: str = "") -> list[str]:
    """The dotted keys of a nested mapping, without those of empty or open ones."""
    reported: list[str] = []
    for key, value in block.items():
        reported += leaves(value, f"{path}{key}.") if isinstance(value, dict) and value else [f"{path}{key}"]
    return reported


@pytest.mark.parametrize("comments", [False, True])
def test_the_defaults_dump_and_load_back(tmp_path: Path, comments: bool) -> None:
    assert loaded(tmp_path, dump_config(Config(), comments)) == Config()


@pytest.mark.parametrize("comments", [False, True])
def test_a_dump_holds_every_key_with_its_value(comments: bool) -> None:
    config = Config.model_validate({"labels": {"names": ["a", "b"]}, "data": {"train": "demo"}})
    assert parse_yaml(dump_config(config, comments), "dump") == config.model_dump()


def test_every_key_of_a_commented_dump_has_its_comment() -> None:
    lines = dump_config(Config(), comments=True).splitlines()
    keys = {key.rpartition(".")[2] for key in leaves(Config().model_dump())}
    for before, line in pairwise(["", *lines]):
        key = line.strip().partition(":")[0]
        if not line.strip().startswith("#") and key in keys and not line.endswith(":"):
            assert before.strip().startswith("#"), f"{line!r} has no comment"


AWKWARD = ["1e5", "1.5E3", "+1e3", "no", "1_000", "007", "0x1F", "12:30", "2024-01-31", "~", "null", "true", "=", "<<",
           "a: b", "# x", "a #b", "- a", "?", "!x", "&x", "*x", "'", '"', "[a]", "{", "...", "a...", "---", "x" * 300,
           "two\nlines", "é", "😀", "\x07", "a\u2028b", "a\u00a0", "C:\\new\\table", ".5", "1.", ".inf"]  # fmt: skip
"""Texts that mean something else to one YAML or another."""


@pytest.mark.parametrize("comments", [False, True])
@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_come_back_from_a_dump_as_they_were(tmp_path: Path, text: str, comments: bool) -> None:
    config = Config.model_validate(
        {
            "labels": {"names": [text, "other"], "ok": [text], "symmetries": {"hflip": {text: "other", "other": text}}},
            "data": {"train": text},
        }
    )
    assert loaded(tmp_path, dump_config(config, comments)) == config


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(AWKWARD)
fractions = st.floats(0, 0.49, exclude_max=True)
configs = st.builds(
    lambda names, train, rate, steps, fraction, demo: Config.model_validate(
        {
            "labels": {"names": names},
            "data": {"train": train, "val_fraction": 0.01 + fraction, "demo": demo},
            "training": {"learning_rate": rate, "eval_steps": steps, "label_smoothing": fraction},
        }
    ),
    st.lists(texts.filter(str.strip), min_size=2, max_size=4, unique_by=lambda name: name.strip().casefold()),
    st.none() | texts,
    st.floats(0, 1, exclude_min=True),
    st.none() | st.integers(1, 10**9),
    fractions,
    st.fixed_dictionaries({"train": st.integers(1, 10**6), "seed": st.integers(0, 2**31 - 1)}),
)


@given(config=configs, comments=st.booleans())
@settings(
    deadline=None, max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # to shrink takes minutes
def test_any_config_dumps_and_loads_back(
    tmp_path_factory: pytest.TempPathFactory, config: Config, comments: bool
) -> None:
    assert loaded(tmp_path_factory.getbasetemp(), dump_config(config, comments)) == config


@pytest.mark.parametrize("key", ["severity", "allow"])
def test_an_unknown_code_is_refused(key: str) -> None:
    value = {"severity": "off", "allow": "1"}[key]
    with pytest.raises(
        ConfigError, match=rf"data.audit.{key}.FV999: unknown code .*; `framevit help audit` lists them"
    ):
        load_config(None, ["data.train=demo", f"data.audit.{key}={{FV999: {value}}}"])
