"""The command line: bad input gives one clear panel and the right exit code; good input the promised output."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from frame_vit.__main__ import main
from frame_vit.config.load import load_config
from frame_vit.config.schema import Config
from frame_vit.data import demo
from tests.conftest import TINY

ROOT = Path(__file__).parents[2]


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """stderr without the panel's frame and line breaks."""
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", self.err).split())


Call = Callable[..., Answer]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command in this process, in an empty folder with tiny.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "tiny.yaml").write_text(TINY)

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["framevit", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Answer(code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "-c", "gone.yaml"], 2, "no such config file: gone.yaml"),
        (["train", "-c", "tiny.yaml", "--set", "training.learing_rate=1"], 2, "did you mean learning_rate?"),
        (["train", "-c", "tiny.yaml", "--set", "trainig.epochs=1"], 2, "did you mean training?"),
        (["train", "-c", "tiny.yaml", "--set", "training.learning_rate=fast"], 2, "valid number, not 'fast'"),
        (["train", "-c", "tiny.yaml", "--lr", "0"], 2, "training.learning_rate"),
        (
            ["train", "-c", "tiny.yaml", "--set", "labels.symmetries={}", "--set", "augment.hflip=true"],
            2,
            "not declared",
        ),
        (["train", "-c", "tiny.yaml", "--set", "epochs"], 2, "expected section.key=value"),
        (["train"], 2, "data.train: not set"),
        (["train", "--resume", "gone"], 2, "gone is not a run folder"),
        (["train", "-c", "tiny.yaml", "--model", "gone/a/b"], 2, "gone/a/b: no such folder"),
        (["train", "-c", "tiny.yaml", "-o", "full"], 2, "full is there already and not empty"),
        (["train", "-c", "tiny.yaml", "--set", "training.freeze=7"], 2, "training.freeze: 7 of 1 blocks"),
        (["train", "-c", "tiny.yaml", "--set", "training.freeze=all"], 2, "input should be 'none' or 'backbone'"),
        (["train", "--resume", "gone", "--epochs", "3"], 2, "takes nothing else"),
        (["train", "-c", "tiny.yaml", "--precision", "fp16"], 2, "need a CUDA card"),
        (["train", "-c", "tiny.yaml", "--device", "tpu"], 2, "device"),
        (["train", "-c", "tiny.yaml", "--data", "gone.csv"], 2, "no such file or folder: gone.csv"),
        (["train", "-c", "tiny.yaml", "--data", "empty"], 2, "no pictures found in empty"),
        (["prepare", "-c", "tiny.yaml", "--data", "gone.csv"], 2, "no such file or folder: gone.csv"),
        (["prepare", "-c", "tiny.yaml", "--data-set", "x"], 2, "--data-set"),
        (["evaluate"], 2, "no finished run here"),
        (["evaluate", "a", "--model", "b"], 2, "named twice"),
        (["evaluate", "empty"], 2, "neither a run folder nor a model folder"),
        (["predict", "a.jpg"], 2, "no finished run here"),
        (["predict", "empty"], 2, "no pictures in empty"),
        (["predict", "none*.jpg"], 2, "nothing matches none*.jpg"),
        (["predict"], 2, "no pictures are named"),
        (["predict", "a.jpg", "--format", "xml"], 2, "xml"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_a_mistake_is_one_panel_with_the_right_exit_code(
    call: Call, arguments: list[str], code: int, said: str
) -> None:
    Path("empty").mkdir()
    Path("full/x").mkdir(parents=True)
    answer = call(*arguments)
    assert said in answer.words
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.count("╭") + answer.err.count("Usage:") == 1
    assert "Traceback" not in answer.err
    assert not Path("runs").exists()


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


def test_a_text_file_named_jpg_in_a_training_set_is_named(call: Call) -> None:
    for name in ("a", "b"):
        Path("data", name).mkdir(parents=True)
        for seed in range(10):
            Path("data", name, f"{seed}.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", seed)))
    Path("data/b/3.jpg").write_text("not a picture at all")
    answer = call("train", "--set", "data.train=data", "--set", "model.init=scratch")
    assert answer.code == 1
    assert "b/3.jpg: not a picture (it starts with b'not a pictur')" in answer.words


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


