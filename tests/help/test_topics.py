"""Help topics: found by name, with the tables that the code fills in."""

from __future__ import annotations

import pytest

from frame_vit.config.load import load_config
from frame_vit.errors import UsageError
from frame_vit.findings import KINDS
from frame_vit.help.topics import FINDINGS_MARKER, FOLDER, KEYS_MARKER, keys_list, topic_list, topic_text, topics
from tests.test_docs import config_keys


def test_a_topic_begins_with_a_title_that_says_what_it_is_about() -> None:
    for name, summary in topics().items():
        assert topic_text(name).startswith("# "), name
        assert summary, name
        assert f"- `{name}`: {summary}" in topic_list()


def test_markers_are_replaced_by_what_the_code_knows() -> None:
    for name in topics():
        assert "<!--" not in topic_text(name), name
    assert FINDINGS_MARKER in (FOLDER / "audit.md").read_text()
    assert KEYS_MARKER in (FOLDER / "configuration.md").read_text()
    assert all(f"| {code} |" in topic_text("audit") for code in KINDS)
    assert all(f"\n- {kind.code}, {kind.title}: {kind.advice}\n" in topic_text("audit") for kind in KINDS.values())


def test_the_list_of_keys_is_complete_with_defaults_and_meanings() -> None:
    lines = keys_list().splitlines()
    listed = {line.split("`")[1]: line for line in lines if line.startswith("- ")}
    sections = {key.rpartition(".")[0] for key in config_keys()}
    assert set(listed) == {key for key in config_keys() if key not in sections}
    defaults = load_config(None, complete=False)
    assert f"(`{defaults.training.batch_size}`)" in listed["training.batch_size"]
    assert "(`null`)" in listed["data.train"]
    assert all(line.partition("): ")[2] for line in listed.values())


@pytest.mark.parametrize(
    ("word", "near"), [("decision", "decisions"), ("linepc", "line-pc"), ("evaluations", "evaluation")]
)
def test_an_unknown_topic_is_refused_with_the_nearest(word: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"no help topic '{word}'.*did you mean '{near}'"):
        topic_text(word)
    with pytest.raises(UsageError, match=r"no help topic '\.\./audit'"):
        topic_text("../audit")
