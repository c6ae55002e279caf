"""`framevit verify`: pictures by their sha256, and answers by predicting again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from frame_vit.backends.onnxruntime_backend import OnnxRuntime
from frame_vit.errors import UsageError
from frame_vit.line.verify import find_picture, recorded_options, verify
from frame_vit.prediction.inputs import expand
from frame_vit.prediction.load import PredictorOptions, load_predictor
from frame_vit.prediction.output import Output
from frame_vit.prediction.predict import predict_to
from frame_vit.prediction.predictor import Predictor
from tests.line.chains import Row, predictor, rewritten, write_chain


@pytest.fixture
def rows(exported: Path, pictures: Path, tmp_path: Path) -> Path:
    write_chain(predictor(exported), pictures, tmp_path / "rows.jsonl")
    return tmp_path / "rows.jsonl"


def test_untouched_rows_pictures_and_model_have_no_problem(exported: Path, rows: Path, pictures: Path) -> None:
    alone, compared = verify(rows), verify(rows, pictures)
    again = verify(rows, pictures, predictor(exported))
    assert alone.problems == compared.problems == again.problems == []
    assert [(v.pictures, v.predicted) for v in (alone, compared, again)] == [(None, None), (5, None), (5, 5)]
    assert again.to_json()["problems_by_kind"] == {}


@pytest.mark.parametrize("with_model", [False, True])
def test_a_picture_that_was_swapped_or_is_gone_is_named(
    exported: Path, rows: Path, pictures: Path, tmp_path: Path, with_model: bool
) -> None:
    archive = tmp_path / "archive" / pictures.name
    shutil.copytree(pictures, archive)
    shutil.copy(archive / "Xplus.jpg", archive / "passed.jpg")
    (archive / "Yplus.jpg").unlink()
    verified = verify(rows, tmp_path / "archive", predictor(exported) if with_model else None)
    found = verified.problems
    assert (verified.pictures, verified.predicted) == (4, 4 if with_model else None), "of those that are there"
    assert sorted((Path(p.file or "").stem, p.kind) for p in found) == [("Yplus", "missing"), ("passed", "picture")]


def test_an_answer_that_the_model_does_not_give_is_named(exported: Path, rows: Path, pictures: Path) -> None:
    def forged(rows: list[Row]) -> None:
        row = next(row for row in rows if row["file"].endswith("Xplus.jpg"))
        others = dict.fromkeys(row["probabilities"], 0.0)
        row |= {"label": "passed", "confidence": 1.0, "probabilities": others | {"passed": 1.0}, "score": 0.0}
        row |= {"decision": "accept", "flags": []}

    rewritten(rows, forged)
    found = verify(rows, pictures, predictor(exported)).problems
    assert [(Path(p.file or "").stem, p.kind) for p in found if p.kind != "chain"] == [("Xplus", "answer")]
    assert "it was passed, accept" in next(p.message for p in found if p.kind == "answer")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda row: row.update(decision="accept", score=0.0), "answer"),
        (lambda row: row.update(flags=[*row["flags"], "light"]), "answer"),
        (lambda row: row["record"].update(novelty="off"), "model"),
        (lambda row: row["record"].update(thresholds={"accept_below": 1.0, "reject_from": 1.0}), "model"),
    ],
)
def test_a_forged_score_or_limit_beside_true_probabilities_is_named(
    exported: Path, rows: Path, pictures: Path, change: Callable[[Row], None], kind: str
) -> None:
    rewritten(rows, lambda found: change(next(row for row in found if row["file"].endswith("Xplus.jpg"))))
    found = verify(rows, pictures, predictor(exported)).problems
    assert ("Xplus", kind) in [(Path(p.file or "").stem, p.kind) for p in found]


def test_what_the_challenge_sent_to_review_is_no_other_answer(exported: Path, rows: Path, pictures: Path) -> None:
    def overdue(found: list[Row]) -> None:
        for row in found:
            row["record"]["challenge"] = {"state": "overdue"}
            row["decision"] = "review" if row["decision"] == "accept" else row["decision"]

    rewritten(rows, overdue)
    again = load_predictor(str(exported / "runs/tiny-001"), PredictorOptions("torch", precision="fp32"), 1)
    for model in (predictor(exported), again):
        kinds = {problem.kind for problem in verify(rows, pictures, model).problems}
        assert not kinds & {"answer", "decision"}


def test_rows_of_other_thresholds_are_rows_of_another_model(exported: Path, rows: Path, pictures: Path) -> None:
    model = predictor(exported)
    assert isinstance(model.backend, OnnxRuntime)
    point = model.metadata.operating_point
    assert point is not None
    moved = replace(point, accept_below=point.accept_below / 2)
    model.backend.metadata = replace(model.metadata, operating_point=moved)
    found = verify(rows, pictures, Predictor(model.backend, place=model.place)).problems
    assert {(p.kind, "settings" in p.message) for p in found if p.kind == "model"} == {("model", True)}


def test_rows_without_records_are_refused(exported: Path, pictures: Path, tmp_path: Path) -> None:
    plain = Output(tmp_path / "plain.jsonl", "jsonl")
    predict_to(predictor(exported), expand([str(pictures)]), plain)
    with pytest.raises(UsageError, match="no row with a record"):
        verify(tmp_path / "plain.jsonl")


def test_it_is_predicted_again_as_it_was_predicted(rows: Path) -> None:
    options = recorded_options(rows)
    assert (options.backend, options.precision, options.tta) == ("onnxruntime", "fp32", True)


def test_a_picture_is_found_under_as_much_of_its_name_as_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    for place in ("7/1.jpg", "2.jpg"):
        (tmp_path / place).touch()
    assert find_picture("camera/7/1.jpg", tmp_path) == tmp_path / "7/1.jpg"
    assert find_picture("/camera/7/2.jpg", tmp_path) == tmp_path / "2.jpg"
    assert find_picture("camera\\7\\1.jpg", tmp_path) == tmp_path / "7/1.jpg"
    assert not find_picture("../../3.jpg", tmp_path).is_file()
    assert find_picture("camera/7/1.jpg", None) == Path("camera/7/1.jpg")
