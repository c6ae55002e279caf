"""Figures as files: pictures that open and show what they should, whatever the names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from frame_vit.data import demo
from frame_vit.data.examples import Example, Split
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.report.figures import draw_confusion, draw_curves, draw_samples, math_safe

HOSTILE = ("$ok$", "=2+3", "[red]</script>")


def test_figures_are_drawn_whatever_the_names(tmp_path: Path) -> None:
    draw_confusion(tmp_path / "confusion.png", [[1, 1, 0], [0, 1, 0], [0, 0, 1]], HOSTILE, "$test$")
    draw_curves(tmp_path / "curves.png", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "val_macro_f1": 0.5}], 2)
    assert {path.name for path in tmp_path.iterdir()} == {"confusion.png", "curves.png"}, "nothing half written is left"
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_mistakes_are_red_and_right_answers_are_not(tmp_path: Path) -> None:
    def red(counts: list[list[int]]) -> bool:
        draw_confusion(tmp_path / "matrix.png", counts, ("a", "b"), "")
        with Image.open(tmp_path / "matrix.png") as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        return bool(((pixels[:, :, 0] > 150) & (pixels[:, :, 1] < 40) & (pixels[:, :, 2] < 60)).any())

    assert red([[9, 1], [0, 10]])
    assert not red([[10, 0], [0, 10]])


def test_a_dollar_sign_starts_no_formula() -> None:
    assert math_safe("$x_1$") == r"\$x_1\$"


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
