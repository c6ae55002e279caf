"""Decoded pictures on disk: every picture is decoded and resized once, for every later run. Never imports torch.

A split of a data source, at given preprocessing, has one folder; in it lies one state of its files:

    pixels/KEY/STATE/pixels.u8   (N, height, width, 3) uint8, memory-mapped by whoever reads it
    pixels/KEY/STATE/rows.json   one `Facts` a row, under a checksum of the list

KEY is a digest of source, split, preprocessing and the version of the decoding code (`PIXELS_VERSION`, with Pillow's).
STATE is a digest of the stamps of all rows, so a changed file makes a new state; rows whose stamp is unchanged are
copied from the state before. `system.caches` makes a state complete or absent, built by one process at a time. Every
row has a checksum that is verified before the cache is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL

from frame_vit.data.rows import RawRow, RawSplit
from frame_vit.errors import RowError
from frame_vit.images.decode import Stored
from frame_vit.images.decoders import Decoders, decoding_threads
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import PIXELS_VERSION, Picture, Preprocessing, read_picture
from frame_vit.system import caches
from frame_vit.system.caches import HINT, building, new_entry
from frame_vit.system.files import check_room, size
from frame_vit.system.progress import Tick, log, silent, speed

PIXELS, ROWS = "pixels.u8", "rows.json"
AHEAD = 32_000_000
"""Bytes of pictures that are decoded ahead of the one being written; it bounds the memory."""


class Facts(NamedTuple):
    """What the cache records of a row's picture, or why it cannot be used (`reason`, and `code`, its finding code).

    `width` and `height` are the picture's own, in pixels; `digest` is the sha256 of its encoded bytes. `seal` is the
    sha256 of its decoded pixels: it shows damage, and the same picture in other bytes.
    """

    stamp: str
    width: int = 0
    height: int = 0
    digest: str = ""
    reason: str = ""
    seal: str = ""
    code: str = ""
    stored: Stored = Stored()


class _DecodedRow(NamedTuple):
    """One row: its facts and its pixels (height, width, 3) uint8, black for an unusable picture."""

    facts: Facts
    pixels: UInt8


@dataclass(frozen=True)
class Decoded:
    """Every row of a raw split: pixels (N, height, width, 3) uint8, black for an unusable picture, and N facts."""

    pixels: UInt8
    facts: list[Facts]


def decoded(raw: RawSplit, preprocessing: Preprocessing, cache: Path, tick: Tick = silent) -> Decoded:
    """The split's pictures at the model's size, read from the cache folder `cache`, or decoded into it on all cores.

    Raises `UsageError` where the cache cannot be written or the disk has no room for it.
    """
    home = cache / caches.PIXELS / _key(raw, preprocessing)
    place = home / _sha256("\n".join(row.stamp for row in raw.rows))[:24]
    shape = (len(raw.rows), preprocessing.height, preprocessing.width, 3)
    if not raw.rows:
        return Decoded(np.zeros(shape, np.uint8), [])
    read = _reader(raw, preprocessing)
    with building(home):
        facts = _verified(place, shape) if all(row.stamp for row in raw.rows) else None
        if facts is None or _readable_again(raw, facts, read):
            facts = _build(raw, read, place, tick)
            unusable = sum(bool(fact.reason) for fact in facts)
            note = f", {unusable} of which cannot be used," if unusable else ""
            log.info("%s: %d pictures%s decoded into %s (%s)", raw.source, len(facts), note, place, size(_bytes(shape)))
        else:
            log.info("%s: %d decoded pictures taken from %s", raw.source, len(facts), place)
        return Decoded(np.memmap(place / PIXELS, np.uint8, "r", shape=shape), facts)


class _Reader(NamedTuple):
    """Reads rows of a split at this preprocessing, with this pool of decoders or, without one, in this process."""

    preprocessing: Preprocessing
    decoders: Decoders | None

    def decode(self, data: bytes) -> Picture:
        if self.decoders is None:
            return read_picture(data, self.preprocessing)
        return self.decoders.decode(data, self.preprocessing)


def _reader(raw: RawSplit, preprocessing: Preprocessing) -> _Reader:
    """Synthetic frames come from this program; all other pictures could crash or hang a decoder."""
    return _Reader(preprocessing, None if raw.source == "demo" else Decoders())


def _readable_again(raw: RawSplit, facts: Sequence[Facts], read: _Reader) -> bool:
    """Whether an unusable picture can be used now although its stamp is the same: its permissions or disk changed."""
    unusable = [row for row, fact in zip(raw.rows, facts, strict=True) if fact.reason]
    return any(not _decode(row, read).facts.reason for row in unusable)


def _build(raw: RawSplit, read: _Reader, place: Path, tick: Tick) -> list[Facts]:
    preprocessing = read.preprocessing
    check_room(
        place, _bytes((len(raw.rows), preprocessing.height, preprocessing.width, 3)), "the decoded pictures", HINT
    )
    facts = []
    with new_entry(place) as part:
        with (part / PIXELS).open("wb") as file:
            for fact, picture in _pictures(raw, read, place.parent, tick):
                file.write(picture.data)
                facts.append(fact)
        body = json.dumps(facts)
        (part / ROWS).write_text(_sha256(body) + "\n" + body, encoding="utf-8")
    return facts


def _pictures(raw: RawSplit, read: _Reader, home: Path, tick: Tick) -> Iterator[_DecodedRow]:
    """Facts and pixels of every row, in order; unchanged rows come from an earlier state, the others are decoded."""
    preprocessing = read.preprocessing
    earlier = _earlier_rows(home, preprocessing)
    chunk = min(256, max(4, AHEAD // _bytes((preprocessing.height, preprocessing.width, 3))))
    began, rows, done = time.perf_counter(), iter(raw.rows), 0

    def one(row: RawRow) -> _DecodedRow:
        return earlier(row.stamp) or _decode(row, read)

    with decoding_threads(read.decoders) as pool:
        pending = pool.map(one, list(islice(rows, chunk)))
        while done < len(raw.rows):
            following = list(islice(rows, chunk))
            results, pending = pending, pool.map(one, following)
            for result in results:
                yield result
                done += 1
                rate = done / max(time.perf_counter() - began, 1e-9)
                tick(f"reading {raw.source}, {raw.name}", done, len(raw.rows), speed(rate))


def _decode(row: RawRow, read: _Reader) -> _DecodedRow:
    try:
        data = row.read()
        picture = read.decode(data)
    except RowError as error:
        return _unusable(row, error, read.preprocessing)
    except OSError as error:
        return _unusable(row, RowError(f"the picture cannot be read: {error.strerror or error}"), read.preprocessing)
    array = np.ascontiguousarray(picture.pixels)
    digest = hashlib.sha256(data).hexdigest()
    facts = Facts(row.stamp, picture.width, picture.height, digest, seal=_seal(array), stored=picture.stored)
    return _DecodedRow(facts, array)


def _unusable(row: RawRow, error: RowError, preprocessing: Preprocessing) -> _DecodedRow:
    black = np.zeros((preprocessing.height, preprocessing.width, 3), np.uint8)
    return _DecodedRow(Facts(row.stamp, reason=error.message, seal=_seal(black), code=error.code), black)


def _earlier_rows(home: Path, preprocessing: Preprocessing) -> Callable[[str], _DecodedRow | None]:
    """A function that finds a row by its stamp among the rows decoded for an earlier state of the source."""
    rows: dict[str, tuple[Any, int, Facts]] = {}
    for place in [entry for entry in home.iterdir() if not entry.name.startswith(".")] if home.is_dir() else []:
        facts = _facts(place)
        shape = (len(facts or ()), preprocessing.height, preprocessing.width, 3)
        if facts and _size(place) == _bytes(shape):
            array = np.memmap(place / PIXELS, np.uint8, "r", shape=shape)
            rows |= {f.stamp: (array, i, f) for i, f in enumerate(facts) if f.stamp and not f.reason}

    def find(stamp: str) -> _DecodedRow | None:
        if stamp not in rows:
            return None
        array, index, fact = rows[stamp]
        picture = np.array(array[index])
        return _DecodedRow(fact, picture) if _seal(picture) == fact.seal else None

    return find


def _verified(place: Path, shape: tuple[int, ...]) -> list[Facts] | None:
    """The facts of a state whose every row matches its checksum; None where anything is missing or has changed."""
    facts = _facts(place)
    if facts is None or len(facts) != shape[0] or _size(place) != _bytes(shape):
        return None
    array = np.memmap(place / PIXELS, np.uint8, "r", shape=shape)

    def intact(rows: slice) -> bool:
        return all(_seal(row) == f.seal for row, f in zip(array[rows], facts[rows], strict=True))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        all_intact = all(pool.map(intact, [slice(i, i + 256) for i in range(0, shape[0], 256)]))
    if not all_intact:
        log.warning("%s: the decoded pictures are damaged and are decoded again", place)
    return facts if all_intact else None


def _facts(place: Path) -> list[Facts] | None:
    try:
        digest, _, body = (place / ROWS).read_text(encoding="utf-8").partition("\n")
        if digest != _sha256(body):
            return None
        return [Facts(*row)._replace(stored=Stored(*row[-1])) for row in json.loads(body)]
    except (OSError, ValueError, TypeError):  # TypeError: rows that another version of framevit wrote
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
    path = Path(raw.source).expanduser()
    source = str(path.resolve()) if os.path.exists(path) else raw.source  # noqa: PTH110  (no error for odd names)
    return _sha256(json.dumps([source, raw.name, preprocessing.to_json(), decoder_version()]))[:24]


def decoder_version() -> str:
    """The versions of the code and of the library that decode: another one may give other pixels."""
    return f"pixels {PIXELS_VERSION}, Pillow {PIL.__version__}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
