"""`framevit train`: mistakes are found before anything is written, and the config is printed on request."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from frame_vit.config.load import load_config
from frame_vit.config.schema import Config
from frame_vit.data import demo
from tests.cli.calls import Call, one_panel


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "-c", "gone.yaml"], "no such config file: gone.yaml"),
        (["train", "-c", "tiny.yaml", "--set", "training.learing_rate=1"], "did you mean learning_rate?"),
        (["train", "-c", "tiny.yaml", "--set", "trainig.epochs=1"], "did you mean training?"),
        (["train", "-c", "tiny.yaml", "--set", "training.learning_rate=fast"], "valid number, not 'fast'"),
        (["train", "-c", "tiny.yaml", "--lr", "0"], "training.learning_rate"),
        (["train", "-c", "tiny.yaml", "--set", "labels.symmetries={}", "--set", "augment.hflip=true"], "not declared"),
        (["train", "-c", "tiny.yaml", "--set", "epochs"], "expected section.key=value"),
        (["train"], "data.train: not set"),
        (["train", "--resume", "gone"], "gone is not a run folder"),
        (["train", "-c", "tiny.yaml", "--model", "gone/a/b"], "gone/a/b: no such folder"),
        (["train", "-c", "tiny.yaml", "-o", "full"], "full already exists and is not empty"),
        (["train", "-c", "tiny.yaml", "--set", "training.freeze=7"], "training.freeze: 7 of 1 blocks"),
        (["train", "-c", "tiny.yaml", "--set", "training.freeze=all"], "input should be 'none' or 'backbone'"),
        (["train", "--resume", "gone", "--epochs", "3"], "takes nothing else"),
        (["train", "--resume", "runs/a-001", "--set", "training.epochs=9"], "--model runs/a-001 --set training.epochs"),
        (["train", "-c", "tiny.yaml", "--precision", "fp16"], "need a CUDA card"),
        (["train", "-c", "tiny.yaml", "--device", "tpu"], "device"),
        (["train", "-c", "tiny.yaml", "--data", "gone.csv"], "no such file or folder: gone.csv"),
        (["train", "-c", "tiny.yaml", "--data", "empty"], "no pictures found in empty"),
    ],
)
def test_a_mistake_is_one_panel_and_exit_code_2(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)


def test_a_text_file_named_jpg_in_a_training_set_is_named(call: Call) -> None:
    for name in ("a", "b"):
        Path("data", name).mkdir(parents=True)
        for seed in range(10):
            Path("data", name, f"{seed}.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", seed)))
    Path("data/b/3.jpg").write_text("not a picture at all")
    answer = call("train", "--set", "data.train=data", "--set", "model.init=scratch")
    assert answer.code == 1
    assert "b/3.jpg: not a picture (it starts with b'not a pictur')" in answer.words


def test_print_config_shows_every_key_and_loads_back(call: Call) -> None:
    answer = call("train", "--print-config", "--epochs", "3")
    assert answer.code == 0
    assert yaml.safe_load(answer.out)["training"]["epochs"] == 3
    again = call("train", "-c", "tiny.yaml", "--print-config")
    Path("again.yaml").write_text(again.out)
    assert load_config(Path("again.yaml")) == load_config(Path("tiny.yaml"))
    for section, block in Config().model_dump().items():
        for key in block:
            assert re.search(rf"^  # .+\n  {key}:", answer.out, re.M), f"{section}.{key} is not explained"


def test_another_training_set_with_the_configs_test_set_is_said(call: Call) -> None:
    said = "tested on the config's data.test, demo"
    assert said in call("train", "-c", "tiny.yaml", "--data", "gone.csv").words
    assert said not in call("train", "-c", "tiny.yaml", "--data", "gone.csv", "--set", "data.test=null").words


class TestWithARun:
    """A run that is finished already."""

    @pytest.fixture(autouse=True)
    def _here(self, call: Call, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(trained)

    def test_a_finished_run_is_not_gone_on_with(self, call: Call) -> None:
        answer = call("train", "--resume", "runs/tiny-001")
        assert answer.code == 0
        assert "is finished" in answer.words
