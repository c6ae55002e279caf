"""explanation.html: one file, nothing from elsewhere, everything escaped, and readable where pictures have gone."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from frame_vit.errors import RowError
from frame_vit.explanation import report
from frame_vit.explanation.inside_boxes import Explanation, look_inside_boxes
from frame_vit.explanation.report import write_explanation
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.environment import RunFacts
from tests.browser import needs_browser, screenshot
from tests.explanation.frames import PLAIN, drawn, predictor, split

FACTS = RunFacts("runs/x", "torch 2", "demo", "ab12")


@pytest.fixture(scope="module")
def model() -> Predictor:
    return predictor(PLAIN)


@pytest.fixture(scope="module")
def explanation(model: Predictor) -> Explanation:
    """Of a model with random weights: some answers are right by chance, some of those look elsewhere."""
    pixels, labels, boxes = drawn(24, False, 3)
    frames = split(pixels, labels, boxes)

    def encoded(row: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels[row]).save(buffer, "PNG")
        return buffer.getvalue()

    examples = [
        replace(example, key=f"<b>row {row}</b>", read=partial(encoded, row))
        for row, example in enumerate(frames.examples)
    ]
    return look_inside_boxes(model, replace(frames, examples=examples), 24)


def test_the_page_says_the_numbers_and_escapes_names(
    model: Predictor, explanation: Explanation, tmp_path: Path
) -> None:
    write_explanation(explanation, model, tmp_path / "new", replace(FACTS, model="<i>run</i>"))
    text = (tmp_path / "new" / "explanation.html").read_text()
    assert "Where does the model look?" in text
    assert "A map has 4 x 4 cells, each 8 x 8 pixels" in text
    assert f"{explanation.all.right} answers are right" in text
    assert f"Right, but looked elsewhere: {len(explanation.elsewhere)}" in text
    assert "&lt;i&gt;run&lt;/i&gt;" in text
    assert "<b>row" not in text
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["']?https?:""", text)
    assert json.loads((tmp_path / "new" / "attention.json").read_text()) == explanation.to_json()


def test_few_pictures_are_shown_and_the_rest_is_counted(
    model: Predictor, explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SHOWN", 1)
    assert len(explanation.elsewhere) > 1
    write_explanation(explanation, model, tmp_path, FACTS)
    text = (tmp_path / "explanation.html").read_text()
    assert f"looked elsewhere: {len(explanation.elsewhere)} (1 are shown)" in text
    assert text.count('src="data:image/png') == 1 + 1 + 1
    assert "attention.json lists all of them" in text


def test_a_picture_that_is_gone_leaves_its_name(model: Predictor, explanation: Explanation, tmp_path: Path) -> None:
    def gone() -> bytes:
        raise RowError("no such file")

    examples = [replace(example, read=gone) for example in explanation.examples]
    write_explanation(replace(explanation, examples=examples), model, tmp_path, FACTS)
    text = (tmp_path / "explanation.html").read_text()
    assert text.count("the picture cannot be read any more") == min(len(explanation.elsewhere), report.SHOWN)
    assert text.count('src="data:image/png') == 1, "the mean maps need no pictures"


@needs_browser
def test_the_page_is_drawn(model: Predictor, explanation: Explanation, tmp_path: Path) -> None:
    write_explanation(explanation, model, tmp_path, FACTS)
    assert screenshot(tmp_path / "explanation.html").std() > 10
