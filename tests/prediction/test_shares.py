"""One file of several processes: their parts joined in order, whatever interrupts the join."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.prediction.inputs import Input
from frame_vit.prediction.output import Output
from frame_vit.prediction.rows import Done, read_done
from frame_vit.prediction.shares import Share, finish_join, left
from tests.prediction.rows import SPACE, write


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("before", [[], ["x", "y"]])
def test_parts_are_joined_in_the_order_of_the_inputs(tmp_path: Path, form: str, before: list[str]) -> None:
    output = Output(tmp_path / f"rows.{form}", form, resume=True)
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
    output = Output(tmp_path / "rows.csv", "csv", resume=True)
    write(tmp_path / "rows.csv.joined", "csv", ["a", "b"])
    write(Share(1, 2).part(tmp_path / "rows.csv"), "csv", ["b"])
    Share(0, 1).check(output)
    finish_join(output)
    assert read_done(tmp_path / "rows.csv", "csv", SPACE).names == Counter("ab")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_an_empty_file_to_go_on_with_gets_one_header(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv", resume=True)
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


def test_parts_of_another_number_of_processes_are_not_mixed_in(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv")
    Share(1, 3).part(tmp_path / "rows.csv").write_text("")
    for count in (1, 2):
        with pytest.raises(UsageError, match="left by 3 processes"):
            Share(0, count).check(output)
    with pytest.raises(UsageError, match=r"name a \.csv|Name a \.csv|rows to a file"):
        Share(0, 2).check(Output(None, "jsonl"))


def test_the_shares_are_neighbours_and_miss_nothing() -> None:
    inputs = [Input(f"{number}.jpg", Path()) for number in range(11)]
    for count in (1, 2, 3, 11, 12):
        shares = [Share(rank, count).of(inputs) for rank in range(count)]
        assert [item for share in shares for item in share] == inputs
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_share_is_the_one_that_the_launcher_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Share.of_this_process() == Share(0, 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Share.of_this_process() == Share(1, 3)


def test_a_join_that_fails_loses_no_part_and_can_be_repeated(tmp_path: Path) -> None:
    output = Output(tmp_path / "rows.csv", "csv", resume=True)
    for rank, name in enumerate("ab"):
        write(Share(rank, 2).part(tmp_path / "rows.csv"), "csv", [name])
    (tmp_path / "rows.csv.joined").mkdir()
    with pytest.raises(OSError, match="directory"):
        Share(0, 2).join(output, SPACE)
    assert len(list(tmp_path.glob("rows.part-*"))) == 2
    assert not list(tmp_path.glob(".*")), "nothing half written is left"
    (tmp_path / "rows.csv.joined").rmdir()
    assert Share(0, 2).join(output, SPACE) == 0
    assert read_done(tmp_path / "rows.csv", "csv", SPACE).names == Counter("ab")


def test_a_name_that_looks_like_a_pattern_has_its_own_parts_only(tmp_path: Path) -> None:
    output = Output(tmp_path / "[ab].csv", "csv", resume=True)
    write(tmp_path / "a.part-1-of-9.csv", "csv", ["other"])
    write(Share(0, 1).part(tmp_path / "[ab].csv"), "csv", ["own"])
    Share(0, 1).check(output)
    Share(0, 1).join(output, SPACE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["[ab].csv", "a.part-1-of-9.csv"]


def test_a_file_is_one_input_however_its_path_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = Done(Counter({"a/b.jpg": 1, "me/frames/train[3]": 1}), set(), 0, 100)
    for spelling in ("a/b.jpg", "./a/b.jpg", "a/../a//b.jpg", str(tmp_path / "a" / "b.jpg"), "me/frames/train[3]"):
        assert not left([Input(spelling, Path(spelling))], done), spelling
    for other in ("b.jpg", "a/B.jpg", "me/frames/train[4]"):
        assert left([Input(other, Path(other))], done), other
    twice = [Input("a/b.jpg", Path("a/b.jpg")), Input("./a/b.jpg", Path("a/b.jpg"))]
    assert len(left(twice, done)) == 1
