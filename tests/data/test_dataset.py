"""From what a config names to checked, decoded splits: nothing dropped, nothing guessed, the same for the same seed."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import Dataset, Origin, read_dataset, read_other_dataset
from frame_vit.data.examples import Example, Split
from frame_vit.data.splits import SplitChoice
from frame_vit.errors import ConfigError, DataError, FrameVitError, UsageError
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing, region
from frame_vit.labels import LabelSpace

SMALL = Preprocessing(8, 8)
NAMES = ["passed", "Xplus", "Xminus"]


def config(train: str | Path, names: Any = "auto", labels: dict[str, Any] | None = None, **data: Any) -> Config:
    test = {"test": str(data.pop("test"))} if "test" in data else {}
    return Config.model_validate(
        {"labels": {"names": names, **(labels or {})}, "data": {"train": str(train), **test, **data}}
    )


def picture(seed: int, form: str = "PNG") -> bytes:
    """A small encoded picture; another one for each seed."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def fill(folder: Path, counts: dict[str, int], first: int = 0) -> Path:
    """Class folders with so many pictures each, numbered from `first`; no two the same."""
    number = first
    for label, count in counts.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            (folder / label / f"{number:03}.png").write_bytes(picture(number))
            number += 1
    return folder


def manifest(folder: Path, responses: list[Any]) -> Path:
    """A JSONL manifest of pictures 0.png, 1.png, ... and these responses."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(len(responses)):
        (folder / f"{i}.png").write_bytes(picture(i))
    lines = [json.dumps({"file_name": f"{i}.png", "response": response}) for i, response in enumerate(responses)]
    (folder / "m.jsonl").write_text("\n".join(lines))
    return folder / "m.jsonl"


def said(label: str, *more: str) -> str:
    return str({"bboxes": [[1, 2, 3, 4]] * (1 + len(more)), "labels": [label, *more]})


def keys(split: Split) -> list[str]:
    return [example.key for example in split.examples]


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """20, 10 and 10 pictures of three classes."""
    return fill(tmp_path / "frames", {"passed": 20, "Xplus": 10, "Xminus": 10})


# Rows that cannot be used


def test_a_bad_row_is_named_with_its_key_and_first_characters(tmp_path: Path) -> None:
    path = manifest(tmp_path, [said("passed")] * 10 + ["Xplus, I think" + "." * 500])
    with pytest.raises(DataError) as caught:
        read_dataset(config(path, NAMES), SMALL)
    head, line = caught.value.message.splitlines()
    assert head == "1 row cannot be used:"
    assert line.startswith(f"{path}, line 11 (10.png): ")
    assert "'Xplus, I think" in line and len(line) < len(str(path)) + 200
    assert "data.on_bad_row=skip" in caught.value.hint


def test_of_many_bad_rows_the_first_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    path = manifest(tmp_path, [said("passed")] * 5 + ["oops"] * 8)
    with pytest.raises(DataError) as caught:
        read_dataset(config(path, NAMES), SMALL)
    lines = caught.value.message.splitlines()
    assert lines[0] == "8 rows cannot be used:"
    assert ["line 6" in lines[1], "line 10" in lines[5]] == [True, True]
    assert lines[6:] == ["... and 3 more"]


def test_skipped_rows_are_left_out_listed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = [said("passed"), said("Xplus")] * 10
    path = manifest(tmp_path, [*good, "oops", None])
    (tmp_path / "3.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "framevit"):
        dataset = read_dataset(config(path, NAMES[:2], on_bad_row="skip"), SMALL)
    assert [(reject.source, reject.key) for reject in dataset.rejects] == [
        (str(path), "line 21 (20.png)"),
        (str(path), "line 22 (21.png)"),
        (str(path), "line 4 (3.png)"),
    ]
    assert dataset.rejects[2].reason == "empty file"
    assert sum(sizes(dataset).values()) == 19
    assert not {reject.key for reject in dataset.rejects} & {k for s in dataset.splits.values() for k in keys(s)}
    assert "3 rows cannot be used and are left out" in caplog.text
    assert all(str(reject) in caplog.text for reject in dataset.rejects)
    assert dataset.manifest()["rejects"][2] == {
        "source": str(path), "key": "line 4 (3.png)", "reason": "empty file", "code": "FV101"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<!doctype html><p>404", "not a picture"),
        (picture(1, "JPEG")[:300], "damaged picture"),
        (b"%PDF-1.7 and so on", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
    ids=["zero-byte", "html", "truncated", "pdf", "eps"],
)
def test_a_file_that_is_no_whole_picture_is_named(frames: Path, content: bytes, reason: str) -> None:
    (frames / "Xplus" / "bad.jpg").write_bytes(content)
    with pytest.raises(DataError, match=f"1 row cannot be used:\n.*, Xplus/bad.jpg: {reason}"):
        read_dataset(config(frames), SMALL)
    dataset = read_dataset(config(frames, on_bad_row="skip"), SMALL)
    assert [reject.key for reject in dataset.rejects] == ["Xplus/bad.jpg"]
    assert sum(sizes(dataset).values()) == 40


def test_an_unknown_label_is_named_with_the_nearest_class(frames: Path) -> None:
    (frames / "Xplus").rename(frames / "Xpluss")
    with pytest.raises(
        DataError, match=r"Xpluss/020\.png: label 'Xpluss' is not among the classes \(did you mean 'Xplu"
    ):
        read_dataset(config(frames, NAMES), SMALL)


def test_an_alias_mends_another_spelling(frames: Path) -> None:
    (frames / "Xplus").rename(frames / "X plus")
    dataset = read_dataset(config(frames, NAMES, {"aliases": {"X plus": "Xplus"}}), SMALL)
    assert dataset.manifest()["counts"]["train"] == {"passed": 12, "Xplus": 6, "Xminus": 6}


def test_a_label_that_only_the_test_set_has_is_a_bad_row(frames: Path, tmp_path: Path) -> None:
    test = fill(tmp_path / "test", {"passed": 2, "Yplus": 1}, first=100)
    with pytest.raises(DataError, match=r"Yplus/102\.png: label 'Yplus' is not among the classes"):
        read_dataset(config(frames, test=test), SMALL)


def test_of_several_labels_the_first_is_taken_and_the_rows_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = manifest(tmp_path, [said("passed"), said("Xplus", "passed")] * 10)
    with caplog.at_level(logging.WARNING, "framevit"):
        dataset = read_dataset(config(path), SMALL)
    assert f"{path}: several labels in 10 row(s)" in caplog.text
    assert sum(split.counts(2)[dataset.labels.id("Xplus")] for split in dataset.splits.values()) == 10


def test_several_labels_are_a_bad_row_where_the_config_says_so(tmp_path: Path) -> None:
    path = manifest(tmp_path, [said("passed"), said("Xplus")] * 10 + [said("Xplus", "passed")])
    with pytest.raises(DataError, match=r"line 21 \(20\.png\): several labels: Xplus, passed"):
        read_dataset(config(path, multi="error"), SMALL)


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png", "n" * 300 + ".png"], ids=["nul", "surrogate", "long"])
def test_a_name_that_no_file_can_have_is_an_error_with_its_line(tmp_path: Path, name: str) -> None:
    path = manifest(tmp_path, [said("passed")] * 10)
    with path.open("a") as file:
        file.write("\n" + json.dumps({"file_name": name, "response": said("passed")}))
    with pytest.raises(FrameVitError, match="line 11"):
        read_dataset(config(path, NAMES), SMALL)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe; whoever reads it gets an empty file after a moment, so that a test that waits for it ends."""
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.open("wb").close(), daemon=True)
    writer.start()
    yield path
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    writer.join(5)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_in_a_manifest_is_refused_and_not_read(tmp_path: Path, pipe: Path) -> None:
    path = manifest(tmp_path, [said("passed")])
    path.write_text(json.dumps({"file_name": pipe.name, "response": said("passed")}))
    with pytest.raises(DataError, match="not a plain file"):
        read_dataset(config(path, NAMES), SMALL)


