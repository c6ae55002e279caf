"""Every kind of finding fires on what was planted, and on nothing else."""

from __future__ import annotations

import io
import json
import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frame_vit.audit.audit import Audit, audit, warn_of_errors
from frame_vit.config.load import load_config
from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import read_dataset
from frame_vit.data.exclusions import write_exclusions
from frame_vit.errors import ConfigError, DataError
from frame_vit.findings import KINDS
from frame_vit.images.preprocessing import Preprocessing
from tests.audit.planted import Planted, encoded, plant, said, shown

SIDE = Preprocessing(64, 64)
LABELS = {"names": list(demo.NAMES), "ok": ["passed"], "symmetries": demo.SYMMETRIES}


def audited(source: str | Path, preprocessing: Preprocessing = SIDE, names: Any = None, **data: Any) -> Audit:
    labels = LABELS | ({"names": names} if names else {})
    config = Config.model_validate({"labels": labels, "data": {"train": str(source), **data}})
    return audit(read_dataset(config, preprocessing, tolerant=True), config.data, preprocessing)


def found(audit: Audit) -> dict[str, set[str]]:
    """Keys by code; findings that are about no rows have none."""
    return {finding.kind.code: {row.key for row in finding.rows} for finding in audit.findings}


def drawn(folder: Path, counts: dict[str, int], split: str = "train", into: Planted | None = None) -> Planted:
    """So many sound frames of each class."""
    folder.mkdir(parents=True, exist_ok=True)
    planted = into or Planted(folder)
    for label, count in counts.items():
        for _ in range(count):
            frame = planted.frame(label)
            planted.add(demo.jpeg(frame), demo.response(frame), split)
    return planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, Audit]:
    there = plant(tmp_path_factory.mktemp("planted") / "set")
    return there, audited(there.write())


@pytest.fixture(scope="module")
def clean() -> Audit:
    return audited("demo", test="demo", demo={"train": 400, "test": 100})


IN_ROWS = sorted(
    {*KINDS}
    - {"FV105", "FV401", "FV402", "FV403", "FV404", "FV405", "FV504", "FV510", "FV602"}
    - {"FV210", "FV211", "FV306", "FV307"}
)


@pytest.mark.parametrize("code", IN_ROWS)
def test_what_was_planted_is_found_and_nothing_else(planted: tuple[Planted, Audit], code: str) -> None:
    there, audit = planted
    assert there.faults[code], f"nothing of {code} was planted"
    assert found(audit).get(code, set()) == there.faults[code]


def test_nothing_is_reported_that_was_not_planted(planted: tuple[Planted, Audit]) -> None:
    there, audit = planted
    assert {*found(audit)} == {*there.faults}


@pytest.mark.parametrize("code", sorted(KINDS))
def test_sound_frames_have_no_finding(clean: Audit, code: str) -> None:
    assert code not in found(clean)


def test_a_region_outside_a_picture_is_found(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    small = there.add(encoded(shown(there.frame("passed")).resize((120, 90))), said("passed"))
    answer = found(audited(there.write(), replace(SIDE, roi=(10, 10, 150, 110))))
    assert answer == {"FV105": {small}}


def test_a_class_that_a_split_lacks_is_found(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 25))
    drawn(tmp_path / "set", dict.fromkeys(demo.NAMES[:4], 5), "test", there)
    answer = audited(there.write())
    assert {*found(answer)} == {"FV401"}
    assert answer.findings[0].message == "the split test has no picture of Yminus"
    assert found(audited(there.write(), audit={"min_per_split": 6})).keys() == {"FV401"}


@pytest.mark.parametrize(
    ("counts", "codes"),
    [
        ((26, 26, 26, 26, 26), set()),
        ((26, 26, 26, 26, 20), {"FV402"}),
        ((300, 26, 26, 26, 26), {"FV403"}),
        ((120, 60, 26, 26, 26), {"FV404"}),
    ],
)
def test_few_rare_and_uneven_classes_are_found(tmp_path: Path, counts: tuple[int, ...], codes: set[str]) -> None:
    there = drawn(tmp_path / "set", dict(zip(demo.NAMES, counts, strict=True)))
    assert {*found(audited(there.write(), test_fraction=0.0))} == codes


