"""What commands do alike: flags become one value, `--set` loses to flags, bad items leave with exit code 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from frame_vit.cli.options import (
    Backend,
    Precision,
    echo_json,
    leave_on,
    load_command_config,
    predictor_options,
    weights_first,
)
from frame_vit.errors import ConfigError
from frame_vit.prediction.load import PredictorOptions
from frame_vit.runs.folder import run_name


def test_flags_that_are_left_out_mean_auto() -> None:
    assert predictor_options(Backend("auto")) == PredictorOptions()
    given = predictor_options(Backend("openvino"), "cpu", Precision("int8"), False, 4)
    assert given == PredictorOptions("openvino", "cpu", "int8", False, 4)


def test_auto_prefers_the_weights_only_where_that_is_asked_for() -> None:
    assert weights_first(PredictorOptions(precision="fp32")) == PredictorOptions("weights", precision="fp32")
    assert weights_first(PredictorOptions("openvino")) == PredictorOptions("openvino")


def test_a_flag_wins_over_set_and_both_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text("data: {train: demo}\ntraining: {epochs: 1, seed: 1, device: cpu}\n")
    flags = {"training.epochs": 3.0, "training.report_to": None, "model.name": "a: b"}
    config = load_command_config(file, ["training.epochs=2", "training.seed=2"], flags, False)
    assert (config.training.epochs, config.training.seed, config.training.device) == (3.0, 2, "cpu")
    assert config.model.name == "a: b"
    assert config.training.report_to == []


def test_printing_the_config_stops_and_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped:
        load_command_config(None, None, {}, True)
    assert stopped.value.exit_code == 0
    assert "learning_rate:" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"data\.train"):
        load_command_config(None, None, {}, False)


def test_bad_items_leave_with_3_and_say_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    leave_on(0, "bad rows were skipped")
    assert capsys.readouterr().err == ""
    with pytest.raises(typer.Exit) as stopped:
        leave_on(7, "bad rows were skipped")
    assert stopped.value.exit_code == 3
    assert capsys.readouterr().err == "7 bad rows were skipped\n"


def test_a_run_is_named_after_its_config() -> None:
    assert run_name(Path("configs/demo.yaml")) == "demo"
    assert run_name(None) == "run"


def test_json_keeps_every_letter_and_refuses_what_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"päß": [1, None]})
    shown = capsys.readouterr().out
    assert "päß" in shown
    assert json.loads(shown) == {"päß": [1, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        echo_json({"rate": float("nan")})


@pytest.mark.skipif(os.name == "nt", reason="a pipe that is closed is told otherwise there")
def test_a_reader_that_has_seen_enough_ends_the_command_quietly() -> None:
    program = (
        "from frame_vit.cli.options import enough_seen\nimport typer\n"
        "def main():\n    with enough_seen():\n        for i in range(100000):\n            print('row', i)\n"
        "typer.run(main)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"row 0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
