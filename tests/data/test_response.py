"""The response text: a dict of boxes and labels, or a reason why not, whatever somebody wrote there."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.data.response import MAX_CHARACTERS, Annotation, answer_column, excerpt, parse_answer, parse_response
from frame_vit.errors import RowError, UsageError

ONE = Annotation(("Xplus",), ((1.0, 2.0, 30.0, 40.0),))


@pytest.mark.parametrize(
    "text",
    [
        "{'bboxes': [[1, 2, 30, 40]], 'labels': ['Xplus']}",
        '{"bboxes": [[1, 2, 30, 40]], "labels": ["Xplus"]}',
        "  {'labels': ['Xplus'], 'bboxes': [(1, 2.0, 30, 4e1)], 'note': None}\n",
        '{"bboxes": [[1.0, 2.0, 30.0, 40.0]], "labels": ["Xplus"], "sure": true}',
    ],
)
def test_python_and_json_say_the_same(text: str) -> None:
    assert parse_response(text) == ONE


@pytest.mark.parametrize("text", ["{'labels': ['a', 'b']}", "{'labels': ['a', 'b'], 'bboxes': []}"])
def test_labels_may_stand_without_boxes(text: str) -> None:
    assert parse_response(text) == Annotation(("a", "b"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a dict"),
        ("Xplus", "not a dict"),
        ("['Xplus']", "not a dict"),
        ("{'labels': ['a']", "not a dict"),
        ("__import__('os').getcwd()", "not a dict"),
        ("{'labels': [__import__('os').getcwd()]}", "not a dict"),
        ("{[1]: 2}", "not a dict"),
        ("{}", "no list of labels"),
        ("{'labels': []}", "no list of labels"),
        ("{'labels': ' '}", "no list of labels"),
        ("{'labels': ['a', ' ']}", "no list of labels"),
        ("{'labels': ['a'], 'bboxes': [[0, 0, 1, 1], [0, 0, 1, 1]]}", "1 labels but not as many bboxes"),
        ("{'labels': ['a', 'b'], 'bboxes': [[0, 0, 1, 1]]}", "2 labels but not as many bboxes"),
        ("{'labels': ['a'], 'bboxes': 'here'}", "not as many bboxes"),
        ("{'labels': ['a'], 'bboxes': [[0, 0, 1]]}", "not four numbers"),
        ("{'labels': ['a'], 'bboxes': [[0, 0, 1, '1']]}", "not four numbers"),
        ("{'labels': ['a'], 'bboxes': [[0, 0, 1, True]]}", "not four numbers"),
        ("{'labels': ['a'], 'bboxes': [[0, 0, 1, 1e400]]}", "not four numbers"),
        ("{'labels': ['a'], 'bboxes': [7]}", "not four numbers"),
        ('{"labels": ["a"], "bboxes": [[0, 0, 1, NaN]]}', "not four numbers"),
        ('{"labels": ["a"], "bboxes": [[0, 0, 1, -Infinity]]}', "not four numbers"),
    ],
)
def test_what_is_not_usable_is_refused_with_the_reason_and_the_text(text: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason) as caught:
        parse_response(text)
    assert caught.value.message.endswith(f": {excerpt(text)}")


@pytest.mark.parametrize("value", [None, 3, b"{'labels': ['a']}", ["a"]])
def test_a_response_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(RowError, match=f"the response is of type {type(value).__name__}, not a text"):
        parse_response(value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{'labels': " + "[" * 1000 + "]" * 1000 + "}",
        '{"labels": ["a"], "b": ' + "[" * 50 + "]" * 50 + "}",
        "(" * 99_999,
    ],
)
def test_deep_text_is_refused_before_it_is_parsed(text: str) -> None:
    with pytest.raises(RowError, match="nested more than 20 deep"):
        parse_response(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "' + "]" * 50_000 + '", "b": ' + "[" * 49_000,
        "]" * 50_000 + "[" * 50_000,
        "-" * 99_000 + "1",
        "+".join("1" * 40_000),
        "not " * 20_000 + "1",
        "a" + "()" * 40_000,
        "a" + ".b" * 40_000,
        "lambda:" * 10_000 + "1",
        "'a' " * 20_000,
        "9" * 50_000,
    ],
    ids=["brackets-in-a-text", "closed-first", "minus", "plus", "not", "calls", "dots", "lambdas", "texts", "number"],
)
def test_text_that_is_deep_in_other_ways_is_refused(text: str) -> None:
    with pytest.raises(RowError):
        parse_response(text)


def test_long_text_is_refused_with_its_length_and_only_its_first_characters() -> None:
    text = "{'labels': ['" + "a" * MAX_CHARACTERS + "']}"
    with pytest.raises(RowError, match=r"has 100,016 characters \(at most 100,000\)") as caught:
        parse_response(text)
    assert len(caught.value.message) < 200


def test_an_odd_escape_in_a_text_is_not_a_warning_of_ours() -> None:
    assert parse_response("{'labels': ['C:\\path']}") == Annotation(("C:\\path",))


labels = st.text(max_size=5).map(lambda text: unicodedata.normalize("NFC", text)).filter(str.strip)
coordinates = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)


@st.composite
def annotated(draw: st.DrawFn) -> Annotation:
    count = draw(st.integers(1, 3))
    chosen = draw(st.lists(labels, min_size=count, max_size=count))
    some = draw(st.lists(boxes, min_size=count, max_size=count)) if draw(st.booleans()) else []
    return Annotation(tuple(chosen), tuple(some))


@given(annotation=annotated(), write=st.sampled_from([repr, json.dumps]))
@settings(deadline=None)
def test_any_annotation_written_as_python_or_json_comes_back(annotation: Annotation, write: Any) -> None:
    said = {"bboxes": [list(box) for box in annotation.boxes], "labels": list(annotation.labels)}
    assert parse_response(write(said)) == annotation


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near = st.fixed_dictionaries({"labels": literals}, optional={"bboxes": literals}).map(repr)


@given(text=st.text(st.characters(), max_size=60) | st.text("[]{}()'\"\\:,.-+eE0129jx# \n", max_size=60) | near)
@settings(deadline=None, max_examples=400)
def test_any_text_is_an_annotation_or_a_row_error(text: str) -> None:
    try:
        annotation = parse_response(text)
    except RowError as error:
        assert "\n" not in error.message
        return
    assert annotation.labels and all(label.strip() for label in annotation.labels)
    assert len(annotation.boxes) in (0, len(annotation.labels))
    assert all(len(box) == 4 and all(abs(x) < 1e9 for x in box) for box in annotation.boxes)


@pytest.mark.parametrize(
    ("answer", "label"),
    [("Xplus", "Xplus"), (3, "3"), (0, "0"), ("007", "007"), (True, "True"), (1.0, "1"), (-2.0, "-2"), (["a"], "a"),
     ([4], "4"), ("Fla\u0308che", "Fl\u00e4che")],
)  # fmt: skip
def test_a_plain_label_is_a_text_or_a_whole_number(answer: object, label: str) -> None:
    assert parse_answer(answer, "label") == Annotation((label,))


@pytest.mark.parametrize("answer", [None, "", "  ", float("nan"), [], [None], ["a", " "]])
def test_what_is_no_label_is_refused_and_shown(answer: object) -> None:
    with pytest.raises(RowError, match="no label: ") as caught:
        parse_answer(answer, "label")
    assert caught.value.message.endswith(excerpt(answer))


@pytest.mark.parametrize("answer", [1.5, float("inf"), b"a", {"label": "a"}, [["a"]], [{}]])
def test_a_label_of_another_type_is_refused_with_its_type(answer: object) -> None:
    with pytest.raises(RowError, match=r"the label is of type (float|bytes|dict|list), not a text") as caught:
        parse_answer(answer, "label")
    assert caught.value.code == "FV205"


def test_several_plain_labels_are_several_labels() -> None:
    assert parse_answer(["a", 2], "label").labels == ("a", "2")


@pytest.mark.parametrize(
    "response",
    [
        {"bboxes": [[1, 2, 30, 40]], "labels": ["Xplus"]},
        {"<OD>": {"bboxes": [[1, 2, 30, 40]], "labels": ["Xplus"]}},
        {"<OD>": {"bboxes": [[1, 2, 30, 40]], "labels": ["Xplus"]}, "<CAPTION>": None},
        "{'<OD>': {'bboxes': [[1, 2, 30, 40]], 'labels': ['Xplus']}}",
        {"bboxes": [1, 2, 30, 40], "labels": "Xplus"},
        {"bboxes": [[1, 2, 30, 40]], "labels": "Xplus", "text": None},
    ],
)
def test_a_response_may_be_a_dict_wrapped_in_its_task_or_with_a_single_label(response: object) -> None:
    assert parse_response(response) == ONE


@pytest.mark.parametrize(("labels", "read"), [("[0]", "0"), ("3", "3"), ("[True]", "True"), ("[1.0]", "1")])
def test_numbers_and_booleans_in_a_response_become_texts(labels: str, read: str) -> None:
    assert parse_response(f"{{'labels': {labels}}}") == Annotation((read,))


def test_two_tasks_in_a_response_are_not_chosen_between() -> None:
    with pytest.raises(RowError, match="no list of labels"):
        parse_response({"<OD>": {"labels": ["a"]}, "<REGION>": {"labels": ["b"]}})


def test_a_plain_label_that_looks_like_a_response_is_not_parsed() -> None:
    text = "{'labels': ['a']}"
    assert parse_answer(text, "label") == Annotation((text,))
    assert parse_answer(text, "response") == Annotation(("a",))


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["image", "label", "response"], ("response", "response")),
        (["image", "label"], ("label", "label")),
    ],
)
def test_the_response_column_is_read_first(columns: list[str], found: tuple[str, str]) -> None:
    assert answer_column(columns, "response", "label", "here") == found


def test_without_an_answer_column_the_columns_there_are_are_listed() -> None:
    with pytest.raises(
        UsageError, match="here: there is no column 'answer' or 'class'; the columns are image, label"
    ) as caught:
        answer_column(["image", "label"], "answer", "class", "here")
    assert "data.response_column" in caught.value.hint and "data.label_column" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a\nb", r"'a\nb'"), ("x" * 61, "'" + "x" * 60 + "...'"), ("x" * 60, "'" + "x" * 60 + "'"), ([1, 2], "'[1, 2]'")],
)
def test_an_excerpt_is_short_and_on_one_line(value: object, shown: str) -> None:
    assert excerpt(value) == shown
