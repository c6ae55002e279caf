"""Names and texts from outside, written so that nothing else is done by them than to be read."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a cell."""


def printable(name: str) -> str:
    """A file's name as valid text: bytes of it that are not UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def visible(text: object) -> str:
    """A text with control characters made visible, so that a file's name cannot drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def neutral(text: str) -> str:
    """The text with an apostrophe in front where a spreadsheet would run it, or where it begins with one itself."""
    return "'" + text if text.startswith((*FORMULA, "'")) else text


def raw(text: str) -> str:
    """What `neutral` made the text from."""
    return text[1:] if text.startswith("'") and text[1:].startswith((*FORMULA, "'")) else text
