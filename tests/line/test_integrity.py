"""A file of rows is as it was written: each kind of change is found, once, and the row is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frame_vit.line.integrity import Integrity, Problem, check_rows
from tests.line.chains import Row, predictor, rewritten, write_chain


@pytest.fixture(scope="module")
def chain(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a chain of eight rows, of which the last is an error."""
    from frame_vit.data import demo

    folder = tmp_path_factory.mktemp("chain")
    (folder / "pictures").mkdir()
    for seed, name in enumerate([*demo.NAMES, "Xplus", "passed"]):
        (folder / "pictures" / f"{seed}.jpg").write_bytes(demo.jpeg(demo.sample(name, seed)))
    (folder / "pictures" / "9.jpg").write_bytes(b"no picture")
    write_chain(predictor(exported), folder / "pictures", folder / "rows.jsonl")
    return (folder / "rows.jsonl").read_bytes()


def problems(path: Path) -> list[Problem]:
    integrity = Integrity()
    for _ in check_rows(path, integrity):
        pass
    return integrity.problems


def of_bytes(tmp_path: Path, data: bytes) -> list[Problem]:
    (tmp_path / "rows.jsonl").write_bytes(data)
    return problems(tmp_path / "rows.jsonl")


def test_an_untouched_chain_has_no_problem(chain: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(chain)
    integrity = Integrity()
    rows = [*check_rows(tmp_path / "rows.jsonl", integrity)]
    assert integrity.problems == []
    assert (integrity.rows, len(rows), integrity.chained) == (8, 8, True)
    assert integrity.last_digest == json.loads(chain.splitlines()[-1])["record"]["digest"]
    assert [*integrity.models.values()] == [8]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_names_its_row_and_no_other(data: st.DataObject, chain: bytes, tmp_path: Path) -> None:
    ends = [at for at, byte in enumerate(chain) if byte == ord("\n")]
    at = data.draw(st.sampled_from([at for at in range(len(chain)) if at not in ends]))
    changed = bytearray(chain)
    changed[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (chain[at], ord("\n"))))
    named = {problem.row for problem in of_bytes(tmp_path, bytes(changed))}
    row = 1 + sum(end < at for end in ends)
    # A changed digest or link is also the one that the next row was written after.
    assert row in named
    assert named <= {row, row + 1}


def test_rows_that_are_missing_moved_or_repeated_are_found(chain: bytes, tmp_path: Path) -> None:
    lines = chain.splitlines(keepends=True)

    def kinds(rows: list[bytes]) -> list[tuple[int, str]]:
        return [(problem.row, problem.kind) for problem in of_bytes(tmp_path, b"".join(rows))]

    assert kinds(lines[1:]) == [(1, "chain")]
    assert kinds([*lines[:3], *lines[4:]]) == [(4, "chain")]
    assert (4, "chain") in kinds([*lines[:3], lines[4], lines[3], *lines[5:]])
    assert kinds([*lines, lines[-1]]) == [(9, "chain"), (9, "id")]
    assert kinds([*lines[:-1], lines[-1][:-40]]) == [(8, "form"), (8, "digest")]


def test_a_first_row_without_its_link_does_not_switch_the_check_off(chain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(chain)

    def cut(rows: list[Row]) -> None:
        del rows[0]["record"]["previous"]
        del rows[2:5]

    rewritten(path, cut)
    assert {problem.row for problem in problems(path) if problem.kind == "chain"} == {2, 3}
    lines = chain.splitlines(keepends=True)
    assert (4, "chain") in [(p.row, p.kind) for p in of_bytes(tmp_path, b"".join([b"?\n", *lines[1:3], *lines[5:]]))]


@pytest.mark.parametrize("thresholds", [True, False])
def test_a_part_that_was_accepted_without_a_passed_challenge_is_found(
    chain: bytes, tmp_path: Path, thresholds: bool
) -> None:
    path = tmp_path / "rows.jsonl"

    def accepted(state: str, **more: str | None) -> list[str]:
        def change(rows: list[Row]) -> None:
            row = rows[2]
            row |= {"decision": "accept", "score": 0.0, "flags": []}
            row["record"]["challenge"] = {"state": state, **more}
            if not thresholds:
                row["record"]["thresholds"] = None

        path.write_bytes(chain)
        rewritten(path, change)
        return [problem.message for problem in problems(path) if problem.kind == "decision"]

    assert accepted("passed") == []
    assert accepted("failed") == ["a part was accepted although the challenge was not passed"]
    assert accepted("overdue", master=None) != []
    assert accepted("failed", master="good-*.jpg") == []


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (lambda rows: rows[2].update(decision="accept", score=0.999), "decision", "lead to"),
        (lambda rows: rows[2].update(confidence=0.123), "decision", "confidence"),
        (lambda rows: rows[2].update(label="nothing"), "decision", "most probable"),
        (lambda rows: rows[2].update(status="perhaps"), "form", "status"),
        (lambda rows: rows[2]["record"].update(time="2026-11-30T12:00:00"), "form", "offset"),
        (lambda rows: rows[2]["record"].update(time="1999-01-01T00:00:00+00:00"), "order", "before the row above"),
        (lambda rows: rows[-1].update(decision="accept"), "decision", "no decision"),
        (lambda rows: rows[2]["record"].update(picture=None), "form", "picture is missing"),
        (lambda rows: rows[2]["record"]["features"].update(light=10**400), "form", "light"),
        (lambda rows: rows[2]["record"].update(time="0001-01-01T00:00:00+23:00"), "form", "before"),
        (lambda rows: rows[2].update(probabilities={"passed": "1"}), "form", "not a number"),
    ],
)
def test_a_change_by_somebody_who_knows_how_to_write_digests_is_found(
    chain: bytes, tmp_path: Path, change: Callable[[list[Row]], None], kind: str, said: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(chain)
    rewritten(path, change)
    found = problems(path)
    assert any(problem.kind == kind and said in problem.message for problem in found), found
    assert any(problem.kind == "chain" for problem in found) or kind == "decision"
