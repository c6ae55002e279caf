"""Whatever a person names as data -> raw rows, split by split. Knows file formats and the hub; no labels, no model.

hub data set, saved data set, parquet (through `datasets`), class folders, CSV or JSONL manifest, drawn demo frames.
Pictures stay encoded: a raw row can `read()` its bytes, and nothing is decoded here.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from frame_vit.config.schema import DataConfig
from frame_vit.data import demo
from frame_vit.data.groups import Marking, Marks
from frame_vit.data.manifest import read_manifest
from frame_vit.data.response import Kind, answer_column
from frame_vit.errors import FrameVitError, RowError, UsageError
from frame_vit.images.decode import SUFFIXES, read_file
from frame_vit.system.hub import check_hub, is_hub_name
from frame_vit.system.progress import log
from frame_vit.system.texts import printable


class RawRow(NamedTuple):
    """One row as it stands in its source: `key` names it, `answer` says what it is, `read` gives its picture.

    `stamp` changes when the picture may have changed, without reading it; empty where nothing can tell. `marks` say
    what it belongs to; `file` is where the picture lies, if in a file of its own.
    """

    key: str
    answer: object
    read: Callable[[], bytes]
    stamp: str = ""
    marks: Marks = Marks()
    file: Path | None = None


@dataclass(frozen=True)
class RawSplit:
    """The rows of one split. `names` are the classes in the source's own order, where it has one."""

    source: str
    name: str
    kind: Kind
    rows: list[RawRow]
    names: tuple[str, ...] = ()
    revision: str = ""


ROLES = {
    "train": ("train", "training"),
    "val": ("validation", "val", "valid", "dev", "eval"),
    "calibration": ("calibration", "calib"),
    "test": ("test", "testing"),
}
"""The split names that are understood, by what they are used for; in the order in which splits are shown."""


def role_of(split: str) -> str:
    """train, val or test; another name is returned as it is."""
    return next((role for role, names in ROLES.items() if split.lower() in names), split)


def read_source(source: str, data: DataConfig, seed_step: int = 0) -> list[RawSplit]:
    """The splits of a source. A single split is called as the source calls it, mostly `train`.

    `seed_step` is added to the demo's seed: 0 for training frames, 1 for test frames. Raises `UsageError` where
    nothing of that name can be found, `FrameVitError` where the hub does not answer.
    """
    if source == "demo":
        return [_demo_split(data, seed_step)]
    try:
        path = Path(source).expanduser()
        kind = "file" if path.is_file() else "folder" if path.is_dir() else ""
    except (OSError, RuntimeError) as error:  # a name that is too long, a home that is not there
        raise UsageError(f"no such file or folder: {source} ({error})") from None
    if kind:
        return _from_file(path, data) if kind == "file" else _from_folder(path, data)
    if not is_hub_name(source) or path.suffix.lower() in _FILE_KINDS:
        raise UsageError(f"no such file or folder: {source}", "A hub data set is named owner/name")
    return _from_hub(source, data)


_FILE_KINDS = (".parquet", ".csv", ".jsonl")


def _demo_split(data: DataConfig, seed_step: int) -> RawSplit:
    count = data.demo.test if seed_step else data.demo.train
    drawn = demo.frames(count, data.demo.seed + seed_step)
    marking = Marking(data, (), "demo")
    rows = [
        RawRow(key, demo.response(frame), _Drawn(frame), f"demo {demo.DEMO_VERSION} {frame}", marking.of({}, key))
        for key, frame in ((f"demo-{data.demo.seed + seed_step}-{i}", frame) for i, frame in enumerate(drawn))
    ]
    return RawSplit("demo", "test" if seed_step else "train", "response", rows, demo.NAMES)


@dataclass(frozen=True)
class _Drawn:
    frame: demo.Frame

    def __call__(self) -> bytes:
        return demo.jpeg(self.frame)


