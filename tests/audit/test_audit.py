"""The whole audit: every kind of finding fires on what was planted and on nothing else; severities; exclusions."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from frame_vit.audit.audit import Audit, audit, warn_of_errors
from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import read_dataset
from frame_vit.data.splits import write_exclusions
from frame_vit.errors import DataError
from frame_vit.findings import KINDS
from frame_vit.images.preprocessing import Preprocessing
from tests.audit.planted import LABELS, SIDE, Planted, audited, drawn, encoded, keys_by_code, said, shown

IN_ROWS = sorted(
    {*KINDS}
    - {"FV105", "FV401", "FV402", "FV403", "FV404", "FV405", "FV504", "FV510", "FV511", "FV602"}
    - {"FV210", "FV211", "FV306", "FV307"}
    - {"FV701", "FV702", "FV703", "FV704", "FV705", "FV706", "FV707", "FV708"}  # about the source, not its rows
)


@pytest.mark.parametrize("code", IN_ROWS)
def test_what_was_planted_is_found_and_nothing_else(planted: tuple[Planted, Audit], code: str) -> None:
    frames, audit = planted
    assert frames.faults[code], f"nothing of {code} was planted"
    assert keys_by_code(audit).get(code, set()) == frames.faults[code]


def test_nothing_is_reported_that_was_not_planted(planted: tuple[Planted, Audit]) -> None:
    frames, audit = planted
    planted_codes = {code for code, keys in frames.faults.items() if keys}  # looking a code up leaves it without keys
    assert {*keys_by_code(audit)} == planted_codes


@pytest.mark.parametrize("code", sorted(KINDS))
def test_sound_frames_have_no_finding(clean: Audit, code: str) -> None:
    assert code not in keys_by_code(clean)


def test_thresholds_are_the_configs(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict(zip(demo.NAMES, (40, 30, 25, 20, 20), strict=True)))
    assert {*keys_by_code(audited(frames.write(), test_fraction=0.0))} == {"FV402"}
    result = audited(frames.write(), test_fraction=0.0, audit={"min_per_class": 8, "max_pair_imbalance": 1.1})
    assert {*keys_by_code(result)} == {"FV404"}
    assert result.findings[0].message == "in train Xplus has 24 pictures, Xminus 20"
    assert result.findings[0].limit == 1.1


def test_data_that_cannot_be_divided_is_audited_all_the_same(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict(zip(demo.NAMES, (30, 30, 30, 30, 1), strict=True)))
    result = audited(frames.write())
    assert {*keys_by_code(result)} == {"FV402", "FV403", "FV404", "FV405"}
    assert not result.divided
    assert "every class needs 5; 'Yminus' has 1" in result.of("error")[0].message


def test_a_training_set_without_a_usable_row_is_no_crash(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 5), "test")
    for _ in range(3):
        frames.add(b"nothing", said("passed"))
    result = audited(frames.write())
    assert {"FV103", "FV401", "FV405"} <= {*keys_by_code(result)}
    assert result.dataset.proposed_roi() is None


def test_names_that_are_no_text_do_not_stop_the_audit(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    frames.rows[3]["response"] = json.dumps({"labels": ["passed", "odd \ud800"], "bboxes": [[60, 40, 100, 80]] * 2})
    result = audited(frames.write())
    json.dumps(result.to_json(), ensure_ascii=False).encode()
    assert "odd \\ud800" in result.findings[0].rows[0].detail


def test_a_small_input_is_audited_too(planted: tuple[Planted, Audit]) -> None:
    frames, _ = planted
    result = audited(frames.write(), Preprocessing(8, 8))
    assert frames.faults["FV302"] == keys_by_code(result)["FV302"]


def test_severity_and_allowance_are_the_configs(planted: tuple[Planted, Audit]) -> None:
    frames, before = planted
    changed = {"severity": {"FV302": "warning", "FV507": "off", "FV501": "error"}, "allow": {"FV201": 6, "FV202": 0}}
    after = audited(frames.write(), audit=changed)
    grades = {finding.kind.code: finding.severity for finding in after.findings}
    assert grades == {
        **{finding.kind.code: finding.severity for finding in before.findings if finding.kind.code != "FV507"},
        "FV302": "warning",
        "FV501": "error",
        "FV201": "note",
    }
    assert [f.severity for f in after.findings] == sorted(grades.values(), key=["error", "warning", "note"].index)


def test_what_is_left_out_is_proposed_once_and_stays_listed(planted: tuple[Planted, Audit], tmp_path: Path) -> None:
    frames, before = planted
    listed = before.exclusions()
    assert len({(e.source, e.key) for e in listed}) == len(listed)
    assert {e.key for e in listed} == set().union(*(frames.faults[code] for code in KINDS if KINDS[code].excludes))
    write_exclusions(tmp_path / "exclude.csv", listed)
    after = audited(frames.write(), exclude=str(tmp_path / "exclude.csv"))
    assert not {*keys_by_code(after)} & {code for code in KINDS if KINDS[code].excludes}
    assert after.divided
    assert {*after.exclusions()} == {*listed}


def test_rows_are_left_out_of_a_division_and_the_rest_stays(planted: tuple[Planted, Audit], tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    frame = frames.frame("Xplus")
    for quality in (88, 70, 60, 50):
        frames.add(encoded(shown(frame), quality=quality), demo.response(frame))
    before = audited(frames.write(), seed=1)
    (tmp_path / "manifest.json").write_text(json.dumps(before.dataset.manifest()))
    listed = before.exclusions()
    assert listed
    write_exclusions(tmp_path / "exclude.csv", listed)
    after = audited(frames.write(), exclude=str(tmp_path / "exclude.csv"), splits=str(tmp_path / "manifest.json"))
    assert keys_by_code(after) == {}
    for name, split in after.dataset.splits.items():
        kept = [e.key for e in before.dataset.splits[name].examples if e.key not in {x.key for x in listed}]
        assert [e.key for e in split.examples] == kept


def test_only_spellings_that_are_not_the_commonest_are_faults(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", {"passed": 30, "Xplus": 30})
    for row in frames.rows[-3:]:
        row["response"] = row["response"].replace("Xplus", "XPlus ")
    config = Config.model_validate({"data": {"train": str(frames.write())}})
    result = audit(read_dataset(config, SIDE, tolerant=True), config.data, SIDE)
    assert result.dataset.labels.names == ("Xplus", "passed")
    assert len(keys_by_code(result)["FV206"]) == 3


def test_a_training_is_warned_of_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 25))
    frame = frames.frame("Xplus")
    for split in ("train", "test"):
        frames.add(demo.jpeg(frame), demo.response(frame), split)
    config = Config.model_validate({"labels": LABELS, "data": {"train": str(frames.write())}})
    with caplog.at_level(logging.WARNING, "framevit"):
        warn_of_errors(read_dataset(config, SIDE), config.data.audit)
    assert "FV302 same picture in two splits (1)" in caplog.text
    assert "framevit prepare shows the rows" in caplog.text
    caplog.clear()
    sound = Config.model_validate({"labels": LABELS, "data": {"train": "demo", "demo": {"train": 200}}})
    with caplog.at_level(logging.WARNING, "framevit"):
        warn_of_errors(read_dataset(sound, SIDE), sound.data.audit)
    assert not caplog.text


def test_json_has_all_rows_and_names_each_threshold(planted: tuple[Planted, Audit]) -> None:
    frames, audit = planted
    said = json.loads(json.dumps(audit.to_json(), allow_nan=False))
    rows = {finding["code"]: {row["key"] for row in finding["rows"]} for finding in said["findings"]}
    assert rows == {code: keys for code, keys in frames.faults.items() if keys}
    assert said["found"]["error"] == sum(finding["severity"] == "error" for finding in said["findings"])
    config = Config().data.audit.model_dump()
    for finding in said["findings"]:
        assert finding["threshold"]["name"].removeprefix("data.audit.") in config
        assert finding["advice"]
        assert finding["count"] == len(finding["rows"])
    assert said["rows"] == {"used": len(frames.rows) - 19, "rejected": 19}


def test_rows_that_all_fail_are_named_and_not_audited(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    frames = Planted(tmp_path / "set")
    for label in ("passed", "Xplus") * 3:
        frames.add(b"no picture", said(label))
    with pytest.raises(DataError, match="6 rows cannot be used"):
        audited(frames.write())
    for row in frames.rows:
        row["response"] = "nothing"
    with pytest.raises(DataError, match="6 rows cannot be used"):
        audited(frames.write(), names="auto")
