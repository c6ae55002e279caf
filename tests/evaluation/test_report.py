"""The report of an evaluation: one page with every number and picture, without scripts, harmless whatever the names."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import CostsConfig, DecisionConfig
from frame_vit.data import demo
from frame_vit.data.examples import Example, Split
from frame_vit.data.groups import Marks
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.rates import rate
from frame_vit.decision.thresholds import OperatingPoint, operating_point, scores
from frame_vit.evaluation.report import write_evaluation
from frame_vit.evaluation.results import Evaluation, evaluate_split, sample_size
from frame_vit.evaluation.robustness import robustness
from frame_vit.images.measures import measure
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing, read_picture
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Predictor
from tests.browser import dom, listening, needs_browser, screenshot

SPACE = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
SIDE = Preprocessing(32, 32)
FACTS = {"model": "runs/x", "data": "demo"}


class Reader(torch.nn.Module):
    """Answers from a picture's own light, by a fixed rule: often right, sometimes not."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(32 * 32, classes)

    def forward(self, pixel_values: torch.Tensor) -> object:
        from types import SimpleNamespace

        return SimpleNamespace(logits=8 * self.head(pixel_values.mean(dim=1).flatten(1)))


def predictor(space: LabelSpace, point: OperatingPoint | None = None) -> Predictor:
    return Predictor(
        Torch(Classifier(Reader(len(space)), ModelMetadata(space, SIDE, operating_point=point)), "cpu", "fp32"),
        tta=False,
    )


def split(space: LabelSpace, keys: str = "row-{}.jpg", count: int = 60) -> Split:
    frames = demo.frames(count, 5)
    data = [demo.jpeg(frame) for frame in frames]
    examples = [
        Example(
            keys.format(i), i % len(space), (f.box,), demo.WIDTH, demo.HEIGHT, str(i), lambda d=d: d,  # type: ignore[misc]
            str(i), Marks(slice=f"cam{i % 3}", part=f"part{i // 2}"),
        )
        for i, (f, d) in enumerate(zip(frames, data, strict=True))
    ]  # fmt: skip
    return Split("test", examples, PixelArray.of(np.stack([read_picture(d, SIDE).pixels for d in data])))


def evaluated(space: LabelSpace = SPACE, keys: str = "row-{}.jpg") -> tuple[Evaluation, Predictor]:
    there = split(space, keys)
    asked = predictor(space)
    logits = asked.split_logits(there.pixels).mean(axis=1)
    point = operating_point(there.labels, scores(logits, space), space, DecisionConfig()) if space.ok else None
    asked = predictor(space, point)
    return evaluate_split(asked, there, CostsConfig()), asked


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    folder = tmp_path_factory.mktemp("report")
    evaluation, asked = evaluated()
    evaluation.metrics["robustness"] = robustness(asked, evaluation.split)
    write_evaluation(evaluation, asked, folder, FACTS)
    return folder, evaluation


def test_the_rates_count_what_is_flagged_as_shown_to_a_person() -> None:
    """As `predict` decides: a bad part that is flagged has not escaped, and a good one is not scrapped."""
    there = split(SPACE)
    light = measure([there.pixels]).light
    backend = Torch(Classifier(Reader(len(SPACE)), ModelMetadata(SPACE, SIDE)), "cpu", "fp32")
    for mode, flagged in (("note", 0), ("review", int((light > np.median(light)).sum()))):
        was = NoveltyReference(60, {"light": (0.0, float(np.median(light)))}, ("",), mode)
        backend.metadata = replace(backend.metadata, novelty=was)
        evaluation = evaluate_split(Predictor(backend, tta=False), there, CostsConfig())
        metrics, decisions = evaluation.metrics, [row.decision for row, _ in evaluation.rows]
        assert metrics["unlike"]["flagged"] == 30
        assert metrics["decision"]["verdicts"]["review"] == decisions.count("review") == flagged
        assert metrics["review_rate"]["value"] * 60 == pytest.approx(flagged)
        bad = [row.decision for row, true in evaluation.rows if true != "passed"]
        assert metrics["escape_rate"]["value"] * len(bad) == pytest.approx(bad.count("accept"))
        assert len(evaluation.look["escaped"]) == bad.count("accept")


def test_metrics_keep_their_keys_and_gain_the_new_ones(written: tuple[Path, Evaluation]) -> None:
    metrics = json.loads((written[0] / "metrics.json").read_text())
    kept = {
        "split",
        "n",
        "labels",
        "confusion_matrix",
        "accuracy",
        "macro_f1",
        "escape_rate",
        "overkill_rate",
        "per_class",
    }
    assert kept | {"decision", "calibration", "directions", "slices", "repeatability", "robustness"} <= {*metrics}
    assert {"value", "low", "high", "n"} == {*metrics["escape_rate"]} == {*metrics["review_rate"]}
    verdicts = metrics["decision"]["verdicts"]
    assert sum(verdicts.values()) == metrics["n"] == 60
    assert metrics["review_rate"]["value"] == pytest.approx(verdicts["review"] / 60)
    assert {row["by"] for row in metrics["slices"]} == {"slice_by", "light"}
    assert metrics["repeatability"]["parts"] == 30


