"""The audit as files: one page that needs nothing else, and does nothing that data wants it to do."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.audit.audit import Audit, audit
from frame_vit.audit.report import write_audit
from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import read_dataset
from frame_vit.images.preprocessing import Preprocessing
from tests.audit.planted import Planted, plant, said
from tests.browser import dom, listening, needs_browser, screenshot

SIDE = Preprocessing(64, 64)
NAMES = list(demo.NAMES)


def audited(source: str | Path, names: list[str] | str = NAMES, **data: object) -> Audit:
    symmetries = demo.SYMMETRIES if names == NAMES else {}
    config = Config.model_validate(
        {"labels": {"names": names, "symmetries": symmetries}, "data": {"train": str(source), **data}}
    )
    return audit(read_dataset(config, SIDE, tolerant=True), config.data, SIDE)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Audit]:
    folder = tmp_path_factory.mktemp("audit")
    result = audited(plant(folder / "set").write())
    (folder / "out").mkdir()
    write_audit(folder / "out", result, SIDE)
    return folder / "out", result


def hostile(folder: Path, address: str) -> Audit:
    """Labels, responses and files whose names want something."""
    folder.mkdir()
    data_set = Planted(folder)
    classes = [f"<img src='{address}/label' onerror='alert(1)'>", f"</script><script src='{address}/script'></script>"]
    for number, name in enumerate(classes):
        for _ in range(15):
            data_set.add(
                demo.jpeg(data_set.frame(NAMES[number])), said(name), suffix="<b onmouseover=alert(3)>{{ 7 * 7 }}.jpg"
            )
    data_set.add(f"<img src={address}/text>".encode(), said(classes[0]))
    data_set.add(demo.jpeg(data_set.frame("passed")), f"<link rel=stylesheet href={address}/style>")
    return audited(data_set.write(), "auto")


def test_exactly_these_files_are_written(planted: tuple[Path, Audit]) -> None:
    folder, result = planted
    assert {path.name for path in folder.iterdir()} == {"audit.json", "audit.html", "displacement.png", "exclude.csv"}
    assert len((folder / "exclude.csv").read_text().splitlines()) == 1 + len(result.exclusions())
    with Image.open(folder / "displacement.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 50


def test_the_page_has_every_finding_with_pictures_and_every_class(planted: tuple[Path, Audit]) -> None:
    folder, result = planted
    page = html.unescape((folder / "audit.html").read_text())
    for finding in result.findings:
        assert f"{finding.kind.code} {finding.kind.title}" in page
        for row in finding.rows[:12]:
            assert row.key in page
            assert row.detail in page
    for name in NAMES:
        assert f"{name}</span></h3>" in page
    assert page.count('src="data:image/jpeg;base64,') > 40
    in_json = json.loads((folder / "audit.json").read_text())["findings"]
    assert [finding["code"] for finding in in_json] == [finding.kind.code for finding in result.findings]


def test_the_page_needs_and_runs_nothing_from_elsewhere(planted: tuple[Path, Audit]) -> None:
    page = (planted[0] / "audit.html").read_text()
    assert re.search(r"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'", page)
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert {value[:11] for value in re.findall(r'(?:src|href)="([^"]*)"', page)} == {"data:image/"}


def test_names_are_escaped(tmp_path: Path) -> None:
    write_audit(tmp_path, hostile(tmp_path / "set", "http://127.0.0.1:9"), SIDE)
    page = (tmp_path / "audit.html").read_text()
    assert "<script" not in page
    assert "<b onmouseover" not in page
    assert "&lt;b onmouseover=alert(3)&gt;" in page
    assert "{{ 7 * 7 }}" in page, "names are data, not templates"
    assert len(re.findall(r"<img ", page)) == page.count('<img src="data:') + page.count(
        '<img class="picture" src="data:'
    )


def test_a_clean_set_without_boxes_says_so(tmp_path: Path) -> None:
    for i, frame in enumerate(demo.frames(150, 4)):
        (tmp_path / "set" / frame.label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / frame.label / f"{i}.jpg").write_bytes(demo.jpeg(frame))
    (tmp_path / "out").mkdir()
    write_audit(tmp_path / "out", audited(tmp_path / "set", test_fraction=0.0), SIDE)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"audit.json", "audit.html"}
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "No findings." in page
    assert "The rows have no boxes." in page


def test_a_picture_that_is_gone_since_is_left_out_of_the_page(tmp_path: Path) -> None:
    data_set = plant(tmp_path / "set")
    result = audited(data_set.write())
    for row in data_set.rows:
        (tmp_path / "set" / row["file_name"]).unlink(missing_ok=True)
    (tmp_path / "out").mkdir()
    write_audit(tmp_path / "out", result, SIDE)
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "data:image/jpeg" not in page
    assert "FV302" in page


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 4000), (420, 9000)])
def test_a_browser_shows_the_page(planted: tuple[Path, Audit], width: int, height: int) -> None:
    seen = screenshot(planted[0] / "audit.html", width, height).astype(int)
    assert seen.shape == (height, width, 3)
    red = (seen[:, :, 0] > 150) & (seen[:, :, 1] < 80) & (seen[:, :, 2] < 80)
    green = (seen[:, :, 1] > 180) & (seen[:, :, 0] < 60) & (seen[:, :, 2] < 120)
    assert red.any(), "the badges of the errors"
    assert green.any(), "the boxes of the thumbnails"
    assert (seen[:, -8:] == 255).mean() > 0.99, "nothing is cut off at the right"


@needs_browser
def test_in_a_browser_names_do_nothing_and_nobody_is_called(tmp_path: Path) -> None:
    with listening() as (address, calls):
        write_audit(tmp_path, hostile(tmp_path / "set", address), SIDE)
        made = dom(tmp_path / "audit.html")
        assert "Pictures of each class" in made
        assert not re.search(r"<(script|b)\b", made)
        assert calls == []
        # The server would have noticed.
        (tmp_path / "control.html").write_text(f"<img src='{address}/control'>")
        dom(tmp_path / "control.html")
        assert calls == ["/control"]


def test_a_label_with_a_formula_stays_text_in_the_list_of_rows_to_leave_out(tmp_path: Path) -> None:
    data_set = plant(tmp_path / "set")
    data_set.add(b"", said("=cmd|' /C calc'!A0"))
    data_set.rows[-1]["file_name"] = "=1+1.jpg"
    write_audit(tmp_path, audited(data_set.write()), SIDE)
    for line in (tmp_path / "exclude.csv").read_text().splitlines()[1:]:
        assert not re.search(r"(^|,)\"?[=+@-]", line)
