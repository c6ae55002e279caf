"""Frozen blocks computed once: the model is cut at the right place, and the training differs in nothing but time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import transformers

from frame_vit.backends.torch_backend import Torch
from frame_vit.errors import ModelError, UsageError
from frame_vit.evaluation.metrics import score
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier, blocks, head_parameters
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.history import read_history
from frame_vit.training.batches import FeatureBatches, PixelBatches
from frame_vit.training.frozen import FrozenFeatures, cut_model
from frame_vit.training.loop import train
from frame_vit.training.transforms import augmentation
from tests.small import begin, tiny

CPU = torch.device("cpu")
THREE = "model.scratch={image_size: 32, patch_size: 16, hidden_size: 16, layers: 3, heads: 2}"
STILL = ["augment.brightness=0", "augment.contrast=0"]

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 3,
}
MODELS: dict[str, Callable[[], Any]] = {
    "ViT": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES)),
    "DeiT": lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**SIZES)),
    "BEiT": lambda: transformers.BeitForImageClassification(transformers.BeitConfig(**SIZES)),
    "DINOv2": lambda: transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**SIZES)),
    "ConvNeXt": lambda: transformers.ConvNextForImageClassification(
        transformers.ConvNextConfig(hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], num_labels=3)
    ),
    "ResNet": lambda: transformers.ResNetForImageClassification(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], num_labels=3)
    ),
}


def classifier(kind: str) -> Classifier:
    torch.manual_seed(0)
    return Classifier(MODELS[kind](), ModelMetadata(LabelSpace.build(["a", "b", "c"]), Preprocessing(32, 32)))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("freeze", [1, 2, "backbone"])
def test_the_parts_give_the_logits_of_the_whole_and_only_the_tail_is_trained(kind: str, freeze: int | str) -> None:
    model = classifier(kind)
    if (kind, freeze) == ("ResNet", 2):
        with pytest.raises(UsageError, match="2 of 2 blocks"):
            cut_model(model, freeze)
        return
    parts = cut_model(model, freeze)
    pictures = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        expected = model.module(pixel_values=pictures).logits
        assert torch.allclose(parts.tail(pixel_values=parts.front(pictures))["logits"], expected, atol=1e-5)
    trained = {id(parameter) for parameter in parts.tail.parameters()}
    names = {name for name, parameter in model.module.named_parameters() if id(parameter) in trained}
    assert len(names) == len(trained), "the parts share the weights of the whole"
    if freeze == "backbone":
        assert names == set(head_parameters(model.module))
    elif kind == "ViT":
        path, _ = blocks(model.module)
        gone = ("vit.embeddings", *(f"{path}.{i}." for i in range(int(freeze))))
        assert names == {name for name, _ in model.module.named_parameters() if not name.startswith(gone)}


def test_a_model_that_cannot_be_cut_is_refused_and_not_cut_wrongly() -> None:
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[1, 1, 1], num_heads=[2, 2, 2], window_size=4, num_labels=3
    )
    swin = Classifier(
        transformers.SwinForImageClassification(config),
        ModelMetadata(LabelSpace.build(["a", "b", "c"]), Preprocessing(32, 32)),
    )
    with pytest.raises(ModelError, match="cannot be cut there"):
        cut_model(swin, 1)
    with pytest.raises(UsageError, match="7 of 3 blocks"):
        cut_model(swin, 7)


@pytest.mark.parametrize("freeze", [2, "backbone"])
def test_batches_hold_the_activations_of_the_augmented_pictures(tmp_path: Path, freeze: int | str) -> None:
    """Same rows, same step: the draws that move pixels and labels are those that choose view and label."""
    config = tiny(tmp_path, THREE, *STILL)
    model, prepared = begin(config)
    train_split, val = prepared.splits["train"], prepared.splits["val"]
    augment = augmentation(config, model.labels, model.preprocessing)
    parts = cut_model(model, freeze)
    frozen = FrozenFeatures(parts, model.preprocessing, CPU, "fp32", tmp_path / "cache")
    features = frozen.features(train_split, augment.views), frozen.features(val, augment.views[:1])
    batches, pixels = (
        FeatureBatches(train_split, *features, augment, CPU),
        PixelBatches(train_split, val, augment, model.preprocessing, CPU),
    )
    rows, views = np.arange(len(train_split))[::-3].copy(), set()
    for step in range(6):
        activations, labels = batches.training(rows, step)
        pictures, expected = pixels.training(rows, step)
        assert torch.equal(labels, expected)
        with torch.no_grad():
            assert torch.allclose(activations, parts.front(pictures), atol=5e-3), "but for half precision"
        views |= set(augment.draw(torch.from_numpy(rows), step, 1).view.tolist())
    assert views == {0, 1, 2, 3}
    last = np.array([len(val) - 1, 0])
    with torch.no_grad():
        assert torch.allclose(batches.validation(last), parts.front(pixels.validation(last)), atol=5e-3)


def features_of(tmp_path: Path, *settings: str, change: Callable[[Any], None] | None = None) -> tuple[bytes, list[str]]:
    """The activations of frozen blocks, and the notes of the progress while they were computed."""
    config = tiny(tmp_path, THREE, *settings)
    model, prepared = begin(config)
    if change:
        change(model.module)
    frozen = FrozenFeatures(cut_model(model, 2), model.preprocessing, CPU, "fp32", tmp_path / "cache")
    ticks: list[str] = []
    found = frozen.features(
        prepared.splits["val"],
        augmentation(config, model.labels, model.preprocessing).views,
        lambda stage, done, total, note: ticks.append(note),
    )
    return found.tobytes(), ticks


def test_they_are_computed_once_and_again_when_anything_changes(tmp_path: Path) -> None:
    first, ticks = features_of(tmp_path)
    assert [tick.split(",")[0].removeprefix("view ") for tick in ticks] == ["identity", "hflip", "vflip", "rot180"]
    assert features_of(tmp_path) == (first, [])

    def weights(module: Any) -> None:
        with torch.no_grad():
            next(module.parameters()).mul_(2)

    def heads(module: Any) -> None:
        module.config.hidden_act = "relu"

    for settings, change in (
        (["data.demo.seed=3"], None),
        (["augment.hflip=false"], None),
        ([], weights),
        ([], heads),
    ):
        assert features_of(tmp_path, *settings, change=change)[1] != [], (settings, change)
    assert features_of(tmp_path) == (first, [])


def test_damaged_activations_are_computed_anew(tmp_path: Path) -> None:
    first, _ = features_of(tmp_path)
    (file,) = (tmp_path / "cache").rglob("features.f16")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    again, ticks = features_of(tmp_path)
    assert again == first
    assert ticks


def test_activations_too_large_for_half_precision_are_refused(tmp_path: Path) -> None:
    def loud(module: Any) -> None:
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if "layers.1." in name or "layer.1." in name:
                    parameter.fill_(1e5)

    with pytest.raises(ModelError, match="too large for half precision"):
        features_of(tmp_path, change=loud)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
@pytest.mark.parametrize("freeze", ["2", "backbone"])
def test_only_what_is_above_the_border_is_trained_and_the_whole_model_has_it(tmp_path: Path, freeze: str) -> None:
    config = tiny(tmp_path, THREE, *STILL, f"training.freeze={freeze}", "training.learning_rate=0.02")
    model, prepared = begin(config)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    trained = {id(parameter) for parameter in cut_model(model, config.training.freeze).tail.parameters()}
    outcome = train(model, prepared.splits, config, tmp_path)
    for name, parameter in model.module.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) not in trained), name
    val = prepared.splits["val"]
    logits = Predictor(Torch(model, "cpu", "fp32"), tta=False).answer_all(val.pixels).single
    assert score(val.labels, logits, prepared.labels).macro_f1 == pytest.approx(outcome.best_macro_f1)
    rows = {row["step"]: row for row in read_history(tmp_path / "history.csv") if "val_loss" in row}
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(val.labels)).item()
    assert loss == pytest.approx(rows[outcome.best_step]["val_loss"], abs=2e-3)


def test_a_frozen_training_is_the_training_of_the_same_parameters_in_the_whole_model(tmp_path: Path) -> None:
    """A plain loop over the whole model, with pixels augmented again at each step, comes to the same weights."""
    config = tiny(tmp_path, THREE, *STILL)
    model, prepared = begin(config)
    other, _ = begin(config)
    split, val = prepared.splits["train"], prepared.splits["val"]
    augment = augmentation(config, model.labels, model.preprocessing)
    parts = cut_model(model, 2)
    frozen = FrozenFeatures(parts, model.preprocessing, CPU, "fp32", tmp_path / "cache")
    batches = FeatureBatches(
        split, frozen.features(split, augment.views), frozen.features(val, augment.views[:1]), augment, CPU
    )
    pixels = PixelBatches(split, val, augment, other.preprocessing, CPU)
    theirs = list(cut_model(other, 2).tail.parameters())
    loops = (
        (torch.optim.SGD(parts.tail.parameters(), 0.1), batches, lambda x: parts.tail(pixel_values=x)["logits"]),
        (torch.optim.SGD(theirs, 0.1), pixels, lambda x: other.module(pixel_values=x).logits),
    )
    for optimizer, source, answer in loops:
        for step in range(10):
            values, labels = source.training(np.arange(step, step + 12), step)
            optimizer.zero_grad()
            F.cross_entropy(answer(values), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for mine, their in zip(parts.tail.parameters(), theirs, strict=True):
        assert torch.allclose(mine, their, atol=5e-4)
    still, _ = begin(config)
    moved = [(a - b).detach().abs().max() for a, b in zip(cut_model(still, 2).tail.parameters(), theirs, strict=True)]
    assert max(float(m) for m in moved) > 0.02