def test_the_numbers_are_those_of_the_rows_written(written: tuple[Path, Evaluation]) -> None:
    _, evaluation = written
    bad = [row.decision for row, true in evaluation.rows if true != "passed"]
    assert evaluation.metrics["escape_rate"]["value"] == pytest.approx(bad.count("accept") / len(bad))
    good = [row.decision for row, true in evaluation.rows if true == "passed"]
    assert evaluation.metrics["overkill_rate"]["value"] == pytest.approx(good.count("reject") / len(good))


def test_robustness_has_every_kind_and_an_untouched_shift_would_change_nothing(
    written: tuple[Path, Evaluation],
) -> None:
    found = written[1].metrics["robustness"]
    rows, shift = found["rows"], found["shift"]
    assert found["pictures"] == 60
    until = [row["unchanged"] for row in rows if row["kind"] == "shift"]
    assert shift["never"] <= min(until), "what never changes is unchanged at every shift"
    assert (shift["q25"] or 99) <= (shift["median"] or 99) <= (shift["q75"] or 99)
    assert {row["kind"] for row in rows} == {"light", "blur", "noise", "jpeg", "shift", "turn"}
    assert all(0 <= row["unchanged"] <= 1 for row in rows)
    assert [row["n"] for row in rows if row["kind"] == "shift"] == [240] * 7
    shifts = [row["unchanged"] for row in rows if row["kind"] == "shift"]
    assert shifts[0] > shifts[-1]


def test_every_cell_of_the_matrix_opens_its_pictures(written: tuple[Path, Evaluation]) -> None:
    page = (written[0] / "report.html").read_text()
    matrix = written[1].metrics["confusion_matrix"]
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


def test_the_verdict_says_what_so_few_parts_can_prove(written: tuple[Path, Evaluation]) -> None:
    metrics = written[1].metrics
    page = html.unescape((written[0] / "report.html").read_text())
    assert sample_size(metrics) in page
    assert "these are the pictures that the thresholds were chosen on" not in page, "chosen elsewhere in this test"

    def of(hits: int, n: int, **other: object) -> str:
        decision = metrics["decision"] | {"independent": True, "as_chosen": True} | other
        return sample_size({"escape_rate": rate(hits, n), "decision": decision, "repeatability": None})

    assert "at least 598 bad parts must be tested" in of(0, 597)
    assert "which meets the target of 0.50%" in of(0, 598), "as many as it asks for are enough"
    assert "does not show" in of(10, 1000)
    assert "not defined" in of(0, 0)
    assert "prove nothing of others" in of(0, 598, independent=False)
    assert "what was promised does not hold" in of(0, 598, as_chosen=False)
    assert "the class decides" in of(0, 598, point=None)


def test_without_fine_classes_there_is_a_report_all_the_same(tmp_path: Path) -> None:
    evaluation, asked = evaluated(LabelSpace.build(["a", "b", "c"]))
    write_evaluation(evaluation, asked, tmp_path, FACTS)
    page = (tmp_path / "report.html").read_text()
    assert "labels.ok, which names none" in page
    assert evaluation.metrics["decision"]["verdicts"] is None


HOSTILE = ["<img src='{0}/a' onerror='alert(1)'>", "</script><script src='{0}/b'></script>", "{{{{ 7 * 7 }}}}"]


def hostile(folder: Path, address: str) -> None:
    space = LabelSpace.build([name.format(address) for name in HOSTILE], [HOSTILE[2].format(address)])
    evaluation, asked = evaluated(space, keys="<b onclick=alert(1)>{}.jpg")
    write_evaluation(evaluation, asked, folder, {"model": f"<link rel=stylesheet href={address}/c>"})


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
    matrix = np.array(evaluation.metrics["confusion_matrix"])
    true, said = (int(i) for i in np.argwhere(matrix)[0])
    closed = screenshot(folder / "report.html", width, 3000)
    opened = screenshot(folder / "report.html", width, 3000, f"#cell-{true}-{said}")
    assert (closed[:, -8:] == 255).mean() > 0.99, "nothing is cut off at the right"

    def green(seen: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
        red, full, blue = (seen[:1600, :, channel].astype(int) for channel in range(3))
        return int(((full > 180) & (red < 60) & (blue < 120)).sum())

    assert green(closed) == 0, "above, no picture is shown yet"
    assert green(opened) > 10, "the boxes of the cell's pictures"
