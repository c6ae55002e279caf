"""Hostile file names, labels and tables, through whole commands: shown, written and read without doing anything."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from frame_vit.data import demo
from tests.cli.calls import Answer, Call
from tests.cli.conftest import call  # noqa: F401  (the command in this process)

NAMES = [
    "a b.jpg",
    "quote'\".jpg",
    "smile 😀.jpg",
    "right \u202e left.jpg",
    "line\nbreak.jpg",
    "\x1b[31mred\x1b[2J.jpg",
    "[red]markup[bold].jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "=cmd|calc.jpg",
    "+1.jpg",
    "-1.jpg",
    "@sum.jpg",
    "\ttab.jpg",
    "'quoted.jpg",
]
SCRIPT = "</script><img src=x onerror=alert(1)>"


def picture(label: str, seed: int) -> bytes:
    return demo.jpeg(demo.sample(label, seed))


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures of these names, in which the commands run."""
    folder = tmp_path / "names"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(picture("passed", number))
    (Path(os.fsdecode(os.fsencode(folder) + b"/bytes \xff\xfe.jpg"))).write_bytes(picture("passed", 99))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "300")  # no name is broken
    return folder


@pytest.fixture
def predict(call: Call, exported: Path, hostile: Path) -> Callable[..., Answer]:  # noqa: F811
    """The command over all of them, by a pattern, so that the names are what the rows begin with."""
    return lambda *words: call("predict", "*.jpg", "--model", exported / "runs/tiny-001", *words)


def test_no_name_drives_a_terminal_or_breaks_a_file(predict: Callable[..., Answer], tmp_path: Path) -> None:
    """Rows 31, 33, 34 and 35: every name has its row in every format, literal, escaped or neutralised as it needs."""
    out = tmp_path / "rows.csv"
    lines, table, file = predict("--format", "jsonl"), predict("--format", "table"), predict("-o", out)
    assert (lines.code, table.code, file.code) == (0, 0, 0), lines.err + table.err + file.err
    rows = [json.loads(line) for line in lines.out.split("\n")[:-1]]
    assert sorted(row["file"] for row in rows) == sorted([*NAMES, r"bytes \udcff\udcfe.jpg"])
    assert {row["status"] for row in rows} == {"ok"}
    for shown in (table.out, table.err, lines.err, file.err):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "Traceback" not in shown
    drawn = "".join(line.split("┃")[-1].split("│")[1].strip() for line in table.out.splitlines() if "│" in line)
    for literal in ("[red]markup[bold].jpg", r"\x1b[31mred", r"line\nbreak", "smile", "<img src=x"):
        assert literal in drawn, "a narrow table breaks names"
    with out.open(newline="", encoding="utf-8") as opened:
        cells = [row[0] for row in csv.reader(opened)][1:]
    assert len(cells) == len(rows)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {"'=cmd|calc.jpg", "'+1.jpg", "'-1.jpg", "'@sum.jpg", "'\ttab.jpg", "''quoted.jpg"} <= {*cells}
    again = predict("-o", out, "--skip-done")
    assert again.code == 0
    assert f"{len(rows)} of {len(rows)} inputs have a row" in again.words, "what was neutralised is known again"


def table_of(folder: Path, rows: list[tuple[str, str]], name: str = "rows.csv", encoding: str = "utf-8") -> Path:
    """A table of files and labels; files that do not exist and lie inside are drawn."""
    for number, (file, _) in enumerate(rows):
        if "/" not in file and "\\" not in file and file and not (folder / file).exists():
            (folder / file).write_bytes(picture("passed" if number % 2 else "Xplus", number))
    with (folder / name).open("w", newline="", encoding=encoding) as opened:
        csv.writer(opened).writerows([("file_name", "label"), *rows])
    return folder / name


PREPARE = ("--set", "labels.names=auto", "--set", "data.test=null", "--set", "model.init=scratch", "--json")


def prepare(call: Call, data: Path | str, *words: str | Path, ok: str = "passed") -> Answer:  # noqa: F811
    return call("prepare", "--data", data, *PREPARE, "--set", f"labels.ok={json.dumps([ok])}", *words, "-o", "out")


def labels(*names: str, each: int = 20) -> list[tuple[str, str]]:
    return [(f"{number}-{i}.jpg", name) for number, name in enumerate(names) for i in range(each)]


