"""What the tables print, from typed values: every figure where it belongs, and names only ever as text."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from frame_vit.audit.audit import Audit
from frame_vit.backends.export_record import Difference, FileRecord
from frame_vit.cli import tables
from frame_vit.decision.rates import UNDEFINED, Rate
from frame_vit.decision.verdicts import Verdict
from frame_vit.evaluation.compare import ChangedDecision, ComparedRate, Comparison, compare_judged
from frame_vit.evaluation.metrics import AugmentationMetrics, Metrics
from frame_vit.explanation.attention import Maps
from frame_vit.explanation.inside_boxes import BoxFigures, ElsewhereAnswer, Explanation
from frame_vit.export.export import ExportResult
from frame_vit.export.int8 import Int8Failure, Int8Trial
from frame_vit.findings import KINDS, Finding, Row
from frame_vit.labels import LabelSpace
from frame_vit.prediction.predictor import Prediction
from tests.audit.planted import audited
from tests.evaluation.small import judged_parts, one_hot, small_evaluation

AWKWARD = ["[red]a[/]", "画像 :smile:", "b\x1b[2J\nc"]
"""Names with markup, an emoji's name, wide letters, a command to the terminal and a line break."""
SHOWN = ["[red]a[/]", "画像 :smile:", r"b\x1b[2J\nc"]
"""The same names as they are printed."""
RATE = Rate(0.25, 0.125, 0.5, 8)
Printed = Callable[[], str]


@pytest.fixture(params=[False, True], ids=["pipe", "terminal"])
def printed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Printed:
    """All that was printed so far, on a wide screen; no name may have moved the cursor of the terminal."""
    screen = io.StringIO()
    settings = {"highlight": False, "markup": False, "emoji": False, "color_system": None}
    console = Console(file=screen, width=200, force_terminal=request.param, **settings)  # type: ignore[arg-type]
    monkeypatch.setattr(tables, "out", console)

    def text() -> str:
        assert "\x1b[2J" not in screen.getvalue()
        return screen.getvalue()

    return text


def cells(text: str, first: str) -> list[list[str]]:
    """The rows of all tables that begin with this cell."""
    rows = [[cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]] for line in text.splitlines()]
    return [row for row in rows if row and row[0] == first]


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    """Of a model that knows three classes with awkward names, the first of them good."""
    return small_evaluation(LabelSpace.build(AWKWARD, [AWKWARD[0]]))[0].metrics


def test_counts_have_a_row_for_each_class_and_a_total(printed: Printed) -> None:
    tables.show_counts({"train": dict(zip(AWKWARD, (3, 20, 100), strict=True)), "test": dict.fromkeys(AWKWARD, 1)})
    for name, row in zip(SHOWN, (["3", "1"], ["20", "1"], ["100", "1"]), strict=True):
        assert cells(printed(), name) == [[name, *row]]
    assert cells(printed(), "all") == [["all", "123", "3"]]


def test_metrics_show_each_class_and_the_rates_with_their_intervals(printed: Printed, metrics: Metrics) -> None:
    scores = replace(metrics.scores, escape_rate=RATE, overkill_rate=UNDEFINED)
    tables.show_metrics(replace(metrics, scores=scores))
    text = printed()
    for number, (name, shown) in enumerate(zip(AWKWARD, SHOWN, strict=True)):
        confusion, of_class = cells(text, shown)
        row = scores.per_class[name]
        assert confusion[1:] == [str(count) for count in scores.confusion_matrix[number]]
        ends = row.precision_rate, row.recall_rate
        values = ["-" if of.value is None else f"{of.value:.3f} ({of.low:.3f} to {of.high:.3f})" for of in ends]
        assert of_class[1:] == [*values, "-" if row.f1 is None else f"{row.f1:.3f}", str(row.support)]
    lines = text.splitlines()
    assert "escape rate    0.2500 (95 %: 0.1250 to 0.5000, n = 8)  bad parts accepted" in lines
    assert "overkill rate  not defined: there is no such part, or labels.ok names no class" in lines
    f1, kappa = metrics.agreement.macro_f1_interval, metrics.agreement.kappa
    assert f"macro-F1       {scores.macro_f1:.4f} (95 %: {f1.low:.4f} to {f1.high:.4f}, n = 60)" in lines
    assert f"kappa          {kappa.value:.4f} (95 %: {kappa.low:.4f} to {kappa.high:.4f}, n = 60)  " in text
    assert f"answered by    torch on {metrics.device}, fp32" in lines
    assert "averaged over" not in text


def test_the_class_whose_parts_could_escape_most_is_named(printed: Printed, metrics: Metrics) -> None:
    escapes = {AWKWARD[2]: RATE, "few": Rate(0.0, 0.0, 0.6, 4), "none": UNDEFINED}
    tables.show_metrics(replace(metrics, scores=replace(metrics.scores, escape_by_class=escapes)))
    assert "worst class    few, 0.0000 (95 %: 0.0000 to 0.6000, n = 4)  of its parts accepted" in printed().splitlines()
    tables.show_metrics(replace(metrics, scores=replace(metrics.scores, escape_by_class={"few": RATE})))
    assert printed().count("worst class") == 1, "one class is all bad parts"


