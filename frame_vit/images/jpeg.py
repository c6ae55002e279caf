"""The pixels of a JPEG, and every reason to doubt them.

libjpeg repairs what it can: it fills the rest of a file that was cut with grey, looks for the next marker after damaged
bytes, and only notes a warning, which Pillow drops. A displaced terminal then lies in grey, and the picture passes.
simplejpeg decodes with the same library to the same pixels, and reports the warnings.

Two kinds of damage cause no warning, because the damaged bytes are valid codes, and are looked for here: bytes that
became zero (a bad sector, a hole in a transfer), and a progressive file that ends between two of its scans.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from frame_vit.errors import RowError
from frame_vit.images.pixel_array import UInt8

COLOUR_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""What simplejpeg calls Pillow's modes."""
_START_OF_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff([^\0\x01\xd0-\xd7\xff])")
"""A marker that ends a scan or begins a segment; a restart marker does neither."""
_TABLES = {*range(0xC0, 0xD0), 0xDB, 0xDD}
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_HARMLESS = "Invalid SOS parameters for sequential JPEG"
"""Said of bytes that decoders do not need; whatever is wrong with the scan is said later and so replaces it."""
_PILLOW_ONLY = re.compile(r"Could not determine|Unsupported JPEG|Unsupported colou?r|arithmetic", re.IGNORECASE)
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_ENDLESS = "Premature end of JPEG file"
"""The end marker is missing; if more is, the warning is another one."""


def jpeg_pixels(data: bytes, mode: str) -> UInt8 | None:
    """The pixels (height, width[, channels]) uint8 of a JPEG file that Pillow opens in this mode.

    None for kinds of JPEG that only Pillow decodes. Raises `RowError` for a damaged file.
    """
    if mode not in COLOUR_SPACES:
        return None
    header = _Header.of(data)
    if damage := _silent_damage(data, header):
        raise RowError(f"damaged picture: {damage}", "FV102")
    padding = 0
    try:
        pixels = _decoded(data, mode)
    except ValueError as error:
        warning = str(error)
        if _PILLOW_ONLY.search(warning):
            return None
        if header and (needed := header.needed + data[header.scans[0].start :]) != data:
            return jpeg_pixels(needed, mode)
        padding = _padding(data, header, warning)
        if warning == _ENDLESS and header and _end(data, header) == len(data):
            return jpeg_pixels(data + _END, mode)
        if not padding and _HARMLESS not in warning:
            raise RowError(f"damaged picture: {warning}", "FV102") from None
        pixels = _decoded(data, mode, strict=False)
    zeros_cannot_be = header.scans[-1].zeros_cannot_be if header and not header.progressive else 0
    if header and zeros_cannot_be and _fill_bytes(data, header) - padding >= zeros_cannot_be:
        raise RowError(f"damaged picture: {_ZEROS}", "FV102")
    return pixels


def _decoded(data: bytes, mode: str, strict: bool = True) -> UInt8:
    """The pixels; raises `ValueError` with the warning of libjpeg where it is `strict`."""
    import simplejpeg  # here: a program that reads no JPEG does without it

    pixels = simplejpeg.decode_jpeg(data, COLOUR_SPACES[mode], strict=strict)
    return np.asarray(pixels[..., 0] if mode == "L" else pixels)


def _end(data: bytes, header: _Header) -> int:
    """Where the end marker stands; the file's length without one. Behind it, cameras store previews, films, zeros.

    In a scan, 0xFF is always followed by 0x00 or a restart marker, so the first end marker is the real one.
    """
    end = data.find(_END, header.scans[-1].start)
    return end if end >= 0 else len(data)


def _padding(data: bytes, header: _Header | None, warning: str) -> int:
    """How many bytes before the end marker the decoder did not need, if all are fill bytes, as some cameras write."""
    match = _PADDING.search(warning)
    count = int(match[1]) if match else 0
    return count if header and count <= _fill_bytes(data, header) else 0


def _fill_bytes(data: bytes, header: _Header) -> int:
    """The number of bytes 0x00 and 0xFF between the last scan and the end marker."""
    scan = data[header.scans[-1].start : _end(data, header)]
    return len(scan) - len(scan.rstrip(b"\0\xff"))


_ZEROS = "a part of its pixels was replaced by zeros"
_INCOMPLETE = "the file ends before the picture is complete"


def _silent_damage(data: bytes, header: _Header | None) -> str:
    """What is wrong with a JPEG that decoders take for valid; empty if nothing is."""
    if header is None:
        return ""
    if header.progressive:
        return _missing_scans(data[: _end(data, header)], header.scans[0].start, header.components)
    if sum(scan.components for scan in header.scans) < header.components:
        return _INCOMPLETE
    # Zeros right before the end marker may be padding, which only the decoder can tell.
    last = _end(data, header) - _fill_bytes(data, header)
    for scan in header.scans:
        if scan.zeros_cannot_be and data.find(bytes(scan.zeros_cannot_be), scan.start, min(scan.end, last)) >= 0:
            return _ZEROS
    return ""


class _Scan(NamedTuple):
    """Where a scan begins and where it ends at the latest; its own Huffman tables say how many zeros are too many.

    `zeros_cannot_be` is the number of zero bytes in a row that no encoder writes into it; 0 where there is none.
    """

    start: int
    end: int
    components: int
    """how many of the file's components (brightness and colours) it has"""
    zeros_cannot_be: int


