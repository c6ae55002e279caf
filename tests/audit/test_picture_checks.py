"""Checks of files, sizes, colour modes and the region of interest, each where it fires and where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from frame_vit.data import demo
from frame_vit.images.preprocessing import Preprocessing
from tests.audit.planted import SIDE, Planted, audited, drawn, encoded, keys_by_code, said, shown


def test_a_region_outside_a_picture_is_found(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    small = frames.add(encoded(shown(frames.frame("passed")).resize((120, 90))), said("passed"))
    result = keys_by_code(audited(frames.write(), replace(SIDE, roi=(10, 10, 150, 110))))
    assert result == {"FV105": {small}}


def test_another_bit_depth_is_found(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    grey = np.asarray(shown(frames.frame("passed")).convert("L")).astype(np.uint16) * 257
    deep = frames.add(encoded(Image.fromarray(grey), "PNG"), said("passed"), suffix="png")
    assert keys_by_code(audited(frames.write(), replace(SIDE, bit_depth=16))) == {"FV503": {deep}, "FV504": {deep}}


def test_pictures_smaller_than_the_models_input_are_a_note(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    small = frames.add(encoded(shown(frames.frame("passed")).resize((80, 60))), said("passed", [[30, 20, 50, 40]]))
    result = audited(frames.write(), Preprocessing(64, 64))
    assert keys_by_code(result) == {"FV501": {small}, "FV510": {small}}
    assert [finding.severity for finding in result.findings] == ["warning", "note"]


def test_a_padded_picture_is_enlarged_by_one_factor(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40)).write()
    stretched = audited(folder, Preprocessing(140, 140))
    assert {finding.kind.code for finding in stretched.findings} == {"FV510"}, "120 pixels become 140"
    assert not audited(folder, Preprocessing(140, 140, pad=True)).findings


def test_a_region_that_cuts_boxes_off_is_found(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    result = audited(frames.write(), replace(SIDE, roi=(0.1, 0.1, 0.6, 0.9)))
    cut = keys_by_code(result)["FV211"]
    rows = {result.table.examples[i].key: result.table.examples[i] for i in range(200)}
    assert cut == {key for key, row in rows.items() if row.box and row.box[2] > 96}
    assert 0 < len(cut) < 200


def test_without_a_usual_shape_only_extreme_ones_are_odd(tmp_path: Path) -> None:
    frames = Planted(tmp_path / "set")
    (tmp_path / "set").mkdir()
    for number in range(150):
        frame = frames.frame(demo.NAMES[number % 5])
        size = ((160, 120), (160, 100), (120, 120))[number % 3]
        frames.add(encoded(shown(frame).resize(size)), said(frame.label, []))
    long = frames.add(encoded(shown(frames.frame("passed")).resize((500, 70))), said("passed", []))
    assert keys_by_code(audited(frames.write(), test_fraction=0.0)) == {"FV502": {long}}


def test_an_exif_tag_that_turns_nothing_is_no_finding(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    exif = Image.Exif()
    exif[0x0112] = 0
    frame = frames.frame("passed")
    frames.add(encoded(shown(frame), exif=exif), demo.response(frame))
    assert keys_by_code(audited(frames.write())) == {}


def test_quarter_turns_of_pictures_that_are_stretched_are_an_error(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40)).write()
    turns = {"Xplus": "Yminus", "Yminus": "Xminus", "Xminus": "Yplus", "Yplus": "Xplus"}
    stretched = audited(folder, turns=turns)
    (finding,) = stretched.findings
    assert "200 pictures would be distorted" in stretched.refusal
    assert "data.fit: pad" in stretched.refusal
    assert not stretched.divided
    assert (finding.kind.code, finding.severity, finding.count) == ("FV511", "error", 200)
    assert finding.rows[0].detail == "160 x 120"
    assert not audited(folder).findings
    assert not audited(folder, replace(SIDE, pad=True), turns=turns).findings
    assert not audited(folder, replace(SIDE, roi=(20, 0, 140, 120)), turns=turns).of("error")
