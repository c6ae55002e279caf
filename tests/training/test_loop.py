"""The Trainer wrapper: what is fed, what is minimised, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.load import load_config
from frame_vit.config.schema import TrainingConfig
from frame_vit.data.examples import Example, Split
from frame_vit.errors import ConfigError, UsageError
from frame_vit.evaluation.metrics import score
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelledView, LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.checkpoints import newest
from frame_vit.runs.history import history_rows, read_history
from frame_vit.training.arguments import check_trackers, training_arguments
from frame_vit.training.batches import RowNumbers
from frame_vit.training.loop import augmentation, train
from frame_vit.training.loss import Loss
from tests.small import begin, tiny


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
class TestRun:
    def test_the_best_validated_weights_are_the_ones_kept(self, tmp_path: Path) -> None:
        """A rate that ruins the model after a good start: the last weights are not the best ones."""
        config = tiny(tmp_path, "training.epochs=6", "training.eval_steps=2", "training.learning_rate=0.3")
        classifier, prepared = begin(config)
        outcome = train(classifier, prepared.splits, config, tmp_path)
        rows = {row["step"]: row for row in read_history(tmp_path / "history.csv") if "val_macro_f1" in row}
        assert outcome.best_macro_f1 == pytest.approx(max(row["val_macro_f1"] for row in rows.values()))
        val = prepared.splits["val"]
        logits = Predictor(Torch(classifier, "cpu", "fp32"), tta=False).answer_all(val.pixels).single
        scores = score(val.labels, logits, prepared.labels)
        assert scores.macro_f1 == pytest.approx(rows[outcome.best_step]["val_macro_f1"])
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(val.labels)).item()
        assert loss == pytest.approx(rows[outcome.best_step]["val_loss"], rel=1e-4)
        assert loss != pytest.approx(rows[max(rows)]["val_loss"], rel=1e-2)

    def test_a_new_best_is_saved_whatever_the_save_cadence(self, tmp_path: Path) -> None:
        config = tiny(tmp_path, "training.eval_steps=1", "training.save_steps=1000")
        classifier, prepared = begin(config)
        outcome = train(classifier, prepared.splits, config, tmp_path)
        weights = load_file(tmp_path / "checkpoints" / f"step-{outcome.best_step:06d}" / "model.safetensors")
        assert set(weights) == set(classifier.module.state_dict())

    def test_going_on_after_an_interruption_loads_the_weights(self, tmp_path: Path) -> None:
        """transformers' own resume loads nothing for ViT from what its own save wrote, without a word."""
        config = tiny(tmp_path, "training.epochs=4", "training.eval_steps=3")
        whole, prepared = begin(config)
        expected = train(whole, prepared.splits, config, tmp_path / "whole")
        broken, _ = begin(config)
        with pytest.raises(KeyboardInterrupt):
            train(broken, prepared.splits, config, tmp_path / "broken", _interrupt_at(8))
        other, _ = begin(config)
        with torch.no_grad():
            other.module.classifier.weight.fill_(7)
        start = newest(tmp_path / "broken" / "checkpoints")
        outcome = train(other, prepared.splits, config, tmp_path / "broken", start=start)
        assert outcome.steps == expected.steps
        for name, value in whole.module.state_dict().items():
            assert torch.equal(value, other.module.state_dict()[name]), name

    def test_early_stopping_stops(self, tmp_path: Path) -> None:
        options = ["training.epochs=30", "training.learning_rate=1e-9", "training.early_stopping=2"]
        config = tiny(tmp_path, *options)
        classifier, prepared = begin(config)
        outcome = train(classifier, prepared.splits, config, tmp_path)
        assert outcome.steps == 3 * 3  # three epochs of three steps: the first is the best, two more are not better


def _interrupt_at(step: int):  # type: ignore[no-untyped-def]
    def tick(stage: str, done: int, total: int, note: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return tick


def split(labels: list[int]) -> Split:
    examples = [Example(str(i), label, (), 4, 4, "", bytes) for i, label in enumerate(labels)]
    return Split("train", examples, PixelArray.of(np.zeros((len(labels), 4, 4, 3), np.uint8)))


def still(classes: int) -> tuple[LabelledView, ...]:
    return LabelSpace.build([str(i) for i in range(classes)]).group()


LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 0, 1, 2])


