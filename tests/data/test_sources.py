"""Everything a person may name as data comes out as raw rows, or is refused by name."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from frame_vit.config.schema import DataConfig
from frame_vit.data import demo
from frame_vit.data.rows import RawSplit, role_of
from frame_vit.data.sources import read_source
from frame_vit.errors import FrameVitError, RowError, UsageError
from tests.hub import Hub

DATA = DataConfig()


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `datasets` unpacks goes to a folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hf")))


def png(seed: int) -> bytes:
    """A small picture, encoded; another one for each seed."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(seed))


def table(answers: list[Any], column: str = "label", feature: Any = None, first: int = 0) -> Any:
    """A `datasets` table of pictures, png(first) and on, and their answers."""
    features = {"image": datasets.Image(), column: feature or datasets.Value("string")}
    pictures = [{"bytes": png(first + i), "path": None} for i in range(len(answers))]
    return datasets.Dataset.from_dict({"image": pictures, column: answers}, features=datasets.Features(features))


def answers_by_split(splits: list[RawSplit]) -> dict[str, list[tuple[str, object]]]:
    """Keys and answers of every split."""
    return {split.name: [(row.key, row.answer) for row in split.rows] for split in splits}


def refusal(source: str | Path, data: DataConfig = DATA) -> str:
    with pytest.raises(UsageError) as caught:
        read_source(str(source), data)
    return caught.value.message


@pytest.mark.parametrize(
    ("split", "role"),
    [("train", "train"), ("training", "train"), ("Train", "train"), ("validation", "val"), ("val", "val"),
     ("dev", "val"), ("TEST", "test"), ("testing", "test"), ("extra", "extra")],
)  # fmt: skip
def test_usual_split_names_are_understood(split: str, role: str) -> None:
    assert role_of(split) == role


# Class folders


def test_class_folders_give_a_row_per_picture_labelled_by_its_folder(tmp_path: Path) -> None:
    for seed, name in enumerate(["passed/1.png", "passed/deep/2.JPG", "10/3.jpeg", "10/.hidden", ".git/4.png"]):
        put(tmp_path / name, seed)
    (split,) = read_source(str(tmp_path), DATA)
    assert answers_by_split([split]) == {
        "train": [("10/3.jpeg", "10"), ("passed/1.png", "passed"), ("passed/deep/2.JPG", "passed")]
    }
    assert (split.source, split.kind, split.names) == (str(tmp_path), "label", ())
    assert [row.read() for row in split.rows] == [png(2), png(0), png(1)]


def test_class_folders_within_parts_become_the_parts_splits(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png"):
        put(tmp_path / name)
    assert answers_by_split(read_source(str(tmp_path), DATA)) == {
        "test": [("b/4.png", "b")],
        "train": [("a/1.png", "a"), ("b/2.png", "b")],
        "val": [("a/3.png", "a")],
    }


def test_a_class_may_be_called_test_beside_other_classes(tmp_path: Path) -> None:
    put(tmp_path / "test" / "1.png")
    put(tmp_path / "passed" / "2.png")
    assert answers_by_split(read_source(str(tmp_path), DATA)) == {
        "train": [("passed/2.png", "passed"), ("test/1.png", "test")]
    }


def test_files_that_are_no_pictures_by_name_are_counted_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "a" / "1.png")
    for name in ("notes.txt", "sheet.xlsx", ".DS_Store"):
        (tmp_path / "a" / name).write_text("no picture")
    with caplog.at_level(logging.WARNING, "framevit"):
        (split,) = read_source(str(tmp_path), DATA)
    assert [row.key for row in split.rows] == ["a/1.png"]
    assert f"{tmp_path}: files passed over, because they are not pictures: 2" in caplog.text


@pytest.mark.parametrize("layout", ["empty", "loose", "no-pictures"])
def test_a_folder_without_pictures_is_refused_with_what_was_expected(tmp_path: Path, layout: str) -> None:
    if layout == "loose":
        put(tmp_path / "1.png")
    if layout == "no-pictures":
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1.txt").write_text("x")
    with pytest.raises(UsageError, match="no pictures found in") as caught:
        read_source(str(tmp_path), DATA)
    assert "one folder of pictures per class" in caught.value.hint


# What is not there


@pytest.mark.parametrize(
    "name",
    ["nope", "nope/at all", "nope.csv", "nope.parquet", "a\0b", "n" * 300, "n/" * 3000],
    ids=["word", "blank", "csv", "parquet", "nul", "long-name", "long-path"],
)
def test_a_path_that_does_not_exist_is_refused_by_name(tmp_path: Path, name: str) -> None:
    assert "no such file or folder" in refusal(f"{tmp_path}/{name}")


