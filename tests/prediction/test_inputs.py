"""What is named to be predicted becomes a list of inputs, in order, and nothing that is missing is lost."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from frame_vit.errors import RowError, UsageError
from frame_vit.images.decode import read_bytes
from frame_vit.prediction.inputs import expand, from_data


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures/ that holds three pictures, a hidden one and a text."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.JPG", "a.png", "below/c.tiff", ".hidden.jpg", "note.txt"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "pictures"


def names(*arguments: str) -> list[str]:
    return [each.name for each in expand(arguments)]


def test_a_folder_stands_for_its_pictures_in_order(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert names("pictures") == ["pictures/a.png", "pictures/b.JPG", "pictures/below/c.tiff"]
    assert "files without the ending of a picture are not read: 1 (note.txt)" in caplog.text


def test_arguments_keep_their_order_and_may_name_a_picture_twice(folder: Path) -> None:
    assert names("pictures/b.JPG", "pictures/below", "pictures/b.JPG") == [
        *("pictures/b.JPG", "pictures/below/c.tiff", "pictures/b.JPG")
    ]


def test_a_file_is_itself_whatever_its_ending_and_read_when_it_is_its_turn(folder: Path) -> None:
    text, gone = expand(["pictures/note.txt", "pictures/gone.png"])
    assert read_bytes(text.source) == b"note.txt"
    with pytest.raises(RowError):
        read_bytes(gone.source)


def test_a_glob_matches_files_and_folders(folder: Path) -> None:
    assert names("pictures/*.png", "pictures/b*") == ["pictures/a.png", "pictures/b.JPG", "pictures/below/c.tiff"]
    assert names("pictures/**/*.tiff") == ["pictures/below/c.tiff"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(folder: Path) -> None:
    (folder / "x[1].png").write_bytes(b"x")
    assert names("pictures/x[1].png") == ["pictures/x[1].png"]


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ("none*.png", "nothing matches none*.png", "in quotes"),
        ("empty", "no pictures in empty", "--data names a data set"),
    ],
)
def test_nothing_there_is_an_error_alone_and_a_row_among_others(
    folder: Path, argument: str, message: str, hint: str
) -> None:
    (folder.parent / "empty").mkdir()
    with pytest.raises(UsageError) as error:
        expand([argument])
    assert error.value.message == message
    assert hint in error.value.hint
    missing, picture = expand([argument, "pictures/a.png"])
    assert (missing.name, picture.name) == (argument, "pictures/a.png")
    with pytest.raises(RowError, match=message.replace("*", r"\*")):
        read_bytes(missing.source)


def test_a_manifest_stands_for_the_pictures_that_it_lists(folder: Path) -> None:
    with Path("list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name"], ["pictures/b.JPG"], ["pictures/gone.png"]])
    listed = expand(["list.csv"])
    assert [Path(each.name).name for each in listed] == ["b.JPG", "gone.png"]
    assert read_bytes(listed[0].source) == b"b.JPG"
    with pytest.raises(UsageError):
        expand(["gone.csv"])


def test_the_pictures_of_a_data_set_need_no_labels(folder: Path) -> None:
    for name in ("one", "two"):
        (folder.parent / "classes" / name).mkdir(parents=True)
        (folder.parent / "classes" / name / "p.png").write_bytes(name.encode())
    inputs = from_data("classes")
    assert sorted(read_bytes(each.source) for each in inputs) == [b"one", b"two"]
    assert from_data("demo")[0].name.startswith("demo/")


def test_jpegs_by_other_names_are_pictures_and_hidden_files_are_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("d.jfif", "e.JPE", "below/.git/x.png", "below/@eaDir/y.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert names("pictures")[-2:] == ["pictures/d.jfif", "pictures/e.JPE"]
    assert len(names("pictures")) == 5
    assert "hidden files are not read: 3 (" in caplog.text


def test_a_file_that_links_lead_to_in_many_ways_is_one_input(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "loop").symlink_to(".")
    assert names("pictures/**/*.png") == ["pictures/a.png"]
    assert "matches are other ways to the same files" in caplog.text
    assert names("pictures") == ["pictures/a.png", "pictures/b.JPG", "pictures/below/c.tiff"]
    assert "links back into the folder are not followed: 1 (" in caplog.text
