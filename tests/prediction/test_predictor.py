"""Answers averaged over the symmetries, with logits put back in order; one prediction for each input, in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from frame_vit.backends.torch_backend import Torch
from frame_vit.data import demo
from frame_vit.data.examples import Example, Split
from frame_vit.decision.judged import JudgedPictures
from frame_vit.decision.novelty import NoveltyReference, PictureFlags
from frame_vit.decision.rates import softmax
from frame_vit.decision.thresholds import Claim, OperatingPoint, ThresholdsBasis
from frame_vit.decision.verdicts import Verdict
from frame_vit.errors import ModelError, UsageError
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing, normalise
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.answers import Answers
from frame_vit.prediction.inputs import Input, expand
from frame_vit.prediction.predictor import Prediction, Predictor

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
    with pytest.raises(ModelError, match="numbers that are not finite"):
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


def test_the_views_that_a_picture_took_are_counted_without_the_files_that_could_not_be_read(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = ModelMetadata(SPACE, PIXELS, settling_limit=1.0)
    asked = Predictor(Torch(Classifier(Compass(), metadata), "cpu", "fp32"))
    paths = [pictures / "gone.jpg", *sorted(pictures.iterdir()), pictures / "gone.jpg"]
    with caplog.at_level("INFO", "framevit"):
        rows = list(asked.predict(Input(str(path), path) for path in paths))
    assert [row.status for row in rows].count("error") == 2
    assert "1.00 of 8 views a picture on average" in caplog.text


def test_only_bad_files_are_only_bad_rows(tmp_path: Path) -> None:
    rows = list(predictor().predict(Input(name, tmp_path / name) for name in ("a.jpg", "b.jpg")))
    assert [row.error for row in rows] == ["no such file"] * 2


def judged_row(logits: Sequence[float], flags: PictureFlags | None = None, **metadata: object) -> Prediction:
    """The prediction for one picture with these averaged logits."""
    values: dict[str, object] = {"labels": SPACE, "preprocessing": PIXELS} | metadata
    model = Predictor(Torch(Classifier(Compass(), ModelMetadata(**values)), "cpu", "fp32"), tta=False)  # type: ignore[arg-type]
    answers = Answers(np.array(logits, np.float32)[None, None], None)
    return model.predictions(["a"], model.judge(answers, [flags or {}]))[0]


TWO = LabelSpace.build(["passed", "Xplus"], ["passed"])
POINT = OperatingPoint(0.1, 0.9, Claim(0.01, 0.95, 300, 0, 0.0099, 299))


def test_without_thresholds_the_decision_follows_the_fine_classes() -> None:
    assert judged_row([2, 1, 0, 0, 0]).decision == "accept"
    assert judged_row([1, 2, 0, 0, 0]).decision == "reject"
    undecided = judged_row([1, 2], labels=LabelSpace.build(["a", "b"]))
    assert (undecided.decision, undecided.score, undecided.reason) == (None, None, None)


def test_the_reason_names_the_score_and_the_thresholds() -> None:
    reasons = [judged_row(row, labels=TWO, operating_point=POINT).reason for row in ([9, 0], [0, 0], [0, 9])]
    assert reasons == ["p(bad) 0.0001234 < 0.1", "0.1 <= p(bad) 0.5 < 0.9", "p(bad) 0.9999 >= 0.9"]
    assert judged_row([0, 9], labels=TWO).reason == "no thresholds: Xplus is not a good class"


@pytest.mark.parametrize("logits", [[9, 0], [0, 9]])
def test_a_flag_sends_to_review_whatever_the_class_says_and_gives_the_reason(logits: list[float]) -> None:
    reference = NoveltyReference(50, {}, ("RGB",), "review")
    row = judged_row(logits, {"light": "light 3.0, dark"}, labels=TWO, operating_point=POINT, novelty=reference)
    assert (row.decision, row.flags) == ("review", ("light",))
    assert row.reason == "out of distribution: light 3.0, dark"


def test_where_flags_are_only_noted_the_thresholds_decide() -> None:
    reference = NoveltyReference(50, {}, ("RGB",), "note")
    row = judged_row([0, 9], {"size": "too small"}, labels=TWO, operating_point=POINT, novelty=reference)
    assert (row.decision, row.flags) == ("reject", ("size",))
    assert row.reason == "p(bad) 0.9999 >= 0.9; out of distribution: too small"


def test_probabilities_add_up_and_the_confidence_is_the_largest() -> None:
    row = judged_row([1, 2, 0, -1, 3])
    assert row.probabilities is not None
    assert sum(row.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert row.label == "Yminus"
    assert row.confidence == max(row.probabilities.values()) == row.probabilities["Yminus"]


def test_names_that_are_no_utf8_stay_valid_text() -> None:
    judged = JudgedPictures(np.zeros((1, 5), np.float32), None, None, [{}])
    (row,) = predictor().predictions(["a\udce9.jpg"], judged)
    assert row.file.encode()


def small_split(count: int = 9) -> Split:
    pixels = noise(count)
    examples = [Example(f"{i}.png", i % 5, (), SIDE, SIDE, str(i), bytes) for i in range(count)]
    return Split("test", examples, PixelArray.of(pixels))


def test_a_split_is_judged_once_with_and_without_averaging() -> None:
    """A strong slant to one bad class makes the untouched pictures surely bad; over the four sides it is spread."""
    point = OperatingPoint(0.92, 0.92, POINT.claim)
    model = Classifier(Compass(slant=3), ModelMetadata(SPACE, PIXELS, operating_point=point))
    split, asked = small_split(), Predictor(Torch(model, "cpu", "fp32"), batch_size=4)
    judged = asked.judge_split(split)
    views = asked.logits(noise(9))
    assert np.allclose(judged.logits, views.mean(axis=1), atol=1e-6)
    assert np.allclose(judged.single_logits, views[:, 0], atol=1e-6)
    assert judged.labels.tolist() == split.labels.tolist()
    assert judged.verdicts is not None
    assert judged.single_verdicts is not None
    assert {*judged.verdicts.tolist()} == {Verdict.ACCEPT}
    assert {*judged.single_verdicts.tolist()} == {Verdict.REJECT}
    assert judged.scores is not None
    assert np.allclose(judged.scores, 1 - softmax(judged.logits)[:, 0], atol=1e-6)
    assert judged.light == pytest.approx(127.5, abs=10)


def test_flagged_pictures_of_a_split_go_to_review_with_and_without_averaging() -> None:
    reference = NoveltyReference(9, {"width": (1, SIDE - 1), "height": (1, SIDE)}, ("",))
    model = Classifier(Compass(), ModelMetadata(SPACE, PIXELS, novelty=reference))
    judged = Predictor(Torch(model, "cpu", "fp32")).judge_split(small_split())
    assert judged.flagged.all()
    assert judged.verdicts is not None
    assert judged.single_verdicts is not None
    assert {*judged.verdicts.tolist(), *judged.single_verdicts.tolist()} == {Verdict.REVIEW}


@pytest.mark.parametrize(
    ("action", "verdicts"), [("review", [Verdict.REJECT, Verdict.REVIEW]), ("note", [Verdict.REJECT] * 2)]
)
def test_answers_alone_are_judged_with_the_distance_of_their_embeddings(action: str, verdicts: list[Verdict]) -> None:
    """So backends are compared: what the picture itself says, such as its size, is the same for all of them."""
    embeddings = np.array([[1, 0], [0, 1]], np.float32)
    ranges = {"distance": (0.0, 0.5), "width": (0.0, 1.0)}
    reference = NoveltyReference(1, ranges, ("RGB",), action, embeddings[:1])
    asked = Predictor(Torch(Classifier(Compass(), ModelMetadata(SPACE, PIXELS, novelty=reference)), "cpu", "fp32"))
    logits = np.zeros((2, 1, 5), np.float32)
    logits[:, :, 1] = 9
    judged = asked.verdicts_by_answers(Answers(logits, embeddings))
    assert judged is not None
    assert judged.tolist() == verdicts


@pytest.mark.parametrize("tta", [True, False])
def test_thresholds_that_were_chosen_on_other_views_are_warned_of(tta: bool, caplog: pytest.LogCaptureFixture) -> None:
    views = tuple(view.name for view, _ in SPACE.group())
    point = OperatingPoint(0.1, 0.9, POINT.claim, ThresholdsBasis("val", views=views))
    model = Classifier(Compass(), ModelMetadata(SPACE, PIXELS, operating_point=point))
    with caplog.at_level("WARNING", "framevit"):
        asked = Predictor(Torch(model, "cpu", "fp32"), tta=tta)
    assert asked.as_chosen == tta
    assert ("averaged over other views" in caplog.text) != tta


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
