"""Maps as pictures: one file a picture under a name of its own, over the part of the picture that the model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.errors import UsageError
from frame_vit.explanation.attention import PictureMaps
from frame_vit.explanation.drawing import Explainer, _file_name, _seen_area, panels
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.predictor import Prediction
from tests.explanation.frames import PLAIN, predictor

EVEN = PictureMaps(np.full((4, 4), 1 / 16, np.float32), np.full((4, 4), 1 / 16, np.float32))


def png(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_every_row_is_passed_on_and_those_with_a_picture_are_drawn(tmp_path: Path) -> None:
    model = predictor(PLAIN)
    inputs = [Input(name, png(tmp_path / name)) for name in ("a.png", "b.png")] + [
        Input("gone.png", tmp_path / "gone.png")
    ]
    explainer = Explainer(model, tmp_path / "maps")
    rows = list(model.predict(inputs))
    assert list(explainer.each(rows, inputs)) == rows
    assert [path.name[:2] for path in sorted((tmp_path / "maps").iterdir())] == ["a-", "b-"]
    assert explainer.draw(rows[2], inputs[2]) is None, "an error has no map"
    (tmp_path / "a.png").unlink()
    assert explainer.draw(rows[0], inputs[0]) is None, "removed since it was predicted"


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make the folder"):
        Explainer(predictor(PLAIN), tmp_path / "file" / "maps")


def test_the_panels_say_what_they_show() -> None:
    image = Image.new("RGB", (64, 48))
    row = Prediction("pic$.png", "Xplus", 0.5, {}, "reject")
    figure = panels(predictor(PLAIN), image, EVEN, row, (8.0, 8.0, 24.0, 24.0))
    title = figure.get_suptitle()
    assert "Xplus 0.500, reject" in title
    assert "maps of 4 x 4 cells, each 8 x 8 pixels of the 32 x 32 that the model sees" in title
    assert "answered by torch in fp32" in title
    picture, rollout, relevance = figure.axes[:3]
    assert [len(axes.images) for axes in (picture, rollout, relevance)] == [1, 2, 2], "a map lies over the picture"
    assert all(len(axes.patches) == 1 for axes in (picture, rollout, relevance)), "with the box"
    assert relevance.get_title() == "relevance: what matters for Xplus"


def test_the_map_covers_what_the_model_sees() -> None:
    assert _seen_area((100, 80), Preprocessing(32, 32)) == pytest.approx((0, 0, 100, 80))
    half = Preprocessing(32, 32, roi=(0.5, 0.0, 1.0, 1.0))
    assert _seen_area((100, 80), half) == pytest.approx((50, 0, 100, 80))
    cut = Preprocessing(32, 32, resize=(64, 64))
    assert _seen_area((128, 128), cut) == pytest.approx((32, 32, 96, 96))


def test_pictures_of_the_same_name_have_files_of_their_own() -> None:
    one, other = _file_name("a/part 1.png"), _file_name("b/part 1.png")
    assert one != other
    assert one.startswith("part-1-")
    assert other.startswith("part-1-")
    assert _file_name("a/part 1.png") == one
    assert _file_name("-..png").startswith("picture-")
    assert len(_file_name("x" * 300 + ".png")) < 100