# Classes


def test_automatic_classes_are_those_of_the_training_set(frames: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "framevit"):
        dataset = read_dataset(config(frames), SMALL)
    assert dataset.labels.names == ("Xminus", "Xplus", "passed")
    assert "classes, from the training set: Xminus, Xplus, passed" in caplog.text


def test_configured_classes_keep_their_order_and_their_symmetries(frames: Path) -> None:
    labels = {"ok": ["passed"], "symmetries": {"hflip": {"Xplus": "Xminus", "Xminus": "Xplus"}}}
    dataset = read_dataset(config(frames, NAMES, labels), SMALL)
    assert dataset.labels == LabelSpace.build(NAMES, ["passed"], labels["symmetries"])  # type: ignore[arg-type]


def test_automatic_classes_are_checked_against_what_the_config_says_of_them(frames: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels\.ok: 'pased' is not a class \(did you mean 'passed'\?\)"):
        read_dataset(config(frames, labels={"ok": ["pased"]}), SMALL)


@pytest.mark.parametrize("names", ["auto", NAMES])
def test_a_test_set_that_lacks_a_class_keeps_the_class_ids(frames: Path, tmp_path: Path, names: Any) -> None:
    test = fill(tmp_path / "test", {"passed": 3, "Xplus": 2}, first=100)
    dataset = read_dataset(config(frames, names, test=test), SMALL)
    class_names = {dataset.labels.names[e.label] for e in dataset.splits["test"].examples if e.key.startswith("Xplus/")}
    assert class_names == {"Xplus"}
    assert dataset.manifest()["counts"]["test"] == {"passed": 3, "Xplus": 2, "Xminus": 0}


def test_labels_stay_with_their_pictures(frames: Path) -> None:
    dataset = read_dataset(config(frames, NAMES), SMALL)
    for split in dataset.splits.values():
        for example, pixels in zip(split.examples, split.pixels[:], strict=True):
            assert dataset.labels.names[example.label] == example.key.split("/")[0]
            whole = Image.open(io.BytesIO((frames / example.key).read_bytes()))
            resized = whole.resize((8, 8), Image.Resampling(SMALL.resample))
            assert np.array_equal(pixels, np.asarray(resized))


# Splits


def test_with_a_test_set_train_is_divided_80_to_20_and_stratified(frames: Path, tmp_path: Path) -> None:
    test = fill(tmp_path / "test", {"passed": 2}, first=100)
    dataset = read_dataset(config(frames, NAMES, test=test), SMALL)
    assert list(dataset.splits) == ["train", "val", "test"]
    assert dataset.splits["train"].counts(3) == [16, 8, 8]
    assert dataset.splits["val"].counts(3) == [4, 2, 2]
    assert [split.name for split in dataset.splits.values()] == ["train", "val", "test"]


def test_a_given_test_set_is_untouched(frames: Path, tmp_path: Path) -> None:
    test = fill(tmp_path / "test", {"passed": 3, "Xminus": 2}, first=100)
    for seed in (0, 1):
        split = read_dataset(config(frames, NAMES, test=test, seed=seed), SMALL).splits["test"]
        assert keys(split) == ["Xminus/103.png", "Xminus/104.png", "passed/100.png", "passed/101.png", "passed/102.png"]
        assert [example.read() for example in split.examples] == [picture(n) for n in (103, 104, 100, 101, 102)]


def test_without_a_test_set_all_three_come_from_train_and_share_nothing(frames: Path) -> None:
    dataset = read_dataset(config(frames, NAMES), SMALL)
    assert {name: split.counts(3) for name, split in dataset.splits.items()} == {
        "train": [12, 6, 6],
        "val": [4, 2, 2],
        "test": [4, 2, 2],
    }
    everything = [example.digest for split in dataset.splits.values() for example in split.examples]
    assert len(set(everything)) == len(everything) == 40


def test_without_a_test_share_there_is_no_test_split(frames: Path) -> None:
    assert sizes(read_dataset(config(frames, NAMES, test_fraction=0.0), SMALL)) == {"train": 32, "val": 8}


def test_the_same_seed_gives_the_same_splits_and_another_seed_others(frames: Path) -> None:
    def divided(seed: int) -> list[list[str]]:
        return [keys(split) for split in read_dataset(config(frames, NAMES, seed=seed), SMALL).splits.values()]

    first = divided(5)
    assert divided(5) == first
    other = divided(6)
    assert [a == b for a, b in zip(first, other, strict=True)] == [False] * 3


def test_own_splits_are_used_as_they_are(tmp_path: Path) -> None:
    parts = {"train": {"a": 3, "b": 1}, "validation": {"a": 1}, "test": {"b": 2}}
    for number, (part, counts) in enumerate(parts.items()):
        fill(tmp_path / "set" / part, counts, 10 * number)
    dataset = read_dataset(config(tmp_path / "set"), SMALL)
    assert dataset.manifest()["counts"] == {
        "train": {"a": 3, "b": 1},
        "val": {"a": 1, "b": 0},
        "test": {"a": 0, "b": 2},
    }
    assert dataset.sources["val"] == Origin(str(tmp_path / "set" / "validation"), "validation", "")


def test_a_source_with_train_and_test_gives_validation_from_train_only(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "train", {"a": 10, "b": 10})
    fill(tmp_path / "set" / "test", {"a": 1, "b": 1}, 50)
    assert sizes(read_dataset(config(tmp_path / "set"), SMALL)) == {"train": 16, "val": 4, "test": 2}


def test_a_source_with_train_and_validation_gives_the_test_from_train_only(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "train", {"a": 10, "b": 10})
    fill(tmp_path / "set" / "val", {"a": 1, "b": 1}, 50)
    assert sizes(read_dataset(config(tmp_path / "set"), SMALL)) == {"train": 16, "val": 2, "test": 4}


def test_a_test_set_of_its_own_is_used_instead_of_the_sources(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "set" / "train", {"a": 10, "b": 10})
    fill(tmp_path / "set" / "test", {"a": 1, "b": 1}, 50)
    test = fill(tmp_path / "other", {"a": 3}, 60)
    with caplog.at_level(logging.WARNING, "framevit"):
        dataset = read_dataset(config(tmp_path / "set", test=test), SMALL)
    assert sizes(dataset) == {"train": 16, "val": 4, "test": 3}
    assert "data.test is used instead of it" in caplog.text


def test_of_a_test_source_with_several_splits_the_one_called_test_is_taken(frames: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        fill(tmp_path / "other" / part, {"passed": 2}, 100 if part == "test" else 200)
    dataset = read_dataset(config(frames, NAMES, test=tmp_path / "other"), SMALL)
    assert keys(dataset.splits["test"]) == ["passed/100.png", "passed/101.png"]


@pytest.mark.parametrize("parts", [("train", "extra"), ("val", "test"), ("train", "val", "dev")])
def test_splits_that_cannot_be_told_apart_are_refused_by_name(tmp_path: Path, parts: tuple[str, ...]) -> None:
    lines = ["file_name,label,split", *(f"{part}.png,a,{part}" for part in parts)]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=f"splits {', '.join(parts)}; expected train, validation, calibration, test"):
        read_dataset(config(tmp_path / "m.csv"), SMALL)


def test_too_few_pictures_of_a_class_say_how_many_are_needed(tmp_path: Path) -> None:
    fill(tmp_path / "few", {"a": 20, "b": 4})
    with pytest.raises(DataError, match="every class needs 5; 'b' has 4"):
        read_dataset(config(tmp_path / "few"), SMALL)


def test_a_split_whose_every_row_is_skipped_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "train", {"a": 10, "b": 10})
    fill(tmp_path / "set" / "val", {"a": 1}, 50)
    (tmp_path / "set" / "val" / "a" / "050.png").write_bytes(b"")
    with pytest.raises(DataError, match="the val split has no usable pictures"):
        read_dataset(config(tmp_path / "set", on_bad_row="skip"), SMALL)


