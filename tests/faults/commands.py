"""Random command lines: real commands with real options, and values of every kind, most of them past the parsing.

`test_random_commands` runs some hundred of them, `long` thousands. The same seed gives the same commands. What runs for
long is kept short by options that are added last.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from frame_vit.cli.app import app
from frame_vit.cli.options import Backend, Format, Precision
from frame_vit.config.schema import Config, Section
from frame_vit.data import demo
from tests.processes import Nursery

CODES = {0, 1, 2, 3, 4, 130, 143}
SLOWEST_S = 60.0
PARSED = typer.main.get_command(app).commands  # type: ignore[attr-defined]
WEIGHTS = {
    "predict": 40,
    "evaluate": 7,
    "calibrate": 3,
    "compare": 4,
    "explain": 2,
    "prepare": 3,
    "train": 22,
    "export": 1,
    "benchmark": 2,
    "doctor": 1,
    "help": 4,
}

PICTURES = ["pictures", "pictures/passed.jpg", "pictures/*.jpg", "empty.jpg", "cut.jpg", "text.txt", "gone.jpg", "pipe"]
PICTURES += ["[odd] name.jpg", ".", "", "-", "manifest.csv", "/dev/zero", "a" * 300, "\udcff.jpg", "pictures\n.jpg"]
DATA = [
    "classes",
    "manifest.csv",
    "manifest.jsonl",
    "bad.csv",
    "demo",
    "gone",
    "owner/name",
    "pictures",
    "empty",
    "pipe",
]
DATA += ["", ".", "classes/passed/0.jpg", "text.txt", "a" * 300, "owner/name@x", "runs", "~nobody/x"]
MODELS = ["runs/tiny-001", "runs/tiny-001/model", "runs/tiny-001/model/model.onnx"]
BAD_MODELS = [
    "half.onnx",
    "broken",
    "gone",
    "",
    "owner/name",
    "classes",
    "pipe",
    "text.txt",
    "runs",
    "a" * 300,
    "~nobody",
]
OUTPUTS = ["out", "out/deep/new", "text.txt", "text.txt/x", "", ".", "b" * 300, "/dev/full", "/proc/nowhere", "pipe"]
ROWS = [
    "rows.csv",
    "rows.jsonl",
    "new.csv",
    "new.json",
    "out.txt",
    "half.csv",
    "text.csv",
    "gone/rows.csv",
    "/dev/full",
]
ROWS += ["pipe.csv", "classes", "", "b" * 300 + ".csv"]
CONFIGS = [
    "tiny.yaml",
    "tiny.yaml",
    "tiny.yaml",
    "bad.yaml",
    "latin.yaml",
    "deep.yaml",
    "gone.yaml",
    "pipe",
    "classes",
    "",
]
NUMBERS = ["0", "1", "2", "7", "-1", "1.5", "nan", "x", "", "1e3", "99999999999999999999"]
VALUES = ["null", "true", "0", "1", "-1", "0.5", ".nan", "x", "[]", "{}", "[1, 2]", "{a: b}", "", "'", "\ud83d\ude00"]
VALUES += ["[passed, Xplus, Xminus, Yplus, Yminus]", "{hflip: {Xplus: Xminus}}", "cpu", "cuda:7", "gone", "classes"]
BY_NAME: dict[str, list[str]] = {
    "paths": PICTURES,
    "model": [*MODELS * 3, *BAD_MODELS],
    "model_option": [*MODELS, *BAD_MODELS],
    "first": [*MODELS * 3, *BAD_MODELS],
    "second": [*MODELS * 3, *BAD_MODELS],
    "data": DATA,
    "config": CONFIGS,
    "explain": OUTPUTS,
    "watch": ["nowhere", "text.txt", ""],
    "resume": ["runs/tiny-001", "gone", "text.txt", "classes", ""],
    "split": ["test", "val", "train", "gone", "", "calibration"],
    "device": ["cpu", "auto", "cuda", "cuda:7", "mps", "tpu", ""],
    "gates": ["macro_f1>=0.5", "escape_rate.high<=0.01", "gone>=1", "x", "", "accuracy>=nan", "per_class.passed.f1>=0"],
    "backend": [*Backend, "onnxruntime", "gone"],
    "precision": [*Precision, "fp32", "gone"],
    "form": [*Format, "gone"],
    "topic": ["data", "predict", "gone", ""],
    "report_to": ["tensorboard", "gone", "all"],
}


def keys_of(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Every key of the config."""
    for key, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from keys_of(info.annotation, f"{prefix}{key}.")
        else:
            yield prefix + key


GOOD = ["training.seed=3", "decision.max_escape_rate=0.02", "data.on_bad_row=skip", "labels.aliases={fine: passed}"]
GOOD += ["decision.unlike=note", "export.pictures=4", "augment.hflip=false", "data.audit.severity={FV510: off}"]
KEYS = [*keys_of(), "epochs", "training", "data.gone", "labels.names.0", "", "training.epochs.x"]


