"""The Trainer made exact: numbers that are none, memory that is too small, the weights that are kept."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from frame_vit.backends.torch_backend import Torch
from frame_vit.data.dataset import Dataset
from frame_vit.errors import FrameVitError
from frame_vit.model.classifier import Classifier
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.checkpoints import found, newest, verify
from frame_vit.runs.history import read_history
from frame_vit.training import loop as training
from frame_vit.training.batches import PixelBatches, RowIds
from frame_vit.training.callback import stopped_early
from frame_vit.training.loop import Outcome, train
from tests.small import begin, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*"),
]


def run(tmp_path: Path, *settings: str, change: Any = None) -> tuple[Classifier, Dataset, Outcome]:
    config = tiny(tmp_path, *settings)
    model, prepared = begin(config)
    if change:
        change(model.module)
    return model, prepared, train(model, prepared.splits, config, tmp_path)


class Poisoned(PixelBatches):
    """Pictures of which one is not a number from a certain step on."""

    row, step = 7, 4

    def training(self, rows: RowIds, step: int) -> tuple[Tensor, Tensor]:
        values, labels = super().training(rows, step)
        if step >= self.step:
            values[torch.from_numpy(rows == self.row)] = float("nan")
        return values, labels


class TestNumbersGoneBad:
    def test_a_loss_that_is_none_stops_names_and_keeps(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "PixelBatches", Poisoned)
        with pytest.raises(FrameVitError) as error:
            run(tmp_path, "training.eval_steps=2", "training.epochs=8", "training.gradient_accumulation=2")
        words = error.value.message + error.value.hint
        assert error.value.exit_code == 1
        assert "the loss of step 5 is nan" in words or "the loss of step 6 is nan" in words
        _, prepared = begin(tiny(tmp_path))
        assert prepared.splits["train"].examples[Poisoned.row].key in words
        assert "The last good checkpoint, of step 4, is kept" in words
        checkpoint = newest(tmp_path / "checkpoints")
        assert checkpoint is not None
        assert checkpoint.step == 4
        assert all(value.isfinite().all() for value in checkpoint.tensors("model").values())
        assert any(row["loss"] != row["loss"] for row in read_history(tmp_path / "history.csv") if "loss" in row)

    def test_a_gradient_that_is_none_stops_too(self, tmp_path: Path) -> None:
        count = 0

        def burst(gradient: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return gradient * float("inf") if count == 3 else gradient

        with pytest.raises(FrameVitError, match="the gradient of step 3 is") as error:
            run(tmp_path, change=lambda module: module.classifier.bias.register_hook(burst))
        assert "demo-0-" in error.value.message
        assert all(verify(checkpoint.folder) is None for checkpoint in found(tmp_path / "checkpoints"))

    def test_a_validation_that_is_none_is_never_the_best(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class PoisonedValidation(PixelBatches):
            def validation(self, rows: RowIds) -> Tensor:
                return super().validation(rows) * float("nan")

        monkeypatch.setattr(training, "PixelBatches", PoisonedValidation)
        with pytest.raises(FrameVitError, match="the validation loss after step 3 is nan"):
            run(tmp_path)
        assert not found(tmp_path / "checkpoints")


def limited(most: int, what: str = "training", after: int = 0) -> Any:
    """Makes a module run out of memory, as a card would, with more than `most` pictures at once."""

    def change(module: Any) -> None:
        forward, calls = module.forward, 0

        def tight(*args: Any, **inputs: Any) -> Any:
            nonlocal calls
            calls += 1
            if len(inputs["pixel_values"]) > most and module.training == (what == "training") and calls > after:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(*args, **inputs)

        module.forward = tight

    return change


class TestMemory:
    def test_smaller_parts_of_the_same_batch(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        (tmp_path / "small").mkdir()
        (tmp_path / "tight").mkdir()
        small, _, _ = run(tmp_path / "small", "training.batch_size=4", "training.gradient_accumulation=4")
        tight, _, outcome = run(tmp_path / "tight", "training.batch_size=16", change=limited(4))
        said = [record.getMessage() for record in caplog.records if "do not fit" in record.getMessage()]
        assert said == [
            "16 pictures at once do not fit: 8 at once, 2 times, so that a step still sees 16",
            "8 pictures at once do not fit: 4 at once, 4 times, so that a step still sees 16",
        ]
        assert outcome.steps == 2 * 3
        for name, value in small.module.state_dict().items():
            assert torch.equal(value, tight.module.state_dict()[name]), name
        rows = [(tmp_path / name / "history.csv").read_text() for name in ("small", "tight")]
        assert rows[0] == rows[1]

    def test_one_picture_that_does_not_fit_is_an_error_with_a_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(FrameVitError, match="out of memory with 1 pictures at once") as error:
            run(tmp_path, change=limited(0))
        assert "gradient_checkpointing" in error.value.hint

    def test_in_the_middle_of_a_run_the_batch_is_not_changed(self, tmp_path: Path) -> None:
        with pytest.raises(FrameVitError, match="out of memory with 16 pictures at once"):
            run(tmp_path, change=limited(4, after=4))

    def test_a_validation_goes_on_with_fewer_at_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "free").mkdir()
        free, _, _ = run(tmp_path / "free")
        tight, _, _ = run(tmp_path, change=limited(5, "validation"))
        assert "32 pictures at once do not fit in a validation: 16 at once" in caplog.text
        for name, value in free.module.state_dict().items():
            assert torch.equal(value, tight.module.state_dict()[name]), name


def test_what_is_kept_is_the_average_where_one_is_asked_for(tmp_path: Path) -> None:
    model, prepared, outcome = run(tmp_path, "training.ema=0.5", "training.learning_rate=0.05")
    checkpoint = next(c for c in found(tmp_path / "checkpoints") if c.step == outcome.best_step)
    average, own = checkpoint.tensors("average"), checkpoint.tensors("model")
    for name, parameter in model.module.named_parameters():
        assert torch.equal(parameter, average[name]), name
    assert any(not torch.equal(average[name], own[name]) for name in average)
    logits = Predictor(Torch(model, "cpu", "fp32"), tta=False).answer_all(prepared.splits["val"].pixels).single
    assert logits.shape == (10, 5)


def test_recomputing_activations_changes_nothing_but_the_memory(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    kept, _, _ = run(tmp_path / "kept")
    again, _, _ = run(tmp_path, "training.gradient_checkpointing=true")
    for name, value in kept.module.state_dict().items():
        assert torch.allclose(value, again.module.state_dict()[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("scores", "patience", "stopped"),
    [
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.6, 0.5, 0.55], 2, True),
        ([0.6, 0.5, 0.61], 2, False),
        ([0.6, 0.5, 0.55], None, False),
    ],
)
def test_when_a_training_ends_early(scores: list[float], patience: int | None, stopped: bool) -> None:
    state = SimpleNamespace(log_history=[{"loss": 1.0}, *({"eval_macro_f1": score} for score in scores)])
    assert stopped_early(state, patience) == stopped
