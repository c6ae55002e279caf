"""`framevit evaluate`, `calibrate` and `compare`: what they print and write, and their exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from frame_vit.data import demo
from tests.cli.calls import Call, one_panel


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate"], "no finished run here"),
        (["evaluate", "a", "--model", "b"], "named twice"),
        (["evaluate", "empty"], "neither a run folder nor a model folder"),
    ],
)
def test_a_mistake_is_one_panel_and_exit_code_2(call: Call, arguments: list[str], said: str) -> None:
    one_panel(call, arguments, said)


class TestWithARun:
    """On the tiny run, from a folder where it is the latest."""

    @pytest.fixture(autouse=True)
    def _here(self, call: Call, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(trained)

    def test_a_gate_that_fails_is_exit_code_4_and_named(self, call: Call, tmp_path: Path) -> None:
        held = call("evaluate", "-o", tmp_path / "e", "--gate", "n>=20", "--gate", "escape_rate.high<=1")
        assert held.code == 0, held.err
        broken = call("evaluate", "-o", tmp_path / "e", "--gate", "macro_f1>=0.99", "--gate", "n>=20")
        assert broken.code == 4
        assert "gate failed: macro_f1>=0.99: it is 0." in broken.words
        assert broken.words.count("gate failed") == 1
        assert call("evaluate", "--gate", "macro_f1").code == 2
        assert call("evaluate", "-o", tmp_path / "e", "--gate", "macro_f2>=1").code == 2

    def test_a_folder_that_cannot_be_made_is_a_mistake(self, call: Call) -> None:
        answer = call("evaluate", "-o", "tiny.yaml/below")
        assert (answer.code, answer.out) == (2, "")
        assert "no results can be written to tiny.yaml/below" in answer.words

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

    def test_calibrate_saves_views_that_are_not_needed_and_takes_that_back(self, call: Call, tmp_path: Path) -> None:
        shutil.copytree("runs/tiny-001", tmp_path / "run")
        run, auto = tmp_path / "run", ["--set", "decision.tta=auto", "--set", "decision.tta_changed=0.5"]
        refused = call("calibrate", run, "--data", "demo", *auto)
        assert refused.code == 2
        assert "chosen on the validation split of the run" in refused.err
        before = (run / "model/framevit.json").read_text()
        answer = call("calibrate", run, *auto)
        assert answer.code == 0, answer.err
        assert "of 4 views a picture on average; on val," in answer.err
        assert json.loads((run / "model/framevit.json").read_text())["settling_limit"] > 0
        evaluated = json.loads(call("evaluate", run, "--json", "-o", tmp_path / "e").out)
        assert 1 <= evaluated["tta"]["views_per_picture"] < 4
        for more in ([], ["--data", "demo"], ["--data", "demo", *auto], ["--set", "decision.max_escape_rate=0.3"]):
            kept = call("calibrate", run, *more)
            assert kept.code == 0, kept.err
            assert "settling_limit" in json.loads((run / "model/framevit.json").read_text())
        assert call("calibrate", run, "--set", "decision.tta=all").code == 0
        assert json.loads((run / "model/framevit.json").read_text()) == json.loads(before)

    def test_calibrate_holds_the_target_in_every_class_until_told_otherwise(self, call: Call, tmp_path: Path) -> None:
        shutil.copytree("runs/tiny-001", tmp_path / "run")
        run, file = tmp_path / "run", tmp_path / "run/model/framevit.json"
        before = file.read_text()
        assert "per_class" not in before
        answer = call("calibrate", run, "--set", "decision.per_class=true")
        assert answer.code == 0, answer.err
        assert "confidence for all 4 defect classes together" in answer.out
        assert "more of Xplus" in answer.out
        of_each = json.loads(file.read_text())["decision"]["facts"]["per_class"]
        assert list(of_each) == ["Xplus", "Xminus", "Yplus", "Yminus"]
        evaluated = json.loads(call("evaluate", run, "--json", "-o", tmp_path / "e").out)
        assert evaluated["decision"]["point"]["facts"]["per_class"] == of_each
        assert call("calibrate", run, "--set", "decision.max_escape_rate=0.3").code == 0
        assert list(json.loads(file.read_text())["decision"]["facts"]["per_class"]) == list(of_each), "it is kept"
        assert call("calibrate", run, "--set", "decision.per_class=false").code == 0
        assert json.loads(file.read_text()) == json.loads(before)

    def test_a_gate_on_one_class_is_checked(self, call: Call, tmp_path: Path) -> None:
        gates = ["--gate", "escape_by_class.Xplus.high<=1", "--gate", "kappa.low>=-1"]
        held = call("evaluate", "-o", tmp_path / "e", *gates, "--gate", "per_class.Xplus.recall_rate.low>=0")
        assert held.code == 0, held.err
        assert call("evaluate", "-o", tmp_path / "e", "--gate", "escape_by_class.Xplus.high<=0.02").code == 4
        wrong = call("evaluate", "-o", tmp_path / "e", "--gate", "escape_by_class.Xpluss.high<=0.02")
        assert wrong.code == 2
        assert "did you mean 'Xplus'?" in wrong.words

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

    def test_data_with_splits_is_tested_on_its_test_split_or_on_the_one_that_is_named(
        self, call: Call, tmp_path: Path
    ) -> None:
        for seed, split in enumerate(["train", "train", "valid", "test"]):
            place = tmp_path / "data" / split / "Xplus" / f"{seed}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(demo.jpeg(demo.sample("Xplus", seed)))
        words = ["evaluate", "--data", tmp_path / "data", "--json", "-o", tmp_path / "e"]
        for extra, n in ([], 1), (["--split", "val"], 1), (["--split", "train"], 2), (["--split", "all"], 4):
            assert json.loads(call(*words, *extra).out)["n"] == n
        answer = call(*words, "--split", "tset")
        assert answer.code == 2
        assert "the splits are test, train, valid" in answer.words

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
