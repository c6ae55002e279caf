"""A data set into which every fault that a row can have was planted, which row has which, and how it is audited."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from frame_vit.audit.audit import Audit, audit
from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import read_dataset
from frame_vit.images.geometry import View
from frame_vit.images.preprocessing import Preprocessing

SIDE = Preprocessing(64, 64)
LABELS = {"names": list(demo.NAMES), "ok": ["passed"], "symmetries": demo.SYMMETRIES}
PER_CLASS = 24
"""Sound frames of each class in train; a third as many in each of the others."""


@dataclass
class Planted:
    """Files and manifest rows under `folder`; `faults` has the row keys by code, as the audit should find them."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    faults: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    seeds: Iterator[int] = field(default_factory=lambda: iter(range(10_000, 20_000)))

    def frame(self, label: str) -> demo.Frame:
        """A frame that no other row shows."""
        return demo.sample(label, next(self.seeds))

    def add(self, data: bytes, response: Any, split: str = "train", codes: str = "", suffix: str = "jpg") -> str:
        """A row with a picture of its own; returns its key."""
        name = f"{len(self.rows):04}.{suffix}"
        (self.folder / name).write_bytes(data)
        return self.row(name, response, split, codes)

    def row(self, name: str, response: Any, split: str = "train", codes: str = "") -> str:
        self.rows.append({"file_name": name, "response": response, "split": split})
        key = f"line {len(self.rows)} ({name})"
        for code in codes.split():
            self.faults[code].add(key)
        return key

    def write(self) -> Path:
        path = self.folder / "all.jsonl"
        path.write_text("\n".join(map(json.dumps, self.rows)))
        return path


