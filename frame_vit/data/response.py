"""Parses a row's answer: a plain label, or a `response` text with boxes and labels. Standard library only.

A response is a Python dict or JSON, as data sets for vision-language models have it:
`"{'bboxes': [[x1, y1, x2, y2]], 'labels': ['Xplus']}"`. The text comes from outside. `ast.literal_eval` runs no code,
but a long or deeply nested text can exhaust memory or stack, so length and depth are checked first.
"""

from __future__ import annotations

import ast
import json
import math
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


def parse_response(text: object) -> Annotation:
    """The annotation in a response text.

    Raises `RowError` with the reason, the first characters of the text and the code: FV201 for what is not a text, too
    long, too deep or not a dict, FV202 for more or fewer boxes than labels, FV203 for a box that is not four finite
    numbers, FV204 for a response without labels.
    """
    if not isinstance(text, str):
        raise RowError(f"the response is of type {type(text).__name__}, not a text: {excerpt(text)}", UNPARSED)
    value = _literal(text)
    if not isinstance(value, dict):
        raise RowError(f"the response is not a dict of bboxes and labels: {excerpt(text)}", UNPARSED)
    labels = value.get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) and x.strip() for x in labels):
        raise RowError(f"the response has no list of labels: {excerpt(text)}", "FV204")
    boxes = value.get("bboxes") or []
    if not isinstance(boxes, list) or len(boxes) not in (0, len(labels)):
        raise RowError(f"the response has {len(labels)} labels but not as many bboxes: {excerpt(text)}", "FV202")
    return Annotation(tuple(map(printable, labels)), tuple(_box(box, text) for box in boxes))


def parse_answer(answer: object, kind: Kind) -> Annotation:
    """The annotation in a row's answer: a response text, or a plain label (a text or an integer).

    Raises `RowError` with the reason and code, as `parse_response`.
    """
    if kind == "response":
        return parse_response(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        return Annotation((str(answer),))
    if not isinstance(answer, str) or not answer.strip():
        raise RowError(f"no label: {excerpt(answer)}", "FV204")
    return Annotation((printable(answer),))


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


def _box(box: object, text: str) -> Box:
    if isinstance(box, list | tuple) and len(box) == 4:
        numbers = [x for x in box if isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e9]
        if len(numbers) == 4 and all(math.isfinite(x) for x in numbers):
            x1, y1, x2, y2 = map(float, numbers)
            return x1, y1, x2, y2
    raise RowError(f"a box of the response is not four numbers x1, y1, x2, y2: {excerpt(text)}", "FV203")