def test_the_loss_of_accumulated_parts_adds_up_to_that_of_the_whole_batch() -> None:
    loss = Loss(split([0, 1, 2]), TrainingConfig(label_smoothing=0.1), still(3))
    parts = [loss({"logits": LOGITS[rows]}, LABELS[rows], 4) for rows in ([0, 1, 2], [3])]
    assert torch.stack(parts).sum().item() == pytest.approx(
        F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1).item(), abs=1e-6
    )


def test_balanced_weights_make_rare_classes_count_as_much_as_common_ones() -> None:
    training = TrainingConfig(class_weights="balanced")
    labels = [0] * 6 + [1] * 3 + [2]
    loss = Loss(split(labels), training, still(4))
    assert loss.weight is not None
    totals = [float(loss.weight[label]) * labels.count(label) for label in range(3)]
    assert totals == pytest.approx([10 / 3] * 3)
    each = F.cross_entropy(LOGITS, LABELS, reduction="none")
    assert loss({"logits": LOGITS}, LABELS).item() == pytest.approx((each * loss.weight[LABELS]).mean().item())


def test_classes_are_counted_as_the_mirror_shows_them() -> None:
    """Left and right are seen equally often under hflip, whatever the data set has of each."""
    views = LabelSpace.build(["ok", "left", "right"], [], {"hflip": {"left": "right", "right": "left"}}).group()
    weight = Loss(split([0] * 6 + [1] * 4), TrainingConfig(class_weights="balanced"), views).weight
    assert weight is not None
    assert weight.tolist() == pytest.approx([10 / 3 / 6, 10 / 3 / 2, 10 / 3 / 2])


def test_a_symmetry_set_to_false_is_not_drawn_even_where_others_make_it(tmp_path: Path) -> None:
    declared = "labels.symmetries={hflip: {}, vflip: {}, rot180: {}}"
    config = tiny(tmp_path, declared, "augment.hflip=false")
    classifier, _ = begin(config)
    assert [view.name for view, _ in augmentation(config, classifier).views] == ["identity", "vflip", "rot180"]


def test_a_batch_holds_the_rows_that_were_asked_for() -> None:
    batch = RowNumbers(split([2, 0, 1])).__getitems__([2, 0])
    assert batch["labels"].tolist() == [1, 2]
    assert batch["rows"].tolist() == [2, 0]


def test_the_notebooks_arguments_reach_the_trainer(tmp_path: Path) -> None:
    config = load_config(Path(__file__).parents[2] / "configs" / "notebook.yaml")
    arguments = training_arguments(config.training, tmp_path, torch.device("cpu"), "fp32")
    found = (
        arguments.per_device_train_batch_size,
        arguments.num_train_epochs,
        arguments.learning_rate,
        arguments.eval_steps,
        arguments.save_steps,
        arguments.logging_steps,
        arguments.save_total_limit,
        str(arguments.lr_scheduler_type.value),
        arguments.warmup_steps,
        arguments.weight_decay,
    )
    assert found == (16, 3, 2e-4, 20, 100, 50, 2, "linear", 0, 0)


def test_quarter_turns_of_oblong_pictures_are_refused(tmp_path: Path) -> None:
    config = tiny(tmp_path, "labels.symmetries={rot90: {}}")
    classifier, _ = begin(tiny(tmp_path, "labels.symmetries={}"))
    space = LabelSpace.build(classifier.labels.names, [], {"rot90": {}})
    oblong = Classifier(classifier.module, ModelMetadata(space, Preprocessing(32, 48)))
    with pytest.raises(ConfigError, match="not square"):
        augmentation(config, oblong)


def test_a_tracker_that_does_not_exist_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="nosuchtracker"):
        check_trackers(["nosuchtracker"])


def test_history_joins_what_was_logged_at_a_step() -> None:
    log = [
        {"step": 2, "epoch": 0.5, "loss": 1.0, "learning_rate": 0.1},
        {"step": 2, "epoch": 0.5, "eval_loss": 0.9, "eval_macro_f1": 0.5, "eval_runtime": 3.0},
        {"step": 4, "epoch": 1.0, "train_runtime": 9.0},
    ]
    assert history_rows(log)[0] == {
        "step": 2,
        "epoch": 0.5,
        "loss": 1.0,
        "learning_rate": 0.1,
        "val_loss": 0.9,
        "val_macro_f1": 0.5,
    }
