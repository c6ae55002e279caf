"""Configs and command lines with mistakes: one panel with the key or the line, before any work and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.calls import Call
from tests.cli.conftest import call  # noqa: F401  (the command in this process)
from tests.processes import environment

BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('labels: !!python/object/apply:os.mkdir ["made"]', "bad.yaml, line 1: could not determine a constructor"),
        (BOMB, "bad.yaml, line 2: aliases (*name) are not supported"),
        ("training:\n  epochs: 1\n  epochs: 2\n", "bad.yaml, line 3: duplicate key 'epochs'"),
        ("training:\n\tepochs: 1\n", "bad.yaml, line 2: found character"),
        ("a: " + "[" * 2_000, "bad.yaml: nested too deeply"),
        ("#" * 2_000_000, "bad.yaml: longer than 1,000,000 characters"),
        ("training:\n  learing_rate: 1e-4\n", "training.learing_rate: unknown key; did you mean learning_rate?"),
        ("- a\n- b\n", "not a mapping of sections"),
        ("a: 1\n---\nb: 2\n", "bad.yaml, line 2: but found another document"),
        ("training: {learning_rate: fast}", "training.learning_rate: input should be a valid number, not 'fast'"),
        ("labels: {names: [false, true]}", "labels.names.0: input should be a valid string, not False"),
    ],
    ids=lambda text: text[:20],
)
def test_a_bad_file_is_refused_with_the_line_or_the_key(call: Call, text: str, said: str) -> None:  # noqa: F811
    """Rows 49, 50 and 51: no tag is run, no alias is expanded, and nothing is guessed."""
    Path("bad.yaml").write_text(text)
    answer = call("train", "-c", "bad.yaml", "--print-config")
    assert said in answer.words
    assert (answer.code, answer.out, answer.err.count("╭")) == (2, "", 1)
    assert not Path("made").exists()


def test_numbers_and_words_are_what_they_look_like(call: Call) -> None:  # noqa: F811
    """Row 51: 1e-4 is a number; no, 010 and a date are class names, and numbers keep their order."""
    text = "labels: {names: [no, 'on', 010, 2020-01-01, 10, 2], ok: [no]}\ntraining: {learning_rate: 1e-4}\n"
    Path("good.yaml").write_text(text)
    answer = call("train", "-c", "good.yaml", "--print-config")
    assert answer.code == 0, answer.err
    shown = yaml.safe_load(answer.out)
    assert [str(name) for name in shown["labels"]["names"]] == ["no", "on", "010", "2020-01-01", "10", "2"]
    assert float(shown["training"]["learning_rate"]) == 1e-4


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.learning_rate=0", "training.learning_rate: input should be greater than 0"),
        ("training.learning_rate=-1", "training.learning_rate: input should be greater than 0"),
        ("training.learning_rate=.nan", "training.learning_rate: input should be"),
        ("training.learning_rate=.inf", "training.learning_rate: input should be"),
        ("training.learning_rate=1e9", "training.learning_rate: input should be less than or equal to 1"),
        ("training.batch_size=0", "training.batch_size: input should be greater than or equal to 1"),
        ("training.epochs=-1", "training.epochs: input should be greater than 0"),
        ("model.scratch.image_size=33", "model.scratch.image_size: 33 is not a multiple of patch_size, 16"),
        ("model.image_size=384", "model.image_size: is for pretrained models"),
        ("training.device=gpu", "unknown device 'gpu'"),
        ("training.precision=fp8", "training.precision: input should be 'auto', 'fp32', 'fp16' or 'bf16'"),
        ("decision.max_escape_rate=2", "decision.max_escape_rate: input should be less than 1"),
        ("data.test_fraction=0.9", "nothing is left to train on"),
        ("data.roi=[0, 0, 0, 0]", "data.roi: [0.0, 0.0, 0.0, 0.0] is not [x1, y1, x2, y2]"),
        ("labels.names=[Xplus, xplus]", "labels.names: 'Xplus' and 'xplus' are the same name"),
    ],
)
def test_a_value_that_cannot_work_is_refused_before_any_work(call: Call, setting: str, said: str) -> None:  # noqa: F811
    """Rows 52 and 53: by its key, with the value. A pretrained model's input size is its own and is no key."""
    answer = call("train", "-c", "tiny.yaml", "--set", setting)
    assert said in answer.words
    assert (answer.code, answer.out, answer.err.count("╭")) == (2, "", 1)
    assert not Path("runs").exists()
    assert not Path("prepared").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--seed", "many"],
        ["predict", "x.jpg", "--batch-size", "0"],
        ["trian"],
        ["train", "--bogus"],
        ["train", "--set", "training.epochs"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_code_2_and_loads_nothing(tmp_path: Path, words: list[str]) -> None:
    """Row 54: the mistake is said without torch; tests/cli hold that an option given twice is one."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "frame_vit", *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    loaded = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert len(loaded) > 50
    assert not any(line.endswith((" torch", " transformers", " datasets", " numpy")) for line in loaded)
    assert "Traceback" not in done.stderr


def test_old_consoles_and_closed_pipes_get_plain_text(exported: Path, pictures: Path) -> None:
    """Row 55: `| head` leaves no trace, and a console that lacks a letter shows its code, without colours in a pipe."""
    (pictures / "größe-画.jpg").write_bytes((pictures / "passed.jpg").read_bytes())
    model = exported / "runs/tiny-001"
    command = f"{sys.executable} -m frame_vit predict {pictures} --model {model} --format csv"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}; {command}"],
        cwd=pictures.parent,
        env=environment(pictures.parent, PYTHONIOENCODING="cp437", NO_COLOR="1", TERM="dumb"),
        capture_output=True,
        timeout=100,
    )
    head, code, *rows = done.stdout.decode("cp437").splitlines()
    assert head.startswith("file,label,")
    assert code == "0"
    assert len(rows) == 7
    assert any(r"größe-\u753b.jpg" in row for row in rows)
    for unwanted in (b"\x1b", b"Traceback", b"BrokenPipe", b"UnicodeEncodeError"):
        assert unwanted not in done.stdout + done.stderr
