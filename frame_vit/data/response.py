"""Parses a row's answer: a plain label, or a `response` with boxes and labels. Standard library only.

A response is a Python dict or JSON, as data sets for vision-language models have it:
`"{'bboxes': [[x1, y1, x2, y2]], 'labels': ['Xplus']}"`. It may be a text or the dict itself, bare or as the value of
one key that names the task, such as `<OD>`. A text comes from outside: `ast.literal_eval` runs no code, but a long or
deeply nested text can exhaust memory or stack, so length and depth are checked first.

A label is a text, a whole number or a boolean; numbers and booleans become the texts that Python writes for them. Texts
are compared in NFC, because file systems write the same letter in two ways.
"""

from __future__ import annotations

import ast
import json
import math
import unicodedata
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from frame_vit.errors import RowError, UsageError
from frame_vit.images.geometry import Box
from frame_vit.system.texts import printable

MAX_CHARACTERS = 100_000
MAX_DEPTH = 20
UNPARSED = "FV201"
"""The code of a response that is not a dict."""
Kind = Literal["response", "label"]
"""What the answers of a source are: response texts, or plain labels."""


@dataclass(frozen=True)
class Annotation:
    """The labels of a row, at least one, in their order; and either one box for each of them or no box."""

    labels: tuple[str, ...]
    boxes: tuple[Box, ...] = ()


def parse_response(response: object) -> Annotation:
    """The annotation in a response.

    Raises `RowError` with the reason, the first characters of the response and the code: FV201 for what is no dict, too
    long or too deep, FV202 for more or fewer boxes than labels, FV203 for a box that is not four finite numbers, FV204
    for a response without labels.
    """
    if not isinstance(response, str | dict):
        raise RowError(
            f"the response is of type {type(response).__name__}, not a text or dict: {excerpt(response)}", UNPARSED
        )
    value = _literal(response) if isinstance(response, str) else response
    if not isinstance(value, dict):
        raise RowError(f"the response is not a dict of bboxes and labels: {excerpt(response)}", UNPARSED)
    value = _unwrapped(value)
    labels, boxes = value.get("labels"), value.get("bboxes")
    if not isinstance(labels, list) and not is_missing(labels):
        labels, boxes = [labels], [boxes] if _is_one_box(boxes) else boxes
    if not labels or any(is_missing(label) for label in labels):
        raise RowError(f"the response has no list of labels: {excerpt(response)}", "FV204")
    boxes = boxes or []
    if not isinstance(boxes, list) or len(boxes) not in (0, len(labels)):
        raise RowError(f"the response has {len(labels)} labels but not as many bboxes: {excerpt(response)}", "FV202")
    return Annotation(tuple(map(_label, labels)), tuple(_box(box, response) for box in boxes))


def parse_answer(answer: object, kind: Kind) -> Annotation:
    """The annotation in a row's answer: a response, or a plain label or list of labels.

    Raises `RowError` with the reason and code, as `parse_response`, and FV205 for a label of another type.
    """
    if kind == "response":
        return parse_response(answer)
    labels = answer if isinstance(answer, list) else [answer]
    if not labels or any(is_missing(label) for label in labels):
        raise RowError(f"no label: {excerpt(answer)}", "FV204")
    return Annotation(tuple(map(_label, labels)))


def is_missing(answer: object) -> bool:
    """Whether a cell holds nothing: null, a blank text, an empty list, or the NaN that stands for it in tables."""
    if isinstance(answer, str):
        return not answer.strip()
    return answer is None or answer == [] or (isinstance(answer, float) and math.isnan(answer))


def answer_column(columns: list[str], response_column: str, label_column: str, where: str) -> tuple[Kind, str]:
    """The kind of the answers and their column: the response column if it exists, else the label column.

    With an empty `label_column`, no answers are read. Raises `UsageError` if neither column exists.
    """
    if not label_column:
        return "label", ""
    if response_column in columns:
        return "response", response_column
    if label_column in columns:
        return "label", label_column
    raise UsageError(
        f"{where}: there is no column {response_column!r} or {label_column!r}; the columns are {', '.join(columns)}",
        "Set data.response_column (a dict of bboxes and labels) or data.label_column (a plain label)",
    )


def excerpt(value: object, length: int = 60) -> str:
    """The first characters of a value, quoted, on one line."""
    text = value if isinstance(value, str) else repr(value)[: length + 1]
    return repr(text[:length] + ("..." if len(text) > length else ""))


def _label(label: object) -> str:
    """A label as text."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, str | int):
        raise RowError(
            f"the label is of type {type(label).__name__}, not a text or a whole number: {excerpt(label)}", "FV205"
        )
    return unicodedata.normalize("NFC", printable(str(label)))


def _unwrapped(value: dict[Any, Any]) -> dict[Any, Any]:
    """The dict of boxes and labels in a dict whose only filled key names the task."""
    filled = [each for each in value.values() if each is not None]
    return filled[0] if "labels" not in value and len(filled) == 1 and isinstance(filled[0], dict) else value


def _is_one_box(boxes: object) -> bool:
    return isinstance(boxes, list) and len(boxes) == 4 and not any(isinstance(x, list) for x in boxes)


def _literal(text: str) -> Any:
    if len(text) > MAX_CHARACTERS:
        raise RowError(
            f"the response has {len(text):,} characters (at most {MAX_CHARACTERS:,}): {excerpt(text)}", UNPARSED
        )
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise RowError(f"the response is nested more than {MAX_DEPTH} deep: {excerpt(text)}", UNPARSED)
    try:
        return json.loads(text)
    except ValueError:
        pass
    except RecursionError:  # brackets inside quoted texts can hide the depth from the count above
        raise RowError(f"the response is nested too deep: {excerpt(text)}", UNPARSED) from None
    try:
        with warnings.catch_warnings():
            # Python warns of invalid escapes in the text; they are not errors in framevit.
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise RowError(f"the response is not a dict of bboxes and labels: {excerpt(text)}", UNPARSED) from None


def _box(box: object, text: object) -> Box:
    if isinstance(box, list | tuple) and len(box) == 4:
        numbers = [x for x in box if isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e9]
        if len(numbers) == 4 and all(math.isfinite(x) for x in numbers):
            x1, y1, x2, y2 = map(float, numbers)
            return x1, y1, x2, y2
    raise RowError(f"a box of the response is not four numbers x1, y1, x2, y2: {excerpt(text)}", "FV203")