def plant(folder: Path) -> Planted:
    """All faults that one data set can hold beside each other."""
    folder.mkdir(parents=True)
    planted = Planted(folder)
    for split, count in (("train", PER_CLASS), ("validation", PER_CLASS // 3), ("test", PER_CLASS // 3)):
        for _ in range(count):
            for label in demo.NAMES:
                frame = planted.frame(label)
                planted.add(demo.jpeg(frame), demo.response(frame), split)
    for some in (_files, _answers, _doubles, _pictures, _directions):
        some(planted)
    return planted


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **({"quality": 88} if form == "JPEG" else {}) | options)
    return buffer.getvalue()


def shown(frame: demo.Frame) -> Image.Image:
    return Image.fromarray(demo.draw(frame))


def said(label: str, boxes: list[Any] | None = None, labels: list[str] | None = None) -> str:
    return repr({"bboxes": boxes if boxes is not None else [[60, 40, 100, 80]], "labels": labels or [label]})


def _files(planted: Planted) -> None:
    good = demo.jpeg(planted.frame("passed"))
    planted.add(b"", said("passed"), codes="FV101")
    planted.row("not-there.jpg", said("Xplus"), "test", "FV101")
    planted.add(good[: len(good) // 2], said("passed"), codes="FV102")
    planted.add(b"<html>404</html>", said("passed"), codes="FV103")
    planted.add(b"%PDF-1.7 " + bytes(500), said("passed"), codes="FV103")
    deep = Image.fromarray((np.arange(160 * 120, dtype=np.uint16) * 3).reshape(120, 160))
    planted.add(encoded(deep, "PNG"), said("passed"), codes="FV104", suffix="png")
    frame = planted.frame("Xminus")
    planted.add(encoded(shown(frame), "PNG"), demo.response(frame), codes="FV107")
    frame = planted.frame("Yplus")
    pages = [shown(planted.frame("Yminus"))]
    data = encoded(shown(frame), "TIFF", save_all=True, append_images=pages)
    planted.add(data, demo.response(frame), codes="FV106", suffix="tiff")
    frame = planted.frame("Xplus")
    turned = shown(frame).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter to stand upright
    planted.add(encoded(turned, exif=exif), demo.response(frame), codes="FV509")


def _answers(planted: Planted) -> None:
    def add(response: Any, codes: str) -> None:
        planted.add(demo.jpeg(planted.frame("passed")), response, codes=codes)

    for response in ("no answer", "[1, 2]", "[" * 5000, "{'labels': ['" + "x" * 200_000 + "']}", "", None):
        add(response, "FV201")
    add(said("passed", [[1, 2, 30, 40], [5, 6, 70, 80]]), "FV202")
    add(said("passed", [[1, 2, 30]]), "FV203")
    add(said("passed", [["a", 2, 30, 40]]), "FV203")
    add(repr({"bboxes": [], "labels": []}), "FV204")
    add(said("Zplus"), "FV205")
    add(said("xplus "), "FV206")
    add(said("PASSED"), "FV206")
    add(said("", [[60, 40, 100, 80]] * 2, ["passed", "Xplus"]), "FV207")
    add(said("passed", [[60, 40, 100, 180]]), "FV208")
    add(said("passed", [[-30, 40, 100, 80]]), "FV208")
    add(said("passed", [[100, 40, 60, 80]]), "FV209")
    add(said("passed", [[60, 40, 60, 80]]), "FV209")


def _doubles(planted: Planted) -> None:
    def twice(label: str, first: str, again: str, change: Callable[[demo.Frame], tuple[bytes, str]]) -> tuple[str, str]:
        """A frame, and what became of it in another row; the two keys."""
        frame = planted.frame(label)
        key = planted.add(demo.jpeg(frame), demo.response(frame), first)
        data, response = change(frame)
        return key, planted.add(data, response, again)

    def same(frame: demo.Frame) -> tuple[bytes, str]:
        return demo.jpeg(frame), demo.response(frame)

    def relabelled(frame: demo.Frame) -> tuple[bytes, str]:
        return demo.jpeg(frame), said("passed", [])

    def again(frame: demo.Frame) -> tuple[bytes, str]:
        brighter = shown(frame).point(lambda level: min(255, round(level * 1.05)))
        return encoded(brighter, quality=70), demo.response(frame)

    def mirrored(frame: demo.Frame) -> tuple[bytes, str]:
        seen = frame.seen(View(0, True))
        return encoded(shown(seen), quality=80), demo.response(seen)

    def mirrored_only(frame: demo.Frame) -> tuple[bytes, str]:
        return mirrored(frame)[0], demo.response(frame)

    planted.faults["FV301"].add(twice("passed", "train", "train", same)[1])
    planted.faults["FV302"].add(twice("Xplus", "train", "test", same)[0])
    planted.faults["FV302"].add(twice("Yplus", "validation", "train", same)[1])
    planted.faults["FV303"].update(twice("Yminus", "train", "train", relabelled))
    planted.faults["FV304"].add(twice("Xminus", "train", "test", again)[0])
    planted.faults["FV304"].add(twice("Xplus", "test", "train", mirrored)[1])
    planted.faults["FV305"].update(twice("Xplus", "train", "train", mirrored_only))
    frame = planted.frame("Yplus")
    data = encoded(shown(frame), quality=75)
    keys = (
        planted.add(demo.jpeg(frame), demo.response(frame)),
        planted.add(data, said("passed", [])),
    )
    planted.faults["FV305"].update(keys)


def _pictures(planted: Planted) -> None:
    def add(change: Callable[[Image.Image], Image.Image], codes: str, form: str = "JPEG", scale: float = 1) -> None:
        frame = planted.frame("passed")
        boxes = [[round(side * scale) for side in frame.box]]
        planted.add(encoded(change(shown(frame)), form), said("passed", boxes), codes=codes, suffix=form.lower())

    add(lambda image: image.resize((320, 240)), "FV501", scale=2)
    frame = replace(planted.frame("passed"), centre=demo.Pair(0.0, 0.0), offset=demo.Pair(0.0, 0.0))
    x1, y1, x2, y2 = frame.box
    box = [x1 - 20, y1, x2 - 20, y2]
    planted.add(encoded(shown(frame).crop((20, 0, 140, 120))), said("passed", [box]), codes="FV502")
    add(lambda image: image.convert("L"), "FV503")
    add(lambda image: image.convert("RGBA"), "FV503", "PNG")
    add(lambda image: image.point(lambda level: round(level * 0.12)), "FV505")
    add(lambda image: image.point(lambda level: min(255, 229 + level // 7)), "FV506")
    add(lambda image: Image.new("RGB", image.size, (90, 90, 90)), "FV507")
    add(lambda image: Image.new("RGB", image.size), "FV507")
    add(lambda image: image.filter(ImageFilter.GaussianBlur(5)), "FV508")


def _directions(planted: Planted) -> None:
    for label, wrong in (("Xplus", "Xminus"), ("Yminus", "Yplus"), ("Xplus", "passed")):
        frame = planted.frame(label)
        free = frame.free_play
        axis = "XY".index(label[0])
        offset = [0.0, 0.0]
        offset[axis] = (0.85 if label.endswith("plus") else -0.85) * free[axis]
        frame = replace(frame, centre=demo.Pair(8.0 if wrong == "passed" else 0.0, 0.0), offset=demo.Pair(*offset))
        planted.add(demo.jpeg(frame), demo.response(frame).replace(label, wrong), codes="FV601")


def audited(
    source: str | Path, preprocessing: Preprocessing = SIDE, names: Any = None, turns: Any = None, **data: Any
) -> Audit:
    """The audit of a data set; `turns` is what a quarter turn does to the classes."""
    labels = LABELS | ({"names": names} if names else {})
    if turns:
        labels = labels | {"symmetries": demo.SYMMETRIES | {"rot90": turns}}
    config = Config.model_validate({"labels": labels, "data": {"train": str(source), **data}})
    return audit(read_dataset(config, preprocessing, tolerant=True), config.data, preprocessing)


def keys_by_code(audit: Audit) -> dict[str, set[str]]:
    """Keys by code; findings that are about no rows have none."""
    return {finding.kind.code: {row.key for row in finding.rows} for finding in audit.findings}


def drawn(folder: Path, counts: dict[str, int], split: str = "train", into: Planted | None = None) -> Planted:
    """So many sound frames of each class."""
    folder.mkdir(parents=True, exist_ok=True)
    planted = into or Planted(folder)
    for label, count in counts.items():
        for _ in range(count):
            frame = planted.frame(label)
            planted.add(demo.jpeg(frame), demo.response(frame), split)
    return planted
