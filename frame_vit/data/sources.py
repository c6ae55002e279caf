"""Adapters: from whatever a user names as data to raw rows, split by split.

A source is a hub data set, a saved data set or parquet files (all read through `datasets`), a folder of pictures
(`folders`), a table that lists them (`manifest`), or the synthetic frames of the demo. Local files are named to
`datasets` one by one: left to itself, it chooses splits by what the names of files resemble, and skips the others.

Pictures stay encoded: a raw row can read its bytes, and nothing is decoded or parsed here. To add a kind of source: a
function that returns `RawSplit`s, and a branch in `read_source`.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_vit.config.schema import DataConfig
from frame_vit.data import demo, folders
from frame_vit.data.manifest import file_column
from frame_vit.data.response import answer_column
from frame_vit.data.rows import Marking, Marks, RawRow, RawSplit, stamp, with_notes
from frame_vit.errors import FrameVitError, RowError, UsageError
from frame_vit.images.decode import read_file
from frame_vit.system.hub import HubName, asking_hub, is_hub_name
from frame_vit.system.progress import log
from frame_vit.tree import TABLES, Tree, walk


def read_source(source: str, data: DataConfig, seed_step: int = 0, names: Collection[str] = ()) -> list[RawSplit]:
    """The splits of a source, with the names that the source gives them.

    `seed_step` is added to the demo's seed: 0 for training frames, 1 for test frames. `names` are those of the classes,
    as far as they are known: a lone folder with other names inside is then not taken for a class.

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
        splits = _from_file(path, data) if kind == "file" else _from_folder(path, data, names)
        for note in (note for split in splits for note in split.notes):
            log.warning("%s", note.sentence)
        return splits
    if path.suffix.lower() in TABLES or not is_hub_name(HUB_CONFIG.sub(r"\1", source)):
        raise UsageError(f"no such file or folder: {source}", "A hub data set is named owner/name")
    return _from_hub(source, data)


HUB_CONFIG = re.compile(r"(?<=/)([\w.-]+):([\w.-]+)")
"""The name and the config in `owner/name:config@revision`."""


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
    suffix = path.suffix.lower()
    if suffix == ".parquet" and not _lists_files(path, data):
        return _load("parquet", data, str(path), data_files={"train": glob.escape(str(path))})
    if suffix in TABLES:
        return folders.by_table(path, data)
    raise UsageError(
        f"{path}: not a data set",
        f"A data set file ends in {', '.join(TABLES)}; pictures are read from a folder for each class",
    )


def _from_folder(path: Path, data: DataConfig, names: Collection[str]) -> list[RawSplit]:
    if _is_saved(path):
        return _saved(path, data)
    whole = walk(path)
    tree = folders.innermost(whole, names)
    outside = folders.beside(whole, {entry.path for entry in tree.entries})
    return with_notes(_from_tree(tree, data), outside)


def _from_tree(tree: Tree, data: DataConfig) -> list[RawSplit]:
    if _is_saved(tree.root):
        return _saved(tree.root, data)
    tables = folders.metadata_tables(tree)
    if tables:
        return folders.by_tables(tree, tables, data)
    parquet = [entry.path for entry in tree.of("table") if entry.path.suffix.lower() == ".parquet"]
    pictured = {entry.path.parent for entry in tree.of("picture")}
    if pictured:  # parquet files beside them are the data set only if they hold pictures and no class folders exist
        parquet = [file for file in parquet if _holds_pictures(file, data)] if len(pictured - {tree.root}) < 2 else []
    if parquet:
        by_split = folders.by_split(tree, parquet)
        files = {name: [glob.escape(str(file)) for file in found] for name, found in by_split.items()}
        splits = _load("parquet", data, str(tree.root), data_files=files)
        return with_notes(splits, folders.beside(tree, parquet))
    return folders.class_folders(tree, data)


def _is_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in folders.SAVED)


