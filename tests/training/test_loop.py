"""One training: the best weights are kept, an interrupted training is resumed, what cannot work is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.errors import ConfigError, FrameVitError, UsageError
from frame_vit.evaluation.metrics import score
from frame_vit.model.classifier import Classifier
from frame_vit.model.pretrained import load_pretrained
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.checkpoints import newest
from frame_vit.runs.history import read_history
from frame_vit.training import callback, loop
from frame_vit.training.loop import check_trainable, train
from tests.faults.architectures import save_base
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

    def test_a_run_that_began_at_one_rate_goes_on_so(self, tmp_path: Path) -> None:
        """An earlier version found no blocks in SigLIP or ResNet, whatever layer_decay said."""
        options = ("training.epochs=4", "training.eval_steps=3")
        flat, graded = (tiny(tmp_path, f"training.layer_decay={decay}", *options) for decay in (1, 0.9))
        whole, prepared = begin(flat)
        train(whole, prepared.splits, flat, tmp_path / "whole")
        broken, _ = begin(flat)
        with pytest.raises(KeyboardInterrupt):
            train(broken, prepared.splits, flat, tmp_path / "broken", _interrupt_at(8))
        other, _ = begin(graded)
        train(other, prepared.splits, graded, tmp_path / "broken", start=newest(tmp_path / "broken" / "checkpoints"))
        for name, value in whole.module.state_dict().items():
            assert torch.equal(value, other.module.state_dict()[name]), name

    def test_early_stopping_stops(self, tmp_path: Path) -> None:
        options = ["training.epochs=30", "training.learning_rate=1e-9", "training.early_stopping=2"]
        config = tiny(tmp_path, *options)
        classifier, prepared = begin(config)
        outcome = train(classifier, prepared.splits, config, tmp_path)
        assert outcome.steps == 3 * 3  # three epochs of three steps: the first is the best, two more are not better

    def test_a_resumed_training_that_is_complete_trains_no_further(self, tmp_path: Path) -> None:
        config = tiny(tmp_path)
        classifier, prepared = begin(config)
        outcome = train(classifier, prepared.splits, config, tmp_path)
        (tmp_path / "history.csv").unlink()
        other, _ = begin(config)
        ticks: list[str] = []
        start = newest(tmp_path / "checkpoints")
        again = train(other, prepared.splits, config, tmp_path, lambda stage, *_: ticks.append(stage), start)
        assert "training" not in ticks
        assert (again.best_step, again.steps) == (outcome.best_step, outcome.steps)
        assert max(row["step"] for row in read_history(tmp_path / "history.csv")) == outcome.steps
        for name, value in classifier.module.state_dict().items():
            assert torch.equal(value, other.module.state_dict()[name]), name

    def test_a_damaged_best_checkpoint_is_not_taken_for_the_best_model(self, tmp_path: Path) -> None:
        config = tiny(tmp_path, "training.epochs=3", "training.learning_rate=1e-9")  # the first validation is the best
        classifier, prepared = begin(config)
        outcome = train(classifier, prepared.splits, config, tmp_path)
        start = newest(tmp_path / "checkpoints")
        assert start is not None
        assert start.step != outcome.best_step
        (tmp_path / "checkpoints" / f"step-{outcome.best_step:06d}" / "model.safetensors").unlink()
        other, _ = begin(config)
        with pytest.raises(FrameVitError, match="the best checkpoint of the run: not whole"):
            train(other, prepared.splits, config, tmp_path, start=start)

    def test_a_lone_last_picture_joins_the_batch_before_it(self, tmp_path: Path) -> None:
        """40 pictures in batches of 13: batch normalisation cannot take the last one alone. Resumed bit for bit."""
        options = ["training.batch_size=13", "training.epochs=3", "training.eval_steps=2"]
        config = tiny(tmp_path, *options)
        whole, prepared = resnet(config)
        outcome = train(whole, prepared.splits, config, tmp_path / "whole")
        assert outcome.steps == 3 * 3
        broken, _ = resnet(config)
        with pytest.raises(KeyboardInterrupt):
            train(broken, prepared.splits, config, tmp_path / "broken", _interrupt_at(6))
        start = newest(tmp_path / "broken" / "checkpoints")
        assert start is not None
        assert start.step % 3, "in the middle of an epoch"
        other, _ = resnet(config)
        train(other, prepared.splits, config, tmp_path / "broken", start=start)
        for name, value in whole.module.state_dict().items():
            assert torch.equal(value, other.module.state_dict()[name]), name


def resnet(config: Config) -> tuple[Classifier, Dataset]:
    """The data of a config with an untrained ResNet, whose last map is one pixel wide, always with the same weights."""
    classifier, prepared = begin(config)
    torch.manual_seed(0)
    sizes = {"hidden_sizes": [8] * 4, "depths": [1] * 4}
    module = ResNetForImageClassification(ResNetConfig(embedding_size=8, num_labels=5, **sizes))
    return replace(classifier, module=module), prepared


@pytest.mark.parametrize(
    ("setting", "said"),
    [("gradient_checkpointing=true", "cannot do that"), ("batch_size=1", "takes at least 2 pictures at once")],
)
def test_what_an_architecture_cannot_do_is_a_config_error_before_the_first_step(
    tmp_path: Path, setting: str, said: str
) -> None:
    config = tiny(tmp_path, f"training.{setting}")
    classifier, _ = resnet(config)
    with pytest.raises(ConfigError, match=f"training.{setting.partition('=')[0]}: ResNet.* {said}"):
        check_trainable(classifier, config, 40, 1)
    transformer, _ = begin(config)
    check_trainable(transformer, config, 40, 1)
    assert not transformer.module.is_activation_checkpointing


def _interrupt_at(step: int):  # type: ignore[no-untyped-def]
    def tick(stage: str, done: int, total: int, note: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return tick


def test_a_model_that_cannot_be_frozen_there_is_refused_before_the_first_step(tmp_path: Path) -> None:
    config = tiny(tmp_path, "training.freeze=1")
    classifier, _ = begin(tiny(tmp_path))
    with pytest.raises(UsageError, match="1 of 1 blocks"):
        check_trainable(classifier, config, 40, 1)


def test_settings_that_make_little_sense_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier, _ = begin(tiny(tmp_path))
    caplog.clear()  # what reading the data says, where an earlier test has switched such messages on
    with caplog.at_level(logging.WARNING, "framevit"):
        check_trainable(classifier, tiny(tmp_path), 40, 1)
        assert not caplog.messages
        config = tiny(tmp_path, "training.freeze=backbone", "training.gradient_accumulation=2")
        check_trainable(classifier, config, 40, 2)
    assert caplog.messages == [
        "training.freeze with model.init scratch: the frozen weights are random and stay random",
        "one step could take 64 pictures, but there are only 40 to train on: an epoch is one step",
    ]


class TestWhatIsToldBefore:
    """Memory before the first step, time after the first few."""

    def test_memory_and_time_are_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "framevit")
        config = tiny(tmp_path, "training.epochs=3")
        classifier, prepared = begin(config)
        train(classifier, prepared.splits, config, tmp_path)
        told = [record.message for record in caplog.records]
        (memory,) = (i for i, message in enumerate(told) if message.startswith("memory: about"))
        first = next(i for i, message in enumerate(told) if message.startswith("epoch"))
        assert memory < first
        assert sum(" to go, at " in message for message in told) == 1
        assert "freeze backbone" not in caplog.text, "not for a training of seconds"

    def test_a_long_training_on_a_cpu_names_the_frozen_way(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(callback, "LONG", 0.0)
        config = tiny(tmp_path, "training.epochs=3")
        classifier, prepared = begin(config)
        train(classifier, prepared.splits, config, tmp_path)
        assert "training.freeze backbone fits only the head, in about" in caplog.text

    def test_too_little_memory_is_said_before_it_runs_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "free_bytes", lambda device: 1000)
        config = tiny(tmp_path)
        classifier, prepared = begin(config)
        train(classifier, prepared.splits, config, tmp_path)
        assert "only 1 kB are free" in caplog.text


class TestNewHead:
    """A pretrained model of other classes: its new head is fitted before the first step."""

    NO_STEPS = ("training.epochs=1", "training.learning_rate=1e-12", "training.warmup=0")
    """With such a rate nothing but the fit can have changed the model."""

    def started(self, tmp_path: Path, *overrides: str) -> tuple[Config, Classifier, Dataset]:
        sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        vit = ViTConfig(image_size=32, patch_size=8, intermediate_size=32, initializer_range=0.3, **sizes)
        torch.manual_seed(0)
        ViTForImageClassification(vit).save_pretrained(base := tmp_path / "base")
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(base)
        config = tiny(tmp_path, "model.init=pretrained", f"model.name={base}", *self.NO_STEPS, *overrides)
        processor = load_processor(config.model)
        preprocessing = preprocessing_of(processor)
        dataset = read_dataset(config, preprocessing)
        return config, load_pretrained(config.model, dataset.labels, preprocessing, processor), dataset

    def test_it_starts_as_good_as_a_fitted_head(self, tmp_path: Path) -> None:
        found = {}
        for head, freeze in (("fitted", "none"), ("fitted", "1"), ("random", "none"), ("random", "backbone")):
            run = tmp_path / f"{head}-{freeze}"
            run.mkdir()
            config, classifier, data = self.started(run, f"training.head={head}", f"training.freeze={freeze}")
            found[head, freeze] = train(classifier, data.splits, config, run).best_macro_f1
        alone = found["random", "backbone"]
        assert found["fitted", "none"] == found["fitted", "1"] == pytest.approx(alone, abs=0.02)
        assert found["random", "none"] < alone - 0.2

    def test_a_head_that_is_kept_is_not_fitted(self, tmp_path: Path) -> None:
        config, classifier, data = self.started(tmp_path)
        kept = replace(classifier, has_new_head=False)
        before = kept.module.classifier.weight.detach().clone()
        train(kept, data.splits, config, tmp_path)
        assert torch.allclose(kept.module.classifier.weight, before, atol=1e-6)

    def test_a_head_that_cannot_be_fitted_starts_at_random(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "framevit")
        save_base("DeiT distilled", tmp_path / "two")
        config, classifier, data = self.started(tmp_path, f"model.name={tmp_path / 'two'}")
        train(classifier, data.splits, config, tmp_path)
        assert "the new head starts at random: DeiTForImageClassificationWithTeacher has 2 heads" in caplog.text
