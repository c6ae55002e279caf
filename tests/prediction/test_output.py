"""Files of rows: never written over by mistake, gone on with after a crash, joined in order."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from frame_vit.errors import RowError, UsageError
from frame_vit.labels import LabelSpace
from frame_vit.prediction.inputs import Input, expand
from frame_vit.prediction.output import Output
from frame_vit.prediction.predictor import Prediction
from frame_vit.prediction.rows import RowWriter, read_done
from frame_vit.prediction.shares import Share, finish_join, left

SPACE = LabelSpace.build(["ok", "=bad"], ["ok"])
NAMES = ["a.jpg", "=b.jpg", "c\n.jpg", "d\u2028.jpg", 'e",.jpg', "f\r.jpg"]
"""Names that a spreadsheet, a line or a quote would break."""


def row(name: str, error: bool = False) -> Prediction:
    if error:
        return Prediction(name, status="error", error="empty file")
    return Prediction(name, "ok", 0.75, {"ok": 0.75, "=bad": 0.25}, "accept", score=0.25, reason="because")


def write(path: Path, form: str, names: list[str]) -> None:
    output = Output(path, form, going_on=True)
    done = output.done(SPACE)
    with output.opened(done) as file:
        writer = RowWriter(file, form, SPACE, fresh=not done.end)
        for name in names:
            writer.write(row(name, name.startswith("=")))
        writer.close()


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
        Output(tmp_path / "x.jsonl", "jsonl", going_on=True).done(SPACE)
    assert (tmp_path / "x.jsonl").read_text() == "dear diary\n"


def test_a_file_that_is_there_is_not_written_over_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("precious")
    with pytest.raises(UsageError, match="there already"):
        Output(tmp_path / "rows.csv", "csv").check()
    Output(tmp_path / "rows.csv", "csv", overwrite=True).check()
    (tmp_path / "rows.csv").write_text("")
    Output(tmp_path / "rows.csv", "csv").check()
    with pytest.raises(UsageError, match="goes on with a file of rows"):
        Output(tmp_path / "rows.json", "json", going_on=True).check()


def test_json_is_one_list_written_as_the_rows_come(tmp_path: Path) -> None:
    for names in ([], ["a"], ["a", "b"]):
        with (tmp_path / "rows.json").open("w") as file:
            writer = RowWriter(file, "json", SPACE)
            for name in names:
                writer.write(row(name))
            writer.close()
        assert [found["file"] for found in json.loads((tmp_path / "rows.json").read_text())] == names


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("before", [[], ["x", "y"]])
def test_parts_are_joined_in_the_order_of_the_inputs(tmp_path: Path, form: str, before: list[str]) -> None:
    output = Output(tmp_path / f"rows.{form}", form, going_on=True)
    names = [f"{number}.jpg" for number in range(7)]
    inputs = [Input(name, Path(name)) for name in names]
    if before:
        write(tmp_path / f"rows.{form}", form, before)
    for rank in range(3):
        share = Share(rank, 3)
        share.check(output)
        write(share.part(tmp_path / f"rows.{form}"), form, [given.name for given in share.of(inputs)])
    assert Share(0, 3).join(output, SPACE) == 0
    alone = tmp_path / f"alone.{form}"
    write(alone, form, [*before, *names])
    assert (tmp_path / f"rows.{form}").read_bytes() == alone.read_bytes()
    assert not list(tmp_path.glob("*part*"))


def test_a_join_that_was_interrupted_is_ended_and_nothing_is_there_twice(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv", going_on=True)
    write(tmp_path / "rows.csv.joined", "csv", ["a", "b"])
    write(Share(1, 2).part(tmp_path / "rows.csv"), "csv", ["b"])
    Share(0, 1).check(output)
    finish_join(output)
    assert read_done(tmp_path / "rows.csv", "csv", SPACE).names == Counter("ab")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_an_empty_file_to_go_on_with_gets_one_header(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv", going_on=True)
    (tmp_path / "rows.csv").touch()
    for rank, name in enumerate("ab"):
        write(Share(rank, 2).part(tmp_path / "rows.csv"), "csv", [name])
    Share(0, 2).join(output, SPACE)
    write(tmp_path / "alone.csv", "csv", ["a", "b"])
    assert (tmp_path / "rows.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_an_input_that_is_named_twice_has_two_rows_also_after_a_crash(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", "jsonl", ["a", "b"])
    inputs = [Input(name, Path(name)) for name in ("a", "b", "a")]
    assert [given.name for given in left(inputs, read_done(tmp_path / "rows.jsonl", "jsonl", SPACE))] == ["a"]


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv", going_on=True)
    with (
        output.opened(output.done(SPACE)),
        pytest.raises(UsageError, match="written by another process"),
        output.opened(output.done(SPACE)),
    ):
        raise AssertionError("there are two")
    with output.opened(output.done(SPACE)):
        pass


def test_parts_of_another_number_of_processes_are_not_mixed_in(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv")
    Share(1, 3).part(tmp_path / "rows.csv").write_text("")
    for count in (1, 2):
        with pytest.raises(UsageError, match="left by 3 processes"):
            Share(0, count).check(output)
    with pytest.raises(UsageError, match=r"name a \.csv|Name a \.csv|rows to a file"):
        Share(0, 2).check(Output(None, "jsonl"))


def test_what_is_not_there_is_an_input_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = expand([str(tmp_path / "gone.jpg"), str(tmp_path / "none*.jpg"), str(tmp_path / "empty")])
    assert [given.name for given in found] == [str(tmp_path / name) for name in ("gone.jpg", "none*.jpg", "empty")]
    for given, said in zip(found[1:], ("nothing matches", "no pictures in"), strict=True):
        assert callable(given.source)
        with pytest.raises(RowError, match=said):
            given.source()
