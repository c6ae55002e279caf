"""A folder and everything below it, walked once: pictures, tables, other files, and what is passed over by its name.

Class folders, manifests and `predict FOLDER` all start here, so they see the same pictures and none of them loses one
in silence. Every entry of the tree has exactly one kind:

- picture: a plain file with the ending of a picture, or with no ending and the first bytes of one.
- broken: what looks like a picture by its name but cannot be read (a pipe, a link to nothing), or a folder that cannot
  be entered. It becomes a row with an error.
- table: a CSV, JSON lines or parquet file.
- disguised: the first bytes of a picture under an ending of another kind, such as a backup copy. It is not read.
- hidden: a name that begins with a dot, or that an operating system, a camera or a file server leaves behind.
- link: a link to a folder that leads back into the tree, whose pictures are found where they are.
- other: everything else.

Nothing is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from frame_vit.images.decode import SUFFIXES
from frame_vit.images.formats import begins_like_a_picture

EntryKind = Literal["picture", "broken", "table", "disguised", "hidden", "link", "other"]
TABLES = (".parquet", ".csv", ".jsonl")
SYSTEM = (
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin", "#recycle",
    "#snapshot", "system volume information",
)  # fmt: skip
"""Names of files and folders, in lower case, that no person has put there."""
PLAIN = (".txt", ".xml", ".json", ".yaml", ".yml", ".md", ".html", ".log", ".py", ".npy", ".zip")
"""Endings of files whose first bytes are not looked at, because annotations often lie beside every picture."""
NAMED = 3


class Entry(NamedTuple):
    """A file, or a folder that is not walked; `problem` says why a folder cannot be entered."""

    path: Path
    kind: EntryKind
    problem: str = ""


class Tree(NamedTuple):
    """All entries below `root`, sorted by path, and the folders that were walked, `root` included."""

    root: Path
    entries: list[Entry]
    folders: list[Path]

    def of(self, *kinds: EntryKind) -> list[Entry]:
        """The entries of these kinds."""
        return [entry for entry in self.entries if entry.kind in kinds]

    def below(self, folder: Path) -> Tree:
        """The part of the tree below one of its folders, or that folder's own entry if it cannot be entered."""
        inside = f"{folder}{os.sep}"
        return Tree(
            folder,
            [entry for entry in self.entries if entry.path == folder or str(entry.path).startswith(inside)],
            [each for each in self.folders if each == folder or str(each).startswith(inside)],
        )

    def children(self) -> list[Path]:
        """The folders directly below the root, those that cannot be entered included."""
        broken = [entry.path for entry in self.entries if entry.problem]
        return sorted(folder for folder in (*self.folders, *broken) if folder.parent == self.root != folder)

    def named(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        """The paths of entries, relative to the root."""
        return tuple(entry.path.relative_to(self.root).as_posix() for entry in entries)


class _Folder(NamedTuple):
    """A folder to walk; `roots` are the real paths that its links must not lead back to."""

    path: Path
    roots: tuple[str, ...]
    hidden: bool = False


def walk(root: Path) -> Tree:
    """The tree below a folder. Nothing in it raises an error: a folder that cannot be entered is an entry."""
    entries: list[Entry] = []
    folders: list[Path] = []
    waiting = [_Folder(root, (os.path.realpath(root),))]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder.path) as scanned:
                children = list(scanned)
        except OSError as error:
            problem = f"a folder that cannot be entered: {error.strerror}"
            entries.append(Entry(folder.path, "hidden" if folder.hidden else "broken", problem))
            continue
        if folder.hidden:
            waiting += _look_into_hidden(folder, children, entries)
            continue
        folders.append(folder.path)
        for child in children:
            found = _sorted_out(folder, child)
            if isinstance(found, Entry):
                entries.append(found)
            else:
                waiting.append(found)
    return Tree(root, sorted(entries), sorted(folders))


def some(names: Iterable[str]) -> str:
    """The first names of many, as a text."""
    listed = list(names)
    return ", ".join(listed[:NAMED]) + (", ..." if len(listed) > NAMED else "")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over because of its name."""
    return name.startswith(".") or name.lower() in SYSTEM


def is_picture(path: str) -> bool:
    """Whether a file has the ending of a picture."""
    return os.path.splitext(path)[1].lower() in SUFFIXES  # noqa: PTH122  (a Path for every file takes longer)


def _sorted_out(folder: _Folder, child: os.DirEntry[str]) -> Entry | _Folder:
    """The entry that a child of a folder is; a folder if it has to be walked as well."""
    path = folder.path / child.name
    is_folder, is_file = _nature(child)
    if is_hidden(child.name):
        return _Folder(path, (), hidden=True) if is_folder and not child.is_symlink() else Entry(path, "hidden")
    if is_folder:
        if not child.is_symlink():
            return _Folder(path, folder.roots)
        real = os.path.realpath(path)
        back = any(_is_within(real, other) or _is_within(other, real) for other in folder.roots)
        return Entry(path, "link") if back else _Folder(path, (*folder.roots, real))
    if is_picture(child.name):
        return Entry(path, "picture" if is_file else "broken")
    suffix = path.suffix.lower()
    if not is_file or suffix in PLAIN:
        return Entry(path, "other")
    if suffix in TABLES:
        return Entry(path, "table")
    if not _begins_like_a_picture(path):
        return Entry(path, "other")
    return Entry(path, "disguised" if suffix else "picture")


def _look_into_hidden(folder: _Folder, children: list[os.DirEntry[str]], entries: list[Entry]) -> list[_Folder]:
    """Counts the pictures in a hidden folder, or the folder itself if it has none; gives its folders."""
    inner = [child for child in children if child.is_dir(follow_symlinks=False)]
    pictures = [child for child in children if is_picture(child.name) and child not in inner]
    entries += [Entry(folder.path / child.name, "hidden") for child in pictures]
    if not pictures and not inner:
        entries.append(Entry(folder.path, "hidden"))
    return [_Folder(folder.path / child.name, (), hidden=True) for child in inner]


def _nature(child: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether an entry is a folder, and whether it is a plain file, links followed; neither if it leads nowhere."""
    try:
        return child.is_dir(), child.is_file()
    except OSError:  # a link to itself
        return False, False


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _begins_like_a_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return begins_like_a_picture(file.read(16))
    except OSError:
        return False
