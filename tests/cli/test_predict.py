"""`framevit predict`: the same rows in every format, on stdout or in a file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from frame_vit.data import demo
from tests.cli.calls import Call, one_panel


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "a.jpg"], "no finished run here"),
        (["predict", "empty"], "no pictures in empty"),
        (["predict", "none*.jpg"], "nothing matches none*.jpg"),
        (["predict"], "no pictures are named"),
        (["predict", "a.jpg", "--format", "xml"], "xml"),
    ],
)
def test_a_mistake_is_one_panel_and_exit_code_2(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)


class TestWithARun:
    """On the tiny run, from a folder where it is the latest."""

    @pytest.fixture(autouse=True)
    def _here(self, call: Call, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(trained)

    def test_predict_prints_json(self, call: Call, pictures: Path) -> None:
        answer = call("predict", pictures / "Xplus.jpg", pictures / "gone.jpg", "--format", "json")
        assert answer.code == 3
        good, bad = json.loads(answer.out)
        keys = {
            "file",
            "label",
            "confidence",
            "probabilities",
            "decision",
            "status",
            "error",
            "score",
            "reason",
            "flags",
        }
        assert set(good) == set(bad) == keys
        assert list(good["probabilities"]) == list(demo.NAMES)
        assert good["status"] == "ok"
        assert good["decision"] in ("accept", "review", "reject")
        assert (bad["status"], bad["error"], bad["label"]) == ("error", "no such file", None)

    def test_predict_formats_agree(
        self, call: Call, trained: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(pictures)  # short names fit into the table

        def printed(form: str) -> str:
            return call("predict", "--model", trained / "runs/tiny-001", *names, "--format", form).out

        names = [file.name for file in sorted(pictures.iterdir())]
        as_json = json.loads(printed("json"))
        as_lines = [json.loads(line) for line in printed("jsonl").splitlines()]
        as_csv = list(csv.DictReader(io.StringIO(printed("csv"))))
        table = printed("table")
        assert as_json == as_lines
        assert len(as_json) == 5
        for row, cells in zip(as_json, as_csv, strict=True):
            assert (row["file"], row["label"], row["decision"]) == (cells["file"], cells["label"], cells["decision"])
            assert float(cells["p_Yplus"]) == pytest.approx(row["probabilities"]["Yplus"], abs=1e-6)
            assert row["file"] in table

    def test_predict_writes_a_file(self, call: Call, pictures: Path, tmp_path: Path) -> None:
        answer = call("predict", pictures, "-o", tmp_path / "rows.jsonl")
        assert (answer.code, answer.out) == (0, "")
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 5
        assert call("predict", pictures, "-o", tmp_path / "rows.csv").code == 0
        assert (tmp_path / "rows.csv").read_text().startswith("file,label,confidence,")
        assert call("predict", pictures, "-o", tmp_path / "rows.json").code == 0
        assert len(json.loads((tmp_path / "rows.json").read_text())) == 5
        assert call("predict", pictures, "-o", tmp_path / "no" / "rows.csv").code == 2
        assert call("predict", pictures, "-o", tmp_path / "t", "--format", "table").code == 2


def test_a_number_beyond_all_pictures_is_refused(call: Call) -> None:
    answer = call("predict", "x.jpg", "--batch-size", "99999999999999999999")
    assert (answer.code, "1<=x<=1000000" in answer.err) == (2, True)
