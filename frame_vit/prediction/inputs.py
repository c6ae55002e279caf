"""What a person names to be predicted -> pictures, one by one, in order, none left out."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from frame_vit.errors import RowError, UsageError
from frame_vit.images.decode import SUFFIXES
from frame_vit.system.progress import log

LISTS = (".csv", ".jsonl", ".parquet")
"""Files that hold the pictures of a data set, or their names."""


class Input(NamedTuple):
    """One picture: the name of its row, and the file or what gives its bytes (or raises `RowError`)."""

    name: str
    source: Path | Callable[[], bytes]


def expand(given: Iterable[str]) -> list[Input]:
    """Files as given, the pictures in folders (and below, by name), what globs match, what manifests and tables hold.

    A file that is not there, a folder without pictures or a glob that matches nothing becomes an input with an error;
    if there is nothing else, it is a `UsageError`.
    """
    words = list(given)
    inputs = [found for word in words for found in _expanded(word)]
    if len(words) == 1 and len(inputs) == 1 and isinstance(inputs[0].source, _Missing):
        raise UsageError(inputs[0].source.reason, inputs[0].source.hint)
    return inputs


def from_data(source: str) -> list[Input]:
    """The pictures of a data set (hub name, saved, parquet, manifest, class folders); labels are not asked for."""
    from frame_vit.config.schema import DataConfig
    from frame_vit.data.sources import read_source

    splits = read_source(source, DataConfig(response_column="", label_column=""), seed_step=1)
    return [
        Input(str(row.file) if row.file else f"{source}/{row.key}", row.file or row.read)
        for split in splits
        for row in split.rows
    ]


def pictures_in(folder: Path) -> tuple[list[Path], int]:
    """The pictures in a folder and below, by name; and how many files there are none. Hidden files are passed over."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    return pictures, len(files) - len(pictures)


@dataclass(frozen=True)
class _Missing:
    reason: str
    hint: str = ""

    def __call__(self) -> bytes:
        raise RowError(self.reason)


def _expanded(word: str) -> list[Input]:
    path = Path(word)
    if os.path.isdir(word):  # noqa: PTH112  (False, not an error, for names that no file can have)
        return _in_folder(path)
    if glob.has_magic(word) and not os.path.exists(word):  # noqa: PTH110
        matches = sorted(Path(match) for match in glob.glob(word, recursive=True))  # noqa: PTH207  (a pattern may be absolute)
        if not matches:
            return [Input(word, _Missing(f"nothing matches {word}", "Is the pattern in quotes, and the folder right?"))]
        return [found for match in matches for found in (_in_folder(match) if match.is_dir() else [_file(match)])]
    if path.suffix.lower() in LISTS:
        try:
            return from_data(word)
        except UsageError as error:
            return [Input(word, _Missing(error.message, error.hint))]
    return [_file(path)]


def _file(path: Path) -> Input:
    return Input(str(path), path)


def _in_folder(folder: Path) -> list[Input]:
    pictures, others = pictures_in(folder)
    if not pictures:
        hint = f"Looked for files ending in {', '.join(SUFFIXES)}; a data set is named with --data"
        return [Input(str(folder), _Missing(f"no pictures in {folder}", hint))]
    if others:
        log.warning("%s: %d files are not pictures by their names and were not read", folder, others)
    return [_file(path) for path in pictures]