def test_a_label_or_name_never_becomes_markup_or_a_folder(call: Call, tmp_path: Path) -> None:  # noqa: F811
    """Rows 32 and 37: in the report every label and name is escaped, and none leads out of the output folder."""
    names = ("passed", SCRIPT, "../../x", "[/]", "=1+1")
    rows = [*labels(*names), ("<b onclick=alert(2)>.jpg", SCRIPT), ("bad.jpg", "../../x")]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/bad.jpg").write_text("<script>alert(3)</script>")
    answer = prepare(call, table_of(tmp_path / "data", rows))
    assert answer.code == 3, answer.err
    page = (tmp_path / "out/audit.html").read_text()
    for active in ("<img src=x", "<b onclick", "<script>alert"):
        assert active not in page
    assert "onerror=alert(1)" in page, "the label is there, as text"
    assert "Content-Security-Policy" in page
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out", "tiny.yaml"}
    assert not (tmp_path.parent / "x").exists()


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../secret.jpg", "a/../../b.jpg", "http://x/y.jpg", r"\\server\share\a.jpg", r"C:\a.jpg"]
)
def test_a_table_cannot_point_outside_its_folder(call: Call, tmp_path: Path, file: str) -> None:  # noqa: F811
    """Row 38: refused with the line and the path, before anything is read."""
    answer = prepare(call, table_of(tmp_path, [*labels("passed", "Xplus", each=3), (file, "passed")]))
    assert answer.code == 2
    assert ", line 8: " in answer.words
    assert "is not a path inside the manifest's folder" in answer.words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"name,label\na.jpg,b\n", "no column with the file's path"),
        (b"file_name,kind\na.jpg,b\n", "label"),
        (b"file_name,label,label\na.jpg,b,c\n", "repeated columns: label"),
        (b"file_name,label\na.jpg\n", "line 2"),
        (b"file_name,label\na.jpg,gr\xfc\xdfe\n", "UTF-8"),
        (b"file_name,label\n", "no rows"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(call: Call, tmp_path: Path, text: bytes, said: str) -> None:  # noqa: F811
    """Row 39: with the line or the column, and nothing is guessed."""
    (tmp_path / "rows.csv").write_bytes(text)
    answer = prepare(call, "rows.csv")
    assert said in answer.words
    assert (answer.code, answer.out, answer.err.count("╭")) == (2, "", 1)


def test_bad_cells_of_a_table_are_named_with_their_lines(call: Call, tmp_path: Path) -> None:  # noqa: F811
    """Rows 39 and 40: blanks, other spellings, repeated rows and endless literals; all others are read."""
    rows = labels("passed", "scratch")
    rows += [("e.jpg", ""), ("s.jpg", "scratch "), ("S.jpg", "Scratch"), ("0-0.jpg", "passed")]
    answer = prepare(call, table_of(tmp_path, rows))
    assert answer.code == 3, answer.err
    found = {finding["code"]: [row["key"] for row in finding["rows"]] for finding in json.loads(answer.out)["findings"]}
    assert found["FV204"] == ["line 42 (e.jpg)"]
    assert found["FV206"] == ["line 43 (s.jpg)", "line 44 (S.jpg)"]
    assert found["FV301"] == ["line 45 (0-0.jpg)"]

    deep = ['["' * 100_000, "{" * 50_000, "1" * 200_000, "{'labels': " + "[" * 5_000, "-" * 99_999 + "1"]
    lines = [{"file_name": f"0-{i}.jpg", "response": text} for i, text in enumerate(deep)]
    lines += [{"file_name": file, "response": str({"labels": [name]})} for file, name in labels("passed", "scratch")]
    (tmp_path / "deep.jsonl").write_text("\n".join(map(json.dumps, lines)))
    began = time.monotonic()
    answer = prepare(call, "deep.jsonl")
    assert time.monotonic() - began < 60, "each alone would take longer if it were parsed"
    assert answer.code == 3, answer.err
    found = {finding["code"]: [row["key"] for row in finding["rows"]] for finding in json.loads(answer.out)["findings"]}
    assert len(found["FV201"]) == len(deep)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"passed": 30, "Xplus": 1}, "Xplus"),
        ({"passed": 30, "Xplus": 2}, "Xplus"),
        ({"passed": 30}, "at least two classes are needed"),
    ],
    ids=["one picture", "two pictures", "one class"],
)
def test_too_few_pictures_or_classes_say_what_is_needed(
    call: Call,  # noqa: F811
    tmp_path: Path,
    counts: dict[str, int],
    said: str,
) -> None:
    """Row 41: a training refuses with the class and the number, before a run folder is made."""
    rows = [(f"{name}-{i}.jpg", name) for name, count in counts.items() for i in range(count)]
    table = table_of(tmp_path, rows)
    answer = call("train", "-c", "tiny.yaml", "--data", table, *PREPARE[:4], "--set", "labels.symmetries={}")
    assert answer.code in (1, 2)
    assert said in answer.words
    assert answer.err.count("╭") == 1
    assert not Path("runs").exists()


