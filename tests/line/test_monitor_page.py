"""The page of a monitored line: everything in one file without scripts, readable with few and with many subgroups."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.decision.json_values import json_value
from frame_vit.line.monitor import judge
from frame_vit.line.monitor_page import monitor_page
from frame_vit.line.recorded import recorded_rows
from frame_vit.line.subgroups import subgroups
from tests.browser import needs_browser, screenshot
from tests.line.written import MONDAY, OTHER_MODEL, Row, day, row, write


def made(folder: Path, rows: Iterable[Row], by: str | int = "day", baseline: int = 20) -> str:
    groups = subgroups(recorded_rows([write(folder / "rows.jsonl", rows)]), by)
    return monitor_page(json_value(judge(groups, by, baseline)))


def pictures(page: str) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB")) for each in found]


def red(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    pixels = picture.astype(int)
    return int(((pixels[..., 0] > 180) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)).sum())


@pytest.fixture(scope="module")
def alarmed(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [each for number in range(25) for each in day(number, darker=0.2 if number >= 22 else 0)]
    for each in rows[23 * 200 :]:
        each["record"]["model"] = OTHER_MODEL
    return made(tmp_path_factory.mktemp("page"), rows)


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(alarmed: str) -> None:
    assert "<script" not in alarmed
    assert not re.findall(r"https?:", alarmed)
    assert {value.partition(":")[0] for value in re.findall(r'src="([^"]*)"', alarmed)} == {"data"}
    assert all(re.findall(r'<img [^>]*alt="([^"]*)"', alarmed))


def test_alarms_are_said_in_words_and_marked_red_in_their_chart_only(alarmed: str) -> None:
    text = html.unescape(alarmed)
    assert "The line is no longer what it was" in text
    assert re.search(r"Light: 8\d\.\d grey levels on 2026-11-24, where 1\d\d\.\d to 1\d\d\.\d were expected", text)
    assert '<td style="white-space: nowrap">still</td>' in text
    marked = [red(picture) > 0 for picture in pictures(alarmed)]
    assert marked == [False] * 6 + [True] + [False] * 2


def test_the_page_names_rules_false_alarms_baseline_and_change(alarmed: str) -> None:
    text = html.unescape(alarmed)
    assert "at most one false alarm in 370 days" in text
    assert "the last five days together beyond their limits" in text
    assert "20 days, 2026-11-02 to 2026-11-21, 4,000 rows" in text
    assert "There are rows of another model on 2026-11-25" in text
    assert text.count('<th scope="row" style="white-space: nowrap">2026-') == 25


def test_a_line_in_control_says_so_and_has_no_table_of_alarms(tmp_path: Path) -> None:
    page = made(tmp_path, (each for number in range(8) for each in day(number, n=60)), baseline=5)
    assert "nothing differs from the baseline by more than chance explains" in page
    assert 'id="alarms"' not in page
    assert len(pictures(page)) == 9
    assert not any(red(picture) for picture in pictures(page))


def test_many_subgroups_are_one_figure_and_a_table_to_open(tmp_path: Path) -> None:
    page = made(tmp_path, (each for number in range(400) for each in day(number, n=12)), baseline=60)
    assert "All 400 days" in page
    assert {picture.shape for picture in pictures(page)} == {(506, 946, 3)}


def test_rates_of_zero_everywhere_have_their_charts(tmp_path: Path) -> None:
    rows = [row(MONDAY + timedelta(days=number, minutes=each)) for number in range(25) for each in range(30)]
    page = made(tmp_path, rows)
    assert len(pictures(page)) == 9
    assert "no alarm" in page


def test_hostile_names_of_files_are_text(tmp_path: Path) -> None:
    groups = subgroups(
        recorded_rows([write(tmp_path / "rows.jsonl", (r for n in range(6) for r in day(n, 30)))]), "day"
    )
    page = monitor_page(json_value(judge(groups, "day", 5, ("<img src=x onerror=alert(1)>.jsonl",))))
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.jsonl" in page


@needs_browser
@pytest.mark.parametrize("width", [1280, 420])
def test_a_browser_shows_the_page_and_cuts_nothing_off(alarmed: str, tmp_path: Path, width: int) -> None:
    (tmp_path / "page.html").write_text(alarmed, encoding="utf-8")
    seen = screenshot(tmp_path / "page.html", width, 3000)
    assert (seen[:, -8:] == 255).mean() > 0.99
    assert red(seen) > 20