def _from_file(path: Path, data: DataConfig) -> list[RawSplit]:
    if path.suffix.lower() == ".parquet":
        return _load("parquet", data, str(path), data_files={"train": glob.escape(str(path))})
    if path.suffix.lower() in (".csv", ".jsonl"):
        splits, kind = read_manifest(path, data)
        return [
            RawSplit(str(path), name, kind, [_file_row(r.key, r.answer, r.file, r.marks) for r in rows])
            for name, rows in splits.items()
        ]
    raise UsageError(f"{path}: not a data set; files may be {', '.join(_FILE_KINDS)}")


def _file_row(key: str, answer: object, file: Path, marks: Marks) -> RawRow:
    return RawRow(key, answer, partial(read_file, file), _stamp(file), marks, file)


def _stamp(file: Path) -> str:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return f"{file} is not there"
    # A copy may keep the time of the last change, but not the time at which the file came to be what it is.
    return f"{file.absolute()} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _from_folder(path: Path, data: DataConfig) -> list[RawSplit]:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, data)
    if any(path.rglob("*.parquet")):
        if glob.has_magic(str(path)):  # `datasets` would take the folder's name for a pattern
            return _load("parquet", data, str(path), data_dir=glob.escape(str(path)))
        return _load(str(path), data, str(path))
    for name in ("metadata.csv", "metadata.jsonl", "manifest.csv", "manifest.jsonl"):
        if (path / name).is_file():
            return _from_file(path / name, data)
    parts = {child.name: child for child in _folders(path) if role_of(child.name) in ROLES}
    others = [child.name for child in _folders(path) if child.name not in parts]
    if "train" in map(role_of, parts) and others:
        raise UsageError(
            f"{path}: folders for splits ({', '.join(parts)}) beside others ({', '.join(others)})",
            "Either every folder is a split, or every folder is a class",
        )
    if parts and not others:
        return [_class_folders(child, name, data) for name, child in sorted(parts.items())]
    return [_class_folders(path, "train", data)]


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _class_folders(path: Path, split: str, data: DataConfig) -> RawSplit:
    marking = Marking(data, (), str(path))
    rows, passed_over = [], sum(file.is_file() and not file.name.startswith(".") for file in path.iterdir())
    for folder in _folders(path):
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                key = printable(file.relative_to(path).as_posix())
                rows.append(_file_row(key, printable(folder.name), file, marking.of({}, key)))
            elif file.is_file() and not file.name.startswith("."):
                passed_over += 1
    if not rows:
        raise UsageError(
            f"no pictures found in {path}",
            "Expected a saved data set, parquet files, a metadata.csv, or one folder of pictures per class "
            f"({', '.join(SUFFIXES)})",
        )
    if passed_over:
        log.warning("%s: %d files are not pictures in a class folder and were not read", path, passed_over)
    return RawSplit(str(path), split, "label", rows)


def _saved(path: Path, data: DataConfig) -> list[RawSplit]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # pyarrow and json raise many kinds on damaged files
        raise FrameVitError(f"{path}: the saved data set cannot be read: {error}") from None
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    return [_from_table(str(path), name, split, data) for name, split in splits.items()]


def _from_hub(source: str, data: DataConfig) -> list[RawSplit]:
    check_hub()
    name, _, revision = source.partition("@")
    return _load(name, data, source, revision=revision or None)


def _load(path: str, data: DataConfig, source: str, **options: Any) -> list[RawSplit]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(path, **options)
    except datasets.exceptions.DatasetNotFoundError:
        raise UsageError(
            f"data set {source} is neither a folder here nor found on the hub",
            "Check the spelling; for a private data set log in with `hf auth login`",
        ) from None
    except (ConnectionError, HfHubHTTPError, TimeoutError) as error:
        raise FrameVitError(
            f"the hub could not be asked for {source}: {_first_line(error)}",
            f"Check the network, or name a local copy of the data; there is no folder or file {source} here",
        ) from None
    except Exception as error:  # damaged files and broken downloads come as errors of many libraries
        raise FrameVitError(f"{source} cannot be read as a data set: {_first_line(error.__cause__ or error)}") from None
    return [_from_table(source, name, split, data) for name, split in loaded.items()]