def test_a_kappa_that_is_not_defined_says_why(printed: Printed, metrics: Metrics) -> None:
    agreement = replace(metrics.agreement, kappa=Rate(None, -1.0, 1.0, 60))
    tables.show_metrics(replace(metrics, agreement=agreement))
    assert "kappa          not defined: all parts have one class" in printed()


def test_a_score_that_is_not_defined_is_a_dash(printed: Printed, metrics: Metrics) -> None:
    per_class = dict(metrics.scores.per_class)
    per_class[AWKWARD[1]] = replace(
        per_class[AWKWARD[1]], f1=None, support=0, precision_rate=UNDEFINED, recall_rate=UNDEFINED
    )
    tables.show_metrics(replace(metrics, scores=replace(metrics.scores, per_class=per_class)))
    assert cells(printed(), SHOWN[1])[1] == [SHOWN[1], "-", "-", "-", "0"]


def test_averaging_is_named_with_its_views_and_what_it_was_without(printed: Printed, metrics: Metrics) -> None:
    alone = replace(metrics.scores.headline, accuracy=0.125)
    tta = AugmentationMetrics(True, ["identity", "hflip"], 2.0, metrics.scores.headline, alone)
    tables.show_metrics(replace(metrics, tta=tta))
    assert "averaged over  identity, hflip; the picture alone: accuracy 0.1250" in printed().splitlines()
    tables.show_metrics(replace(metrics, tta=replace(tta, views_per_picture=1.234)))
    line = "averaged over  identity, hflip (1.23 a picture); the picture alone: accuracy 0.1250"
    assert line in printed().splitlines()


def test_a_comparison_shows_both_models_and_every_decision_that_differs(printed: Printed) -> None:
    space, labels = LabelSpace.build(AWKWARD, [AWKWARD[0]]), np.array([0, 1, 2])
    a = judged_parts(labels, one_hot(labels), space, [Verdict.ACCEPT, Verdict.REJECT, Verdict.REVIEW])
    b = judged_parts(labels, one_hot([0, 1, 1]), space, [Verdict.ACCEPT, Verdict.REJECT, Verdict.REJECT])
    comparison = compare_judged(a, b, "test", ["0.jpg", "1.jpg", AWKWARD[2]])
    tables.show_comparison(comparison, (AWKWARD[0], AWKWARD[2]))
    text = printed()
    assert f"test: 3 pictures; A is {SHOWN[0]}, B is {SHOWN[2]}" in text
    assert cells(text, "accuracy") == [["accuracy", "1.0000", "0.6667", "1", "0", "1"]]
    assert cells(text, "review rate")[0][1:3] == ["0.3333", "0.0000"]
    assert cells(text, SHOWN[2]) == [[SHOWN[2], SHOWN[2], "review", "reject"]]
    assert comparison.conclusion in text.splitlines()


def test_of_many_decisions_that_differ_the_first_are_shown_and_the_rest_counted(printed: Printed) -> None:
    same = ComparedRate(UNDEFINED, RATE, 0, 0, 1.0)
    changed = [ChangedDecision("accept", "reject", f"{row}.jpg", "x") for row in range(tables.SHOWN_CHANGES + 3)]
    tables.show_comparison(Comparison("val", 8, same, changed=changed), ("a", "b"))
    text = printed()
    assert cells(text, "accuracy")[0][1:3] == ["-", "0.2500"]
    assert len(cells(text, f"{tables.SHOWN_CHANGES - 1}.jpg")) == 1
    assert not cells(text, f"{tables.SHOWN_CHANGES}.jpg")
    assert "... and 3 more; --json has all" in text.splitlines()


@pytest.fixture(scope="module")
def sound() -> Audit:
    return audited("demo", demo={"train": 100, "test": 20})


def test_an_audit_shows_its_findings_the_counts_and_the_files(printed: Printed, sound: Audit) -> None:
    rows = [Row("train", f"{AWKWARD[0]}.jpg", AWKWARD[2])]
    error = Finding(KINDS["FV205"], "error", "", 7, rows)
    warning = Finding(KINDS["FV402"], "warning", f"{AWKWARD[1]}: 3", 1)
    tables.show_audit(replace(sound, findings=[error, warning]), {"report": Path(AWKWARD[2])})
    text = printed()
    assert cells(text, "error") == [
        ["error", "FV205", "7", f"unknown label; for example {SHOWN[0]}.jpg: {SHOWN[2]}"],
    ]
    assert cells(text, "warning")[0][1:3] == ["FV402", "1"]
    assert SHOWN[1] in cells(text, "warning")[0][3]
    counts = sound.dataset.counts()
    for name in sound.dataset.labels.names:
        assert cells(text, name) == [[name, *(str(split[name]) for split in counts.values())]]
    assert f"report         {SHOWN[2]}" in text.splitlines()
    assert "no findings" not in text