def test_a_test_folder_that_lacks_a_class_keeps_the_class_ids(
    call: Call,  # noqa: F811
    exported: Path,
    tmp_path: Path,
) -> None:
    """Row 42: the counts stand in the rows of their names, as for the whole test set; what is missing is undefined."""
    for label in demo.NAMES:
        for i in range(4):
            path = tmp_path / "data" / label / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(label, i))
    command = ("evaluate", exported / "runs/tiny-001", "--data", "data", "--json", "-o")
    whole = call(*command, "whole")
    for path in (tmp_path / "data/passed").iterdir():
        path.unlink()
    (tmp_path / "data/passed").rmdir()
    part = call(*command, "part")
    assert (whole.code, part.code) == (0, 0), whole.err + part.err
    all_, some = json.loads(whole.out), json.loads(part.out)
    assert some["labels"] == all_["labels"] == list(demo.NAMES)
    assert some["confusion_matrix"] == [[0] * 5, *all_["confusion_matrix"][1:]]
    assert (some["overkill_rate"]["value"], some["overkill_rate"]["n"]) == (None, 0)
    assert some["per_class"]["passed"]["support"] == 0


def test_names_that_are_numbers_keep_their_order(call: Call, tmp_path: Path) -> None:  # noqa: F811
    """Row 43: the order of labels.names is the order of the class ids; auto says which order it takes."""
    table = table_of(tmp_path, labels("1", "10", "2"))
    given = prepare(call, table, "--set", "labels.names=[10, 2, 1]", ok="1")
    assert given.code in (0, 3), given.err
    assert json.loads((tmp_path / "out/manifest.json").read_text())["labels"]["names"] == ["10", "2", "1"]
    chosen = call("prepare", "--data", table, *PREPARE, "--set", "labels.ok=['1']", "-o", "auto")
    assert "1, 10, 2" in chosen.words


def test_other_labels_than_the_models_stop_an_evaluation(
    call: Call,  # noqa: F811
    exported: Path,
    tmp_path: Path,
) -> None:
    """Row 44: with the names that the model does not know, and nothing is counted."""
    table = table_of(tmp_path, [*labels("passed", "scratch", each=4)])
    answer = call("evaluate", exported / "runs/tiny-001", "--data", table, "--json", "-o", "report")
    assert answer.code in (1, 2)
    assert "scratch" in answer.words
    assert answer.out == ""
    assert not (tmp_path / "report/metrics.json").exists()


def test_results_are_neither_written_over_nor_read_as_inputs(
    call: Call,  # noqa: F811
    exported: Path,
    pictures: Path,
) -> None:
    """Rows 47 and 48: a file or folder that exists stays as it is, and maps among the pictures are refused."""
    model = ("--model", exported / "runs/tiny-001")
    Path("rows.csv").write_text("mine")
    Path("run").mkdir()
    Path("run/mine.txt").write_text("mine")
    for words in (
        ("predict", pictures, *model, "-o", "rows.csv"),
        ("train", "-c", "tiny.yaml", "-o", "run"),
    ):
        answer = call(*words)
        assert answer.code == 2
        assert "exists" in answer.words
    assert Path("rows.csv").read_text() == "mine"
    assert [path.name for path in Path("run").iterdir()] == ["mine.txt"]
    inside = call("explain", pictures, *model, "-o", pictures / "maps")
    assert inside.code == 2
    assert not (pictures / "maps").exists()
    assert call("predict", pictures, *model, "-o", pictures / "rows.csv").code == 0
    again = call("predict", pictures, *model, "--format", "jsonl")
    assert len(again.out.splitlines()) == 5, "the rows of before are no picture"