# One split only


@pytest.mark.parametrize("given", [False, True], ids=["test-held-out", "test-given"])
@pytest.mark.parametrize("only", ["train", "val", "test"])
def test_one_split_alone_is_the_split_of_the_whole(frames: Path, tmp_path: Path, only: str, given: bool) -> None:
    settings = config(frames, NAMES)
    if given:
        settings = config(frames, NAMES, test=fill(tmp_path / "test", {"passed": 3, "Xplus": 1}, first=100))
    assert keys(read_dataset(settings, SMALL, only=only).splits[only]) == keys(
        read_dataset(settings, SMALL).splits[only]
    )


def test_a_test_set_of_its_own_is_read_without_the_training_set(tmp_path: Path) -> None:
    test = fill(tmp_path / "test", {"passed": 3}, first=100)
    dataset = read_dataset(config(tmp_path / "gone", NAMES, test=test), SMALL, only="test")
    assert sizes(dataset) == {"test": 3}


def test_a_split_that_there_is_not_is_refused_with_those_there_are(frames: Path) -> None:
    with pytest.raises(UsageError, match="there is no split 'tset'; the splits are train, val, test"):
        read_dataset(config(frames, NAMES), SMALL, only="tset")


# Which splits of a source are used


def test_a_lone_test_split_is_trained_on_only_if_it_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "test", {"a": 10, "b": 10})
    with pytest.raises(UsageError, match=r"the only split of .* is called test") as caught:
        read_dataset(config(tmp_path / "set"), SMALL)
    assert "data.splits_used=[test]" in caught.value.hint
    dataset = read_dataset(config(tmp_path / "set", splits_used=["test"]), SMALL)
    assert sum(sizes(dataset).values()) == 20


