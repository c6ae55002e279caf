"""Files of rows: never overwritten by mistake, resumed after a crash, written by one process at a time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from frame_vit.errors import RowError, UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.inputs import Input, expand
from frame_vit.prediction.output import Output
from frame_vit.prediction.rows import RowWriter, read_done
from frame_vit.prediction.shares import left
from tests.prediction.rows import SPACE, row, write

NAMES = ["a.jpg", "=b.jpg", "c\n.jpg", "d\u2028.jpg", 'e",.jpg', "f\r.jpg"]
"""Names that a spreadsheet, a line or a quote would break."""


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_was_written_is_known_again_whatever_the_names(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    write(path, form, NAMES)
    done = read_done(path, form, SPACE)
    assert done.names == Counter(NAMES)
    assert done.failed == {"=b.jpg"}
    assert (done.errors, done.end) == (1, path.stat().st_size)
    inputs = [Input(name, Path(name)) for name in ["z", *NAMES]]
    assert [given.name for given in left(inputs, done)] == ["z"]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_row_cut_in_half_is_written_anew_and_the_rest_stays(tmp_path: Path, form: str) -> None:
    whole, cut = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
    names = ["a", "b\n'\"", "c"]
    write(whole, form, names)
    before = whole.read_bytes()
    for length in range(len(before.splitlines(keepends=True)[0]), len(before)):
        cut.write_bytes(before[:length])
        done = read_done(cut, form, SPACE)
        write(cut, form, [name for name in names if name not in done.names])
        assert cut.read_bytes() == before, length


def test_rows_of_other_classes_are_not_gone_on_with(tmp_path: Path) -> None:
    other = LabelSpace.build(["ok", "worse"], ["ok"])
    for form in ("csv", "jsonl"):
        write(tmp_path / f"rows.{form}", form, ["a"])
        with pytest.raises(UsageError, match="not those of this model"):
            read_done(tmp_path / f"rows.{form}", form, other)


def test_a_file_that_is_no_rows_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("dear diary\n")
    with pytest.raises(UsageError, match="no rows to resume after"):
        Output(tmp_path / "x.jsonl", "jsonl", resume=True).done(SPACE)
    assert (tmp_path / "x.jsonl").read_text() == "dear diary\n"


def test_a_file_that_is_there_is_not_written_over_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("precious")
    with pytest.raises(UsageError, match="already exists"):
        Output(tmp_path / "rows.csv", "csv").check()
    Output(tmp_path / "rows.csv", "csv", overwrite=True).check()
    (tmp_path / "rows.csv").write_text("")
    Output(tmp_path / "rows.csv", "csv").check()
    with pytest.raises(UsageError, match="resumes a file of rows"):
        Output(tmp_path / "rows.json", "json", resume=True).check()


def test_json_is_one_list_written_as_the_rows_come(tmp_path: Path) -> None:
    for names in ([], ["a"], ["a", "b"]):
        with (tmp_path / "rows.json").open("w") as file:
            writer = RowWriter(file, "json", SPACE)
            for name in names:
                writer.write(row(name))
            writer.close()
        assert [found["file"] for found in json.loads((tmp_path / "rows.json").read_text())] == names


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv", resume=True)
    with (
        output.opened(output.done(SPACE)),
        pytest.raises(UsageError, match="written by another process"),
        output.opened(output.done(SPACE)),
    ):
        raise AssertionError("there are two")
    with output.opened(output.done(SPACE)):
        pass


def test_what_is_not_there_is_an_input_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = expand([str(tmp_path / "gone.jpg"), str(tmp_path / "none*.jpg"), str(tmp_path / "empty")])
    assert [given.name for given in found] == [str(tmp_path / name) for name in ("gone.jpg", "none*.jpg", "empty")]
    for given, said in zip(found[1:], ("nothing matches", "no pictures in"), strict=True):
        assert callable(given.source)
        with pytest.raises(RowError, match=said):
            given.source()
