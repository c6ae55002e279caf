"""Texts from outside: nothing is run, nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame_vit.system.texts import FORMULA, neutral, printable, raw, refused_by_windows


@given(st.text() | st.sampled_from(["=1+1", "'=1+1", "''", "'", "-", "@x", "\tx", "+", "''=x"]))
def test_a_neutral_cell_reads_back_and_is_no_formula(text: str) -> None:
    assert raw(neutral(text)) == text
    assert not neutral(text).startswith(FORMULA)


@pytest.mark.parametrize("text", ["plain", "it's", "a=b", ""])
def test_other_texts_stay(text: str) -> None:
    assert neutral(text) == text
    assert raw(text) == text


def test_bytes_that_are_no_text_become_escapes() -> None:
    assert printable(b"a\xff.jpg".decode("utf-8", "surrogateescape")) == "a\\udcff.jpg"
    assert printable("Ünï🙂.jpg") == "Ünï🙂.jpg"


@pytest.mark.parametrize(
    "name", ["CON", "nul", "aux.jpg", "Com1.tar.gz", "nul .txt", "trail.", "trail ", "a:b", "a\\b", "a\n"]
)
def test_names_that_windows_refuses(name: str) -> None:
    assert refused_by_windows(name)


@pytest.mark.parametrize("name", ["passed", "console", "null", "com10", "a.b", ".hidden", "Ünï🙂", " a", "LPT"])
def test_names_that_windows_takes(name: str) -> None:
    assert not refused_by_windows(name)
