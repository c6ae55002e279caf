"""Files of recorded rows as predict writes them, with rates and light that change when a test says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

CET = timezone(timedelta(hours=1))
MONDAY = datetime(2026, 11, 2, 6, tzinfo=CET)
MODEL, OTHER_MODEL = "a" * 64, "b" * 64
Row = dict[str, Any]


def row(time: datetime, decision: str = "accept", light: float = 110.0, **changes: Any) -> Row:
    """A row. `changes` are keys of the row, or of its record where they are keys of that."""
    score = {"accept": 0.02, "review": 0.4, "reject": 0.95}[decision]
    record: Row = {
        "id": "0" * 16,
        "time": time.isoformat(timespec="milliseconds"),
        "part": None,
        "picture": "c" * 64,
        "model": MODEL,
        "settings": "d" * 64,
        "thresholds": {"accept_below": 0.2, "reject_from": 0.5},
        "novelty": "review",
        "backend": "onnxruntime",
        "device": "cpu",
        "precision": "fp32",
        "views": ["identity"],
        "version": "0.7.0",
        "features": {"width": 224, "height": 224, "mode": "RGB", "light": light, "contrast": 40.0, "sharpness": 0.3},
    }
    record["features"]["distance"] = 0.1
    values: Row = {
        "file": "line/picture.jpg",
        "label": "passed" if decision == "accept" else "Xplus",
        "confidence": 0.9,
        "probabilities": {"passed": 1 - score, "Xplus": score},
        "decision": decision,
        "status": "ok",
        "error": None,
        "score": score,
        "reason": None,
        "flags": [],
    }
    for key, value in changes.items():
        (record if key in record else values)[key] = value
    return values | {"record": record | {"digest": "e" * 64}}


def failed(time: datetime) -> Row:
    """The row of a picture that could not be read."""
    empty = dict.fromkeys(("label", "confidence", "probabilities", "decision", "score"))
    return row(time, features=None, picture=None) | empty | {"status": "error", "error": "cannot be decoded"}


def write(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def day(number: int, n: int = 200, rejects: float = 0.05, darker: float = 0.0, seed: int = 0) -> Iterator[Row]:
    """The rows of a working day, spread over eight hours: a share of them is rejected, and the light is lower."""
    generator = np.random.default_rng((seed, number))
    start = MONDAY + timedelta(days=number)
    light = (1 - darker) * generator.normal(110, 8, n)
    draws = generator.random((n, 3))
    for index in range(n):
        time = start + timedelta(hours=8 * index / n)
        if draws[index, 0] < 0.01:
            yield failed(time)
            continue
        decision = "reject" if draws[index, 1] < rejects else "review" if draws[index, 1] < rejects + 0.03 else "accept"
        made = row(time, decision, round(float(light[index]), 2), flags=["light"] if draws[index, 2] < 0.01 else [])
        made["score"] = min(0.999, round(made["score"] * float(generator.uniform(0.5, 1.05)), 4))
        features = made["record"]["features"]
        features["contrast"], features["sharpness"], features["distance"] = (
            round(float(mean * each), 4)
            for mean, each in zip((40, 0.3, 0.1), generator.gamma(50, 0.02, 3), strict=True)
        )
        yield made