def test_further_splits_are_left_out_by_the_key_that_the_hint_names(tmp_path: Path) -> None:
    import datasets

    tables = {name: _labelled(["a", "b"] * 10) for name in ("train", "dev", "extra")}
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(UsageError, match="splits train, dev, extra; expected train") as caught:
        read_dataset(config(tmp_path / "saved"), SMALL)
    assert "data.splits_used=[train, dev]" in caught.value.hint
    dataset = read_dataset(config(tmp_path / "saved", splits_used=["train", "dev"]), SMALL)
    assert sizes(dataset) == {"train": 16, "val": 20, "test": 4}
    with pytest.raises(UsageError, match="has no split 'tset'; it has train, dev, extra"):
        read_dataset(config(tmp_path / "saved", splits_used=["train", "tset"]), SMALL)


def test_a_split_without_labels_is_left_out_and_noted(tmp_path: Path) -> None:
    import datasets

    tables = {"train": _labelled(["a", "b"] * 10), "test": _labelled([None] * 4)}
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "saved"))
    dataset = read_dataset(config(tmp_path / "saved"), SMALL)
    assert sizes(dataset) == {"train": 12, "val": 4, "test": 4}
    assert [(note.code, note.message) for note in dataset.notes] == [
        ("FV707", "the split test has no label in any of its 4 rows and is left out")
    ]
    with pytest.raises(DataError, match="no label"):
        read_dataset(config(tmp_path / "saved", splits_used=["train", "test"]), SMALL)


