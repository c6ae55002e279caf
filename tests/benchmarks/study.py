"""What the studies of fine-tuning share: the data sets, what a training starts from, and rows in a CSV file."""

from __future__ import annotations

import ast
import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import numpy as np
from datasets import Dataset as Table
from datasets import Features, Value, concatenate_datasets, load_dataset
from datasets import Image as ImageFeature
from transformers import set_seed

from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.model.classifier import Classifier
from frame_vit.model.pretrained import load_pretrained
from frame_vit.model.processor import load_processor, preprocessing_of

BATCH = 16
FRAMES, HALVED, BOARDS = "frames", "halved frames", "boards"
BOARD_CLASSES = ("passed", "open", "short", "mousebite", "spur", "copper", "pinhole")
RowKind = TypeVar("RowKind")


class Place(NamedTuple):
    """Where a worker finds what it needs; `tables` has a saved data set for every data, number and seed."""

    model: str
    image_size: int
    tables: Path
    device: str
    precision: str
    threads: int


def table_of(run: Any, tables: Path) -> Path:
    """The saved data set of a training: by its data, number of pictures and seed."""
    return tables / f"{run.data}-{run.pictures}-{run.seed}"


def settings(data: str, table: Path, folder: Path) -> dict[str, Any]:
    """The sections `labels` and `data` of a config for a saved data set; its cache lies in `folder`."""
    classes = BOARD_CLASSES if data == BOARDS else demo.NAMES
    symmetries: dict[str, Any] = {"hflip": {}, "vflip": {}, "rot90": {}} if data == BOARDS else demo.SYMMETRIES
    return {
        "labels": {"names": [*classes], "ok": ["passed"], "symmetries": symmetries},
        "data": {"train": str(table), "test_fraction": 0.0, "cache": str(folder / "cache")},
    }


def begin(config: Config) -> tuple[Classifier, Dataset]:
    """What a training starts from: the pretrained model with a new head, and the data."""
    processor = load_processor(config.model, config.data.fit)
    preprocessing = preprocessing_of(processor, config.data)
    dataset = read_dataset(config, preprocessing)
    set_seed(config.training.seed)
    return load_pretrained(config.model, dataset.labels, preprocessing, processor), dataset


def frames(count: int, seed: int, share: float = 1) -> Table:
    """Frames as the demo draws them, the classes in turn; displaced by this share of what it does."""
    rows: dict[str, list[Any]] = {"image": [], "response": []}
    for drawn in demo.frames(count, seed):
        frame = dataclasses.replace(drawn, offset=demo.Pair(drawn.offset.x * share, drawn.offset.y * share))
        rows["image"].append({"bytes": demo.jpeg(frame), "path": None})
        rows["response"].append(repr({"bboxes": [[round(v) for v in frame.box]], "labels": [drawn.label]}))
    return Table.from_dict(rows, features=Features({"image": ImageFeature(), "response": Value("string")}))


def balanced(source: str, count: int, seed: int) -> Table:
    """About as many rows of each class of DeepPCB's crops, chosen at random."""
    files = sorted(str(file) for file in Path(source).rglob("*.parquet"))
    table = load_dataset("parquet", data_files=files, split="train").select_columns(["image", "response"])
    labels = np.array([ast.literal_eval(text)["labels"][0] for text in table["response"]])
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == name)) for name in BOARD_CLASSES]
    turns = [table.select(shuffled[i % len(shuffled)][[i // len(shuffled)]]) for i in range(count)]
    return concatenate_datasets(turns)


def rows_in(path: Path, kind: type[RowKind]) -> list[RowKind]:
    """The rows of a CSV file as dataclasses of this kind; none where there is no file."""
    if not path.exists():
        return []
    types = get_type_hints(kind)
    with path.open(newline="", encoding="utf-8") as file:
        return [kind(**{key: types[key](value) for key, value in row.items()}) for row in csv.DictReader(file)]


def append(path: Path, rows: Sequence[Any]) -> None:
    """Adds dataclasses as rows; a new file gets a header."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(rows[0])], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
