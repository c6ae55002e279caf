"""The report of an evaluation: one page with every number and picture, without scripts, harmless whatever the names."""

from __future__ import annotations

import csv
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frame_vit.config.schema import DecisionConfig
from frame_vit.data import demo
from frame_vit.evaluation.report import write_evaluation
from frame_vit.evaluation.results import Evaluation, sample_size
from frame_vit.evaluation.robustness import robustness
from frame_vit.labels import LabelSpace
from frame_vit.runs.environment import RunFacts
from tests.browser import dom, listening, needs_browser, screenshot
from tests.evaluation.small import small_evaluation

FACTS = RunFacts("runs/x", "torch 2", "demo", "ab12")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    folder = tmp_path_factory.mktemp("report")
    evaluation, predictor = small_evaluation()
    measured = robustness(predictor, evaluation.split, evaluation.judged)
    evaluation = evaluation.completed(skipped=2, robustness=measured)
    write_evaluation(evaluation, predictor, folder, FACTS)
    return folder, evaluation


def test_the_folder_has_exactly_these_files_and_metrics_json_holds_the_metrics(
    written: tuple[Path, Evaluation],
) -> None:
    folder, evaluation = written
    names = {path.name for path in folder.iterdir()}
    assert names == {"confusion_matrix.png", "metrics.json", "predictions.csv", "report.html"}
    values = json.loads((folder / "metrics.json").read_text())
    assert values == json.loads(json.dumps(evaluation.metrics.to_json()))
    assert list(values)[-2:] == ["skipped", "robustness"]


def test_predictions_csv_has_a_row_for_each_picture_with_its_true_class(written: tuple[Path, Evaluation]) -> None:
    folder, evaluation = written
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["true"] for row in rows] == [evaluation.metrics.labels[i] for i in evaluation.judged.labels]
    assert [row["decision"] for row in rows] == [row.prediction.decision for row in evaluation.rows]


def test_every_cell_of_the_matrix_opens_its_pictures(written: tuple[Path, Evaluation]) -> None:
    page = (written[0] / "report.html").read_text()
    matrix = written[1].metrics.scores.confusion_matrix
    for true, row in enumerate(matrix):
        for said, count in enumerate(row):
            link = f'href="#cell-{true}-{said}"' in page
            assert link == (f'id="cell-{true}-{said}"' in page) == bool(count)
            if count:
                section = page.split(f'id="cell-{true}-{said}"')[1].split("</section>")[0]
                assert section.count("<figure>") == min(count, 8 if true == said else 24)
                assert f"{NAMES[true]}</span> called" in section


NAMES = demo.NAMES


def test_the_page_needs_nothing_and_every_link_leads_somewhere(written: tuple[Path, Evaluation]) -> None:
    page = (written[0] / "report.html").read_text()
    assert "<script" not in page
    assert not re.findall(r"https?:", page)
    assert {value.partition(":")[0] for value in re.findall(r'src="([^"]*)"', page)} == {"data"}
    places = {*re.findall(r'id="([^"]*)"', page)}
    assert {*re.findall(r'href="#([^"]*)"', page)} <= places
    assert all(alt for alt in re.findall(r'<img [^>]*alt="([^"]*)"', page))
    assert page.count("<img ") == len(re.findall(r'<img [^>]*alt="', page))


def test_the_page_says_what_the_numbers_prove_and_what_the_run_was(written: tuple[Path, Evaluation]) -> None:
    page = html.unescape((written[0] / "report.html").read_text())
    assert sample_size(written[1].metrics) in page
    assert "<dt>data</dt>" in page
    assert "<dt>fingerprint of the split</dt>" in page
    assert "2 rows that could not be used" in page