def test_a_relative_manifest_that_does_not_exist_is_not_looked_for_on_the_hub() -> None:
    assert refusal("no-such-folder/nope.jsonl") == "no such file or folder: no-such-folder/nope.jsonl"


def test_a_home_that_does_not_exist_is_refused_by_name() -> None:
    assert "~no-such-person/frames" in refusal("~no-such-person/frames")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    put(tmp_path / "frames" / "a" / "1.png")
    assert answers_by_split(read_source("~/frames", DATA)) == {"train": [("a/1.png", "a")]}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert str(tmp_path / "pipe") in refusal(tmp_path / "pipe")


def test_a_single_picture_is_no_data_set(tmp_path: Path) -> None:
    put(tmp_path / "1.png")
    with pytest.raises(UsageError, match=r"1\.png: not a data set") as caught:
        read_source(str(tmp_path / "1.png"), DATA)
    assert ".parquet, .csv, .jsonl" in caught.value.hint


# Manifests


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "manifest.csv", "manifest.jsonl"])
@pytest.mark.parametrize("named", [False, True])
def test_a_manifest_is_read_by_name_or_from_its_folder(tmp_path: Path, name: str, named: bool) -> None:
    put(tmp_path / "sub" / "1.png", 7)
    csv, jsonl = "file_name,label\nsub/1.png,a\n", '{"file_name": "sub/1.png", "label": "a"}\n'
    (tmp_path / name).write_text(csv if name.endswith("csv") else jsonl)
    (split,) = read_source(str(tmp_path / name if named else tmp_path), DATA)
    assert [row.answer for row in split.rows] == ["a"]
    assert split.rows[0].read() == png(7)
    assert split.source == str(tmp_path / name)


def test_split_folders_beside_other_folders_are_refused(tmp_path: Path) -> None:
    for name in ("train", "test", "extra"):
        (tmp_path / name / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="train"):
        read_source(str(tmp_path), DATA)


def test_a_manifests_splits_are_the_sources_splits(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file_name,label,split\n1.png,a,train\n2.png,b,test\n")
    assert answers_by_split(read_source(str(tmp_path / "m.csv"), DATA)) == {
        "train": [("line 2 (1.png)", "a")],
        "test": [("line 3 (2.png)", "b")],
    }


# Parquet and saved data sets


@pytest.mark.parametrize("name", ["frames", "my frames", "främe (1)", "100%", "a#b", "old[1]"])
@pytest.mark.parametrize("form", ["file", "folder", "saved"])
def test_parquet_and_saved_data_sets_are_read_whatever_their_folder_is_called(
    tmp_path: Path, name: str, form: str
) -> None:
    place = tmp_path / name
    if form == "saved":
        table(["x", "y"]).save_to_disk(str(place))
    else:
        place.mkdir()
        table(["x", "y"]).to_parquet(str(place / "train.parquet"))
    (split,) = read_source(str(place / "train.parquet" if form == "file" else place), DATA)
    assert answers_by_split([split]) == {"train": [("train[0]", "x"), ("train[1]", "y")]}
    assert [row.read() for row in split.rows] == [png(0), png(1)]
    assert (split.kind, split.names, split.revision) == ("label", (), "")


def test_a_parquet_folder_gives_its_splits(tmp_path: Path) -> None:
    table(["x", "y"]).to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    table(["z"], first=5).to_parquet(str(tmp_path / "test-00000-of-00001.parquet"))
    splits = read_source(str(tmp_path), DATA)
    assert answers_by_split(splits) == {"train": [("train[0]", "x"), ("train[1]", "y")], "test": [("test[0]", "z")]}
    assert splits[1].rows[0].read() == png(5)


def test_a_saved_dict_gives_its_splits(tmp_path: Path) -> None:
    saved = datasets.DatasetDict(train=table(["x"]), validation=table(["y"], first=3))
    saved.save_to_disk(str(tmp_path / "saved"))
    splits = read_source(str(tmp_path / "saved"), DATA)
    assert answers_by_split(splits) == {"train": [("train[0]", "x")], "validation": [("validation[0]", "y")]}
    assert splits[1].rows[0].read() == png(3)


@pytest.mark.parametrize("form", ["file", "folder"])
def test_parquet_that_changed_is_read_anew_and_not_from_the_cache(tmp_path: Path, form: str) -> None:
    file = tmp_path / "train.parquet"
    for answers in (["x"], ["y"], ["x", "y", "z"]):
        table(answers).to_parquet(str(file))
        (split,) = read_source(str(file if form == "file" else tmp_path), DATA)
        assert [row.answer for row in split.rows] == answers


def test_the_response_column_is_read_before_the_label_column(tmp_path: Path) -> None:
    both = table(["{'labels': ['a']}"], "response").add_column("label", ["b"])
    both.save_to_disk(str(tmp_path / "saved"))
    (split,) = read_source(str(tmp_path / "saved"), DATA)
    assert (split.kind, split.rows[0].answer) == ("response", "{'labels': ['a']}")
    (split,) = read_source(str(tmp_path / "saved"), DataConfig(response_column="none"))
    assert (split.kind, split.rows[0].answer) == ("label", "b")


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_the_order_of_a_class_label_column_is_kept(tmp_path: Path, form: str) -> None:
    labelled = table([1, 0, 2, None], feature=datasets.ClassLabel(names=["zebra", "ant", "bee"]))
    place = tmp_path / ("saved" if form == "saved" else "train.parquet")
    write = labelled.save_to_disk if form == "saved" else labelled.to_parquet
    write(str(place))
    (split,) = read_source(str(place), DATA)
    assert split.names == ("zebra", "ant", "bee")
    assert [row.answer for row in split.rows] == ["ant", "zebra", "bee", None]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (DataConfig(image_column="picture"), "there is no column 'picture'; the columns are image, label"),
        (DataConfig(label_column="class"), "there is no column 'response' or 'class'; the columns are image, label"),
        (DataConfig(image_column="label"), "column 'label' does not hold pictures"),
    ],
)
def test_a_column_that_is_missing_or_of_another_kind_is_named(tmp_path: Path, data: DataConfig, said: str) -> None:
    table(["x"]).save_to_disk(str(tmp_path / "saved"))
    assert refusal(tmp_path / "saved", data) == f"{tmp_path / 'saved'}, split train: {said}"


