"""Results as files: pictures that open, a card that says what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from frame_vit.data import demo
from frame_vit.data.examples import Example, Split
from frame_vit.evaluation.metrics import evaluation_metrics
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.report.figures import draw_confusion, draw_curves, draw_samples
from frame_vit.report.model_card import model_card

ODD = LabelSpace.build(["$ok$", "=2+3", "[red]</script>"], ["$ok$"])


def metrics() -> dict[str, object]:
    views = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]][:, None]
    return evaluation_metrics("test", np.array([0, 1, 2, 0]), views, ODD, ["identity"])


def test_pictures_are_drawn_whatever_the_names(tmp_path: Path) -> None:
    draw_confusion(tmp_path / "confusion.png", metrics())
    draw_curves(tmp_path / "curves.png", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "val_macro_f1": 0.5}], 2)
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_samples_show_a_picture_of_every_class_with_its_boxes(tmp_path: Path) -> None:
    space = LabelSpace.build(demo.NAMES)
    frames = demo.frames(10, 1)
    examples = [
        Example(str(i), space.id(f.label), (f.box,), demo.WIDTH, demo.HEIGHT, "", lambda f=f: demo.jpeg(f))  # type: ignore[misc]
        for i, f in enumerate(frames[:9])
        if f.label != "Yplus"
    ]
    draw_samples(
        tmp_path / "samples.png",
        Split("train", examples, PixelArray.of(np.zeros((len(examples), 1, 1, 3), np.uint8))),
        space,
        Preprocessing(8, 8, roi=(0.1, 0.1, 0.9, 0.9)),
    )
    pixels = np.asarray(Image.open(tmp_path / "samples.png").convert("RGB")).astype(int)
    green = (pixels[:, :, 1] > 180) & (pixels[:, :, 0] < 60) & (pixels[:, :, 2] < 120)
    fifth = pixels.shape[1] // 5
    assert [bool(green[:, i * fifth : (i + 1) * fifth].any()) for i in range(5)] == [True, True, True, False, True]
    amber = (pixels[:, :, 0] > 240) & (abs(pixels[:, :, 1] - 171) < 20) & (pixels[:, :, 2] < 40)
    assert [bool(amber[:, i * fifth : (i + 1) * fifth].any()) for i in range(5)] == [True, True, True, False, True]


def test_the_card_says_what_was_measured() -> None:
    card = model_card(ODD, Preprocessing(8, 8), "scratch", metrics())
    assert "region" not in card
    assert "the region [0.2, 0.0, 0.8, 1.0]" in model_card(
        ODD, Preprocessing(8, 8, roi=(0.2, 0.0, 0.8, 1.0)), "x", metrics()
    )
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "On 4 pictures of the test split: accuracy 0.7500" in card
