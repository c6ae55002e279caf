"""Checks of labels, duplicates, class counts and boxes: each fires where it should, and not where it should not."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.audit.audit import Audit
from frame_vit.data import demo
from tests.audit.planted import Planted, audited, drawn, encoded, keys_by_code, said, shown


def test_a_class_that_a_split_lacks_is_found(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 25))
    drawn(tmp_path / "set", dict.fromkeys(demo.NAMES[:4], 5), "test", frames)
    result = audited(frames.write())
    assert {*keys_by_code(result)} == {"FV401"}
    assert result.findings[0].message == "the split test has no picture of Yminus"
    assert keys_by_code(audited(frames.write(), audit={"min_per_split": 6})).keys() == {"FV401"}


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
    frames = drawn(tmp_path / "set", dict(zip(demo.NAMES, counts, strict=True)))
    assert {*keys_by_code(audited(frames.write(), test_fraction=0.0))} == codes


def test_mixed_up_directions_are_found(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 30))
    for number, row in enumerate(frames.rows):
        if number % 2 and "X" in row["response"]:
            other = row["response"].replace("Xplus", "X?").replace("Xminus", "Xplus").replace("X?", "Xminus")
            row["response"] = other
    result = audited(frames.write(), test_fraction=0.0)
    assert {*keys_by_code(result)} == {"FV602"}, "rows are not judged one by one by middles that mean nothing"
    assert "Xplus" in result.findings[0].message
    assert "Xminus" in result.findings[0].message


def test_of_a_source_that_refuses_several_labels_the_rows_are_errors(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    two = frames.add(demo.jpeg(frames.frame("passed")), said("", [[60, 40, 100, 80]] * 2, ["passed", "Xplus"]))
    frames.add(demo.jpeg(frames.frame("passed")), said("", [[60, 40, 100, 80]] * 2, ["passed", "passed"]))
    assert keys_by_code(audited(frames.write())) == {"FV207": {two}}
    result = audited(frames.write(), multi="error")
    assert keys_by_code(result) == {"FV210": {two}}
    assert not result.divided
    assert result.refusal
    assert [e.key for e in result.exclusions()] == [two]


def test_parts_whose_pictures_lie_in_two_splits_are_found(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    split = keys_by_code(audited(frames.write(), part_by=r"(\d{3})\d?\.jpg"))
    assert {*split} == {"FV307"}
    assert len(split["FV307"]) > 20
    kept = {"part_by": r"(\d{3})\d?\.jpg", "group_by": r"(\d{3})\d?\.jpg"}
    together = audited(frames.write(), **kept)  # type: ignore[arg-type]
    assert "FV307" not in keys_by_code(together)


def test_a_thousand_copies_do_not_name_each_other(tmp_path: Path) -> None:
    frames = drawn(tmp_path / "set", dict.fromkeys(demo.NAMES, 40))
    data = demo.jpeg(frames.frame("passed"))
    for number in range(300):
        frames.add(data, said(demo.NAMES[number % 2], []))
    conflict = next(f for f in audited(frames.write()).findings if f.kind.code == "FV303")
    assert conflict.count == 300
    assert max(len(row.detail) for row in conflict.rows) < 200


def fixed(number: int, label: str) -> demo.Frame:
    """What a fixed camera sees: only where the terminal lies, and the noise, differ."""
    frame, free = demo.sample(label, number), demo.sample("passed", 0).free_play
    offset = demo.Pair(*(moved / play * f for moved, play, f in zip(frame.offset, frame.free_play, free, strict=True)))
    return replace(demo.sample("passed", 0), offset=offset, noise=0.02, noise_seed=number, light=1.0)


def usual_hash(image: Image.Image) -> int:
    """The 64 bits of the usual average hash: which of 8 x 8 cells are lighter than the mean."""
    cells = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.LANCZOS), np.float64)
    return int("".join(map(str, (cells > cells.mean()).astype(int).ravel())), 2)


def seen_by_a_fixed_camera(folder: Path) -> Planted:
    folder.mkdir()
    frames = Planted(folder)
    for number in range(400):
        frame = fixed(number, demo.NAMES[number % 5])
        split = ("train", "train", "train", "validation", "test")[number // 5 % 5]
        frames.add(demo.jpeg(frame), demo.response(frame), split)
    return frames


def test_frames_of_a_fixed_camera_are_not_copies_of_each_other(tmp_path: Path) -> None:
    frames = seen_by_a_fixed_camera(tmp_path / "set")
    hashes = defaultdict(set)
    for number in range(400):
        hashes[usual_hash(shown(fixed(number, demo.NAMES[number % 5])))].add(demo.NAMES[number % 5])
    assert any(len(classes) > 1 for classes in hashes.values()), "a usual hash calls different classes equal"
    result = audited(frames.write())
    assert result.limit.value is not None
    assert {*keys_by_code(result)} == set()
    assert result.near_duplicates.within == 0


@pytest.mark.parametrize("gain", [0.95, 1.0, 1.06])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_copies_saved_again_and_made_brighter_are_found(tmp_path: Path, gain: float, form: str) -> None:
    frames = seen_by_a_fixed_camera(tmp_path / "set")
    copies = set()
    for number in range(4, 400, 40):
        frame = fixed(number, demo.NAMES[number % 5])
        with Image.open(io.BytesIO(demo.jpeg(frame))) as opened:
            image = opened.convert("RGB").point(lambda level: min(255, round(level * gain)))
        options = {"JPEG": {"quality": 70}, "WEBP": {"quality": 80}, "PNG": {}}[form]
        twin = "test" if frames.rows[number]["split"] == "train" else "train"
        key = frames.add(encoded(image, form, **options), demo.response(frame), twin, suffix=form.lower())
        copies.add(key if twin == "train" else f"line {number + 1} ({number:04}.jpg)")
    result = keys_by_code(audited(frames.write()))
    # A PNG of the very same pixels is the same picture, not nearly the same.
    assert result == {"FV302" if form == "PNG" and gain == 1 else "FV304": copies}


def test_where_classes_lie_as_near_as_copies_nothing_is_called_a_copy(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    frames = Planted(tmp_path / "set")
    for number in range(200):
        frame = replace(fixed(0, "passed"), noise=0.001, noise_seed=number)
        frames.add(demo.jpeg(frame), said(demo.NAMES[number % 5], []))
    result = audited(frames.write())
    assert result.limit.value is None
    assert result.limit.copies is not None
    assert keys_by_code(result) == {"FV306": set()}
    assert "different classes are as near as copies" in result.findings[0].message


@pytest.mark.parametrize(("noise", "jitter"), [(0.005, 0.0), (0.01, 0.01), (0.01, 0.03), (0.02, 0.0), (0.02, 0.02)])
def test_parts_that_lie_alike_under_a_still_camera_are_never_called_copies(
    tmp_path: Path, noise: float, jitter: float
) -> None:
    """Their distances run on without a gap; what is listed is a note and is not proposed to be left out."""
    (tmp_path / "set").mkdir()
    frames, random = Planted(tmp_path / "set"), np.random.default_rng(1)
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
        offset = demo.Pair(
            *((s + random.normal(0, jitter)) * f for s, f in zip(sides[label], base.free_play, strict=True))
        )
        frame = replace(base, offset=offset, noise=noise, noise_seed=number, light=1.0)
        frames.add(demo.jpeg(frame), demo.response(frame))
    result = audited(frames.write())
    assert not {"FV304", "FV305"} & {*keys_by_code(result)}
    assert result.exclusions() == []


def test_copies_under_wrong_labels_do_not_hide_copies(tmp_path: Path) -> None:
    frames = seen_by_a_fixed_camera(tmp_path / "set")
    wrong = set()
    for number in range(0, 400, 10):
        frame = fixed(number, demo.NAMES[number % 5])
        wrong.add(frames.add(encoded(shown(frame), quality=75), said(demo.NAMES[(number + 1) % 5], [])))
        wrong.add(f"line {number + 1} ({number:04}.jpg)")
    assert keys_by_code(audited(frames.write()))["FV305"] == wrong


def test_the_limit_can_be_given_or_the_search_left_out(planted: tuple[Planted, Audit]) -> None:
    frames, before = planted
    assert before.limit.copies is not None
    given = audited(frames.write(), audit={"near_duplicate": 0.002})
    assert given.limit.to_json() == {"limit": 0.002, "farthest_copy": None, "nearest_of_other_class": None}
    assert "FV304" not in keys_by_code(given)
    assert "FV304" not in keys_by_code(audited(frames.write(), audit={"near_duplicate": 0}))


def test_of_a_leak_the_rows_on_the_training_side_are_left_out(planted: tuple[Planted, Audit]) -> None:
    _, audit = planted
    for code in ("FV302", "FV304"):
        rows = next(f.rows for f in audit.findings if f.kind.code == code)
        assert {row.split for row in rows} == {"train"}
        assert {row.duplicate_of[0] for row in rows if row.duplicate_of} <= {"val", "test"}


def test_what_lies_beside_the_rows_is_found(tmp_path: Path) -> None:
    for number, frame in enumerate(demo.frames(60, 1)):
        path = tmp_path / "set" / frame.label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(demo.jpeg(frame))
    (tmp_path / "set" / "empty").mkdir()
    (tmp_path / "set" / "loose.png").write_bytes(b"x")
    (tmp_path / "set" / "passed" / "notes.txt").write_text("x")
    (tmp_path / "set" / "passed" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "set" / "passed" / ".ipynb_checkpoints" / "1-checkpoint.jpg").write_bytes(b"x")
    found = {code: rows for code, rows in keys_by_code(audited(tmp_path / "set")).items() if code.startswith("FV7")}
    assert found == {
        "FV701": {"passed/.ipynb_checkpoints/1-checkpoint.jpg"},
        "FV702": {"passed/notes.txt"},
        "FV703": {"loose.png"},
        "FV704": {"empty: empty"},
    }


def test_rows_without_a_split_and_empty_rows_are_found(tmp_path: Path) -> None:
    lines = ["file_name,response,split"]
    for number, frame in enumerate(demo.frames(60, 1)):
        (tmp_path / f"{number}.jpg").write_bytes(demo.jpeg(frame))
        split = "" if number == 7 else "test" if number % 4 == 0 else "train"
        lines.append(f'{number}.jpg,"{demo.response(frame)}",{split}')
    (tmp_path / "m.csv").write_text("\n".join([*lines, ",,", ""]))
    found = keys_by_code(audited(tmp_path / "m.csv"))
    assert found["FV705"] == {"line 9 (7.jpg)"}
    assert found["FV706"] == {"line 62"}