class _Header(NamedTuple):
    """What the segments say: whether the file is progressive, its components, its scans (if progressive, the first).

    Most files that are not progressive have one scan of all components, some have one for each. `needed` are the bytes
    before the first scan without all that pixels do not depend on: cameras leave much there that decoders warn of.
    """

    progressive: bool
    components: int
    scans: list[_Scan]
    needed: bytes

    @classmethod
    def of(cls, data: bytes) -> _Header | None:
        """None for a file whose header is not understood: the decoder will say what is wrong with it."""
        tables: dict[tuple[int, int], _ShortestCode] = {}
        scans: list[_Scan] = []
        needed = [data[:2]]
        progressive, components, at = False, 0, 2
        while (found := _MARKER.search(data, at)) and found[1] != _END[1:]:
            start, marker = found.start(), found[1][0]
            at = start + 2 + int.from_bytes(data[start + 2 : start + 4])
            body = data[start + 4 : at]
            if not scans:
                needed.append(_needed(data[start:at]))
            if marker in _START_OF_FRAME:
                progressive, components = marker & 3 == 2, body[5] if len(body) > 5 else 0
            elif marker == 0xC4:
                tables |= _shortest_codes(body)
            elif marker == 0xDA:
                whole = progressive or not body or body[0] >= components
                following = None if whole else _MARKER.search(data, at)
                at = following.start() if following else len(data)
                scans.append(_Scan(start, at, body[0] if body else 0, _zeros_cannot_be(body, tables)))
        return cls(progressive, components, scans, b"".join(needed)) if scans else None


def _needed(segment: bytes) -> bytes:
    """The segment as far as pixels depend on it: tables, and the two that tell how colours are stored."""
    if segment[1] in _TABLES:
        return segment
    if segment[1] == 0xE0 and segment[4:9] == b"JFIF\0":
        return _JFIF
    if segment[1] == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16:
        # Decoders take an unknown transform for the usual one, and warn.
        return segment if segment[15] <= 2 else segment[:15] + b"\1" + segment[16:]
    return b""


class _ShortestCode(NamedTuple):
    """The Huffman code of zero bits alone: its length in bits, and the symbol that it stands for."""

    bits: int
    symbol: int


def _shortest_codes(body: bytes) -> dict[tuple[int, int], _ShortestCode]:
    """The all-zero codes of the tables in a DHT segment, by (class, identifier). T.81, B.2.4.2 and annex C."""
    codes, at = {}, 0
    while at + 17 <= len(body):
        counts = body[at + 1 : at + 17]
        total = sum(counts)
        if total and at + 17 < len(body):
            length = next(bits for bits, count in enumerate(counts, 1) if count)
            codes[body[at] >> 4, body[at] & 15] = _ShortestCode(length, body[at + 17])
        at += 17 + total
    return codes


def _zeros_cannot_be(scan_header: bytes, tables: dict[tuple[int, int], _ShortestCode]) -> int:
    """How many zero bytes in a row must hold half a block that no picture has; 0 where zeros may be a flat area.

    Where the all-zero code is not "end of block", zeros decode to blocks in which every coefficient has the same
    value, up to the highest frequency. The run may begin in the middle of a block: one and a half of the longest hold
    the upper half of one.
    """
    if not scan_header:
        return 0
    components = [scan_header[2 + 2 * i] for i in range(scan_header[0]) if 2 + 2 * i < len(scan_header)]
    most = 0
    for selector in components:
        dc, ac = tables.get((0, selector >> 4)), tables.get((1, selector & 15))
        if dc is None or ac is None:
            return 0
        run, size = ac.symbol >> 4, ac.symbol & 15
        block = dc.bits + dc.symbol + (-(-63 // (run + 1)) * (ac.bits + size) if size else ac.bits)
        if size:
            most = max(most, 3 * block // 2 + sum(_flat(tables, other) for other in components))
    return -(-most // 8) + 1 if most else 0


def _flat(tables: dict[tuple[int, int], _ShortestCode], selector: int) -> int:
    """The bits of flat blocks of another component that may lie between; a unit has at most ten (T.81, B.2.3)."""
    dc, ac = tables[0, selector >> 4], tables[1, selector & 15]
    return 0 if ac.symbol & 15 else 10 * (dc.bits + dc.symbol + ac.bits)


def _missing_scans(data: bytes, at: int, components: int) -> str:
    """Whether a progressive file lacks scans: a component, all its higher frequencies, or the last bits of some.

    The first scan begins `at`.
    """
    # For each component, the number of low bits that each of its 64 coefficients still lacks; 99 if it has not come.
    lacking: dict[int, list[int]] = {}
    while at >= 0:
        body = data[at + 4 : at + 2 + int.from_bytes(data[at + 2 : at + 4])]
        count = body[0] if body else 0
        if len(body) == 4 + 2 * count:
            first, last, low_bits = body[-3], min(body[-2], 63), body[-1] & 15
            for component in body[1 : 1 + 2 * count : 2]:
                bits = lacking.setdefault(component, [99] * 64)
                bits[first : last + 1] = [low_bits] * (last + 1 - first)
        at = data.find(_START_OF_SCAN, at + 2)
    cut = any(any(0 < lack < 99 for lack in bits) or all(lack == 99 for lack in bits[1:]) for bits in lacking.values())
    return _INCOMPLETE if cut or len(lacking) < components else ""
