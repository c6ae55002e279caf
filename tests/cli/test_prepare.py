"""`framevit prepare`: what it prints and writes, its exit codes, and what it never writes over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frame_vit.data import demo
from tests.cli.calls import Call, one_panel


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "-c", "tiny.yaml", "--data", "gone.csv"], "no such file or folder: gone.csv"),
        (["prepare", "-c", "tiny.yaml", "--data-set", "x"], "--data-set"),
    ],
)
def test_a_mistake_is_one_panel_and_exit_code_2(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("['no', 'dict']", "is not a dict"),
        ("{'bboxes': [], 'labels': ['Xpluss']}", "'Xpluss' is not among the classes (did you mean 'Xplus'?)"),
        ("{'bboxes': [], 'labels': []}", "no list of labels"),
    ],
)
def test_a_bad_row_is_named_with_its_number_and_text(call: Call, response: str, said: str) -> None:
    lines = []
    for i, frame in enumerate(demo.frames(30, 1)):
        Path(f"{i}.jpg").write_bytes(demo.jpeg(frame))
        lines.append({"file_name": f"{i}.jpg", "response": response if i == 17 else demo.response(frame)})
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = ["--set", "data.train=rows.jsonl", "--set", "data.test_fraction=0.0"]
    answer = call("train", "-c", "tiny.yaml", *settings)
    assert answer.code == 1
    assert "line 18 (17.jpg)" in answer.words
    assert said in answer.words
    listed = call("prepare", "-c", "tiny.yaml", *settings)
    assert listed.code == 3
    assert said in " ".join(listed.out.replace("│", " ").split())
    assert "training would refuse the data" in listed.out
    assert not Path("prepared/tiny/manifest.json").exists()
    assert "line 18 (17.jpg)" in Path("prepared/tiny/exclude.csv").read_text()
    skipped = call("prepare", "-c", "tiny.yaml", *settings, "--set", "data.on_bad_row=skip")
    assert skipped.code == 3
    manifest = json.loads(Path("prepared/tiny/manifest.json").read_text())
    assert [reject["key"] for reject in manifest["rejects"]] == ["line 18 (17.jpg)"]


def test_prepare_prints_counts_and_draws_a_picture(call: Call) -> None:
    answer = call("prepare", "-c", "tiny.yaml")
    assert answer.code == 0, answer.err
    rows = [line.replace("│", " ").split() for line in answer.out.splitlines()]
    assert ["Xplus", "8", "2", "4"] in rows
    assert ["all", "40", "10", "20"] in rows
    assert {path.name for path in Path("prepared/tiny").iterdir()} == {
        "samples.png", "displacement.png", "audit.json", "audit.html", "manifest.json"
    }  # fmt: skip


def test_prepare_leaves_with_3_for_errors_and_if_strict_for_warnings(call: Call) -> None:
    """Twenty frames of a class are few, which is a warning."""
    few = call("prepare", "-c", "tiny.yaml")
    assert few.code == 0
    assert "FV402" in few.out
    assert call("prepare", "-c", "tiny.yaml", "--strict").code == 3
    clean = ["--set", "data.audit.min_per_class=5", "--strict"]
    assert call("prepare", "-c", "tiny.yaml", *clean).code == 0
    graver = ["--set", "data.audit.severity={FV402: error}"]
    assert call("prepare", "-c", "tiny.yaml", *graver).code == 3


def test_a_list_of_rows_in_use_is_the_users_and_what_is_old_goes(call: Call) -> None:
    folder = Path("frames")
    lines = []
    for i, frame in enumerate(demo.frames(60, 1)):
        folder.mkdir(exist_ok=True)
        (folder / f"{i}.jpg").write_bytes(b"" if i < 2 else demo.jpeg(frame))
        lines.append({"file_name": f"{i}.jpg", "response": demo.response(frame)})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    base = [
        "prepare",
        "-c",
        "tiny.yaml",
        "--data",
        "frames",
        "--set",
        "data.test=null",
        "--set",
        "data.test_fraction=0.0",
    ]
    out = Path("prepared/tiny")
    assert call(*base).code == 3
    assert not (out / "manifest.json").exists()
    mine = (out / "exclude.csv").read_text().splitlines()[:2]
    (out / "exclude.csv").write_text("\n".join(mine))
    some = call(*base, "--set", f"data.exclude={out / 'exclude.csv'}")
    assert some.code == 3
    assert (out / "exclude.csv").read_text().splitlines() == mine
    assert len((out / "exclude-more.csv").read_text().splitlines()) == 3
    (out / "exclude-more.csv").rename("all.csv")
    done = call(*base, "--set", "data.exclude=all.csv")
    assert done.code == 0, done.out + done.err
    assert (out / "manifest.json").exists()
    assert not (out / "exclude.csv").exists(), "of an earlier preparation"


def test_prepare_prints_the_audit_as_json_and_nothing_else(call: Call) -> None:
    answer = call("prepare", "-c", "tiny.yaml", "--json")
    assert json.loads(answer.out) == json.loads(Path("prepared/tiny/audit.json").read_text())
    assert [finding["code"] for finding in json.loads(answer.out)["findings"]] == ["FV402"]


@pytest.mark.parametrize("command", [["prepare"], ["train"], ["prepare", "-o", "out/x"], ["train", "-o", "out"]])
def test_nothing_is_written_into_a_folder_of_data(call: Call, command: list[str]) -> None:
    answer = call(*command, "-c", "tiny.yaml", "--data", ".", "--set", "data.test=null")
    assert answer.code == 2
    assert "a folder of data" in answer.words
    assert {path.name for path in Path().iterdir()} == {"tiny.yaml"}
