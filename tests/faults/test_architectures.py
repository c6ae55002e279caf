"""The table of architectures in `framevit help models`: each `yes` works, each `no` is one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frame_vit.backends.onnxruntime_backend import OnnxRuntime
from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import TrainingConfig
from frame_vit.errors import FrameVitError
from frame_vit.explanation.attention import maps
from frame_vit.export.graph import write_onnx
from frame_vit.model.classifier import Classifier, blocks
from frame_vit.model.positions import resized
from frame_vit.prediction.predictor import Predictor
from frame_vit.training.frozen import cut_model
from frame_vit.training.optimizer import parameter_groups
from tests.faults.architectures import ARCHITECTURES, SIDE, save_base, save_timm
from tests.faults.test_models_from_outside import started_from

HELP = Path(__file__).parents[2] / "frame_vit" / "help" / "models.md"
PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
TIMM = "timm (a ViT)"


def table() -> dict[str, dict[str, str]]:
    """The cells of the table by architecture and column."""
    lines = HELP.read_text(encoding="utf-8").split("| architecture |", 1)[1].splitlines()
    columns = [cell.strip(" `") for cell in lines[0].split("|")[:-1]]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2 : lines.index("")]]
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows}


def is_explained(classifier: Classifier) -> None:
    for values in maps(Predictor(Torch(classifier, "cpu", "fp32")), PIXELS, np.array([0, 1])):
        assert values.shape == (2, 4, 4)
        assert values.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
        assert values.std() > 0


def is_exported(classifier: Classifier, folder: Path) -> None:
    write_onnx(classifier, folder / "model.onnx")
    expected = Torch(classifier, "cpu", "fp32").run(PIXELS).logits
    assert OnnxRuntime(folder / "model.onnx").run(PIXELS).logits == pytest.approx(expected, abs=1e-3)


def is_graded(classifier: Classifier) -> None:
    """Raises `ModelError` where no stack of blocks is found; the wrong list would leave most weights at one rate."""
    path, stack = blocks(classifier.module)
    training = TrainingConfig(learning_rate=1.0, layer_decay=0.5)
    groups = parameter_groups(classifier.module, training, path)
    rates = {group["lr"] for group in groups} - {0.5 ** (len(stack) + 1)}  # PVT v2 has nothing before its stages
    assert rates == {0.5**below for below in range(len(stack) + 1)}
    slower = sum(p.numel() for group in groups for p in group["params"] if group["lr"] < 1)
    assert slower > sum(p.numel() for p in classifier.module.parameters()) / 2


def works(action: Callable[[], object]) -> str:
    try:
        action()
    except FrameVitError as error:
        assert len(error.message) < 200
        return "no"
    return "yes"


def test_the_table_names_every_architecture_that_is_tested() -> None:
    assert {*table()} == {*ARCHITECTURES, TIMM}


@pytest.mark.parametrize("name", [*ARCHITECTURES, TIMM])
def test_every_cell_is_true(tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    classifier = started_from(save_timm(base) if name == TIMM else save_base(name, base))
    assert table()[name] == {
        "model.image_size": works(lambda: resized(classifier.module, 48, "here")),
        "layer_decay": works(lambda: is_graded(classifier)),
        "freeze: N": works(lambda: cut_model(classifier, 1)),
        "freeze: backbone": works(lambda: cut_model(classifier, "backbone")),
        "explain": works(lambda: is_explained(classifier)),
        "export": works(lambda: is_exported(classifier, tmp_path)),
    }
