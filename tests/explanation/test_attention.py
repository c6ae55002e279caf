"""Maps of what a model looks at: laid back with its views, measured against boxes, and able to expose a cheat."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from transformers import ConvNextConfig, ConvNextForImageClassification, ViTConfig, ViTForImageClassification

from frame_vit.backends.torch_backend import Torch
from frame_vit.data.examples import Example, Split
from frame_vit.errors import ModelError, UsageError
from frame_vit.explanation.attention import cover, maps
from frame_vit.explanation.inside_boxes import Looked, look
from frame_vit.images.geometry import Box
from frame_vit.images.pixel_array import PixelArray, UInt8
from frame_vit.images.preprocessing import Preprocessing, laid, normalise, placed
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Predictor
from tests.conftest import run_many

SIDE, CELL = 32, 8
NAMES = ["passed", "Xplus", "Xminus"]
SPACE = LabelSpace.build(NAMES, ["passed"], {"hflip": {"Xplus": "Xminus", "Xminus": "Xplus"}})
PLAIN = LabelSpace.build(NAMES, ["passed"])


def predictor(space: LabelSpace, **options: Any) -> Predictor:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = ViTConfig(**sizes, intermediate_size=64, image_size=SIDE, patch_size=CELL, num_labels=3)
    classifier = Classifier(ViTForImageClassification(config), ModelMetadata(space, Preprocessing(SIDE, SIDE)))
    return Predictor(Torch(classifier, "cpu", "fp32"), **options)


def noise(count: int) -> UInt8:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def test_a_map_is_shares_of_the_whole_and_leaves_the_model_as_it_was() -> None:
    asked = predictor(PLAIN)
    before = asked.logits(noise(3))
    found = maps(asked, noise(3), np.array([0, 1, 2]))
    for values in found:
        assert values.shape == (3, 4, 4)
        assert values.min() >= 0
        assert values.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
    assert np.abs(found.rollout - found.relevance).max() > 1e-3
    assert np.array_equal(asked.logits(noise(3)), before)


def test_the_map_speaks_of_the_class_that_is_asked_for() -> None:
    one, other = (maps(predictor(PLAIN), noise(1), np.array([c])) for c in (0, 1))
    assert np.array_equal(one.rollout, other.rollout)
    assert np.abs(one.relevance - other.relevance).max() > 1e-3


def test_the_map_of_a_mirrored_picture_for_the_mirrored_class_is_the_mirrored_map() -> None:
    """Were a view not laid back, or the class not moved along, the two would differ."""
    asked = predictor(SPACE)
    straight = maps(asked, noise(2), np.array([1, 0]))
    mirrored = maps(asked, noise(2)[:, :, ::-1], np.array([2, 0]))
    for one, other in zip(straight, mirrored, strict=True):
        assert one == pytest.approx(other[:, :, ::-1], abs=1e-6)
    alone = maps(predictor(SPACE, tta=False), noise(2), np.array([1, 0]))
    assert np.abs(alone.relevance - straight.relevance).max() > 1e-4


def test_a_model_without_a_class_token_is_refused() -> None:
    module = ConvNextForImageClassification(
        ConvNextConfig(num_stages=2, hidden_sizes=[8, 8], depths=[1, 1], num_labels=3)
    )
    asked = Predictor(Torch(Classifier(module, ModelMetadata(PLAIN, Preprocessing(SIDE, SIDE))), "cpu", "fp32"))
    with pytest.raises(ModelError, match=r"ConvNext"):
        maps(asked, noise(1), np.array([0]))


corners = st.tuples(*[st.floats(-5, 70, width=32)] * 4)


@given(corners, st.sampled_from([(4, 4), (2, 8), (7, 3)]))
def test_the_cover_of_all_cells_is_the_area_of_the_box(found: tuple[float, ...], grid: tuple[int, int]) -> None:
    (x1, x2), (y1, y2) = sorted(found[:2]), sorted(found[2:])
    covered = cover((x1, y1, x2, y2), (64, 64), Preprocessing(SIDE, SIDE), grid)
    inside = [max(0.0, min(64, b) - max(0, a)) for a, b in ((x1, x2), (y1, y2))]
    assert covered.mean() == pytest.approx(inside[0] * inside[1] / 64**2, abs=1e-5)
    assert covered.max() <= 1 + 1e-6


def test_a_box_is_placed_through_region_and_cut() -> None:
    assert placed((10, 20, 30, 40), (100, 80), Preprocessing(40, 50)) == (5, 10, 15, 20)
    region = Preprocessing(40, 40, roi=(0.5, 0.0, 1.0, 1.0))
    assert placed((60, 20, 90, 40), (100, 80), region) == (8, 10, 32, 20)
    cut = Preprocessing(32, 32, resize=(40, 40))
    assert placed((0, 0, 100, 80), (100, 80), cut) == (-4, -4, 36, 36)


def drawn(count: int, marked: bool, seed: int) -> tuple[UInt8, NDArray[np.int64], list[Box]]:
    """A part whose colour says the class; or, `marked`, one that says nothing, and a mark in the corner that does."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = random.integers(0, 3, count)
    boxes = []
    for picture, label in zip(pixels, labels, strict=True):
        x, y = (int(v) for v in random.integers(1, 3, 2) * CELL)
        shades = [(250, 60, 60), (60, 250, 60), (60, 60, 250)]
        picture[y : y + CELL, x : x + CELL] = shades[int(random.integers(3)) if marked else label]
        boxes.append((float(x), float(y), float(x + CELL), float(y + CELL)))
        if marked:
            picture[:4, -4:] = shades[label]
    return pixels, labels.astype(np.int64), boxes


