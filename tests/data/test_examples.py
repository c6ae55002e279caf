"""Rows to examples: what is usable is decoded once, what is not is kept with its reason."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frame_vit.config.schema import DataConfig
from frame_vit.data.examples import AnnotatedSplit, Reject, Split, annotate, auto_names, build_split
from frame_vit.data.response import Kind
from frame_vit.data.rows import RawRow, RawSplit
from frame_vit.data.sources import read_source
from frame_vit.errors import RowError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.system.caches import cache_folder

SPACE = LabelSpace.build(["passed", "Xplus", "Xminus"], aliases={"OK": "passed"})
SMALL = Preprocessing(4, 6)


def picture(seed: int = 0, form: str = "PNG", size: tuple[int, int] = (6, 4)) -> bytes:
    """An encoded picture of this (width, height); another one for each seed."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def raw(answers: list[object], kind: Kind = "label", names: tuple[str, ...] = ()) -> RawSplit:
    """Rows row-0, row-1, ... with these answers, each with a picture of its own."""
    rows = [RawRow(f"row-{i}", answer, lambda i=i: picture(i)) for i, answer in enumerate(answers)]  # type: ignore[misc]
    return RawSplit("src", "train", kind, rows, names)


def reasons(rejects: list[Reject]) -> dict[str, str]:
    return {reject.key: reject.reason for reject in rejects}


def of_bytes(*stored: bytes) -> RawSplit:
    return RawSplit("src", "train", "label", [RawRow(f"row-{i}", "Xplus", lambda b=b: b) for i, b in enumerate(stored)])  # type: ignore[misc]


def test_good_rows_keep_their_order_and_bad_ones_their_reason() -> None:
    annotated = annotate(raw(["{'labels': ['a']}", "oops", None, "{'labels': ['b']}"], "response"), "first")
    assert [(annotated.raw.rows[i].key, annotation.labels) for i, annotation in annotated.rows] == [
        ("row-0", ("a",)),
        ("row-3", ("b",)),
    ]
    assert list(reasons(annotated.rejects)) == ["row-1", "row-2"]
    assert "'oops'" in annotated.rejects[0].reason
    assert str(annotated.rejects[0]).startswith("src, row-1: ")


def test_several_labels_are_counted_and_kept_or_rejected() -> None:
    split = raw(["{'labels': ['a', 'b']}", "{'labels': ['a']}", "{'labels': ['b', 'b', 'c']}"], "response")
    first, strict = annotate(split, "first"), annotate(split, "error")
    assert (len(first.rows), first.several, first.rejects) == (3, 2, [])
    assert (len(strict.rows), strict.several) == (1, 0)
    assert reasons(strict.rejects) == {"row-0": "several labels: a, b", "row-2": "several labels: b, b, c"}


def test_of_several_labels_the_first_is_the_examples() -> None:
    annotated = annotate(
        raw(["{'labels': ['Xminus', 'Xplus'], 'bboxes': [[1, 1, 2, 2], [0, 0, 3, 3]]}"], "response"), "first"
    )
    split, rejects = build_split(annotated, SPACE, SMALL, cache_folder(None))
    assert (split.examples[0].label, rejects) == (SPACE.id("Xminus"), [])
    assert split.examples[0].boxes == ((1.0, 1.0, 2.0, 2.0), (0.0, 0.0, 3.0, 3.0))


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        ((), ["b", "a", "b"], ["a", "b"]),
        ((), ["10", "2", "1"], ["1", "10", "2"]),
        (("zebra", "ant", "bee"), ["bee", "ant"], ["zebra", "ant", "bee"]),
        (("ant", "bee"), ["bee", "wasp"], ["bee", "wasp"]),
    ],
    ids=["by-name", "as-texts", "the-sources-order", "not-all-in-the-source"],
)
def test_automatic_names_are_the_sources_own_order_else_by_name(
    names: tuple[str, ...], labels: list[object], expected: list[str]
) -> None:
    assert auto_names(annotate(raw(labels, names=names), "first"), {}) == expected


def test_automatic_names_hold_the_class_and_not_its_alias() -> None:
    assert auto_names(annotate(raw(["OK", "passed", "bad"]), "first"), {"OK": "passed"}) == ["bad", "passed"]


def test_a_split_holds_label_size_digest_and_pixels_of_every_row_in_order() -> None:
    labels: list[object] = ["Xplus", "OK", "Xminus", "passed"] * 10
    split, rejects = build_split(annotate(raw(labels), "first"), SPACE, SMALL, cache_folder(None))
    assert rejects == []
    assert [example.key for example in split.examples] == [f"row-{i}" for i in range(40)]
    assert split.labels.tolist() == [1, 0, 2, 0] * 10
    assert split.labels.dtype == np.int64
    assert split.counts(3) == [20, 10, 10]
    assert split.pixels[:].shape == (40, 4, 6, 3)
    assert split.pixels[:].dtype == np.uint8
    for i, example in enumerate(split.examples):
        with Image.open(io.BytesIO(picture(i))) as image:
            assert np.array_equal(split.pixels[[i]][0], np.asarray(image)), (
                "of the model's own size: nothing is resampled"
            )
        assert example.digest == hashlib.sha256(picture(i)).hexdigest()
        assert (example.width, example.height) == (6, 4)
        assert example.read() == picture(i)


