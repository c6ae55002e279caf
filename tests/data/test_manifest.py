"""Manifests: what they say, line by line, and that they cannot point outside their folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frame_vit.config.schema import DataConfig
from frame_vit.data.manifest import ManifestRow, read_manifest
from frame_vit.errors import FrameVitError, UsageError

DATA = DataConfig()


def manifest(folder: Path, text: str | bytes, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(folder: Path, text: str | bytes, name: str = "m.csv") -> list[ManifestRow]:
    """The rows of a manifest without a split column."""
    splits = read_manifest(manifest(folder, text, name), DATA).splits
    assert list(splits) == ["train"]
    return splits["train"]


def refusal(folder: Path, text: str | bytes, name: str = "m.csv") -> str:
    """Why a manifest is refused, without its own path."""
    path = manifest(folder, text, name)
    with pytest.raises(UsageError) as caught:
        read_manifest(path, DATA)
    assert caught.value.message.startswith(str(path))
    return caught.value.message.removeprefix(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "file_name,label\na.png,Xplus\nsub/b.png,passed\n",
        "file_name;label\na.png;Xplus\nsub/b.png;passed\n",
        "file_name\tlabel\na.png\tXplus\nsub/b.png\tpassed\n",
        "file_name,label\r\na.png,Xplus\r\nsub/b.png,passed\r\n",
        "\ufefffile_name,label\na.png,Xplus\nsub/b.png,passed",
        '"file_name","label"\n"a.png","Xplus"\n"sub/b.png","passed"\n',
        "label,file_name,weight\nXplus,a.png,1\npassed,sub\\b.png,2\n",
        "file_name;label\na.png;Xplus\nsub/b.png;passed\n".encode("utf-16"),
        "file_name, label\na.png,Xplus\nsub/b.png,passed\n",
    ],
    ids=["comma", "semicolon", "tab", "windows", "byte-order-mark", "quoted", "more-columns", "utf-16", "blank"],
)
def test_a_csv_is_read_however_it_was_saved(tmp_path: Path, text: str | bytes) -> None:
    assert rows(tmp_path, text) == [
        ManifestRow("line 2 (a.png)", "Xplus", tmp_path / "a.png"),
        ManifestRow(rows(tmp_path, text)[1].key, "passed", tmp_path / "sub" / "b.png"),
    ]


def test_jsonl_is_read_with_its_own_types_and_line_numbers(tmp_path: Path) -> None:
    text = '{"file_name": "a.png", "label": 10}\n\n{"file_name": "b.png", "label": "passed"}\n'
    assert rows(tmp_path, text, "m.jsonl") == [
        ManifestRow("line 1 (a.png)", 10, tmp_path / "a.png"),
        ManifestRow("line 3 (b.png)", "passed", tmp_path / "b.png"),
    ]


def test_a_jsonl_text_may_hold_characters_that_only_look_like_line_ends(tmp_path: Path) -> None:
    text = json.dumps({"file_name": "a.png", "label": "x", "prompt": "two\u2028lines\x85"}, ensure_ascii=False)
    assert [row.key for row in rows(tmp_path, f"{text}\n{text}\n", "m.jsonl")] == ["line 1 (a.png)", "line 2 (a.png)"]


def test_a_response_in_a_csv_keeps_its_commas_and_quotes(tmp_path: Path) -> None:
    text = "file_name,response\na.png,\"{'bboxes': [[1, 2, 3, 4]], 'labels': ['Xplus']}\"\n"
    splits, kind, *_ = read_manifest(manifest(tmp_path, text), DATA)
    assert kind == "response"
    assert splits["train"][0].answer == "{'bboxes': [[1, 2, 3, 4]], 'labels': ['Xplus']}"


@pytest.mark.parametrize("column", ["image", "file_name", "file", "path"])
def test_the_column_of_the_file_may_have_any_of_the_usual_names(tmp_path: Path, column: str) -> None:
    assert rows(tmp_path, f"label,{column}\nx,a.png\n")[0].file == tmp_path / "a.png"


def test_the_configured_columns_come_first(tmp_path: Path) -> None:
    path = manifest(tmp_path, "file_name,label,picture,class\nwrong.png,wrong,a.png,x\n")
    splits, kind, *_ = read_manifest(path, DataConfig(image_column="picture", label_column="class"))
    assert (splits["train"], kind) == ([ManifestRow("line 2 (a.png)", "x", tmp_path / "a.png")], "label")


def test_rows_go_to_the_splits_they_name_and_to_train_where_they_name_none(tmp_path: Path) -> None:
    text = "file_name,label,split\na.png,x,train\nb.png,x,test\nc.png,x,\nd.png,x,validation\n"
    splits = read_manifest(manifest(tmp_path, text), DATA).splits
    assert {name: [row.file.name for row in rows] for name, rows in splits.items()} == {
        "train": ["a.png", "c.png"],
        "test": ["b.png"],
        "validation": ["d.png"],
    }


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "sub/../../a.png",
        "sub\\..\\..\\a.png",
        "/etc/hostname",
        "//etc",
        "//server/share/a.png",
        "C:\\a.png",
        "C:a.png",
        "c:/a.png",
        "\\\\server\\share\\a.png",
        "\\a.png",
        "http://example.com/a.png",
        "file:///etc/hostname",
        "s3://bucket/a.png",
        ".",
        "./",
        "",
    ],
)
def test_a_path_that_is_not_inside_the_manifests_folder_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path, f'file_name,label\na.png,x\n"{name}",x\n')
    assert said == f", line 3: {name!r} is not a path inside the manifest's folder"


names = st.text("./\\ab:~ ", max_size=10) | st.text(max_size=10)


@given(name=names)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_is_inside_the_folder_or_refused(tmp_path: Path, name: str) -> None:
    path = manifest(tmp_path, json.dumps({"file_name": name, "label": "x"}), "m.jsonl")
    try:
        splits = read_manifest(path, DATA).splits
    except FrameVitError as error:
        assert "line 1" in error.message
        return
    file = splits["train"][0].file
    assert file != tmp_path
    assert file.is_relative_to(tmp_path) and ".." not in file.parts


@pytest.mark.parametrize("text", ["", "file_name,label\n", "\n\n"])
def test_a_manifest_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    assert "no rows" in refusal(tmp_path, text)


def test_a_missing_file_column_is_refused_with_the_columns_there_are(tmp_path: Path) -> None:
    said = refusal(tmp_path, "name,label\na.png,x\n")
    assert said.startswith(": no column with the file's path (image, file_name, filename, file, path)")
    assert said.endswith("; the columns are name, label")


def test_a_missing_label_column_is_refused_with_the_columns_there_are(tmp_path: Path) -> None:
    said = refusal(tmp_path, "file_name,lable\na.png,x\n")
    assert said == ": there is no column 'response' or 'label'; the columns are file_name, lable"


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "label" in refusal(tmp_path, "file_name,label,label\na.png,passed,scratch\n")


@pytest.mark.parametrize("row", ["b.png", "b.png,x,y"])
def test_a_row_of_another_length_than_the_header_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    assert refusal(tmp_path, f"file_name,label\na.png,x\n{row}\n") == (
        ", line 3: not as many cells as the header has columns"
    )


@pytest.mark.parametrize(
    ("text", "line"), [('file_name,label\n"a.png"b,x\n', 2), ("file_name,label\na.png," + "x" * 200_000 + "\n", 2)]
)
def test_what_is_not_csv_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert refusal(tmp_path, text).startswith(f", line {line}: ")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_a_manifest_that_is_not_utf8_is_refused_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    path = manifest(tmp_path, "file_name,label\na.png,Fläche\n".encode(encoding))
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        read_manifest(path, DATA)
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"file_name": ', "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"label": "x"}', "'' is not a path"),
        ('{"file_name": null, "label": "x"}', "'' is not a path"),
    ],
)
def test_a_bad_jsonl_line_is_refused_with_its_number(tmp_path: Path, line: str, reason: str) -> None:
    said = refusal(tmp_path, f'{{"file_name": "a.png", "label": "x"}}\n\n{line}\n', "m.jsonl")
    assert said.startswith(f", line 3: {reason}")


def test_the_line_by_which_excel_names_its_delimiter_is_taken_as_what_it_is(tmp_path: Path) -> None:
    for line_end in ("\n", "\r\n"):
        text = line_end.join(["sep=|", "file_name|label", "a,1.png|x;y", ""])
        assert rows(tmp_path, text) == [ManifestRow("line 3 (a,1.png)", "x;y", tmp_path / "a,1.png")]
    assert refusal(tmp_path, "SEP=;\nfile_name;label\na.png\n").startswith(", line 3: not as many cells")


def test_rows_and_columns_without_any_cell_are_passed_over_and_counted(tmp_path: Path) -> None:
    text = "file_name,label,,\na.png,x,,\n,,,\n , ,,\n\nb.png,y,,\n,,,,,,\n"
    splits, _, _, notes = read_manifest(manifest(tmp_path, text), DATA)
    assert [row.answer for row in splits["train"]] == ["x", "y"]
    assert [(note.code, note.items) for note in notes] == [("FV706", ("line 3", "line 4", "line 7"))]
    assert refusal(tmp_path, "file_name,label,\na.png,x,stray\n").startswith(", line 2: not as many cells")


def test_blank_cells_among_splits_are_a_note_and_a_blank_column_is_none(tmp_path: Path) -> None:
    read = read_manifest(manifest(tmp_path, "file_name,label,split\na.png,x,train\nb.png,x, \nc.png,x,test\n"), DATA)
    assert [(note.code, note.items) for note in read.notes] == [("FV705", ("line 3 (b.png)",))]
    read = read_manifest(manifest(tmp_path, "file_name,label,split\na.png,x,\nb.png,x,\n"), DATA)
    assert (list(read.splits), read.notes) == (["train"], ())


LABEL_STUDIO = "annotation_id,annotator,choice,id,image,lead_time\n"


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("/data/upload/3/0a1b2c3d-frame 1.png", "frame 1.png"),
        ("/data/upload/0a1b2c3d-frame.png", "0a1b2c3d-frame.png"),
        ("/data/upload/3/0a1b2c3d-frame.png", "images/frame.png"),
        ("/data/local-files/?d=sub/frame.png", "sub/frame.png"),
        ("frame.png", "frame.png"),
    ],
)
def test_a_table_of_label_studio_finds_the_files_that_were_uploaded(tmp_path: Path, image: str, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    (row,) = rows(tmp_path, f"{LABEL_STUDIO}1,2,Xplus,4,{image},1.5\n")
    assert (row.answer, row.file) == ("Xplus", tmp_path / file)


def test_several_choices_of_label_studio_are_several_labels(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, LABEL_STUDIO + '1,2,"{""choices"": [""a"", ""b""]}",4,f.png,1.5\n')
    assert row.answer == ["a", "b"]


def test_an_uploaded_file_that_is_not_there_or_twice_is_refused_with_what_to_do(tmp_path: Path) -> None:
    text = f"{LABEL_STUDIO}1,2,Xplus,4,/data/upload/3/0a1b2c3d-f.png,1.5\n"
    assert refusal(tmp_path, text).endswith("is a path of Label Studio; in the table's folder there is no f.png")
    for name in ("f.png", "0a1b2c3d-f.png"):
        (tmp_path / name).write_bytes(b"x")
    assert refusal(tmp_path, text).endswith("f.png can be meant")
    (tmp_path / "f.png").unlink()
    assert refusal(tmp_path, text.replace("upload/3/0a1b2c3d-", "local-files/?d=../")).endswith("manifest's folder")
