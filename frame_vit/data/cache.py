"""Pictures decoded and resized once, for every later run: uint8 arrays on disk, memory-mapped. Never imports torch.

A raw split at given pixel settings has a folder of its own, in it one folder for each state of its files:

    pixels/<source, split, pixel settings, decoding code>/<stamps of all rows>/pixels.u8, rows.json

It is built beside and renamed, so it is whole or absent, by one process at a time; every row has a checksum that is
looked at before use. Rows whose stamp has not changed are taken over from the state before. What lies here can be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from filelock import FileLock, Timeout

from frame_vit.data.sources import RawRow, RawSplit
from frame_vit.errors import RowError, UsageError
from frame_vit.images import preprocessing as images
from frame_vit.images.decode import Stored
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import Preprocessing, read_picture
from frame_vit.system.files import check_room, size
from frame_vit.system.progress import Tick, log, silent, speed

PIXELS, ROWS = "pixels.u8", "rows.json"
HINT = "Make room, or name another folder with data.cache or FRAMEVIT_CACHE"
AHEAD = 32_000_000
"""Bytes that may be decoded ahead of the row being written: bounds the memory."""


class Facts(NamedTuple):
    """What is known of a row's picture: its own size, the sha256 of its bytes, or why it can't be used (`reason`).

    `seal` is the sha256 of its decoded pixels: by it damage is found, and the same picture in other bytes. `code` is
    the kind of the reason.
    """

    stamp: str
    width: int = 0
    height: int = 0
    digest: str = ""
    reason: str = ""
    seal: str = ""
    code: str = ""
    stored: Stored = Stored()


@dataclass(frozen=True)
class Decoded:
    """Every row of a raw split: pixels (N, height, width, 3) uint8, black where there are none, and facts."""

    pixels: UInt8
    facts: list[Facts]


def decoded(raw: RawSplit, preprocessing: Preprocessing, cache: Path, tick: Tick = silent) -> Decoded:
    """The split's pictures at the model's size, from the cache or decoded into it on all cores.

    Raises `UsageError` where the cache cannot be written or the disk has no room for it.
    """
    home = cache / "pixels" / _key(raw, preprocessing)
    place = home / _sha256("\n".join(row.stamp for row in raw.rows))[:24]
    shape = (len(raw.rows), preprocessing.height, preprocessing.width, 3)
    if not raw.rows:
        return Decoded(np.zeros(shape, np.uint8), [])
    with alone(home):
        facts = _whole(place, shape) if all(row.stamp for row in raw.rows) else None
        if facts is None or _readable_now(raw, facts, preprocessing):
            facts = _build(raw, preprocessing, place, tick)
            bad = sum(bool(fact.reason) for fact in facts)
            but = f", {bad} of which cannot be used," if bad else ""
            log.info("%s: %d pictures%s decoded into %s (%s)", raw.source, len(facts), but, place, size(_bytes(shape)))
        else:
            log.info("%s: %d decoded pictures taken from %s", raw.source, len(facts), place)
        return Decoded(np.memmap(place / PIXELS, np.uint8, "r", shape=shape), facts)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from building in a folder of the cache, and clears what killed ones left half done there.

    Raises `UsageError` where the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process, which writes into %s", folder)
            lock.acquire()
    except OSError as error:
        raise UsageError(f"the cache {folder} cannot be written: {error.strerror or error}", HINT) from None
    try:
        for left in folder.glob(".*.part"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


def _readable_now(raw: RawSplit, facts: Sequence[Facts], preprocessing: Preprocessing) -> bool:
    """Whether a picture that could not be used can be now, though its file looks the same (its rights, its disk)."""
    return any(
        not _decode(row, preprocessing)[0].reason for row, fact in zip(raw.rows, facts, strict=True) if fact.reason
    )


@contextmanager
def beside(place: Path) -> Iterator[Path]:
    """A new folder that becomes `place`, instead of all that lay next to it, when the block ends without an error.

    Raises `UsageError` where it cannot be written.
    """
    part = place.with_name(f".{place.name}.part")
    try:
        part.mkdir()
        yield part
        for other in [entry for entry in place.parent.iterdir() if not entry.name.startswith(".")]:
            shutil.rmtree(other, ignore_errors=True)
        part.rename(place)
    except OSError as error:
        raise UsageError(f"the cache {place.parent} cannot be written: {error.strerror or error}", HINT) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _build(raw: RawSplit, preprocessing: Preprocessing, place: Path, tick: Tick) -> list[Facts]:
    check_room(
        place, _bytes((len(raw.rows), preprocessing.height, preprocessing.width, 3)), "the decoded pictures", HINT
    )
    facts = []
    with beside(place) as part:
        with (part / PIXELS).open("wb") as file:
            for fact, picture in _pictures(raw, preprocessing, place.parent, tick):
                file.write(picture.data)
                facts.append(fact)
        body = json.dumps(facts)
        (part / ROWS).write_text(_sha256(body) + "\n" + body, encoding="utf-8")
    return facts


def _pictures(raw: RawSplit, preprocessing: Preprocessing, home: Path, tick: Tick) -> Iterator[tuple[Facts, UInt8]]:
    """Facts and pixels of every row, in order; unchanged rows from an earlier state, the others decoded."""
    earlier = _earlier(home, preprocessing)
    chunk = min(256, max(4, AHEAD // _bytes((preprocessing.height, preprocessing.width, 3))))
    began, rows, done = time.perf_counter(), iter(raw.rows), 0

    def one(row: RawRow) -> tuple[Facts, UInt8]:
        return earlier(row.stamp) or _decode(row, preprocessing)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pending = pool.map(one, list(islice(rows, chunk)))
        while done < len(raw.rows):
            following = list(islice(rows, chunk))
            found, pending = pending, pool.map(one, following)
            for outcome in found:
                yield outcome
                done += 1
                rate = done / max(time.perf_counter() - began, 1e-9)
                tick(f"reading {raw.source}, {raw.name}", done, len(raw.rows), speed(rate))


def _decode(row: RawRow, preprocessing: Preprocessing) -> tuple[Facts, UInt8]:
    try:
        data = row.read()
        picture = read_picture(data, preprocessing)
    except RowError as error:
        return _unusable(row, error, preprocessing)
    except OSError as error:
        return _unusable(row, RowError(f"the picture cannot be read: {error.strerror or error}"), preprocessing)
    array = np.ascontiguousarray(picture.pixels)
    digest = hashlib.sha256(data).hexdigest()
    facts = Facts(row.stamp, picture.width, picture.height, digest, seal=_seal(array), stored=picture.stored)
    return facts, array


def _unusable(row: RawRow, error: RowError, preprocessing: Preprocessing) -> tuple[Facts, UInt8]:
    black = np.zeros((preprocessing.height, preprocessing.width, 3), np.uint8)
    return Facts(row.stamp, reason=error.message, seal=_seal(black), code=error.code), black


def _earlier(home: Path, preprocessing: Preprocessing) -> Callable[[str], tuple[Facts, UInt8] | None]:
    """Looks a row up, by its stamp, in what was decoded when the source was in another state."""
    known: dict[str, tuple[Any, int, Facts]] = {}
    for place in [entry for entry in home.iterdir() if not entry.name.startswith(".")] if home.is_dir() else []:
        facts = _facts(place)
        shape = (len(facts or ()), preprocessing.height, preprocessing.width, 3)
        if facts and _size(place) == _bytes(shape):
            array = np.memmap(place / PIXELS, np.uint8, "r", shape=shape)
            known |= {f.stamp: (array, i, f) for i, f in enumerate(facts) if f.stamp and not f.reason}

    def find(stamp: str) -> tuple[Facts, UInt8] | None:
        if stamp not in known:
            return None
        array, index, fact = known[stamp]
        picture = np.array(array[index])
        return (fact, picture) if _seal(picture) == fact.seal else None

    return find


def _whole(place: Path, shape: tuple[int, ...]) -> list[Facts] | None:
    """The facts of a state whose every row is as it was written; None where anything is missing or has changed."""
    facts = _facts(place)
    if facts is None or len(facts) != shape[0] or _size(place) != _bytes(shape):
        return None
    array = np.memmap(place / PIXELS, np.uint8, "r", shape=shape)

    def same(rows: slice) -> bool:
        return all(_seal(row) == f.seal for row, f in zip(array[rows], facts[rows], strict=True))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = all(pool.map(same, [slice(i, i + 256) for i in range(0, shape[0], 256)]))
    if not whole:
        log.warning("%s: the decoded pictures are damaged and are decoded anew", place)
    return facts if whole else None


def _facts(place: Path) -> list[Facts] | None:
    try:
        digest, _, body = (place / ROWS).read_text(encoding="utf-8").partition("\n")
        if digest != _sha256(body):
            return None
        return [Facts(*row)._replace(stored=Stored(*row[-1])) for row in json.loads(body)]
    except (OSError, ValueError, TypeError):  # TypeError: rows of another version
        return None


def _size(place: Path) -> int:
    try:
        return (place / PIXELS).stat().st_size
    except OSError:
        return -1


def _seal(picture: UInt8) -> str:
    return hashlib.sha256(picture.data).hexdigest()


def _bytes(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _key(raw: RawSplit, preprocessing: Preprocessing) -> str:
    place = Path(raw.source).expanduser()
    source = str(place.resolve()) if os.path.exists(place) else raw.source  # noqa: PTH110  (no error for odd names)
    return _sha256(json.dumps([source, raw.name, preprocessing.to_json(), decoder()]))[:24]


def decoder() -> str:
    """The code and the library that decode: pixels made by others would not be these pixels."""
    return f"{hashlib.sha256(Path(images.__file__).read_bytes()).hexdigest()} {PIL.__version__}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
