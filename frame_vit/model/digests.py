"""sha256 of whole files, which shows any damage, and is computed once for each state of a file.

Hashing takes 0.8 s for the 1.2 GB of a ViT-L, so the digests of large files are kept in framevit's cache, under the
file's path, size, times and inode. Where the cache cannot be written, they are computed each time. A file that was
written a moment ago is not remembered: it could change again without a visible change of its times.

    CACHE/digests/KEY/digest.json
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from frame_vit.system.caches import DIGESTS, cache_folder
from frame_vit.system.files import read_facts, write_json

LARGE = 32_000_000
"""Bytes from which on a digest is kept on the disk; smaller files take 20 ms."""
SETTLED_NS = 2_000_000_000
"""How long ago a file must have changed before its digest is remembered: some file systems count whole seconds."""


class _State(NamedTuple):
    """A file as it was when it was hashed."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @property
    def settled(self) -> bool:
        return time.time_ns() - max(self.mtime_ns, self.ctime_ns) > SETTLED_NS


_remembered: dict[_State, str] = {}


def file_digest(path: Path) -> str:
    """The sha256 of all bytes of a file, as hex digits. Raises `OSError` where it cannot be read."""
    state = _state(path)
    digest = _remembered.get(state) or (_stored(state) if state.size >= LARGE else None)
    if digest is None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not state.settled or _state(path) != state:
            return digest
        if state.size >= LARGE:
            _store(state, digest)
    _remembered[state] = digest
    return digest


def weights_digest(folder: Path) -> str | None:
    """The sha256 over names and digests of a folder's weights (*.safetensors); None if it holds none."""
    files = sorted(folder.glob("*.safetensors"))
    return over_weights({path.name: file_digest(path) for path in files}) if files else None


def over_weights(digests: Mapping[str, str]) -> str:
    """The sha256 over names and digests of files of weights."""
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()


def _state(path: Path) -> _State:
    found = path.stat()
    return _State(str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


def _place(state: _State) -> Path:
    key = hashlib.sha256(state.path.encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_folder() / DIGESTS / key / "digest.json"


def _stored(state: _State) -> str | None:
    with suppress(RuntimeError):  # there is no home folder
        facts = read_facts(_place(state))
        digest = facts.get("sha256")
        if facts.get("state") == [*state] and isinstance(digest, str):
            return digest
    return None


def _store(state: _State, digest: str) -> None:
    with suppress(OSError, RuntimeError, ValueError):  # a place that cannot be written, a path that is not UTF-8
        place = _place(state)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, {"state": state, "sha256": digest})