def _from_table(source: str, name: str, table: Any, data: DataConfig) -> RawSplit:
    import datasets

    columns = table.column_names
    where = f"{source}, split {name}"
    if data.image_column not in columns:
        raise UsageError(
            f"{where}: no column {data.image_column!r}; it has {', '.join(columns)}", "Set data.image_column"
        )
    kind, column = answer_column(columns, data.response_column, data.label_column, where)
    if not isinstance(table.features[data.image_column], datasets.Image):
        raise UsageError(f"{where}: column {data.image_column!r} does not hold pictures")
    pictures = table.select_columns([data.image_column]).cast_column(data.image_column, datasets.Image(decode=False))
    feature, answers = (table.features[column], table[column]) if column else (None, [None] * len(table))
    names: tuple[str, ...] = ()
    if isinstance(feature, datasets.ClassLabel):
        names = tuple(feature.names)
        answers = (None if a is None or a < 0 else feature.int2str(a) for a in answers)
    keys = [f"{name}[{i}]" for i in range(len(table))]
    facts = zip(answers, _cell_stamps(table, pictures, data.image_column), _marks(table, data, keys), strict=True)
    rows = [
        RawRow(keys[i], answer, _Cell(pictures, i, data.image_column), stamp, marks)
        for i, (answer, stamp, marks) in enumerate(facts)
    ]
    return RawSplit(source, name, kind, rows, names, _revision(table))


def _marks(table: Any, data: DataConfig, keys: list[str]) -> list[Marks]:
    """What every row belongs to, by columns or by the name that a picture's file had."""
    import datasets

    marking = Marking(data, table.column_names, "the data set")
    if not marking.wanted:
        return [Marks()] * len(keys)
    columns = {grouping.column for grouping in marking.groupings if grouping.column}
    values = {column: table[column] for column in columns}
    encoded = table.select_columns([data.image_column]).cast_column(data.image_column, datasets.Image(decode=False))
    named = any(grouping.pattern for grouping in marking.groupings)
    cells = ((row[data.image_column] or {}).get("path") for row in encoded) if named else [None] * len(keys)
    return [
        marking.of({column: of[i] for column, of in values.items()}, path or keys[i]) for i, path in enumerate(cells)
    ]


def _cell_stamps(table: Any, pictures: Any, column: str) -> list[str]:
    """A table's own fingerprint and files tell whether its cells have changed; files that cells name, by themselves."""
    import pyarrow.compute as pc

    files = " ".join(_stamp(Path(file["filename"])) for file in table.cache_files)
    if not files or table._indices is not None:
        return [""] * len(table)
    cells = pictures.data.column(column)
    named, inside = pc.struct_field(cells, "path").to_pylist(), pc.is_valid(pc.struct_field(cells, "bytes")).to_pylist()
    return [
        _stamp(Path(path)) if path and not held else f"{table._fingerprint} {files} {i}"
        for i, (path, held) in enumerate(zip(named, inside, strict=True))
    ]


@dataclass(frozen=True)
class _Cell:
    table: Any
    row: int
    column: str

    def __call__(self) -> bytes:
        value = self.table[self.row][self.column]
        if value is None:
            raise RowError("no picture in this row")
        if value["bytes"] is None and value["path"] is None:
            raise RowError("no picture in this row")
        return value["bytes"] if value["bytes"] is not None else read_file(Path(value["path"]))


def _revision(table: Any) -> str:
    """The hub's commit that the rows came from: the cache keeps them in a folder of that name. Empty for local data."""
    folder = Path(table.cache_files[0]["filename"]).parent.name if table.cache_files else ""
    return folder if re.fullmatch("[0-9a-f]{40}", folder) else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