def _schema(file: Path) -> Any:
    """The columns of a parquet file; None if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError):
        return None


def _holds_pictures(file: Path, data: DataConfig) -> bool:
    schema = _schema(file)
    return schema is not None and data.image_column in schema.names


def _lists_files(file: Path, data: DataConfig) -> bool:
    """Whether a parquet file is a table of the paths of pictures, and not of pictures."""
    import pyarrow.types as types

    schema = _schema(file)
    column = file_column(schema.names, data) if schema is not None else None
    if column is None:
        return False
    kind = schema.field(column).type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _saved(path: Path, data: DataConfig) -> list[RawSplit]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # for damaged files, pyarrow and json raise errors of many kinds
        raise FrameVitError(f"{path}: the saved data set cannot be read: {error}") from None
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    return [_from_table(str(path), name, split, data) for name, split in splits.items()]


def _from_hub(source: str, data: DataConfig) -> list[RawSplit]:
    import huggingface_hub

    config = HUB_CONFIG.search(source)
    name, revision = HubName.of(HUB_CONFIG.sub(r"\1", source))
    with asking_hub(huggingface_hub, f"data set {source}"):
        return _load(name, data, source, name=config[2] if config else None, revision=revision)


def _load(path: str, data: DataConfig, source: str, **options: Any) -> list[RawSplit]:
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(path, **options)
    except datasets.exceptions.DatasetNotFoundError as error:
        if "gated" in str(error):
            raise UsageError(f"{source}: {_first_line(error)}", "Then log in with `hf auth login`") from None
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
    feature = table.features[data.image_column]
    if not _can_be_pictures(feature):
        raise UsageError(
            f"{where}: column {data.image_column!r} does not hold pictures",
            f"It holds {feature}. Set data.image_column to a column of the type Image, of bytes, or of structs of "
            "bytes and path",
        )
    pictures = table.select_columns([data.image_column]).cast_column(data.image_column, datasets.Image(decode=False))
    names, answers = _answers(table, column)
    keys = [f"{name}[{i}]" for i in range(len(table))]
    stamps = _cell_stamps(table, pictures, data.image_column)
    facts = zip(answers, stamps, _marks(table, pictures, data, keys), strict=True)
    rows = [
        RawRow(keys[i], answer, _Cell(pictures, i, data.image_column), stamp, marks)
        for i, (answer, stamp, marks) in enumerate(facts)
    ]
    return RawSplit(source, name, kind, rows, names, _revision(table))


def _can_be_pictures(feature: Any) -> bool:
    """Whether a column holds encoded pictures, with the schema of `datasets` or as other tools write them."""
    import datasets

    stored = feature.get("bytes") if isinstance(feature, dict) else feature
    return isinstance(feature, datasets.Image) or getattr(stored, "dtype", "") in ("binary", "large_binary")


def _answers(table: Any, column: str) -> tuple[tuple[str, ...], Iterable[object]]:
    """The names of the classes, if the column declares them, and the answer of every row; class ids become names."""
    import datasets

    if not column:
        return (), [None] * len(table)
    feature = table.features[column]
    classes = getattr(feature, "feature", feature)  # of a list, that of its elements
    if not isinstance(classes, datasets.ClassLabel):
        return (), table[column]

    def named(answer: Any) -> object:
        if isinstance(answer, list):
            return [named(each) for each in answer]
        return None if answer is None or answer < 0 else classes.int2str(answer)

    return tuple(classes.names), map(named, table[column])


def _marks(table: Any, pictures: Any, data: DataConfig, keys: list[str]) -> list[Marks]:
    """The marks of every row, by its columns or by the name of the file that its picture came from."""
    marking = Marking(data, table.column_names, "the data set")
    if not marking.wanted:
        return [Marks()] * len(keys)
    columns = {grouping.column for grouping in marking.groupings if grouping.column}
    values = {column: table[column] for column in columns}
    named = any(grouping.pattern for grouping in marking.groupings)
    paths = ((row[data.image_column] or {}).get("path") for row in pictures) if named else [None] * len(keys)
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