def _labelled(labels: list[Any]) -> Any:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": picture(i), "path": None} for i in range(len(labels))], "label": labels}
    return datasets.Dataset.from_dict(rows, features=features)


def test_class_names_in_another_normal_form_are_the_same_class(tmp_path: Path) -> None:
    composed, apart = "Fl\u00e4che", "Fla\u0308che"
    source = fill(tmp_path / "set", {apart: 10, "b": 10})
    dataset = read_dataset(config(source, [composed, "b"]), SMALL)
    assert dataset.labels.names == (composed, "b")
    assert read_dataset(config(source, [apart, "b"]), SMALL).labels.names == (composed, "b")
    assert LabelSpace.build([apart, "b"]).id(composed) == 0


# Another data set for a trained model


def test_another_data_set_is_one_split_with_the_models_class_ids(tmp_path: Path) -> None:
    space = LabelSpace.build(NAMES)
    other = fill(tmp_path / "other", {"passed": 2, "Xminus": 1})
    dataset = read_other_dataset(SplitChoice(str(other)), config("demo"), space, SMALL)
    ((name, split),) = dataset.splits.items()
    assert name.startswith("data-")
    assert name.endswith("other")
    assert split.labels.tolist() == [2, 0, 0]
    assert dataset.labels is space


def test_another_data_set_may_spell_the_classes_in_its_own_way(tmp_path: Path) -> None:
    other = fill(tmp_path / "other", {"gut": 2, "Xminus": 1})
    space = LabelSpace.build(NAMES)
    with pytest.raises(DataError, match="label 'gut' is not among the classes, in 2 rows"):
        read_other_dataset(SplitChoice(str(other)), config("demo"), space, SMALL)
    told = config("demo", labels={"aliases": {"gut": "passed"}})
    dataset = read_other_dataset(SplitChoice(str(other)), told, space, SMALL)
    ((_, split),) = dataset.splits.items()
    assert split.labels.tolist() == [2, 0, 0]
    assert dataset.labels is space