def test_a_row_without_a_picture_says_so_when_it_is_read(tmp_path: Path) -> None:
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
    rows = {"image": [None, {"bytes": png(0), "path": None}], "label": ["x", "y"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    (split,) = read_source(str(tmp_path / "saved"), DATA)
    with pytest.raises(RowError, match="no picture in this row"):
        split.rows[0].read()
    assert split.rows[1].read() == png(0)


def test_a_picture_cell_without_bytes_and_path_says_so_when_it_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    empty = table(["x"]).to_pandas().assign(image=[{"bytes": None, "path": None}])
    schema = pa.schema([("image", kind), ("label", pa.string())], metadata=table(["x"]).data.schema.metadata)
    pq.write_table(pa.Table.from_pandas(empty, schema, preserve_index=False), tmp_path / "train.parquet")
    (split,) = read_source(str(tmp_path / "train.parquet"), DATA)
    with pytest.raises(RowError, match="no picture"):
        split.rows[0].read()


@pytest.mark.parametrize("name", ["train.parquet", "state.json", "dataset_dict.json"])
def test_a_damaged_data_set_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(FrameVitError, match="cannot be read") as caught:
        read_source(str(tmp_path), DATA)
    assert str(tmp_path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("stray", ["features.parquet", "a/features.parquet", ".embeddings/x.parquet"])
def test_a_stray_parquet_file_changes_nothing_about_class_folders(tmp_path: Path, stray: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("a/1.png", "a/fixture_test_0.png", "b/2.png"):
        put(tmp_path / name)
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"id": [1], "embedding": [0.5]}), tmp_path / stray)
    (split,) = read_source(str(tmp_path), DATA)
    assert [row.key for row in split.rows] == ["a/1.png", "a/fixture_test_0.png", "b/2.png"]
    assert stray.removesuffix("/x.parquet") in {item for note in split.notes for item in note.items}


def test_all_parquet_files_are_read_whatever_their_names_resemble(tmp_path: Path) -> None:
    table(["x", "y"]).to_parquet(str(tmp_path / "line1_monday.parquet"))
    table(["z"], first=5).to_parquet(str(tmp_path / "line2_test_bench.parquet"))
    put(tmp_path / "assets" / "shown.png")
    (split,) = read_source(str(tmp_path), DATA)
    assert (split.name, [row.answer for row in split.rows]) == ("train", ["x", "y", "z"])
    assert ("FV703", ("assets/shown.png",)) in {(note.code, note.items) for note in split.notes}


def arrow(path: Path, **columns: Any) -> Path:
    """A parquet file without the schema of `datasets`, as other programs write it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("form", ["bytes", "struct", "struct without path", "large"])
def test_pictures_are_read_without_a_schema(tmp_path: Path, form: str) -> None:
    import pyarrow as pa

    pictures: dict[str, Any] = {
        "bytes": pa.array([png(0), png(1)]),
        "large": pa.array([png(0), png(1)], pa.large_binary()),
        "struct": pa.array([{"bytes": png(i), "path": f"{i}.png"} for i in range(2)]),
        "struct without path": pa.array([{"bytes": png(i)} for i in range(2)]),
    }
    (split,) = read_source(str(arrow(tmp_path / "f.parquet", image=pictures[form], label=["x", "y"])), DATA)
    assert [row.read() for row in split.rows] == [png(0), png(1)]


def test_a_column_that_holds_no_pictures_is_named_with_its_type(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not hold pictures") as caught:
        read_source(str(arrow(tmp_path / "f.parquet", image=[1, 2], label=["x", "y"])), DATA)
    assert "int64" in caught.value.hint
    assert "data.image_column" in caught.value.hint


def test_a_parquet_table_of_paths_is_a_table_like_any_other(tmp_path: Path) -> None:
    put(tmp_path / "sub" / "1.png", 7)
    (split,) = read_source(str(arrow(tmp_path / "f.parquet", image=["sub/1.png"], label=["x"])), DATA)
    assert (split.rows[0].answer, split.rows[0].read()) == ("x", png(7))
    with pytest.raises(UsageError, match="is not a path inside"):
        read_source(str(arrow(tmp_path / "g.parquet", image=["../1.png"], label=["x"])), DATA)


def test_a_list_of_class_labels_is_read_by_name(tmp_path: Path) -> None:
    labels = datasets.List(datasets.ClassLabel(names=["zebra", "ant"]))
    table([[1], [0, 1]], feature=labels).save_to_disk(str(tmp_path / "saved"))
    (split,) = read_source(str(tmp_path / "saved"), DATA)
    assert [row.answer for row in split.rows] == [["ant"], ["zebra", "ant"]]
    assert split.names == ("zebra", "ant")


def test_a_response_may_be_a_column_of_dicts(tmp_path: Path) -> None:
    answers = [{"bboxes": [[1.0, 2.0, 3.0, 4.0]], "labels": ["x"]}]
    path = arrow(tmp_path / "f.parquet", image=[{"bytes": png(0)}], response=answers)
    assert read_source(str(path), DATA)[0].rows[0].answer == answers[0]


# Demo


def test_the_demo_draws_as_many_frames_as_asked_for_and_the_test_frames_with_the_next_seed() -> None:
    data = DataConfig.model_validate({"demo": {"train": 7, "test": 3, "seed": 4}})
    (train,), (test,) = read_source("demo", data), read_source("demo", data, seed_step=1)
    assert (len(train.rows), len(test.rows)) == (7, 3)
    assert (train.kind, train.names) == ("response", demo.NAMES)
    assert [row.read() for row in train.rows] == [demo.jpeg(frame) for frame in demo.frames(7, 4)]
    assert [row.answer for row in test.rows] == [demo.response(frame) for frame in demo.frames(3, 5)]
    assert not {row.key for row in train.rows} & {row.key for row in test.rows}


def test_reading_a_source_imports_no_torch(tmp_path: Path) -> None:
    table(["x"]).to_parquet(str(tmp_path / "train.parquet"))
    code = (
        "import sys, datasets\n"
        "from frame_vit.config.schema import DataConfig\n"
        "from frame_vit.data.sources import read_source\n"
        "(split,) = read_source(sys.argv[1], DataConfig())\n"
        "assert split.rows[0].read()\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "train.parquet")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_config_of_a_hub_data_set_is_named_after_a_colon(tmp_path: Path) -> None:
    """In a process of its own, because `datasets` reads the hub's address when it is imported."""
    for name, answer in (("front", "x"), ("side", "y")):
        folder = tmp_path / "hub" / "datasets" / "owner" / "frames" / name
        folder.mkdir(parents=True)
        table([answer]).to_parquet(str(folder / "train-00000-of-00001.parquet"))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("front", "side"))
    (folder.parent / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    code = (
        "from frame_vit.config.schema import DataConfig\n"
        "from frame_vit.data.sources import read_source\n"
        "from frame_vit.errors import UsageError\n"
        "(split,) = read_source('owner/frames:side', DataConfig())\n"
        "print([row.answer for row in split.rows], len(split.revision))\n"
        "try:\n    read_source('owner/frames', DataConfig())\n"
        "except UsageError as error:\n    print(error.message, '|', error.hint)\n"
    )
    with Hub(tmp_path / "hub") as hub:
        environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
        )
    assert done.stdout.splitlines() == [
        "['y'] 40",
        "data set owner/frames has several configs on the hub, and none is named: front, side | "
        "Name one of them after a colon: owner/name:CONFIG",
    ], done.stderr