def test_print_config_shows_every_key_and_loads_back(call: Call) -> None:
    answer = call("train", "--print-config", "--epochs", "3")
    assert answer.code == 0
    assert yaml.safe_load(answer.out)["training"]["epochs"] == 3
    again = call("train", "-c", "tiny.yaml", "--print-config")
    Path("again.yaml").write_text(again.out)
    assert load_config(Path("again.yaml")) == load_config(Path("tiny.yaml"))
    for section, block in Config().model_dump().items():
        for key in block:
            assert re.search(rf"^  # .+\n  {key}:", answer.out, re.M), f"{section}.{key} is not explained"


def test_another_training_set_with_the_configs_test_set_is_said(call: Call) -> None:
    said = "tested on the config's data.test, demo"
    assert said in call("train", "-c", "tiny.yaml", "--data", "gone.csv").words
    assert said not in call("train", "-c", "tiny.yaml", "--data", "gone.csv", "--set", "data.test=null").words


def test_version(call: Call) -> None:
    assert re.fullmatch(r"framevit \d+\.\d+\.\d+\n", call("--version").out)


class TestWithARun:
    """evaluate and predict on the tiny run, from a folder where it is the latest."""

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

    def test_predict_formats_agree(self, call: Call, pictures: Path) -> None:
        as_json = json.loads(call("predict", pictures, "--format", "json").out)
        as_lines = [json.loads(line) for line in call("predict", pictures, "--format", "jsonl").out.splitlines()]
        as_csv = list(csv.DictReader(io.StringIO(call("predict", pictures, "--format", "csv").out)))
        table = call("predict", pictures, "--format", "table").out
        assert as_json == as_lines
        assert len(as_json) == 5
        for row, cells in zip(as_json, as_csv, strict=True):
            assert (row["file"], row["label"], row["decision"]) == (cells["file"], cells["label"], cells["decision"])
            assert float(cells["p_Yplus"]) == pytest.approx(row["probabilities"]["Yplus"], abs=1e-6)
            assert Path(row["file"]).name[:4] in table

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

    def test_a_gate_that_fails_is_exit_code_4_and_named(self, call: Call, tmp_path: Path) -> None:
        held = call("evaluate", "-o", tmp_path / "e", "--gate", "n>=20", "--gate", "escape_rate.high<=1")
        assert held.code == 0, held.err
        broken = call("evaluate", "-o", tmp_path / "e", "--gate", "macro_f1>=0.99", "--gate", "n>=20")
        assert broken.code == 4
        assert "gate failed: macro_f1>=0.99: it is 0." in broken.words
        assert broken.words.count("gate failed") == 1
        assert call("evaluate", "--gate", "macro_f1").code == 2
        assert call("evaluate", "-o", tmp_path / "e", "--gate", "macro_f2>=1").code == 2

    def test_pictures_made_worse_are_tried_where_asked_for(self, call: Call, tmp_path: Path) -> None:
        assert call("evaluate", "-o", tmp_path / "e", "--corrupt").code == 0
        rows = json.loads((tmp_path / "e" / "metrics.json").read_text())["robustness"]["rows"]
        assert {"light", "shift"} <= {row["kind"] for row in rows}
        assert '<h2 id="robustness">' in (tmp_path / "e" / "report.html").read_text()

    def test_thresholds_are_chosen_anew_and_the_weights_stay(self, call: Call, tmp_path: Path) -> None:
        shutil.copytree("runs/tiny-001", tmp_path / "run")
        weights = (tmp_path / "run/model/model.safetensors").read_bytes()
        before = json.loads((tmp_path / "run/model/framevit.json").read_text())
        answer = call(
            "calibrate",
            tmp_path / "run",
            "--set",
            "decision.max_escape_rate=0.4",
            "--set",
            "decision.review_budget=0.5",
        )
        assert answer.code == 0, answer.err
        assert "of bad parts are accepted" in answer.out
        after = json.loads((tmp_path / "run/model/framevit.json").read_text())
        assert after["decision"]["claim"]["target"] == 0.4
        assert after["decision"] != before["decision"]
        assert {key: after[key] for key in after if key != "decision"} == {
            k: before[k] for k in before if k != "decision"
        }
        assert (tmp_path / "run/model/model.safetensors").read_bytes() == weights
        Path(tmp_path / "all").mkdir()
        for number, frame in enumerate(demo.frames(30, 9)):
            (tmp_path / "all" / frame.label).mkdir(exist_ok=True)
            (tmp_path / "all" / frame.label / f"{number}.jpg").write_bytes(demo.jpeg(frame))
        other = call("calibrate", tmp_path / "run", "--data", tmp_path / "all")
        assert other.code == 0, other.err
        chosen = json.loads((tmp_path / "run/model/framevit.json").read_text())["decision"]
        assert chosen["chosen_on"].startswith("data-")
        assert chosen["claim"]["n"] == 24
        assert call("calibrate", "somebody/model").code != 0

    def test_two_models_are_compared_on_the_same_pictures(self, call: Call) -> None:
        same = call("compare", "runs/tiny-001", "runs/tiny-001", "--json")
        found = json.loads(same.out)
        assert (found["n"], found["changed"], found["accuracy"]["p"]) == (20, [], 1.0)
        shown = call("compare", "runs/tiny-001", "runs/tiny-001/model", "--split", "val")
        assert shown.code == 0, shown.err
        assert "No difference can be shown on these 10 pictures" in shown.out
        assert call("compare", "runs/tiny-001", "runs/gone").code == 2

    def test_evaluate_prints_the_same_object_that_it_writes(self, call: Call, tmp_path: Path) -> None:
        answer = call("evaluate", "--json", "-o", tmp_path / "e")
        assert json.loads(answer.out) == json.loads((tmp_path / "e" / "metrics.json").read_text())
        trained_on = json.loads(Path("runs/tiny-001/evaluation/test/metrics.json").read_text())
        assert json.loads(answer.out) == trained_on

    def test_evaluate_without_averaging_gives_the_single_view_numbers(self, call: Call, tmp_path: Path) -> None:
        whole = json.loads(call("evaluate", "--json", "-o", tmp_path / "a").out)
        single = json.loads(call("evaluate", "--no-tta", "--json", "-o", tmp_path / "b").out)
        assert single["accuracy"] == whole["tta"]["without_tta"]["accuracy"]
        assert (single["tta"]["used"], whole["tta"]["used"]) == (False, True)

    def test_evaluate_another_split_and_other_data(self, call: Call, tmp_path: Path) -> None:
        assert json.loads(call("evaluate", "--split", "val", "--json", "-o", tmp_path / "a").out)["n"] == 10
        folder = tmp_path / "data" / "Xplus"
        folder.mkdir(parents=True)
        for seed in range(3):
            (folder / f"{seed}.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", seed)))
        other = json.loads(call("evaluate", "--data", tmp_path / "data", "--json", "-o", tmp_path / "b").out)
        assert (other["n"], other["per_class"]["Xplus"]["support"]) == (3, 3)
        folder.rename(folder.with_name("Zplus"))
        answer = call("evaluate", "--data", tmp_path / "data")
        assert answer.code == 1
        assert "'Zplus' is not among the classes" in answer.words

    def test_rows_left_out_are_counted_and_end_in_exit_code_3(self, call: Call, tmp_path: Path) -> None:
        folder = tmp_path / "data" / "Xplus"
        folder.mkdir(parents=True)
        (folder / "good.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", 1)))
        (folder / "bad.jpg").write_text("no picture")
        options = ["--data", tmp_path / "data", "-o", tmp_path / "e"]
        assert call("evaluate", *options).code == 1
        answer = call("evaluate", *options, "--set", "data.on_bad_row=skip", "--json")
        assert answer.code == 3
        assert "Xplus/bad.jpg" in answer.err
        metrics = json.loads(answer.out)
        assert (metrics["n"], metrics["skipped"]) == (1, 1)
        assert metrics["split"].startswith("data-")

    def test_a_split_that_has_changed_since_the_training_is_refused(self, call: Call, tmp_path: Path) -> None:
        answer = call("evaluate", "--set", "data.demo.seed=7", "-o", tmp_path / "e")
        assert answer.code == 2
        assert "not the one of the training any more" in answer.words

    def test_an_unknown_split_names_the_known_ones(self, call: Call) -> None:
        answer = call("evaluate", "--split", "holdout")
        assert answer.code == 2
        assert "the splits are train, val, test" in answer.words

    def test_a_finished_run_is_not_gone_on_with(self, call: Call) -> None:
        answer = call("train", "--resume", "runs/tiny-001")
        assert answer.code == 0
        assert "is finished" in answer.words