def test_the_page_has_the_intervals_of_every_class(written: tuple[Path, Evaluation]) -> None:
    page = (written[0] / "report.html").read_text()
    metrics = written[1].metrics
    scores, table = metrics.scores, page.split('class="intervals"')[1].split("</table>")[0]
    rows = dict(re.findall(r'<tr><th scope="row"><span class="name">(\w+)</span></th>(.*?)</tr>', table, re.DOTALL))
    assert list(rows) == list(NAMES)
    for name, row in rows.items():
        ends = [scores.per_class[name].recall_rate, scores.per_class[name].precision_rate]
        ends += [scores.escape_by_class[name]] if name in scores.escape_by_class else []
        shown = [f"{100 * of.low:.1f} to {100 * of.high:.1f}" for of in ends if of.value is not None]
        assert re.findall(r"[\d.]+ to [\d.]+", row) == shown
    for of in (metrics.agreement.macro_f1_interval, metrics.agreement.kappa, metrics.calibration.after.ece_interval):
        assert f"({of.low:.4f} to {of.high:.4f})" in page


def test_the_page_has_the_promise_of_every_class(tmp_path: Path) -> None:
    evaluation, predictor = small_evaluation(decision=DecisionConfig(per_class=True, max_escape_rate=0.1))
    write_evaluation(evaluation, predictor, tmp_path, FACTS)
    page = re.sub(r"<[^>]*>", "", (tmp_path / "report.html").read_text())
    assert "with 95 % confidence for all classes together, at most" in page
    assert "of Xplus (0 of 12 were), " in page
    assert "more parts are needed, none of them accepted: 30 of Xplus, " in page


def test_without_fine_classes_there_is_a_report_all_the_same(tmp_path: Path) -> None:
    evaluation, predictor = small_evaluation(LabelSpace.build(["a", "b", "c"]))
    write_evaluation(evaluation, predictor, tmp_path, FACTS)
    page = (tmp_path / "report.html").read_text()
    assert "labels.ok, which names none" in page
    assert evaluation.metrics.decision.verdicts is None


HOSTILE = ["<img src='{0}/a' onerror='alert(1)'>", "</script><script src='{0}/b'></script>", "{{{{ 7 * 7 }}}}"]


def hostile(folder: Path, address: str) -> None:
    space = LabelSpace.build([name.format(address) for name in HOSTILE], [HOSTILE[2].format(address)])
    evaluation, predictor = small_evaluation(space, keys="<b onclick=alert(1)>{}.jpg")
    write_evaluation(evaluation, predictor, folder, replace(FACTS, model=f"<link rel=stylesheet href={address}/c>"))


def test_names_are_escaped(tmp_path: Path) -> None:
    hostile(tmp_path, "http://127.0.0.1:9")
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"<(script|link|b) ", page)
    assert "{{ 7 * 7 }}" in page


@needs_browser
def test_in_a_browser_a_cell_opens_its_pictures_and_nobody_is_called(tmp_path: Path) -> None:
    with listening() as (address, calls):
        hostile(tmp_path, address)
        made = dom(tmp_path / "report.html", "#cell-0-0")
        assert "Confusion matrix" in made
        assert calls == []
        assert not re.search(r"<(script|link|b) ", made)


@needs_browser
@pytest.mark.parametrize("width", [1280, 420])
def test_a_browser_shows_the_page_and_opens_a_cell(written: tuple[Path, Evaluation], width: int) -> None:
    folder, evaluation = written
    matrix = np.array(evaluation.metrics.scores.confusion_matrix)
    true, said = (int(i) for i in np.argwhere(matrix)[0])
    closed = screenshot(folder / "report.html", width, 3000)
    opened = screenshot(folder / "report.html", width, 3000, f"#cell-{true}-{said}")
    assert (closed[:, -8:] == 255).mean() > 0.99, "nothing is cut off at the right"

    def green(seen: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
        red, full, blue = (seen[:1600, :, channel].astype(int) for channel in range(3))
        return int(((full > 180) & (red < 60) & (blue < 120)).sum())

    assert green(closed) == 0, "above, no picture is shown yet"
    assert green(opened) > 10, "the boxes of the cell's pictures"
