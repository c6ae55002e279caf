"""Texts from outside (file names, labels) made safe for a UTF-8 file, a terminal and a spreadsheet.

A file name can hold bytes that are no text, control characters that drive a terminal, or a formula that a spreadsheet
would run. Standard library only.
"""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a cell that begins with one of these."""

WINDOWS_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}
"""Names that Windows keeps for devices, with any ending after them: learn.microsoft.com, "Naming Files, Paths"."""


def printable(name: str) -> str:
    """A file name as valid UTF-8: bytes of it that are not UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def visible(text: object) -> str:
    """A text with control characters as visible escapes, so that a file name cannot drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def neutral(text: str) -> str:
    """A cell of a CSV that no spreadsheet runs: an apostrophe in front of a formula. `raw` takes it away again.

    A text that begins with an apostrophe gets a second one, so that `raw` gives every text back.
    """
    return "'" + text if text.startswith((*FORMULA, "'")) else text


def raw(text: str) -> str:
    """The text that `neutral` made this cell from."""
    return text[1:] if text.startswith("'") and text[1:].startswith((*FORMULA, "'")) else text


def refused_by_windows(name: str) -> bool:
    """Whether Windows cannot have a file or folder of this name, so that a copy of it there fails or is lost."""
    is_device = name.partition(".")[0].rstrip().upper() in WINDOWS_DEVICES
    return is_device or name.endswith((".", " ")) or any(c in '<>:"|?*\\' or ord(c) < 32 for c in name)
