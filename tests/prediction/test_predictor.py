"""Asking a model: averaged over the group with logits put back, one row an input, in order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from frame_vit.backends.torch_backend import Torch
from frame_vit.data import demo
from frame_vit.decision.rates import softmax
from frame_vit.errors import ModelError, UsageError
from frame_vit.images.preprocessing import Preprocessing, normalise
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.inputs import Input, expand
from frame_vit.prediction.predictor import Predictor, judge

SIDE = 24
PIXELS = Preprocessing(SIDE, SIDE)
QUARTER = {"Xplus": "Yminus", "Yminus": "Xminus", "Xminus": "Yplus", "Yplus": "Xplus"}
SPACE = LabelSpace.build(demo.NAMES, ["passed"], {**demo.SYMMETRIES, "rot90": QUARTER})


class Compass(torch.nn.Module):
    """A classifier that truly looks: how bright the right, left, lower and upper side of the picture are."""

    def __init__(self, slant: float = 0.0) -> None:
        super().__init__()
        self.slant = torch.tensor([0.0, slant, 0.0, 0.0, 0.0])

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        grey, half = pixel_values.mean(dim=1), SIDE // 2
        right, left = grey[:, :, half:].mean(dim=(1, 2)), grey[:, :, :half].mean(dim=(1, 2))
        lower, upper = grey[:, half:].mean(dim=(1, 2)), grey[:, :half].mean(dim=(1, 2))
        logits = torch.stack([torch.zeros_like(right), right - left, left - right, lower - upper, upper - lower], dim=1)
        return SimpleNamespace(logits=logits + self.slant)


def predictor(space: LabelSpace = SPACE, slant: float = 0.0, **options: object) -> Predictor:
    return Predictor(Torch(Classifier(Compass(slant), ModelMetadata(space, PIXELS)), "cpu", "fp32"), **options)  # type: ignore[arg-type]


def noise(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def test_an_equivariant_model_says_the_same_in_every_view() -> None:
    """Were a logit put back to a wrong class, or by the inverse of the right permutation, the views would differ."""
    views = predictor().logits(noise(6))
    assert views.shape == (6, 8, 5)
    assert np.abs(views).max() > 0.005
    assert np.allclose(views, views[:, :1], atol=1e-5)


def test_averaging_takes_a_one_sided_error_out() -> None:
    slanted, straight = predictor(slant=1.0).logits(noise(6)).mean(axis=1), predictor().logits(noise(6)).mean(axis=1)
    assert np.allclose(
        softmax(slanted)[:, 1:], softmax(straight + np.array([0, 0.25, 0.25, 0.25, 0.25]))[:, 1:], atol=1e-5
    )


def test_without_averaging_only_the_untouched_picture_is_asked() -> None:
    pictures = noise(3)
    views = predictor(tta=False, slant=1.0).logits(pictures)
    expected = Compass(1.0)(torch.from_numpy(normalise(pictures, PIXELS))).logits
    assert views.shape == (3, 1, 5)
    assert np.allclose(views[:, 0], expected.numpy(), atol=1e-5)


def test_answers_that_are_no_numbers_are_never_a_decision() -> None:
    with pytest.raises(ModelError, match="numbers that are none"):
        predictor(slant=float("nan")).logits(noise(2))


def test_rows_come_in_order_one_an_input_and_a_bad_file_is_a_row(pictures: Path) -> None:
    good = sorted(pictures.iterdir())
    (pictures / "text.jpg").write_text("<html>")
    (pictures / "empty.jpg").touch()
    paths = [good[0], pictures / "text.jpg", good[1], pictures / "gone.jpg", pictures / "empty.jpg", *good * 3]
    rows = list(predictor(batch_size=4).predict(Input(str(path), path) for path in paths))
    assert [row.file for row in rows] == [str(path) for path in paths]
    assert [row.status for row in rows] == ["ok", "error", "ok", "error", "error"] + ["ok"] * 15
    assert all(row.label is None and row.error for row in rows if row.status == "error")
    assert rows[0] == rows[5]


def test_only_bad_files_are_only_bad_rows(tmp_path: Path) -> None:
    rows = list(predictor().predict(Input(name, tmp_path / name) for name in ("a.jpg", "b.jpg")))
    assert [row.error for row in rows] == ["no such file"] * 2


def test_the_decision_follows_the_fine_classes() -> None:
    assert judge("a", np.array([2, 1, 0, 0, 0], np.float32), SPACE).decision == "accept"
    assert judge("a", np.array([1, 2, 0, 0, 0], np.float32), SPACE).decision == "reject"
    assert judge("a", np.array([1, 2], np.float32), LabelSpace.build(["a", "b"])).decision is None


def test_probabilities_add_up_and_the_confidence_is_the_largest() -> None:
    row = judge("a", np.array([1, 2, 0, -1, 3], np.float32), SPACE)
    assert row.probabilities is not None
    assert sum(row.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert row.label == "Yminus"
    assert row.confidence == max(row.probabilities.values()) == row.probabilities["Yminus"]


def test_names_that_are_no_utf8_stay_valid_text() -> None:
    assert judge("a\udce9.jpg", np.zeros(5, np.float32), SPACE).file.encode()


def test_quarter_turns_of_oblong_pictures_are_refused() -> None:
    with pytest.raises(ModelError, match="not square"):
        Predictor(Torch(Classifier(Compass(), ModelMetadata(SPACE, Preprocessing(24, 32))), "cpu"))


def test_folders_and_globs_are_expanded_in_order(pictures: Path) -> None:
    (pictures / "note.txt").write_text("x")
    names = sorted(path.name for path in pictures.glob("*.jpg"))
    assert [Path(given.name).name for given in expand([str(pictures)])] == names
    assert [Path(given.name).name for given in expand([str(pictures / "X*.jpg"), str(pictures / "gone.png")])] == [
        "Xminus.jpg",
        "Xplus.jpg",
        "gone.png",
    ]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "part[1].jpg").touch()
    assert [given.source for given in expand([str(tmp_path / "part[1].jpg")])] == [tmp_path / "part[1].jpg"]


@pytest.mark.parametrize("given", ["empty", "empty/*.jpg"])
def test_nothing_to_predict_is_said(tmp_path: Path, given: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        expand([str(tmp_path / given)])
