"""A run as a whole, in this process: refused before anything is written, finished, interrupted, resumed."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config
from frame_vit.errors import DataError, FrameVitError, Interrupted, UsageError
from frame_vit.model.saving import load_trained
from frame_vit.prediction.predictor import Predictor
from frame_vit.system.progress import Tick
from frame_vit.training.train import resume, train
from tests.small import begin, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*"),
]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Runs lie in the test's own folder, and the log level is that of the command line."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "framevit")


def files(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and "checkpoints" not in path.parts}


def test_a_finished_run_holds_the_model_that_was_evaluated(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    trained = train(config, "small")
    assert trained is not None
    assert trained.run == Path("runs/small-001")
    assert Path("runs/latest.txt").read_text() == "small-001\n"
    written = files(trained.run)
    assert {"config.yaml", "environment.json", "history.csv", "curves.png", "train.log"} <= written
    assert {"model/model.safetensors", "model/framevit.json", "model/README.md"} <= written
    assert {"evaluation/test/metrics.json", "evaluation/test/report.html"} <= written
    metrics = json.loads((trained.run / "evaluation/test/metrics.json").read_text())
    assert metrics["skipped"] == trained.skipped == 0
    _, dataset = begin(config)
    test = dataset.splits["test"]
    predictor = Predictor(Torch(load_trained(str(trained.run / "model")), "cpu", "fp32"))
    logits = predictor.answer_all(test.pixels).averaged
    assert metrics["accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == test.labels))


def test_the_log_has_everything_that_was_said_in_order(tmp_path: Path) -> None:
    trained = train(tiny(tmp_path), "small")
    assert trained is not None
    log = (trained.run / "train.log").read_text()
    messages = ["demo: 50 ", "run folder: runs/small-001", "train 40 pictures, val 10 pictures, test 20 pictures"]
    messages += ["device: cpu", "epoch 1.0, step 3", "best model: step", "temperature"]
    positions = [log.index(message) for message in messages]
    assert positions == sorted(positions)


def test_without_a_test_set_validation_is_evaluated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained = train(tiny(tmp_path, "data.test=null", "data.test_fraction=0"), "small")
    assert trained is not None
    assert {path.name for path in (trained.run / "evaluation").iterdir()} == {"val"}
    assert (
        "there is no test set: the model is evaluated on the validation split, which also chose it" in caplog.messages
    )


def test_a_model_no_better_than_chance_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tiny(tmp_path, "training.learning_rate=1e-9"), "small")
    assert "is not significantly better than always answering" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.report_to=[nosuchtracker]"], "nosuchtracker"),
        (["training.freeze=7"], "7 of 1 blocks"),
        (["training.precision=fp16"], "fp16 training and inference need a CUDA card"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run_folder_is_made(
    tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(tiny(tmp_path, *settings), "small")
    assert not Path("runs").exists()


def test_quarter_turns_of_stretched_frames_are_refused_and_of_padded_ones_learnt(tmp_path: Path) -> None:
    settings = [
        "training.epochs=1",
        "labels.symmetries.rot90={Xplus: Yminus, Yminus: Xminus, Xminus: Yplus, Yplus: Xplus}",
    ]
    with pytest.raises(DataError, match="70 pictures would be distorted") as caught:
        train(tiny(tmp_path, *settings), "turned", tmp_path / "run")
    assert "160 x 120" in caught.value.message
    assert "data.fit: pad" in caught.value.hint
    assert not (tmp_path / "run").exists()
    trained = train(tiny(tmp_path, *settings, "data.fit=pad"), "turned", tmp_path / "run")
    assert trained is not None
    predictor = Predictor(Torch(load_trained(str(tmp_path / "run" / "model")), "cpu", "fp32"))
    assert predictor.preprocessing.pad
    assert len(predictor.views) == 8


def test_a_folder_with_content_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        train(tiny(tmp_path), "small", tmp_path / "mine")
    assert files(tmp_path / "mine") == {"notes.txt"}


def failing(error: BaseException, step: int = 5) -> Tick:
    """Raises an error after some steps of the training, as a signal or the disk would."""

    def tick(stage: str, done: int, total: int, note: str) -> None:
        if stage == "training" and done == step:
            raise error

    return tick


def interrupted_run(config: Config, step: int = 5) -> Path:
    with pytest.raises(Interrupted):
        train(config, "small", tick=failing(KeyboardInterrupt(), step))
    return Path("runs/small-001")


def test_an_interrupted_run_names_the_command_that_resumes_it(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as error:
        train(tiny(tmp_path), "small", tick=failing(KeyboardInterrupt()))
    assert error.value.hint == "framevit train --resume runs/small-001"
    assert error.value.exit_code == 130


def test_a_full_disk_says_that_what_was_saved_is_whole(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "somewhere.csv")
    with pytest.raises(FrameVitError, match=r"no room to write somewhere\.csv") as error:
        train(tiny(tmp_path), "small", tick=failing(full))
    assert "framevit train --resume runs/small-001" in error.value.hint


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    run = interrupted_run(config)
    assert not (run / "model").exists()
    resumed = resume(run)
    whole = train(config, "whole")
    assert resumed is not None
    assert whole is not None
    assert resumed.outcome.best_macro_f1 == whole.outcome.best_macro_f1
    for name in ("model/model.safetensors", "history.csv", "evaluation/test/predictions.csv"):
        assert (run / name).read_bytes() == (whole.run / name).read_bytes(), name
    log = (run / "train.log").read_text()
    assert "resuming after step 3" in log


def test_a_run_without_a_checkpoint_starts_at_the_first_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = interrupted_run(tiny(tmp_path), step=1)
    resumed = resume(run)
    assert resumed is not None
    assert resumed.outcome.steps == 6
    assert "no checkpoint was written yet: the training starts from the beginning" in caplog.messages


def test_a_changed_config_is_another_run(tmp_path: Path) -> None:
    run = interrupted_run(tiny(tmp_path))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("epochs: 2", "epochs: 3"))
    with pytest.raises(UsageError, match=r"training\.epochs: was 2\.0, is 3\.0"):
        resume(run)


def test_what_makes_a_run_the_same_is_recorded_under_keys_that_stay(tmp_path: Path) -> None:
    """Runs of framevit 0.5.0 are compared by these keys when they are resumed."""
    trained = train(tiny(tmp_path), "small")
    assert trained is not None
    identity = json.loads((trained.run / "environment.json").read_text())["identity"]
    packages = {f"packages.{name}" for name in ("torch", "transformers", "accelerate", "numpy", "pillow")}
    splits = {f"pictures and labels of {name}" for name in ("train", "val", "test")}
    settings = {key for key in identity if key.partition(".")[0] in Config.model_fields}
    assert set(identity) - settings == packages | splits | {
        "weights at the start",
        "preprocessing",
        "pictures a step",
        "device",
        "precision",
        "processes",
        "framevit",
    }
    assert {"training.seed", "training.layer_decay", "labels.symmetries", "data.demo.train"} <= settings


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        resume(tmp_path)