def command(chance: random.Random) -> list[str]:
    """One command line."""
    (name,) = chance.choices([*WEIGHTS], [*WEIGHTS.values()])
    words = [name]
    for each in PARSED[name].params:
        if each.param_type_name == "argument":
            wanted = chance.random() < 0.85
            most = 2 if each.nargs == -1 else 1
            words += [value(chance, each) for _ in range(chance.randint(1, most))] if wanted else []
        elif chance.random() < (0.5 if each.name in ("model", "overrides", "config") else 0.08):
            words += option(chance, each)
    return [word for word in [*words, *kept_short(chance, name, words)] if "\0" not in word]


def option(chance: random.Random, each: Any) -> list[str]:
    flag = chance.choice([*each.opts, *each.secondary_opts])
    if each.is_flag:
        return [flag]
    return [word for _ in range(chance.choice([1] * 9 + [2])) for word in (flag, value(chance, each))]


def value(chance: random.Random, each: Any) -> str:
    if each.name == "overrides" and chance.random() < 0.5:
        return chance.choice(GOOD)
    if each.name == "overrides":
        return f"{chance.choice(KEYS)}{chance.choice(['=', '=', '=', '=', ''])}{chance.choice(VALUES)}"
    if each.name == "output":
        return chance.choice([*OUTPUTS, *ROWS])
    if each.name in BY_NAME:
        return chance.choice(BY_NAME[each.name])
    return chance.choice(NUMBERS)


def kept_short(chance: random.Random, name: str, words: list[str]) -> list[str]:
    """Options that keep a command from taking long, whatever it was told before."""
    small = ["--set", "data.demo.train=30", "--set", "data.demo.test=10"]
    if name == "train":
        if chance.random() < 0.85:
            return ["--print-config"] if "--print-config" not in words else []
        if "--resume" in words:
            return []
        own = [] if {"-c", "--config"} & {*words} else ["-c", "tiny.yaml"]
        tiny = ["--set", "model.init=scratch", "--set", "training.epochs=0.1"]
        return [*own, *small, *tiny] if "--epochs" not in words else ["--print-config"]
    if name == "prepare":
        own = [] if {"-c", "--config"} & {*words} else ["-c", "tiny.yaml"]
        return [*own, *small, "--set", "model.init=scratch"]
    if name == "benchmark":  # measures each backend for seconds
        return ["--limit", "0"] if "--limit" not in words else ["--limit"]
    if name == "predict" and "--watch" not in words and "--model" not in words:
        return ["--model", "runs/tiny-001", "--backend", "onnxruntime"] if "--backend" not in words else []
    return []


def prepare(folder: Path, exported: Path) -> None:
    """Fills a folder with what the commands name: a run, pictures, data sets, configs, and files that are none."""
    shutil.copytree(exported / "runs", folder / "runs")
    shutil.copytree(exported / "cache", folder / "cache")
    shutil.copy(exported / "tiny.yaml", folder / "tiny.yaml")
    for place in ("pictures", "empty", "broken"):
        (folder / place).mkdir()
    for number, name in enumerate(demo.NAMES * 2):
        (folder / "classes" / name).mkdir(parents=True, exist_ok=True)
        picture = demo.jpeg(demo.sample(name, number))
        (folder / "classes" / name / f"{number}.jpg").write_bytes(picture)
        (folder / "pictures" / f"{name}.jpg").write_bytes(picture)
    (folder / "[odd] name.jpg").write_bytes(picture)
    (folder / "cut.jpg").write_bytes(picture[: len(picture) // 2])
    (folder / "empty.jpg").touch()
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.csv")
    texts = {
        "text.txt": "hello",
        "text.csv": "a,b\n1,2\n",
        "half.csv": 'file,label\n"x.jpg',
        "bad.yaml": "training: {epochs: [}",
        "deep.yaml": "[" * 3000,
        "manifest.csv": "file,label\npictures/passed.jpg,passed\npictures/Xplus.jpg,Xplus\ngone.jpg,passed\n",
        "manifest.jsonl": '{"file": "pictures/passed.jpg", "label": "passed"}\n{"file": 3}\n',
        "bad.csv": "file,label\n../x.jpg,passed\n",
        "broken/config.json": "{",
        "broken/framevit.json": "[]",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "latin.yaml").write_bytes("data: {train: Flächen}".encode("latin-1"))
    model = (folder / "runs" / "tiny-001" / "model" / "model.onnx").read_bytes()
    (folder / "half.onnx").write_bytes(model[: len(model) // 2])


class Odd(NamedTuple):
    """A command that did not end as it should, with its exit code and what it said."""

    words: list[str]
    code: int
    said: str


def odd_ones(nursery: Nursery, seed: int, count: int) -> Iterator[Odd | None]:
    """Runs so many commands; for each gives None, or what it did other than ending with a known code in plain words."""
    chance = random.Random(seed)
    for _ in range(count):
        words = command(chance)
        process = nursery.start(*words)
        timer = threading.Timer(SLOWEST_S, os.kill, (process, 9))
        timer.start()
        code = nursery.wait()
        timer.cancel()
        said = nursery.said
        wrong = code not in CODES or "Traceback" in said or "This is a bug" in said
        yield Odd(words, code, said) if wrong else None
