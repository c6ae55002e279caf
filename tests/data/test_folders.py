"""Layouts of folders: splits, labels and tables where they are, and nothing on disk that is neither row nor note."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frame_vit.config.schema import DataConfig
from frame_vit.data.folders import by_split, class_folders, innermost
from frame_vit.data.rows import RawSplit
from frame_vit.data.sources import read_source
from frame_vit.errors import FrameVitError, RowError, UsageError
from frame_vit.tree import is_picture, walk

DATA = DataConfig()


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), seed, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def put(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(seed))


def table(path: Path, rows: dict[str, str], split: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["file_name", "label", *(["split"] if split else [])]
    cells = [[name, label, *([split[name]] if split else [])] for name, label in rows.items()]
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in cells))
    elif path.suffix == ".csv":
        path.write_text("\n".join(",".join(row) for row in [columns, *cells]) + "\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({c: [row[i] for row in cells] for i, c in enumerate(columns)}), path)


def read(root: Path, data: DataConfig = DATA, names: tuple[str, ...] = ()) -> dict[str, dict[str, object]]:
    """The answers by split and file, relative to the root."""
    splits = read_source(str(root), data, names=names)
    return {s.name: {r.file.relative_to(root).as_posix(): r.answer for r in s.rows if r.file} for s in splits}


def notes(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for split in read_source(str(root), DATA):
        for note in split.notes:
            found.setdefault(note.code, set()).update(note.items)
    return found


TRAIN, TEST = {"a.png": "x", "b.png": "y"}, {"c.png": "x"}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_a_table_in_a_split_folder_is_the_table_of_that_split(tmp_path: Path, name: str) -> None:
    put(tmp_path, "train/a.png", "train/b.png", "test/c.png")
    table(tmp_path / "train" / name, TRAIN)
    table(tmp_path / "test" / name, TEST)
    assert read(tmp_path) == {"test": {"test/c.png": "x"}, "train": {"train/a.png": "x", "train/b.png": "y"}}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_the_labels_of_a_table_go_before_the_names_of_folders(tmp_path: Path, name: str) -> None:
    put(tmp_path, "cam1/a.png", "cam2/b.png")
    table(tmp_path / name, {"cam1/a.png": "x", "cam2/b.png": "y"})
    assert read(tmp_path) == {"train": {"cam1/a.png": "x", "cam2/b.png": "y"}}


def test_tables_beside_the_pictures_of_several_folders_are_one_split(tmp_path: Path) -> None:
    put(tmp_path, "cam1/a.png", "cam2/a.png")
    table(tmp_path / "cam1" / "metadata.csv", {"a.png": "x"})
    table(tmp_path / "cam2" / "metadata.csv", {"a.png": "y"})
    assert read(tmp_path) == {"train": {"cam1/a.png": "x", "cam2/a.png": "y"}}
    (split,) = read_source(str(tmp_path), DATA)
    keys = [row.key for row in split.rows]
    assert keys == ["cam1/metadata.csv, line 2 (a.png)", "cam2/metadata.csv, line 2 (a.png)"]


def test_a_table_in_the_root_keeps_the_splits_of_its_folders(tmp_path: Path) -> None:
    names = ("train/a.png", "train/k/b.png", "valid/c.png", "test/d.png")
    put(tmp_path, *names)
    table(tmp_path / "metadata.csv", dict.fromkeys(names, "x"))
    found = read(tmp_path)
    assert {name: list(rows) for name, rows in found.items()} == {
        "train": ["train/a.png", "train/k/b.png"],
        "valid": ["valid/c.png"],
        "test": ["test/d.png"],
    }


def test_a_column_of_splits_goes_before_folders(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "train/b.png")
    table(tmp_path / "metadata.csv", dict.fromkeys(("train/a.png", "train/b.png"), "x"),
          {"train/a.png": "test", "train/b.png": "train"})  # fmt: skip
    assert read(tmp_path) == {"test": {"train/a.png": "x"}, "train": {"train/b.png": "x"}}


def test_pictures_partly_in_folders_for_splits_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "b.png")
    table(tmp_path / "metadata.csv", {"train/a.png": "x", "b.png": "x"})
    with pytest.raises(UsageError, match="some pictures lie in folders for splits") as caught:
        read(tmp_path)
    assert "column split" in caught.value.hint


def test_pictures_that_no_table_lists_are_noted(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "sub/c.png", ".d.png")
    table(tmp_path / "metadata.csv", {"a.png": "x", "gone.png": "x"})
    assert notes(tmp_path) == {"FV703": {"b.png", "sub/c.png"}, "FV701": {".d.png"}}


def test_a_picture_in_two_tables_and_two_tables_in_a_folder_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.png")
    table(tmp_path / "metadata.csv", {"sub/a.png": "x"})
    table(tmp_path / "sub" / "metadata.jsonl", {"a.png": "y"})
    with pytest.raises(UsageError, match=r"a\.png is listed in two tables"):
        read(tmp_path)
    table(tmp_path / "sub" / "metadata.csv", {"a.png": "y"})
    with pytest.raises(UsageError, match=r"several tables of its pictures: metadata\.csv, metadata\.jsonl"):
        read(tmp_path)


def test_a_one_hot_table_of_each_split_gives_labels_and_the_order_of_the_classes(tmp_path: Path) -> None:
    for split, name in (("train", "a.jpg"), ("valid", "b.jpg")):
        put(tmp_path, f"{split}/{name}", f"{split}/none.jpg", f"{split}/both.jpg")
        text = f"filename, zebra, ant\n{name},0,1\nnone.jpg,0,0\nboth.jpg,1,1\n"
        (tmp_path / split / "_classes.csv").write_text(text)
    train, valid = read_source(str(tmp_path), DATA)
    assert [row.answer for row in train.rows] == [["ant"], [], ["zebra", "ant"]]
    assert (train.names, valid.name) == (("zebra", "ant"), "valid")
    (tmp_path / "train" / "_classes.csv").write_text("filename, zebra, ant\na.jpg,0,0.7\n")
    with pytest.raises(UsageError, match="line 2: a column of a class holds something else than 0 or 1"):
        read(tmp_path)


def test_splits_may_lie_below_the_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "ok/train/1.png", "ok/test/2.png", "bad/train/3.png", "bad/test/4.png")
    assert read(tmp_path) == {
        "test": {"ok/test/2.png": "ok", "bad/test/4.png": "bad"} | {},
        "train": {"ok/train/1.png": "ok", "bad/train/3.png": "bad"},
    }


def test_masks_beside_the_splits_or_classes_are_no_class(tmp_path: Path) -> None:
    put(tmp_path, "train/good/1.png", "test/good/2.png", "test/cut/3.png", "ground_truth/cut/3_mask.png")
    put(tmp_path, "test/ground_truth/cut/3_mask.png")
    assert read(tmp_path) == {
        "test": {"test/cut/3.png": "cut", "test/good/2.png": "good"},
        "train": {"train/good/1.png": "good"},
    }
    assert notes(tmp_path) == {"FV703": {"ground_truth/cut/3_mask.png"}}


def test_a_flat_test_folder_is_a_split_without_labels(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/2.png", "test/3.png")
    assert read(tmp_path)["test"] == {"test/3.png": None}


def test_other_folders_beside_splits_are_left_out_by_the_key_that_the_hint_names(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "test/a/2.png", "unlabelled/3.png")
    with pytest.raises(UsageError, match="other folders") as caught:
        read(tmp_path)
    assert "data.splits_used=[test, train]" in caught.value.hint
    data = DataConfig(splits_used=["train", "test"])
    assert read(tmp_path, data) == {"test": {"test/a/2.png": "a"}, "train": {"train/a/1.png": "a"}}


def test_class_folders_without_a_picture_are_noted_with_what_is_in_them(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "c/3.heic", "c/4.heic")
    (tmp_path / "empty").mkdir()
    (tmp_path / "c" / "3.heic").write_bytes(b"ftypheic")
    assert notes(tmp_path)["FV704"] == {"c: 2 .heic", "empty: empty"}


def test_class_folders_that_windows_refuses_are_warned_of(tmp_path: Path) -> None:
    put(tmp_path, "passed/1.png", "CON/2.png", "nul/3.png", "trail./4.png")
    assert notes(tmp_path) == {"FV708": {"CON", "nul", "trail."}}


@pytest.mark.parametrize(
    "layout",
    [
        ("train/a/1.png", "test/a/2.png"),
        ("a/1.png", "b/2.png"),
        ("deeper/a/1.png", "deeper/b/2.png"),
    ],
)
def test_a_data_set_one_folder_deeper_is_found_if_it_cannot_be_a_class(tmp_path: Path, layout: tuple[str, ...]) -> None:
    put(tmp_path / "set", *layout)
    labels = {answer for rows in read(tmp_path, names=("a", "b")).values() for answer in rows.values()}
    assert labels <= {"a", "b"}


def test_a_lone_folder_that_may_be_a_class_is_one_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "ok/cam1/1.png", "ok/cam2/2.png")
    assert read(tmp_path)["train"] == {"ok/cam1/1.png": "ok", "ok/cam2/2.png": "ok"}
    assert "ok is taken for a class, because it is the only folder" in caplog.text
    assert innermost(walk(tmp_path), {"ok", "cam1"}).root == tmp_path


def test_a_table_of_another_name_beside_one_folder_is_asked_about(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png", "images/2.png")
    table(tmp_path / "labels.csv", {"images/1.png": "a", "images/2.png": "b"})
    with pytest.raises(UsageError, match=r"holds images, labels\.csv and fewer than two") as caught:
        read(tmp_path)
    assert str(tmp_path / "labels.csv") in caught.value.hint
    assert read_source(str(tmp_path / "labels.csv"), DATA)[0].rows[1].answer == "b"


def test_folders_for_splits_in_some_class_folders_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "bottle/train/good/1.png", "bottle/test/cut/2.png", "cable/train/good/3.png")
    with pytest.raises(UsageError, match="folders for splits lie in some class folders") as caught:
        read(tmp_path)
    assert str(tmp_path / "bottle") in caught.value.hint
    assert read(tmp_path / "bottle")["test"] == {"test/cut/2.png": "cut"}


def test_parquet_files_whose_names_only_resemble_splits_are_read_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_split(walk(tmp_path), [tmp_path / "line1.parquet", tmp_path / "line1-latest.parquet"])
    assert not caplog.text
    by_split(walk(tmp_path), [tmp_path / "line1.parquet", tmp_path / "line2_test.parquet"])
    assert "all parquet files are read as train, line2_test.parquet too" in caplog.text


def test_parquet_files_are_split_by_folder_or_exact_name(tmp_path: Path) -> None:
    def split(*names: str) -> dict[str, list[str]]:
        found = by_split(walk(tmp_path), [tmp_path / name for name in names])
        return {name: [file.name for file in files] for name, files in found.items()}

    assert split("line1.parquet", "line2_test.parquet") == {"train": ["line1.parquet", "line2_test.parquet"]}
    assert split("test.parquet", "train.parquet") == {"train": ["train.parquet"], "test": ["test.parquet"]}
    assert split("data/extra-00000-of-00002.parquet") == {"extra": ["extra-00000-of-00002.parquet"]}
    assert split("val/x.parquet", "train/test-bench.parquet") == {"train": ["test-bench.parquet"], "val": ["x.parquet"]}
    for names, said in (
        (("train.parquet", "monday.parquet"), "train.parquet names a split, monday.parquet does not"),
        (("train/test.parquet",), "the folder and the name are those of two splits"),
    ):
        with pytest.raises(UsageError, match=said):
            split(*names)


def test_the_card_of_a_data_set_names_its_files_and_splits(tmp_path: Path) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "deep" / "b.parquet", tmp_path / "c.parquet"]
    put(tmp_path, "a.parquet", "deep/b.parquet", "c.parquet")
    one = "- config_name: x\n  data_files:\n  - {split: test, path: a.*}\n  - {split: train, path: [deep/*, c.parquet]}"
    (tmp_path / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{one}\n---\n# Frames\n")
    assert by_split(walk(tmp_path), files) == {"test": [files[0]], "train": [files[2], files[1]]}
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- {config_name: a, data_files: a.*}\n- {config_name: b, data_files: c.*}\n---\n"
    )
    with pytest.raises(UsageError, match="its card has several configs: a, b"):
        by_split(walk(tmp_path), files)
    for card in ("no front matter", "---\nconfigs: [\n---\n", "---\nconfigs: 3\n---\n", "---\n"):
        (tmp_path / "README.md").write_text(card)
        assert list(by_split(walk(tmp_path), files)) == ["train"]


# Nothing is lost

FILES = st.sampled_from(
    ["1.png", "2.JPG", "3.jfif", "4.bmp", "note.txt", "sheet.xlsx", ".hidden.png", "._1.png", "Thumbs.db", "bare",
     "old.png.bak", "x.parquet", "metadata.csv", "metadata.jsonl", "labels.csv"]
)  # fmt: skip
FOLDERS = st.sampled_from(["train", "test", "val", "a", "b", "c", ".git", "ground_truth", "__MACOSX", "x.png"])
TREES = st.recursive(
    st.dictionaries(FILES, st.none(), max_size=3),
    lambda inner: st.builds(
        lambda files, folders: {**files, **folders},
        st.dictionaries(FILES, st.none(), max_size=3),
        st.dictionaries(FOLDERS, inner, max_size=4),
    ),
    max_leaves=9,
)
PICTURE = png()


def grow(root: Path, tree: dict[str, object], draw: st.DataObject) -> None:
    root.mkdir(exist_ok=True)
    for name, inner in tree.items():
        if isinstance(inner, dict):
            grow(root / name, inner, draw)
        else:
            (root / name).write_bytes(PICTURE if is_picture(name) or name in ("bare", "old.png.bak") else b"text")
    for name in ("metadata.csv", "metadata.jsonl", "labels.csv"):
        if name in tree:
            pictures = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*")) if is_picture(p.name)]
            listed = draw.draw(st.lists(st.sampled_from([*pictures, "gone.png"]), min_size=1, unique=True))
            table(root / name, dict.fromkeys(listed, "a"))


def on_disk(root: Path) -> set[Path]:
    hidden = (".git", "__MACOSX")
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        path
        for path in files
        if is_picture(path.name) or (path.read_bytes() == PICTURE and not {*path.relative_to(root).parts} & {*hidden})
    }


def accounted(splits: list[RawSplit]) -> tuple[list[Path], list[Path]]:
    """The files of rows, and the entries that notes name."""
    rows = [row.file for split in splits for row in split.rows if row.file and row.file.is_file()]
    noted = [
        Path(note.source) / item
        for split in splits
        for note in split.notes
        if note.code in ("FV701", "FV702", "FV703")
        for item in note.items
    ]
    return rows, noted


@given(tree=TREES, draw=st.data())
@settings(deadline=None, max_examples=200)
def test_pictures_on_disk_are_rows_or_are_passed_over_by_name(tree: dict[str, object], draw: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        grow(root, tree, draw)
        try:
            splits = read_source(str(root), DATA)
        except FrameVitError:  # nothing is read, so nothing is lost
            return
        rows, noted = accounted(splits)
        pictures = [path for path in noted if path in on_disk(root)]
        assert sorted(rows + pictures) == sorted(on_disk(root))


def test_what_cannot_be_read_is_a_row_that_says_why(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    (split,) = class_folders(walk(tmp_path), DATA)
    gone = next(row for row in split.rows if row.key == "a/gone.png")
    with pytest.raises(RowError, match="no such file"):
        gone.read()