def test_labels_that_are_no_classes_are_listed_by_name_and_not_row_by_row(tmp_path: Path) -> None:
    other = fill(tmp_path / "other", {"dent": 20, "scratch": 30, "passed": 1})
    with pytest.raises(DataError) as caught:
        read_other_dataset(SplitChoice(str(other)), config("demo"), LabelSpace.build(NAMES), SMALL)
    head, first, second = caught.value.message.splitlines()
    assert head == "50 rows cannot be used:"
    assert "scratch/020.png: label 'scratch' is not among the classes, in 30 rows" in first
    assert "dent/000.png: label 'dent' is not among the classes, in 20 rows" in second


def test_another_data_set_with_parts_can_be_taken_whole_and_its_keys_say_the_part(tmp_path: Path) -> None:
    fill(tmp_path / "other" / "train", {"passed": 1})
    fill(tmp_path / "other" / "test", {"passed": 1}, 5)
    everything = SplitChoice(str(tmp_path / "other"), "all")
    dataset = read_other_dataset(everything, config("demo"), LabelSpace.build(NAMES), SMALL)
    (split,) = dataset.splits.values()
    assert sorted(keys(split)) == ["test/passed/005.png", "train/passed/000.png"]


def test_another_data_set_with_other_labels_is_refused_by_name(tmp_path: Path) -> None:
    other = fill(tmp_path / "other", {"passed": 1, "scratch": 1})
    with pytest.raises(DataError, match=r"scratch/001\.png: label 'scratch' is not among the classes"):
        read_other_dataset(SplitChoice(str(other)), config("demo"), LabelSpace.build(NAMES), SMALL)
    with pytest.raises(DataError, match="no usable pictures"):
        read_other_dataset(
            SplitChoice(str(fill(tmp_path / "third", {"scratch": 1}))),
            config("demo", on_bad_row="skip"),
            LabelSpace.build(NAMES),
            SMALL,
        )


# The fingerprint


def test_the_fingerprint_changes_with_a_label_and_nothing_else_of_a_row(tmp_path: Path) -> None:
    def taken(*labels: str) -> str:
        path = manifest(tmp_path, [said(label) for label in labels])
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        parts = ("train", "train", "val", "test")
        path.write_text("\n".join(json.dumps({**row, "split": part}) for row, part in zip(rows, parts, strict=True)))
        return read_dataset(config(path, NAMES), SMALL).fingerprint

    assert taken("passed", "Xplus", "Xplus", "Xplus") == taken("passed", "Xplus", "Xplus", "Xplus")
    assert taken("passed", "Xplus", "Xplus", "Xplus") != taken("passed", "Xminus", "Xplus", "Xplus")


def test_the_fingerprint_changes_with_one_byte_of_one_file(frames: Path) -> None:
    before = read_dataset(config(frames, NAMES), SMALL).fingerprint
    file = frames / "Xplus" / "020.png"
    file.write_bytes(file.read_bytes() + b"\0")
    assert read_dataset(config(frames, NAMES), SMALL).fingerprint != before


def test_the_fingerprint_changes_with_the_division(frames: Path) -> None:
    assert len({read_dataset(config(frames, NAMES, seed=seed), SMALL).fingerprint for seed in range(3)}) == 3


