"""The Trainer made exact: numbers that are not finite, memory that is too small, averages, and the seams."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from frame_vit.backends.torch_backend import Torch
from frame_vit.data.dataset import Dataset
from frame_vit.errors import FrameVitError
from frame_vit.model.classifier import Classifier
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.checkpoints import checkpoints_in, newest, verify
from frame_vit.runs.history import read_history
from frame_vit.training import batches, trainer
from frame_vit.training.batches import Batch, PixelBatches, RowIds
from frame_vit.training.callback import TrainingCallback
from frame_vit.training.loop import Outcome, train
from frame_vit.training.trainer import SEAMS, FrameTrainer, Seam
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

    def training(self, rows: RowIds, step: int) -> Batch:
        values, labels = super().training(rows, step)
        if step >= self.step:
            values[torch.from_numpy(rows == self.row)] = float("nan")
        return Batch(values, labels)


class TestNotFinite:
    def test_a_loss_ends_the_training_and_names_the_pictures(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "PixelBatches", Poisoned)
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

    def test_a_gradient_ends_the_training_too(self, tmp_path: Path) -> None:
        count = 0

        def burst(gradient: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return gradient * float("inf") if count == 3 else gradient

        with pytest.raises(FrameVitError, match="the gradient of step 3 is") as error:
            run(tmp_path, change=lambda module: module.classifier.bias.register_hook(burst))
        assert "demo-0-" in error.value.message
        assert all(verify(checkpoint.folder) is None for checkpoint in checkpoints_in(tmp_path / "checkpoints"))

    def test_a_validation_is_never_the_best(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class PoisonedValidation(PixelBatches):
            def validation(self, rows: RowIds) -> Tensor:
                return super().validation(rows) * float("nan")

        monkeypatch.setattr(batches, "PixelBatches", PoisonedValidation)
        with pytest.raises(FrameVitError, match="the validation loss after step 3 is nan"):
            run(tmp_path)
        assert not checkpoints_in(tmp_path / "checkpoints")


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
        messages = [record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()]
        same = "so that a step still takes 16 pictures"
        assert messages == [
            f"out of memory with batches of 16: trying 2 accumulated batches of 8, {same}",
            f"out of memory with batches of 8: trying 4 accumulated batches of 4, {same}",
        ]
        assert outcome.steps == 2 * 3
        for name, value in small.module.state_dict().items():
            assert torch.equal(value, tight.module.state_dict()[name]), name
        rows = [(tmp_path / name / "history.csv").read_text() for name in ("small", "tight")]
        assert rows[0] == rows[1]

    def test_one_picture_that_does_not_fit_is_an_error_with_a_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(FrameVitError, match="out of memory with batches of 1: ") as error:
            run(tmp_path, change=limited(0))
        assert "gradient_checkpointing" in error.value.hint

    def test_in_the_middle_of_a_run_the_batch_is_not_changed(self, tmp_path: Path) -> None:
        with pytest.raises(FrameVitError, match="out of memory with batches of 16: "):
            run(tmp_path, change=limited(4, after=8))  # passes before the first step: two for memory, two to cut

    def test_a_validation_goes_on_with_fewer_at_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "free").mkdir()
        free, _, _ = run(tmp_path / "free")
        tight, _, _ = run(tmp_path, change=limited(5, "validation"))
        assert "validation ran out of memory with batches of 32: trying 16" in caplog.text
        for name, value in free.module.state_dict().items():
            assert torch.equal(value, tight.module.state_dict()[name]), name


def test_what_is_kept_is_the_average_where_one_is_asked_for(tmp_path: Path) -> None:
    model, prepared, outcome = run(tmp_path, "training.ema=0.5", "training.learning_rate=0.05")
    checkpoint = next(c for c in checkpoints_in(tmp_path / "checkpoints") if c.step == outcome.best_step)
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


def owner_of(seam: Seam) -> Any:
    module, _, name = seam.owner.rpartition(".")
    parent = importlib.import_module(module)
    return getattr(parent, name) if hasattr(parent, name) else importlib.import_module(seam.owner)


def parameters(function: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def sets_field(owner: type, name: str) -> bool:
    """Whether a class declares the name, or one of its own methods sets it on self."""
    declared = hasattr(owner, name) or name in inspect.get_annotations(owner)
    return declared or re.search(rf"self\.{name}\b(: [^=]+)? = ", inspect.getsource(owner)) is not None


class TestSeams:
    """What framevit uses of transformers and accelerate although it may change: each is as it was."""

    @pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: f"{seam.owner.rpartition('.')[2]}.{seam.name}")
    def test_each_is_there_with_its_parameters(self, seam: Seam) -> None:
        owner = owner_of(seam)
        if seam.parameters is None:
            assert hasattr(owner, seam.name) or sets_field(owner, seam.name), f"{seam.owner}.{seam.name} is gone"
            return
        assert hasattr(owner, seam.name), f"{seam.owner}.{seam.name} is gone ({seam.why})"
        assert parameters(getattr(owner, seam.name)) == seam.parameters, f"{seam.owner}.{seam.name} has changed"

    def test_a_seam_that_is_gone_would_be_noticed(self) -> None:
        assert sets_field(Trainer, "_tr_loss")
        assert not sets_field(Trainer, "_tr_losses")
        assert not hasattr(owner_of(Seam("transformers.Trainer", "", None, "")), "_get_gradient_norm")

    def test_everything_overridden_is_in_the_table(self) -> None:
        for ours, theirs in ((FrameTrainer, Trainer), (TrainingCallback, TrainerCallback)):
            overridden = {name for name in vars(ours) if hasattr(theirs, name) and not name.startswith("__")}
            assert overridden <= {seam.name for seam in SEAMS if owner_of(seam) is theirs}

    def test_every_private_name_of_theirs_is_in_the_table(self) -> None:
        """No file of the folder reads or sets an underscored attribute that it does not define itself."""
        for path in Path(trainer.__file__).parent.glob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
            private = {node.attr for node in attributes if re.match("_[a-z]", node.attr)}
            functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            theirs = private & {name for owner in (Trainer, TrainingArguments) for name in own_names(owner)}
            assert theirs - functions <= {seam.name for seam in SEAMS}, path.name

    def test_the_order_in_which_the_trainer_works(self) -> None:
        """The sum of losses is cleared before on_train_begin; a validation comes before the checkpoint of its step."""
        loop = inspect.getsource(Trainer)
        assert 0 < loop.index("self._tr_loss = torch.tensor(0.0") < loop.index("callback_handler.on_train_begin(")
        after_step = inspect.getsource(Trainer._maybe_log_save_evaluate)
        assert 0 < after_step.index("self._evaluate(") < after_step.index("self._determine_best_metric(")
        assert after_step.index("self._determine_best_metric(") < after_step.index("self._save_checkpoint(")
        assert after_step.index("self._save_checkpoint(") < after_step.index("callback_handler.on_save(")


def own_names(owner: type) -> set[str]:
    """The names of a class: its attributes, and what its methods set on self."""
    return {*vars(owner), *re.findall(r"self\.(\w+)\b(?:: [^=]+)? = ", inspect.getsource(owner))}
