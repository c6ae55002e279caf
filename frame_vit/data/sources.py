"""Adapters: from whatever a user names as data to raw rows, split by split.

A source is a hub data set, a saved data set or parquet files (all read through `datasets`), class folders, a CSV or
JSONL manifest, or the synthetic frames of the demo. Pictures stay encoded: a raw row can read its bytes, and nothing is
decoded or parsed here. To add a kind of source: a function that returns `RawSplit`s, and a branch in `read_source`.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_vit.config.schema import DataConfig
from frame_vit.data import demo
from frame_vit.data.manifest import read_manifest
from frame_vit.data.response import answer_column
from frame_vit.data.rows import ROLES, Marking, Marks, RawRow, RawSplit, file_row, role_of, stamp
from frame_vit.errors import FrameVitError, RowError, UsageError
from frame_vit.images.decode import SUFFIXES, read_file
from frame_vit.system.hub import HubName, check_hub, is_hub_name
from frame_vit.system.progress import log
from frame_vit.system.texts import printable


def read_source(source: str, data: DataConfig, seed_step: int = 0) -> list[RawSplit]:
    """The splits of a source, with the names that the source gives them.

    `seed_step` is added to the demo's seed: 0 for training frames, 1 for test frames.

    Raises `UsageError` if there is no such source or its form is not understood, `FrameVitError` if the hub cannot be
    reached or a file is damaged.
    """
    if source == "demo":
        return [_demo_split(data, seed_step)]
    try:
        path = Path(source).expanduser()
        kind = "file" if path.is_file() else "folder" if path.is_dir() else ""
    except (OSError, RuntimeError) as error:  # a name that is too long, an unknown home folder
        raise UsageError(f"no such file or folder: {source} ({error})") from None
    if kind:
        return _from_file(path, data) if kind == "file" else _from_folder(path, data)
    if not is_hub_name(source) or path.suffix.lower() in _FILE_KINDS:
        raise UsageError(f"no such file or folder: {source}", "A hub data set is named owner/name")
    return _from_hub(source, data)


_FILE_KINDS = (".parquet", ".csv", ".jsonl")


def _demo_split(data: DataConfig, seed_step: int) -> RawSplit:
    count = data.demo.test if seed_step else data.demo.train
    frames = demo.frames(count, data.demo.seed + seed_step)
    marking = Marking(data, (), "demo")
    rows = [
        RawRow(key, demo.response(frame), _DemoPicture(frame), f"demo {demo.DEMO_VERSION} {frame}", marking.of({}, key))
        for key, frame in ((f"demo-{data.demo.seed + seed_step}-{i}", frame) for i, frame in enumerate(frames))
    ]
    return RawSplit("demo", "test" if seed_step else "train", "response", rows, demo.NAMES)


@dataclass(frozen=True)
class _DemoPicture:
    frame: demo.Frame

    def __call__(self) -> bytes:
        return demo.jpeg(self.frame)


def _from_file(path: Path, data: DataConfig) -> list[RawSplit]:
    if path.suffix.lower() == ".parquet":
        return _load("parquet", data, str(path), data_files={"train": glob.escape(str(path))})
    if path.suffix.lower() in (".csv", ".jsonl"):
        splits, kind = read_manifest(path, data)
        return [
            RawSplit(str(path), name, kind, [file_row(r.key, r.answer, r.file, r.marks) for r in rows])
            for name, rows in splits.items()
        ]
    raise UsageError(
        f"{path}: not a data set",
        f"A data set file ends in {', '.join(_FILE_KINDS)}; pictures are read from a folder for each class",
    )


def _from_folder(path: Path, data: DataConfig) -> list[RawSplit]:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, data)
    if any(path.rglob("*.parquet")):
        if glob.has_magic(str(path)):  # `datasets` would take the folder's name for a glob pattern
            return _load("parquet", data, str(path), data_dir=glob.escape(str(path)))
        return _load(str(path), data, str(path))
    for name in ("metadata.csv", "metadata.jsonl", "manifest.csv", "manifest.jsonl"):
        if (path / name).is_file():
            return _from_file(path / name, data)
    parts = {child.name: child for child in _folders(path) if role_of(child.name) in ROLES}
    others = [child.name for child in _folders(path) if child.name not in parts]
    if "train" in map(role_of, parts) and others:
        raise UsageError(
            f"{path} has both folders for splits ({', '.join(parts)}) and other folders ({', '.join(others)})",
            "Make every folder a split, or every folder a class",
        )
    if parts and not others:
        return [_class_folders(child, name, data) for name, child in sorted(parts.items())]
    return [_class_folders(path, "train", data)]


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _class_folders(path: Path, split: str, data: DataConfig) -> RawSplit:
    marking = Marking(data, (), str(path))
    rows, ignored = [], sum(file.is_file() and not file.name.startswith(".") for file in path.iterdir())
    for folder in _folders(path):
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                key = printable(file.relative_to(path).as_posix())
                rows.append(file_row(key, printable(folder.name), file, marking.of({}, key)))
            elif file.is_file() and not file.name.startswith("."):
                ignored += 1
    if not rows:
        raise UsageError(
            f"no pictures found in {path}",
            "Expected a saved data set, parquet files, a metadata.csv, or one folder of pictures per class "
            f"({', '.join(SUFFIXES)})",
        )
    if ignored:
        log.warning("%s: %d files are ignored, because they are not pictures in a class folder", path, ignored)
    return RawSplit(str(path), split, "label", rows)


def _saved(path: Path, data: DataConfig) -> list[RawSplit]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # for damaged files, pyarrow and json raise errors of many kinds
        raise FrameVitError(f"{path}: the saved data set cannot be read: {error}") from None
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    return [_from_table(str(path), name, split, data) for name, split in splits.items()]


def _from_hub(source: str, data: DataConfig) -> list[RawSplit]:
    check_hub()
    name, revision = HubName.of(source)
    return _load(name, data, source, revision=revision)


def _load(path: str, data: DataConfig, source: str, **options: Any) -> list[RawSplit]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(path, **options)
    except datasets.exceptions.DatasetNotFoundError:
        raise UsageError(
            f"data set {source} is neither a local folder nor on the hub",
            "Check the spelling; for a private data set log in with `hf auth login`",
        ) from None
    except (ConnectionError, HfHubHTTPError, TimeoutError) as error:
        raise FrameVitError(
            f"the hub could not be reached for {source}: {_first_line(error)}",
            f"Check the network, or name a local copy of the data; there is no local folder or file {source}",
        ) from None
    except Exception as error:  # damaged files and broken downloads raise errors of many libraries
        raise FrameVitError(f"{source} cannot be read as a data set: {_first_line(error.__cause__ or error)}") from None
    return [_from_table(source, name, split, data) for name, split in loaded.items()]


def _from_table(source: str, name: str, table: Any, data: DataConfig) -> RawSplit:
    import datasets

    columns = table.column_names
    where = f"{source}, split {name}"
    if data.image_column not in columns:
        raise UsageError(
            f"{where}: there is no column {data.image_column!r}; the columns are {', '.join(columns)}",
            "Set data.image_column to the column with the pictures",
        )
    kind, column = answer_column(columns, data.response_column, data.label_column, where)
    if not isinstance(table.features[data.image_column], datasets.Image):
        raise UsageError(
            f"{where}: column {data.image_column!r} does not hold pictures",
            "Set data.image_column to a column of the type Image",
        )
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
    """The marks of every row, by its columns or by the name of the file that its picture came from."""
    import datasets

    marking = Marking(data, table.column_names, "the data set")
    if not marking.wanted:
        return [Marks()] * len(keys)
    columns = {grouping.column for grouping in marking.groupings if grouping.column}
    values = {column: table[column] for column in columns}
    encoded = table.select_columns([data.image_column]).cast_column(data.image_column, datasets.Image(decode=False))
    named = any(grouping.pattern for grouping in marking.groupings)
    paths = ((row[data.image_column] or {}).get("path") for row in encoded) if named else [None] * len(keys)
    return [
        marking.of({column: cells[i] for column, cells in values.items()}, path or keys[i])
        for i, path in enumerate(paths)
    ]


def _cell_stamps(table: Any, pictures: Any, column: str) -> list[str]:
    """A stamp for each picture: of the file that the cell names, else of the table's own files and fingerprint."""
    import pyarrow.compute as pc

    files = " ".join(stamp(Path(file["filename"])) for file in table.cache_files)
    if not files or table._indices is not None:
        return [""] * len(table)
    cells = pictures.data.column(column)
    paths = pc.struct_field(cells, "path").to_pylist()
    embedded = pc.is_valid(pc.struct_field(cells, "bytes")).to_pylist()
    return [
        stamp(Path(path)) if path and not has_bytes else f"{table._fingerprint} {files} {i}"
        for i, (path, has_bytes) in enumerate(zip(paths, embedded, strict=True))
    ]


@dataclass(frozen=True)
class _Cell:
    """Reads one picture of a table of `datasets`."""

    table: Any
    row: int
    column: str

    def __call__(self) -> bytes:
        value = self.table[self.row][self.column]
        if value is None or (value["bytes"] is None and value["path"] is None):
            raise RowError("no picture in this row")
        return value["bytes"] if value["bytes"] is not None else read_file(Path(value["path"]))


def _revision(table: Any) -> str:
    """The hub's commit of the rows, which is the name of their folder in the cache of `datasets`; empty if local."""
    folder = Path(table.cache_files[0]["filename"]).parent.name if table.cache_files else ""
    return folder if re.fullmatch("[0-9a-f]{40}", folder) else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