def test_thresholds_are_the_configs(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict(zip(demo.NAMES, (40, 30, 25, 20, 20), strict=True)))
    assert {*found(audited(there.write(), test_fraction=0.0))} == {"FV402"}
    answer = audited(there.write(), test_fraction=0.0, audit={"min_per_class": 8, "max_pair_imbalance": 1.1})
    assert {*found(answer)} == {"FV404"}
    assert answer.findings[0].message == "in train Xplus has 24 pictures, Xminus 20"
    assert answer.findings[0].limit == 1.1


def test_data_that_cannot_be_divided_is_audited_all_the_same(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict(zip(demo.NAMES, (30, 30, 30, 30, 1), strict=True)))
    answer = audited(there.write())
    assert {*found(answer)} == {"FV402", "FV403", "FV404", "FV405"}
    assert not answer.divided
    assert "every class needs 5; 'Yminus' has 1" in answer.of("error")[0].message


def test_another_bit_depth_is_found(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    grey = np.asarray(shown(there.frame("passed")).convert("L")).astype(np.uint16) * 257
    deep = there.add(encoded(Image.fromarray(grey), "PNG"), said("passed"), suffix="png")
    assert found(audited(there.write(), replace(SIDE, bit_depth=16))) == {"FV503": {deep}, "FV504": {deep}}


def test_pictures_smaller_than_the_models_input_are_a_note(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    small = there.add(encoded(shown(there.frame("passed")).resize((80, 60))), said("passed", [[30, 20, 50, 40]]))
    answer = audited(there.write(), Preprocessing(64, 64))
    assert found(answer) == {"FV501": {small}, "FV510": {small}}
    assert [finding.severity for finding in answer.findings] == ["warning", "note"]


def test_mixed_up_directions_are_found(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 30))
    for number, row in enumerate(there.rows):
        if number % 2 and "X" in row["response"]:
            other = row["response"].replace("Xplus", "X?").replace("Xminus", "Xplus").replace("X?", "Xminus")
            row["response"] = other
    answer = audited(there.write(), test_fraction=0.0)
    assert {*found(answer)} == {"FV602"}, "rows are not judged one by one by middles that mean nothing"
    assert "Xplus" in answer.findings[0].message
    assert "Xminus" in answer.findings[0].message


def test_of_a_source_that_refuses_several_labels_the_rows_are_errors(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    two = there.add(demo.jpeg(there.frame("passed")), said("", [[60, 40, 100, 80]] * 2, ["passed", "Xplus"]))
    there.add(demo.jpeg(there.frame("passed")), said("", [[60, 40, 100, 80]] * 2, ["passed", "passed"]))
    assert found(audited(there.write())) == {"FV207": {two}}
    answer = audited(there.write(), multi="error")
    assert found(answer) == {"FV210": {two}}
    assert not answer.divided
    assert [e.key for e in answer.exclusions()] == [two]


def test_a_region_that_cuts_boxes_off_is_found(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    answer = audited(there.write(), replace(SIDE, roi=(0.1, 0.1, 0.6, 0.9)))
    cut = found(answer)["FV211"]
    rows = {answer.table.examples[i].key: answer.table.examples[i] for i in range(200)}
    assert cut == {key for key, row in rows.items() if row.box and row.box[2] > 96}
    assert 0 < len(cut) < 200


def test_a_training_set_without_a_usable_row_is_no_crash(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 5), "test")
    for _ in range(3):
        there.add(b"nothing", said("passed"))
    answer = audited(there.write())
    assert {"FV103", "FV401", "FV405"} <= {*found(answer)}
    assert answer.dataset.proposed_roi() is None


def test_without_a_usual_shape_only_extreme_ones_are_odd(tmp_path: Path) -> None:
    there = Planted(tmp_path / "set")
    (tmp_path / "set").mkdir()
    for number in range(150):
        frame = there.frame(demo.NAMES[number % 5])
        size = ((160, 120), (160, 100), (120, 120))[number % 3]
        there.add(encoded(shown(frame).resize(size)), said(frame.label, []))
    long = there.add(encoded(shown(there.frame("passed")).resize((500, 70))), said("passed", []))
    assert found(audited(there.write(), test_fraction=0.0)) == {"FV502": {long}}


def test_parts_whose_pictures_lie_in_two_splits_are_found(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    split = found(audited(there.write(), part_by=r"(\d{3})\d?\.jpg"))
    assert {*split} == {"FV307"}
    assert len(split["FV307"]) > 20
    kept = {"part_by": r"(\d{3})\d?\.jpg", "group_by": r"(\d{3})\d?\.jpg"}
    together = audited(there.write(), **kept)  # type: ignore[arg-type]
    assert "FV307" not in found(together)


def test_a_thousand_copies_do_not_name_each_other(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    data = demo.jpeg(there.frame("passed"))
    for number in range(300):
        there.add(data, said(demo.NAMES[number % 2], []))
    conflict = next(f for f in audited(there.write()).findings if f.kind.code == "FV303")
    assert conflict.count == 300
    assert max(len(row.detail) for row in conflict.rows) < 200


def test_names_that_are_no_text_do_not_stop_the_audit(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    there.rows[3]["response"] = json.dumps({"labels": ["passed", "odd \ud800"], "bboxes": [[60, 40, 100, 80]] * 2})
    answer = audited(there.write())
    json.dumps(answer.to_json(), ensure_ascii=False).encode()
    assert "odd \\ud800" in answer.findings[0].rows[0].detail


def test_an_exif_tag_that_turns_nothing_is_no_finding(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    exif = Image.Exif()
    exif[0x0112] = 0
    frame = there.frame("passed")
    there.add(encoded(shown(frame), exif=exif), demo.response(frame))
    assert found(audited(there.write())) == {}


def test_a_small_input_is_audited_too(planted: tuple[Planted, Audit]) -> None:
    there, _ = planted
    answer = audited(there.write(), Preprocessing(8, 8))
    assert there.faults["FV302"] == found(answer)["FV302"]


def test_severity_and_allowance_are_the_configs(planted: tuple[Planted, Audit]) -> None:
    there, before = planted
    changed = {"severity": {"FV302": "warning", "FV507": "off", "FV501": "error"}, "allow": {"FV201": 6, "FV202": 0}}
    after = audited(there.write(), audit=changed)
    grades = {finding.kind.code: finding.severity for finding in after.findings}
    assert grades == {
        **{finding.kind.code: finding.severity for finding in before.findings if finding.kind.code != "FV507"},
        "FV302": "warning",
        "FV501": "error",
        "FV201": "note",
    }
    assert [f.severity for f in after.findings] == sorted(grades.values(), key=["error", "warning", "note"].index)


@pytest.mark.parametrize("key", ["severity", "allow"])
def test_an_unknown_code_is_refused(tmp_path: Path, key: str) -> None:
    value = {"severity": "off", "allow": "1"}[key]
    with pytest.raises(ConfigError, match=rf"data.audit.{key}.FV999: unknown code"):
        load_config(None, ["data.train=demo", f"data.audit.{key}={{FV999: {value}}}"])


def test_what_is_left_out_is_proposed_once_and_stays_listed(planted: tuple[Planted, Audit], tmp_path: Path) -> None:
    there, before = planted
    listed = before.exclusions()
    assert len({(e.source, e.key) for e in listed}) == len(listed)
    assert {e.key for e in listed} == set().union(*(there.faults[code] for code in KINDS if KINDS[code].excludes))
    write_exclusions(tmp_path / "exclude.csv", listed)
    after = audited(there.write(), exclude=str(tmp_path / "exclude.csv"))
    assert not {*found(after)} & {code for code in KINDS if KINDS[code].excludes}
    assert after.divided
    assert {*after.exclusions()} == {*listed}


def test_rows_are_left_out_of_a_division_and_the_rest_stays(planted: tuple[Planted, Audit], tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    frame = there.frame("Xplus")
    for quality in (88, 70, 60, 50):
        there.add(encoded(shown(frame), quality=quality), demo.response(frame))
    before = audited(there.write(), seed=1)
    (tmp_path / "manifest.json").write_text(json.dumps(before.dataset.manifest()))
    listed = before.exclusions()
    assert listed
    write_exclusions(tmp_path / "exclude.csv", listed)
    after = audited(there.write(), exclude=str(tmp_path / "exclude.csv"), splits=str(tmp_path / "manifest.json"))
    assert found(after) == {}
    for name, split in after.dataset.splits.items():
        kept = [e.key for e in before.dataset.splits[name].examples if e.key not in {x.key for x in listed}]
        assert [e.key for e in split.examples] == kept


def test_of_a_leak_the_rows_on_the_training_side_are_left_out(planted: tuple[Planted, Audit]) -> None:
    _, audit = planted
    for code in ("FV302", "FV304"):
        rows = next(f.rows for f in audit.findings if f.kind.code == code)
        assert {row.split for row in rows} == {"train"}
        assert {row.duplicate_of[0] for row in rows if row.duplicate_of} <= {"val", "test"}


def test_only_spellings_that_are_not_the_commonest_are_faults(tmp_path: Path) -> None:
    there = drawn(tmp_path / "set", {"passed": 30, "Xplus": 30})
    for row in there.rows[-3:]:
        row["response"] = row["response"].replace("Xplus", "XPlus ")
    config = Config.model_validate({"data": {"train": str(there.write())}})
    answer = audit(read_dataset(config, SIDE, tolerant=True), config.data, SIDE)
    assert answer.dataset.labels.names == ("Xplus", "passed")
    assert len(found(answer)["FV206"]) == 3


def test_a_training_is_warned_of_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 25))
    frame = there.frame("Xplus")
    for split in ("train", "test"):
        there.add(demo.jpeg(frame), demo.response(frame), split)
    config = Config.model_validate({"labels": LABELS, "data": {"train": str(there.write())}})
    with caplog.at_level(logging.WARNING, "framevit"):
        warn_of_errors(read_dataset(config, SIDE), config.data.audit)
    assert "FV302 same picture in two splits (1)" in caplog.text
    assert "framevit prepare shows the rows" in caplog.text
    caplog.clear()
    sound = Config.model_validate({"labels": LABELS, "data": {"train": "demo", "demo": {"train": 200}}})
    warn_of_errors(read_dataset(sound, SIDE), sound.data.audit)
    assert not caplog.text


def test_json_has_all_rows_and_names_each_threshold(planted: tuple[Planted, Audit]) -> None:
    there, audit = planted
    said = json.loads(json.dumps(audit.to_json(), allow_nan=False))
    rows = {finding["code"]: {row["key"] for row in finding["rows"]} for finding in said["findings"]}
    assert rows == {code: keys for code, keys in there.faults.items() if keys}
    assert said["found"]["error"] == sum(finding["severity"] == "error" for finding in said["findings"])
    config = Config().data.audit.model_dump()
    for finding in said["findings"]:
        assert finding["threshold"]["name"].removeprefix("data.audit.") in config
        assert finding["advice"]
        assert finding["count"] == len(finding["rows"])
    assert said["rows"] == {"used": len(there.rows) - 19, "rejected": 19}


def fixed(number: int, label: str) -> demo.Frame:
    """What a fixed camera sees: only where the terminal lies, and the noise, differ."""
    frame, free = demo.sample(label, number), demo.sample("passed", 0).free_play
    offset = (frame.offset[0] / frame.free_play[0] * free[0], frame.offset[1] / frame.free_play[1] * free[1])
    return replace(demo.sample("passed", 0), offset=offset, noise=0.02, noise_seed=number, light=1.0)


def usual_hash(image: Image.Image) -> int:
    """The 64 bits of the usual average hash: which of 8 x 8 cells are lighter than the mean."""
    cells = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.LANCZOS), np.float64)
    return int("".join(map(str, (cells > cells.mean()).astype(int).ravel())), 2)


def seen_by_a_fixed_camera(folder: Path) -> Planted:
    folder.mkdir()
    there = Planted(folder)
    for number in range(400):
        frame = fixed(number, demo.NAMES[number % 5])
        split = ("train", "train", "train", "validation", "test")[number // 5 % 5]
        there.add(demo.jpeg(frame), demo.response(frame), split)
    return there


def test_frames_of_a_fixed_camera_are_not_copies_of_each_other(tmp_path: Path) -> None:
    there = seen_by_a_fixed_camera(tmp_path / "set")
    hashes = defaultdict(set)
    for number in range(400):
        hashes[usual_hash(shown(fixed(number, demo.NAMES[number % 5])))].add(demo.NAMES[number % 5])
    assert any(len(classes) > 1 for classes in hashes.values()), "a usual hash calls different classes equal"
    answer = audited(there.write())
    assert answer.limit.value is not None
    assert {*found(answer)} == set()
    assert answer.near_duplicates.within == 0


@pytest.mark.parametrize("gain", [0.95, 1.0, 1.06])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_copies_saved_again_and_made_brighter_are_found(tmp_path: Path, gain: float, form: str) -> None:
    there = seen_by_a_fixed_camera(tmp_path / "set")
    copies = set()
    for number in range(4, 400, 40):
        frame = fixed(number, demo.NAMES[number % 5])
        with Image.open(io.BytesIO(demo.jpeg(frame))) as opened:
            image = opened.convert("RGB").point(lambda level: min(255, round(level * gain)))
        options = {"JPEG": {"quality": 70}, "WEBP": {"quality": 80}, "PNG": {}}[form]
        twin = "test" if there.rows[number]["split"] == "train" else "train"
        key = there.add(encoded(image, form, **options), demo.response(frame), twin, suffix=form.lower())
        copies.add(key if twin == "train" else f"line {number + 1} ({number:04}.jpg)")
    answer = found(audited(there.write()))
    # A PNG of the very same pixels is the same picture, not nearly the same.
    assert answer == {"FV302" if form == "PNG" and gain == 1 else "FV304": copies}


def test_where_classes_lie_as_near_as_copies_nothing_is_called_a_copy(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    there = Planted(tmp_path / "set")
    for number in range(200):
        frame = replace(fixed(0, "passed"), noise=0.001, noise_seed=number)
        there.add(demo.jpeg(frame), said(demo.NAMES[number % 5], []))
    answer = audited(there.write())
    assert answer.limit.value is None
    assert answer.limit.copies is not None
    assert found(answer) == {"FV306": set()}
    assert "different classes are as near as copies" in answer.findings[0].message


@pytest.mark.parametrize(("noise", "jitter"), [(0.005, 0.0), (0.01, 0.01), (0.01, 0.03), (0.02, 0.0), (0.02, 0.02)])
def test_parts_that_lie_alike_under_a_still_camera_are_never_called_copies(
    tmp_path: Path, noise: float, jitter: float
) -> None:
    """Their distances run on without a gap; what is listed is a note and is not proposed to be left out."""
    (tmp_path / "set").mkdir()
    there, random = Planted(tmp_path / "set"), np.random.default_rng(1)
    base = demo.sample("passed", 0)
    sides = {
        "passed": (0.0, 0.0),
        "Xplus": (0.8, 0.0),
        "Xminus": (-0.8, 0.0),
        "Yplus": (0.0, 0.8),
        "Yminus": (0.0, -0.8),
    }
    for number in range(200):
        label = demo.NAMES[number % 5]
        offset = [(s + random.normal(0, jitter)) * f for s, f in zip(sides[label], base.free_play, strict=True)]
        frame = replace(base, offset=(offset[0], offset[1]), noise=noise, noise_seed=number, light=1.0)
        there.add(demo.jpeg(frame), demo.response(frame))
    answer = audited(there.write())
    assert not {"FV304", "FV305"} & {*found(answer)}
    assert answer.exclusions() == []


def test_copies_under_wrong_labels_do_not_hide_copies(tmp_path: Path) -> None:
    there = seen_by_a_fixed_camera(tmp_path / "set")
    wrong = set()
    for number in range(0, 400, 10):
        frame = fixed(number, demo.NAMES[number % 5])
        wrong.add(there.add(encoded(shown(frame), quality=75), said(demo.NAMES[(number + 1) % 5], [])))
        wrong.add(f"line {number + 1} ({number:04}.jpg)")
    assert found(audited(there.write()))["FV305"] == wrong


def test_the_limit_can_be_given_or_the_search_left_out(planted: tuple[Planted, Audit]) -> None:
    there, before = planted
    assert before.limit.copies is not None
    given = audited(there.write(), audit={"near_duplicate": 0.002})
    assert given.limit.to_json() == {"limit": 0.002, "farthest_copy": None, "nearest_of_other_class": None}
    assert "FV304" not in found(given)
    assert "FV304" not in found(audited(there.write(), audit={"near_duplicate": 0}))


def test_rows_that_all_fail_are_named_and_not_audited(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    there = Planted(tmp_path / "set")
    for label in ("passed", "Xplus") * 3:
        there.add(b"no picture", said(label))
    with pytest.raises(DataError, match="6 rows cannot be used"):
        audited(there.write())
    for row in there.rows:
        row["response"] = "nothing"
    with pytest.raises(DataError, match="6 rows cannot be used"):
        audited(there.write(), names="auto")