def split(pixels: UInt8, labels: NDArray[np.int64], boxes: list[Box]) -> Split:
    examples = [
        Example(f"row {i}", int(label), (box,), SIDE, SIDE, "", lambda: b"")
        for i, (label, box) in enumerate(zip(labels, boxes, strict=True))
    ]
    return Split("test", examples, PixelArray.of(pixels))


def learned(marked: bool) -> Looked:
    """Where a model looks that was trained on such pictures until it is right."""
    asked = predictor(PLAIN)
    pixels, labels, _ = drawn(128, marked, 1)
    module: Any = asked.backend.module  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    batch, truth = torch.from_numpy(normalise(pixels, asked.preprocessing)), torch.from_numpy(labels)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(module(pixel_values=batch).logits, truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return look(asked, split(*drawn(64, marked, 2)), 64)


def test_a_model_that_looks_at_the_part_is_told_from_one_that_looks_at_a_mark_in_the_corner() -> None:
    """Both are right; only where they look tells them apart."""
    honest, cheating = learned(marked=False), learned(marked=True)
    here, there = honest.facts["all"], cheating.facts["all"]
    assert here["right"] >= 60
    assert there["right"] >= 60
    assert here["lift"] > 4 * max(there["lift"], 1)
    assert here["right_but_elsewhere"] <= 3
    assert there["right_but_elsewhere"] >= 45
    assert here["right_though_hidden"] <= 25, "one class of three stays: what it calls a picture without a part"
    assert there["right_though_hidden"] == there["right"]
    corner = [row["peak"] for row in cheating.facts["elsewhere"]].count([0.875, 0.125])
    assert corner > 0.8 * len(cheating.facts["elsewhere"]), "the mark is found"


def test_without_boxes_nothing_can_be_said() -> None:
    pixels, labels, boxes = drawn(3, False, 0)
    bare = split(pixels, labels, boxes)
    bare = replace(bare, examples=[replace(example, boxes=()) for example in bare.examples])
    with pytest.raises(UsageError, match="has a box"):
        look(predictor(PLAIN), bare, 10)


def test_the_commands_draw_what_they_say(trained: Path, tmp_path: Path, pictures: Path) -> None:
    for name in ("Xminus", "Yminus", "Yplus", "passed"):
        (pictures / f"{name}.jpg").unlink()
    (pictures / "bad.jpg").write_text("no")
    (pictures / "note 1.png").write_bytes((pictures / "Xplus.jpg").read_bytes())
    rows, drawn_, measured, refused = run_many(
        trained,
        [
            ["predict", pictures, "--explain", tmp_path / "maps", "--format", "jsonl", "-o", tmp_path / "rows.jsonl"],
            ["explain", pictures / "Xplus.jpg", "-o", tmp_path / "explained"],
            ["explain", "--split", "test", "--limit", "6", "-o", tmp_path / "report"],
            ["predict", pictures, "--explain", tmp_path / "x", "--backend", "onnxruntime"],
        ],
    )
    assert (rows.returncode, drawn_.returncode, measured.returncode, refused.returncode) == (3, 0, 0, 2), rows.stderr
    stems = [path.name[:-21] for path in sorted((tmp_path / "maps").iterdir())]
    assert stems == ["Xplus", "note-1"]
    with Image.open(next((tmp_path / "explained").glob("Xplus-*.png"))) as shown:
        assert shown.width > 1000
        assert np.asarray(shown.convert("RGB")).std() > 20
    facts = json.loads((tmp_path / "report" / "attention.json").read_text())
    assert facts["all"]["n"] == 6
    assert facts["grid"] == [2, 2]
    assert "maps of 2 x 2 cells, each 16 x 16 pixels" in measured.stdout
    page = (tmp_path / "report" / "explanation.html").read_text()
    assert "A map has 2 x 2 cells" in page
    assert "<script" not in page
    assert "needs the weights" in refused.stderr


def test_a_map_is_laid_back_by_every_view() -> None:
    """`laid` then `_laid_back` is nothing, for all eight views."""
    from frame_vit.explanation.attention import _laid_back

    quarter = {"passed": "passed"}
    space = LabelSpace.build(NAMES, [], {"hflip": {}, "rot90": quarter})
    values = np.random.default_rng(0).random((2, 4, 4)).astype(np.float32)
    seen = []
    for view, _ in space.group():
        moved = laid(values[..., None], view)[..., 0]  # type: ignore[arg-type]
        seen.append(moved.tobytes())
        assert np.array_equal(_laid_back(moved, view), values)  # type: ignore[arg-type]
    assert len(set(seen)) == 8
