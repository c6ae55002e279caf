"""`framevit verify` and `monitor`: exit codes, the named row, alarms in words, and records on request only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.calls import Call, one_panel
from tests.line.written import day, write
from tests.processes import run_framevit


@pytest.fixture
def work(exported: Path, pictures: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported / "runs", tmp_path / "runs")
    assert pictures.parent == tmp_path
    return tmp_path


def test_a_changed_byte_is_exit_code_4_and_the_row_is_named(work: Path) -> None:
    done = run_framevit(work, "predict", "pictures", "-o", "rows.jsonl", "--chain", "--backend", "onnxruntime")
    assert done.returncode == 0, done.stderr
    whole = run_framevit(work, "verify", "rows.jsonl", "--pictures", "pictures", "--model", "runs/tiny-001")
    assert (whole.returncode, "no problems" in whole.stdout) == (0, True), whole.stdout + whole.stderr
    lines = (work / "rows.jsonl").read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace("pictures/", "picturez/", 1)
    (work / "rows.jsonl").write_text("".join(lines))
    changed = run_framevit(work, "verify", "rows.jsonl", "--json")
    assert changed.returncode == 4
    found = json.loads(changed.stdout)
    assert {problem["row"] for problem in found["problems"]} == {3}
    assert found["problems_by_kind"]["digest"] == 1
    shown = run_framevit(work, "verify", "rows.jsonl")
    assert (shown.returncode, "1 of 5 rows has a problem" in shown.stdout) == (4, True)


def test_a_line_that_has_changed_is_exit_code_4_and_said_in_words(call: Call, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [row for number in range(25) for row in day(number)])
    still = call("monitor", "rows.jsonl", "-o", "still")
    assert (still.code, "no alarm" in still.out) == (0, True), still.err
    assert "5 judged against a baseline of 20 (2026-11-02 to 2026-11-21" in still.out
    write(tmp_path / "dark.jsonl", day(25, darker=0.2))
    dark = call("monitor", "rows.jsonl", "dark.jsonl", "-o", "dark")
    assert dark.code == 4
    assert "alarm Light: " in dark.out
    assert "on 2026-11-27, where" in dark.out
    assert {path.name for path in (tmp_path / "dark").iterdir()} == {"monitor.html", "monitor.json"}
    counted = call("monitor", "dark.jsonl", "--by", "50", "--baseline", "rows.jsonl", "--json")
    assert (counted.code, json.loads(counted.out)["by"]) == (4, 50)


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        (["-o", "rows.jsonl"], True),
        (["-o", "rows.jsonl", "--record", "plain"], False),
        (["--format", "jsonl"], False),
        (["--format", "jsonl", "--record", "full"], True),
        (["-o", "rows.json"], False),
    ],
)
def test_records_are_in_files_of_json_lines_and_elsewhere_on_request(
    work: Path, words: list[str], recorded: bool
) -> None:
    done = run_framevit(work, "predict", "pictures/Xplus.jpg", "--backend", "onnxruntime", *words)
    assert done.returncode == 0, done.stderr
    text = (work / words[1]).read_text() if words[0] == "-o" else done.stdout
    assert ('"record"' in text) == recorded


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "x.jpg", "-o", "rows.csv", "--chain"], "--chain needs JSON lines, and this is csv"),
        (["predict", "x.jpg", "-o", "rows.csv", "--record", "full"], "--record full needs JSON lines"),
        (["predict", "x.jpg", "-o", "r.jsonl", "--record", "plain", "--part", "x"], "contradict each other"),
        (["predict", "x.jpg", "-o", "r.jsonl", "--part", "("], "not a regular expression"),
        (["predict", "x.jpg", "-o", "r.jsonl", "--part", "a{99999999999}"], "not a regular expression"),
        (["monitor", "tiny.yaml", "--by", "\u00b2"], "is no kind of subgroup"),
        (["predict", "x.jpg", "-o", "r.jsonl", "--challenge", "m.csv"], "for a line that is watched"),
        (["predict", "--watch", "full", "--challenge", "m.csv"], "needs a file of rows with records"),
        (["predict", "--watch", "full", "-o", "r.jsonl", "--every", "8h"], "--every belongs to --challenge"),
        (["predict", "--watch", "full", "-o", "r.jsonl", "--challenge", "m.csv"], "m.csv cannot be read"),
        (["monitor", "tiny.yaml"], "tiny.yaml, row 1: it is not JSON"),
        (["monitor", "tiny.yaml", "--by", "week"], "is no kind of subgroup"),
        (
            ["monitor", "tiny.yaml", "--baseline", "20", "--baseline", "x.jsonl"],
            "One number of subgroups, or only files",
        ),
        (["verify", "gone.jsonl"], "gone.jsonl cannot be read"),
        (["verify", "tiny.yaml"], "no row with a record"),
        (["verify", "tiny.yaml", "--backend", "torch"], "belong to --model"),
    ],
)
def test_a_mistake_is_one_panel_and_exit_code_2(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)