def test_an_audit_without_findings_says_so(printed: Printed, sound: Audit) -> None:
    tables.show_audit(replace(sound, findings=[]), {})
    assert "no findings" in printed().splitlines()
    assert "training would refuse" not in printed()


def test_an_audit_says_why_training_would_refuse_the_data(printed: Printed, sound: Audit) -> None:
    tables.show_audit(replace(sound, findings=[], refusal=f"class {AWKWARD[2]} is missing"), {})
    assert f"training would refuse the data, so manifest.json was not written: class {SHOWN[2]} is missing" in " ".join(
        printed().split("\n")
    )


def test_predictions_show_the_decision_and_the_reason_of_each_picture(printed: Printed) -> None:
    good = Prediction(AWKWARD[2], AWKWARD[0], 0.5, {AWKWARD[0]: 0.5}, "review", reason=f"is {AWKWARD[1]}")
    undecided = Prediction("u.jpg", "x", 1.0, {"x": 1.0})
    tables.show_predictions([good, undecided, Prediction("gone.jpg", status="error", error=AWKWARD[2])])
    text = printed()
    assert cells(text, SHOWN[2]) == [[SHOWN[2], SHOWN[0], "0.5000", "review", f"is {SHOWN[1]}"]]
    assert cells(text, "u.jpg") == [["u.jpg", "x", "1.0000", "-", ""]]
    assert cells(text, "gone.jpg") == [["gone.jpg", "error", "", "", SHOWN[2]]]


def test_an_export_shows_how_far_its_answers_are_from_torchs_and_what_became_of_int8(printed: Printed) -> None:
    difference = Difference(0.00025, AWKWARD[2], 3, 1, 2, 0.5)
    record = FileRecord(None, 20, AWKWARD[1], None, 1_590_000, {"1": difference, "8": difference}, difference)
    trials: list[Int8Trial | Int8Failure] = [
        Int8Failure("static", AWKWARD[2]),
        Int8Trial("dynamic", 0.01, 0.02, 1.5, difference),
    ]
    tables.show_export(ExportResult({"model.onnx": record}, trials), Path(AWKWARD[0]))
    lines = printed().splitlines()
    assert f"model.onnx: 1.6 MB, compared on 20 pictures of {SHOWN[1]}:" in lines
    for batch in ("1", "8"):
        assert (
            f"  {batch} at once: a logit differs by at most 0.00025 ({SHOWN[2]}), an embedding's distance by 0.5; "
            "2 classes change, and 3 decisions, 1 of them to accept"
        ) in lines
    assert f"int8, static: not kept: {SHOWN[2]}" in lines
    assert any(line.startswith("int8, dynamic: agrees (1.0%") and line.endswith(": kept") for line in lines)
    assert f"written to     {SHOWN[0]}" in lines
    assert f"next           framevit predict --model {SHOWN[0]} PICTURE" in lines


def test_an_export_without_int8_says_nothing_of_it(printed: Printed) -> None:
    tables.show_export(ExportResult({}), Path("model"))
    assert "int8" not in printed()


def test_an_explanation_shows_each_class_and_the_answers_that_looked_elsewhere(printed: Printed) -> None:
    figures = BoxFigures(8, 0.5, 0.25, 2.0, 0.4, 6, 1, 2, 0.125)
    answer = ElsewhereAnswer(f"{AWKWARD[2]}.jpg", AWKWARD[0], 0.9, 0.125, 0.25, (0.75, 0.5), AWKWARD[1])
    count = tables.SHOWN_CHANGES + 2
    maps = Maps(np.zeros((0, 2, 4), np.float32), np.zeros((0, 2, 4), np.float32))
    tables.show_explanation(
        Explanation(
            "test", (2, 4), (16, 8.5), ["identity"], figures, {AWKWARD[2]: figures}, [answer] * count, [], [], maps, []
        )
    )
    text = printed()
    assert "maps of 4 x 2 cells, each 16 x 8.5 pixels" in text
    row = ["8", "50.0%", "25.0%", "2.00", "6", "1", "2"]
    assert cells(text, SHOWN[2]) == [[SHOWN[2], *row]]
    assert cells(text, "all") == [["all", *row]]
    assert "2 of 6 right answers stay; by chance 12% would" in text
    one = (
        f"{SHOWN[2]}.jpg: {SHOWN[0]} is right, but only 12.5% of the map is inside the box (25.0% of the picture); the "
        f"peak is 75% from the left, 50% from the top; with the box painted over the answer is {SHOWN[1]}"
    )
    assert text.splitlines().count(one) == tables.SHOWN_CHANGES
    assert "... and 2 more; attention.json lists all of them" in text