CHANGES: dict[str, Callable[[Path], Dataset]] = {
    "nothing": lambda frames: read_dataset(config(frames, NAMES), SMALL),
    "the model's size": lambda frames: read_dataset(config(frames, NAMES), Preprocessing(16, 4)),
    "what is fine": lambda frames: read_dataset(config(frames, NAMES, {"ok": ["passed"]}), SMALL),
    "the folder": lambda frames: read_dataset(config(frames.rename(frames.with_name("moved")), NAMES), SMALL),
    "how bad rows are taken": lambda frames: read_dataset(config(frames, NAMES, on_bad_row="skip"), SMALL),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_does_not_change_with_anything_else(frames: Path, change: str) -> None:
    before = read_dataset(config(frames, NAMES), SMALL).fingerprint
    assert CHANGES[change](frames).fingerprint == before


def test_the_fingerprint_is_of_class_names_and_not_of_their_order(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        fill(tmp_path / "set" / part, dict.fromkeys(NAMES, 1), 10 * number)
    orders: list[Any] = ["auto", NAMES, NAMES[::-1]]
    assert len({read_dataset(config(tmp_path / "set", names), SMALL).fingerprint for names in orders}) == 1


# The demo, and what is written down


def test_the_demo_has_test_frames_of_its_own() -> None:
    settings = config("demo", list(demo.NAMES), test="demo", demo={"train": 50, "test": 15})
    dataset = read_dataset(settings, SMALL)
    assert sizes(dataset) == {"train": 40, "val": 10, "test": 15}
    assert [e.read() for e in dataset.splits["test"].examples] == [demo.jpeg(f) for f in demo.frames(15, 1)]
    assert dataset.splits["train"].counts(5) == [8] * 5
    boxes = [example.boxes for split in dataset.splits.values() for example in split.examples]
    assert all(len(boxes_of_row) == 1 for boxes_of_row in boxes)


def test_the_demo_alone_has_its_test_frames_from_the_training_frames() -> None:
    dataset = read_dataset(config("demo", demo={"train": 50}), SMALL)
    assert sizes(dataset) == {"train": 30, "val": 10, "test": 10}
    assert dataset.labels.names == demo.NAMES


def test_the_manifest_is_json_and_names_every_picture_with_split_label_and_digest(frames: Path) -> None:
    dataset = read_dataset(config(frames, NAMES), SMALL)
    written = json.loads(json.dumps(dataset.manifest()))
    assert written["fingerprint"] == dataset.fingerprint
    assert written["sources"] == {"train": {"source": str(frames), "split": "train", "revision": ""}}
    assert LabelSpace.build(**written["labels"]) == dataset.labels
    for name, split in dataset.splits.items():
        assert [(row["key"], row["sha256"]) for row in written["splits"][name]] == [
            (example.key, example.digest) for example in split.examples
        ]
        assert [row["label"] for row in written["splits"][name]] == [key.split("/")[0] for key in keys(split)]
        assert sum(written["counts"][name].values()) == len(split)


def test_the_proposed_region_holds_all_boxes_of_train_with_a_tenth_to_spare() -> None:
    boxes = [((30.0, 40.0, 60.0, 80.0),), ((50.0, 20.0, 80.0, 60.0),)]
    examples = [Example(str(i), i, box, 100, 100, "", bytes) for i, box in enumerate(boxes)]
    split = Split("train", examples, PixelArray.of(np.zeros((2, 1, 1, 3), np.uint8)))
    space = LabelSpace.build(["a", "b"])
    assert Dataset(space, {"train": split}, [], {}, {}).proposed_roi() == [0.25, 0.14, 0.85, 0.86]
    without = [replace(examples[0], boxes=()), examples[1]]
    assert Dataset(space, {"train": Split("train", without, split.pixels)}, [], {}, {}).proposed_roi() is None
    large = [replace(examples[0], boxes=((5.0, 5.0, 95.0, 95.0),))]
    assert Dataset(space, {"train": Split("train", large, split.pixels)}, [], {}, {}).proposed_roi() is None


def test_a_region_is_cut_from_every_picture_and_never_by_its_own_box(frames: Path) -> None:
    preprocessing = Preprocessing(8, 8, roi=(0.2, 0.2, 0.8, 0.8))
    dataset = read_dataset(config(frames, NAMES), preprocessing)
    for example, row in zip(dataset.splits["train"].examples, dataset.splits["train"].pixels[:], strict=True):
        whole = Image.open(io.BytesIO((frames / example.key).read_bytes()))
        cut = whole.crop(region((0.2, 0.2, 0.8, 0.8), whole.size)).resize(
            (8, 8), Image.Resampling(preprocessing.resample)
        )
        assert np.array_equal(np.asarray(cut), row)
