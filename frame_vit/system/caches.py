"""Where framevit keeps its caches, how an entry is built safely, how large they are, and how they are emptied.

    CACHE/pixels/KEY/        decoded pictures of a split (`data.cache`)
    CACHE/activations/KEY/   outputs of frozen blocks (`training.frozen`)
    CACHE/digests/KEY/       sha256 of large files (`model.digests`)
    CACHE/compiled/KEY/      models as OpenVINO has compiled them (`backends.openvino_backend`)

A key is a digest of everything that an entry depends on, so an entry is never wrong, only unused. One process at a time
builds in the folder of a key. Everything here can be deleted at any time: the next run computes it again. The cache of
the Hugging Face hub belongs to the hub's own tools and is only measured here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from frame_vit.errors import UsageError
from frame_vit.system.files import locked, replacing_folder

PIXELS, ACTIVATIONS, DIGESTS, COMPILED = "pixels", "activations", "digests", "compiled"
CONTENTS = {
    PIXELS: "decoded pictures",
    ACTIVATIONS: "activations of frozen blocks",
    DIGESTS: "sha256 of large files",
    COMPILED: "compiled models",
}
HINT = "Make room, or name another folder with data.cache or FRAMEVIT_CACHE"
MOST_FILES = 50_000
"""So many files of the hub's cache are looked at; on a slow disk more would take minutes."""
_LOCK = ".lock"


def cache_folder(setting: str | None = None) -> Path:
    """The cache's folder: the setting data.cache, else $FRAMEVIT_CACHE, else `framevit` in the user's cache folder."""
    name = setting or os.environ.get("FRAMEVIT_CACHE")
    return Path(name).expanduser() if name else _user_caches() / "framevit"


def hub_cache_folder() -> Path:
    """Where the hub's client keeps models and data sets, by the variables that it reads."""
    home = Path(os.environ.get("HF_HOME") or _user_caches() / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def _user_caches() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """Keeps other processes from building in the folder of a key, and clears what killed processes left half built.

    Raises `UsageError` where the folder cannot be written.
    """
    with ExitStack() as held:
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder / _LOCK))
        for part in folder.glob(".*.part"):
            shutil.rmtree(part, ignore_errors=True)
        yield


@contextmanager
def new_entry(place: Path) -> Iterator[Path]:
    """A new folder that becomes `place`, instead of every other entry beside it, when the block ends without an error.

    Raises `UsageError` where it cannot be written.
    """
    with _explained(place.parent), replacing_folder(place) as part:
        yield part
        for other in [entry for entry in place.parent.iterdir() if not entry.name.startswith(".")]:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"the cache {folder} cannot be written: {error.strerror or error}", HINT) from None


@dataclass(frozen=True)
class CacheUse:
    """One of framevit's caches: what it holds, its folder, its bytes on the disk, its number of entries."""

    name: str
    contents: str
    path: Path
    bytes: int
    entries: int


def cache_use(cache: Path) -> list[CacheUse]:
    """The caches in a cache folder, also those that are empty or not yet made."""
    return [
        CacheUse(name, contents, cache / name, sum(map(_bytes, keys)), sum(_bytes(key) > 0 for key in keys))
        for name, contents in CONTENTS.items()
        for keys in [_keys(cache / name)]
    ]


@dataclass(frozen=True)
class FolderSize:
    """The bytes of a folder's files; not `complete` where it has more files than were looked at."""

    bytes: int
    complete: bool


def hub_cache_size(folder: Path) -> FolderSize:
    """How much the hub's cache takes; its snapshots are links, which count next to nothing."""
    files = list(islice(folder.rglob("*"), MOST_FILES + 1))
    return FolderSize(sum(map(_file_bytes, files[:MOST_FILES])), len(files) <= MOST_FILES)


def clear_caches(cache: Path) -> list[Path]:
    """Deletes every entry of framevit's caches in `cache`, and returns the folders that another process is writing.

    The lock files stay: a process that waits for one would otherwise hold a lock that nobody else can see.
    """
    in_use = []
    for key in [key for name in CONTENTS for key in _keys(cache / name)]:
        try:
            with locked(key / _LOCK, UsageError("in use")):
                _empty(key)
        except (UsageError, OSError):
            in_use.append(key)
    return in_use


def _keys(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _bytes(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(map(_file_bytes, folder.rglob("*")))


def _file_bytes(file: Path) -> int:
    """The bytes of a file; 0 for a folder, a lock, and a file that has vanished meanwhile."""
    try:
        return file.lstat().st_size if file.is_file() and file.name != _LOCK else 0
    except OSError:
        return 0


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _LOCK:
            entry.unlink()