def test_pictures_come_out_at_the_models_size_and_remember_their_own() -> None:
    split, _ = build_split(annotate(of_bytes(picture(size=(30, 20))), "first"), SPACE, SMALL, cache_folder(None))
    assert split.pixels[:].shape == (1, 4, 6, 3)
    assert (split.examples[0].width, split.examples[0].height) == (30, 20)


def test_an_unknown_label_is_rejected_with_the_nearest_class() -> None:
    split, rejects = build_split(
        annotate(raw(["Xpluss", "scratch", "Xplus"]), "first"), SPACE, SMALL, cache_folder(None)
    )
    assert len(split) == 1
    assert reasons(rejects) == {
        "row-0": "label 'Xpluss' is not among the classes (did you mean 'Xplus'?)",
        "row-1": "label 'scratch' is not among the classes",
    }


def test_pictures_that_cannot_be_used_are_rejected_and_the_others_stay() -> None:
    jpeg = picture(3, "JPEG", (64, 48))
    stored = [picture(1), b"", b"<html>not a picture</html>", jpeg[: len(jpeg) // 2], picture(2)[:80], picture(2)]
    split, rejects = build_split(annotate(of_bytes(*stored), "first"), SPACE, SMALL, cache_folder(None))
    assert [example.key for example in split.examples] == ["row-0", "row-5"]
    assert len(split.pixels) == 2
    by_row = reasons(rejects)
    assert by_row["row-1"] == "empty file"
    assert by_row["row-2"].startswith("not a picture (it starts with b'<html>")
    assert by_row["row-3"].startswith("damaged picture: ")
    assert by_row["row-4"].startswith("damaged picture: ")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_a_picture_cut_off_anywhere_is_rejected_or_whole_never_half_grey(form: str) -> None:
    whole = picture(5, form, (24, 16))
    (expected,) = build_split(annotate(of_bytes(whole), "first"), SPACE, SMALL, cache_folder(None))[0].pixels[:]
    cuts = [whole[:end] for end in range(0, len(whole), 3)]
    split, rejects = build_split(annotate(of_bytes(*cuts), "first"), SPACE, SMALL, cache_folder(None))
    assert len(rejects) > len(cuts) / 2
    assert all(np.array_equal(pixels, expected) for pixels in split.pixels[:])


def test_a_png_named_jpg_is_read_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "Xplus").mkdir()
    (tmp_path / "Xplus" / "1.jpg").write_bytes(picture(1))
    (raw_split,) = read_source(str(tmp_path), DataConfig())
    split, rejects = build_split(annotate(raw_split, "first"), SPACE, SMALL, cache_folder(None))
    assert (len(split), rejects) == (1, [])


def test_a_picture_that_cannot_be_fetched_is_rejected(tmp_path: Path) -> None:
    def nothing() -> bytes:
        raise RowError("no picture in this row")

    (tmp_path / "folder.png").mkdir()
    rows = [
        RawRow("gone", "Xplus", (tmp_path / "gone.png").read_bytes),
        RawRow("folder", "Xplus", (tmp_path / "folder.png").read_bytes),
        RawRow("none", "Xplus", nothing),
    ]
    split, rejects = build_split(
        annotate(RawSplit("src", "train", "label", rows), "first"), SPACE, SMALL, cache_folder(None)
    )
    assert len(split) == 0
    assert reasons(rejects) == {
        "gone": "the picture cannot be read: No such file or directory",
        "folder": "the picture cannot be read: Is a directory",
        "none": "no picture in this row",
    }


def test_rejects_of_answers_and_of_pictures_come_together() -> None:
    rows = [RawRow("no-label", None, lambda: picture()), RawRow("no-picture", "Xplus", lambda: b"")]
    _, rejects = build_split(
        annotate(RawSplit("src", "train", "label", rows), "first"), SPACE, SMALL, cache_folder(None)
    )
    assert list(reasons(rejects)) == ["no-label", "no-picture"]


def test_a_split_without_usable_rows_is_empty_and_has_the_right_shape() -> None:
    split, rejects = build_split(annotate(raw(["scratch"]), "first"), SPACE, SMALL, cache_folder(None))
    assert (len(split), len(rejects)) == (0, 1)
    assert split.pixels[:].shape == (0, 4, 6, 3)
    assert split.counts(3) == [0, 0, 0]
    assert len(split.select([], "none")) == 0


def test_progress_is_told_for_every_row() -> None:
    ticks: list[tuple[str, int, int]] = []

    def tick(stage: str, done: int, total: int, note: str) -> None:
        ticks.append((stage, done, total))

    build_split(annotate(raw(["Xplus", "scratch", "passed"]), "first"), SPACE, SMALL, cache_folder(None), tick)
    assert ticks == [("reading src, train", i, 3) for i in (1, 2, 3)]


def test_selected_rows_keep_examples_and_pixels_together() -> None:
    split, _ = build_split(annotate(raw(["Xplus", "passed", "Xminus"]), "first"), SPACE, SMALL, cache_folder(None))
    chosen: Split = split.select([2, 0], "val")
    assert chosen.name == "val"
    assert [example.key for example in chosen.examples] == ["row-2", "row-0"]
    assert np.array_equal(chosen.pixels[:], split.pixels[[2, 0]])


def test_an_annotated_split_starts_without_rows() -> None:
    assert (AnnotatedSplit(raw([])).several, AnnotatedSplit(raw([])).rejects) == (0, [])
