"""The pictures to predict: files, folders, globs, manifests and data sets -> a list of inputs, in order.

Nothing is left out: what is missing or unreadable becomes an input with an error, and so a row with an error.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from frame_vit.errors import RowError, UsageError
from frame_vit.images.decode import SUFFIXES
from frame_vit.system.progress import log
from frame_vit.tree import TABLES, some, walk


class Input(NamedTuple):
    """One picture: the name of its row, and its file or a function that returns its bytes (or raises `RowError`)."""

    name: str
    source: Path | Callable[[], bytes]


def expand(arguments: Iterable[str]) -> list[Input]:
    """The pictures that the arguments name, argument by argument.

    A file is itself. A folder stands for the pictures in it and below, sorted by name; a glob for what it matches; a
    manifest or table for the pictures that it lists. A folder without pictures or a glob without a match becomes an
    input with an error, or raises `UsageError` if it is the only argument. What has the name of a picture but is no
    file, and a folder that cannot be entered, are inputs with an error, too.
    """
    words = list(arguments)
    inputs = [each for word in words for each in _expanded(word)]
    if len(words) == 1 and len(inputs) == 1 and isinstance(inputs[0].source, _Missing):
        raise UsageError(inputs[0].source.reason, inputs[0].source.hint)
    return inputs


def from_data(source: str) -> list[Input]:
    """The pictures of a data set (hub name, saved, parquet, manifest, class folders); it need not have labels."""
    from frame_vit.config.schema import DataConfig
    from frame_vit.data.sources import read_source

    splits = read_source(source, DataConfig(response_column="", label_column=""), seed_step=1)
    return [
        Input(str(row.file) if row.file else f"{source}/{row.key}", row.file or row.read)
        for split in splits
        for row in split.rows
    ]


@dataclass(frozen=True)
class _Missing:
    """A source that raises the reason why there is no picture."""

    reason: str
    hint: str = ""

    def __call__(self) -> bytes:
        raise RowError(self.reason)


def _expanded(word: str) -> list[Input]:
    path = Path(word)
    if os.path.isdir(word):  # noqa: PTH112  (False, not an error, for names that no file can have)
        return _in_folder(path)
    if glob.has_magic(word) and not os.path.exists(word):  # noqa: PTH110
        return _matching(word)
    if path.suffix.lower() in TABLES:
        try:
            return from_data(word)
        except UsageError as error:
            return [Input(word, _Missing(error.message, error.hint))]
    return [_file(path)]


def _file(path: Path) -> Input:
    return Input(str(path), path)


def _matching(pattern: str) -> list[Input]:
    """What a glob matches, each file once: with `**`, links can lead to the same file in many ways."""
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207  (a pattern may be absolute)
    once: dict[str, Path] = {}
    for match in sorted(matches, key=lambda match: (len(match.parts), match)):
        once.setdefault(os.path.join(os.path.realpath(match.parent), match.name), match)  # noqa: PTH118
    if len(once) < len(matches):
        log.warning("%s: %d matches are other ways to the same files", pattern, len(matches) - len(once))
    closed = _closed_folders(pattern)
    inputs = [
        each for match in sorted(once.values()) for each in (_in_folder(match) if match.is_dir() else [_file(match)])
    ]
    if not inputs and not closed:
        return [
            Input(pattern, _Missing(f"nothing matches {pattern}", "Put the pattern in quotes, and check the folder"))
        ]
    return inputs + closed


def _closed_folders(pattern: str) -> list[Input]:
    """The folders in which a pattern with `**` cannot look."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return []
    base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), parts))
    closed = [entry for entry in walk(base).of("broken") if entry.problem]
    return [Input(str(entry.path), _Missing(entry.problem)) for entry in closed]


def _in_folder(folder: Path) -> list[Input]:
    tree = walk(folder)
    found = tree.of("picture", "broken")
    if not found:
        hint = f"Pictures end in {', '.join(SUFFIXES)}; --data names a data set"
        return [Input(str(folder), _Missing(f"no pictures in {folder}", hint))]
    for said, entries in (
        ("files without the ending of a picture are not read", tree.of("other", "table", "disguised")),
        ("hidden files are not read", tree.of("hidden")),
        ("links back into the folder are not followed", tree.of("link")),
    ):
        if entries:
            log.warning("%s: %s: %d (%s)", folder, said, len(entries), some(tree.named(entries)))
    return [
        Input(str(entry.path), _Missing(f"{entry.path}: {entry.problem}") if entry.problem else entry.path)
        for entry in found
    ]
