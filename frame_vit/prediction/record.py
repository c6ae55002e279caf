"""The record of a decision: which picture, which model and which limits led to it, at the end of its row.

    {"file": ..., all keys of a plain row ..., "record": {
        "id":          16 hex digits, another for every row
        "time":        when the row was written, local time with its offset from UTC
        "part":        what the expression of --part finds in the file's name, or null
        "picture":     sha256 of the picture's file; null where the picture could not be read
        "model":       sha256 of the exported file, or over the sha256 of the weights
        "settings":    sha256 over classes, preprocessing, thresholds and novelty reference (`settings_digest`)
        "thresholds":  {"accept_below": ..., "reject_from": ...}, or null
        "novelty":     what a flag does: review, note, off; null without a reference
        "backend", "device", "precision", "views", "version"
        "features":    the numbers behind the flags: width, height, mode, light, contrast, sharpness, distance, or null
        "challenge":   the state of a challenge by master parts; only where there is one (`line.challenge`)
        "previous":    the digest of the row before, null in the first row; only in a chain
        "digest":      sha256 of the line up to here
    }}

The digest is computed over the bytes of the line, so that checking it needs no agreement on how JSON is written, and
one changed byte shows. In a chain, a row that was removed, inserted or moved shows as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frame_vit import __version__
from frame_vit.errors import UsageError
from frame_vit.model.digests import file_digest, over_weights, weights_digest
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Prediction, Predictor
from frame_vit.prediction.rows import json_row
from frame_vit.system.progress import log

DIGEST = re.compile(rb', "digest": "([0-9a-f]{64})"\}\}')
"""The end of a line with a record."""
LONGEST_ROW = 1 << 20
"""Bytes at the end of a file in which its last row is looked for."""


class RecordOptions(NamedTuple):
    """What records hold besides the facts: `part` is an expression that finds a part's id in a file's name.

    With `chain`, each row holds the digest of the one before.
    """

    part: str | None = None
    chain: bool = False


class Recorder:
    """Writes the rows of one predictor as lines of JSON with their records. `previous` is the digest of the last row.

    Raises `UsageError` if the part's expression is not a regular expression.
    """

    def __init__(self, predictor: Predictor, options: RecordOptions, previous: str | None = None) -> None:
        self._part = part_pattern(options.part)
        self._chain, self._previous, self._warned = options.chain, previous, False
        self._facts = facts(predictor)

    def line(self, row: Prediction) -> str:
        """The row as a line, without its end."""
        record: dict[str, Any] = {
            "id": os.urandom(8).hex(),
            "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "part": self._part_of(row.file),
            "picture": row.picture,
            **self._facts,
            "features": row.features,
        }
        if row.challenge is not None:
            record["challenge"] = row.challenge
        if self._chain:
            record["previous"] = self._previous
        text = json.dumps(json_row(row) | {"record": record}, ensure_ascii=False)
        self._previous = digest_of(text.encode())
        return f'{text[:-2]}, "digest": "{self._previous}"}}}}'

    def _part_of(self, name: str) -> str | None:
        match = self._part.search(name) if self._part is not None else None
        if self._part is not None and match is None:
            if not self._warned:
                log.warning("--part finds nothing in some names, such as %s: their records have no part", name)
            self._warned = True
        return match.group(1 if match.re.groups else 0) if match else None


def part_pattern(text: str | None) -> re.Pattern[str] | None:
    """The expression that finds a part's id in a name. Raises `UsageError` for what is none."""
    try:
        return re.compile(text) if text is not None else None
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"--part {text!r:.80} is not a regular expression: {error}", "An example: --part 'part(\\d+)'"
        ) from None


def facts(predictor: Predictor) -> dict[str, Any]:
    """What all records of a predictor have in common."""
    point, novelty = predictor.metadata.operating_point, predictor.metadata.novelty
    limits = {"accept_below": point.accept_below, "reject_from": point.reject_from} if point else None
    return {
        "model": model_digest(predictor),
        "settings": settings_digest(predictor.metadata),
        "thresholds": limits,
        "novelty": novelty.action if novelty else None,
        "backend": predictor.backend.name,
        "device": predictor.device,
        "precision": predictor.precision,
        "views": [view.name for view, _ in predictor.views],
        "version": __version__,
    }


def model_digest(predictor: Predictor) -> str | None:
    """The sha256 of the exported file that answers, or over the sha256 of the weights; None for weights of a hub."""
    if predictor.backend.file is not None:
        return file_digest(predictor.backend.file)
    if predictor.metadata.weights:
        return over_weights(predictor.metadata.weights)
    return weights_digest(predictor.place.path) if predictor.place and predictor.place.path.is_dir() else None


def settings_digest(metadata: ModelMetadata) -> str:
    """The sha256 over all that decides besides the weights: the same for a model folder and for its exported file."""
    values = metadata.to_json()
    for key in ("format", "framevit", "weights"):
        del values[key]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    if metadata.novelty is not None and metadata.novelty.embeddings is not None:
        digest.update(metadata.novelty.embeddings.astype(np.float16).tobytes())
    return digest.hexdigest()


def digest_of(line: bytes) -> str:
    """The digest of a line that has none yet."""
    return hashlib.sha256(line).hexdigest()


def split_digest(line: bytes) -> tuple[bytes, str] | None:
    """A line without its digest, and the digest; None where the line ends in none."""
    match = DIGEST.fullmatch(line, max(0, line.rfind(b', "digest": "')))
    return (line[: match.start()] + b"}}", match[1].decode()) if match else None


def last_record(path: Path, end: int) -> dict[str, Any] | None:
    """The record of the last row of a file whose whole rows end at the byte `end`; None where it has none."""
    with path.open("rb") as file:
        file.seek(max(0, end - LONGEST_ROW))
        line = file.read(end - file.tell()).removesuffix(b"\n").rpartition(b"\n")[2]
    try:
        record = json.loads(line).get("record")
    except (ValueError, AttributeError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("digest"), str) else None
