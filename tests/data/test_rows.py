"""What belongs together: named by a column, read from file names, or the same picture twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.config.schema import DataConfig
from frame_vit.data import demo
from frame_vit.data.rows import Grouping, Marks
from frame_vit.data.sources import read_source
from frame_vit.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "name", "group"),
    [
        (r"lot(\d+)", "Xplus/lot17_003.jpg", "17"),
        (r"lot\d+", "Xplus/lot17_003.jpg", "lot17"),
        (r"^[^_]+", "part9_1.png", "part9"),
        (None, "anything", ""),
    ],
)
def test_the_group_is_the_first_group_of_the_expression_or_all_of_it(
    pattern: str | None, name: str, group: str
) -> None:
    assert Grouping("data.group_by", pattern, (), "src").of({}, name) == group


def test_a_column_goes_before_an_expression() -> None:
    assert Grouping("data.group_by", "lot", ("lot", "label"), "src").of({"lot": 4}, "lot17.jpg") == "4"


def test_a_row_without_a_group_is_refused_and_named() -> None:
    with pytest.raises(UsageError, match=r"does not match 'b\.png'"):
        Grouping("data.group_by", "lot", (), "src").of({}, "b.png")
    for empty in (None, ""):
        with pytest.raises(UsageError, match=r"b\.png has no value in the column 'lot'"):
            Grouping("data.group_by", "lot", ("lot",), "src").of({"lot": empty}, "b.png")


def test_what_is_neither_column_nor_expression_is_refused_with_the_columns() -> None:
    with pytest.raises(UsageError, match=r"neither a column nor a regular expression.*the columns are image, lot"):
        Grouping("data.group_by", "lot(", ("image", "lot"), "src")


def test_every_kind_of_source_gives_groups(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    picture = demo.jpeg(demo.sample("passed", 1))
    (tmp_path / "folders" / "passed").mkdir(parents=True)
    (tmp_path / "folders" / "passed" / "lot3_1.jpg").write_bytes(picture)
    (tmp_path / "m.csv").write_text("file_name,label,lot\nfolders/passed/lot3_1.jpg,passed,8\n")
    features = Features({"image": Image(), "label": Value("string"), "lot": Value("int64")})
    rows = {"image": [{"bytes": picture, "path": "lot3_1.jpg"}], "label": ["passed"], "lot": [8]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "t.parquet")
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")

    def groups(source: str, group_by: str) -> list[str]:
        given_ = str(tmp_path / source) if source != "demo" else source
        (split,) = read_source(given_, DataConfig.model_validate({"group_by": group_by, "demo": {"train": 5}}))
        return [row.marks.group for row in split.rows]

    assert groups("folders", r"lot(\d)") == ["3"]
    assert groups("m.csv", r"lot(\d)") == ["3"]
    assert groups("m.csv", "lot") == ["8"]
    assert groups("t.parquet", "lot") == ["8"]
    assert groups("t.parquet", r"lot(\d)") == ["3"]
    assert groups("saved", "lot") == ["8"]
    assert groups("demo", r"-(\d)$") == ["0", "1", "2", "3", "4"]


def test_slices_and_parts_are_read_beside_groups(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    picture = demo.jpeg(demo.sample("passed", 1))
    features = Features({"image": Image(), "label": Value("string"), "camera": Value("string")})
    rows = {"image": [{"bytes": picture, "path": "part7_shot2.jpg"}], "label": ["passed"], "camera": ["left"]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "t.parquet")
    settings = {"group_by": r"part(\d)", "slice_by": "camera", "part_by": r"part\d"}
    (split,) = read_source(str(tmp_path / "t.parquet"), DataConfig.model_validate(settings))
    assert split.rows[0].marks == Marks("7", "left", "part7")
    (other,) = read_source(
        str(tmp_path / "t.parquet"), DataConfig.model_validate({"part_by": "^lot", "slice_by": "line"})
    )
    assert other.rows[0].marks == Marks(), "a report can do without"
