"""Layouts of folders: which pictures of a tree are rows, with which answer, in which split.

A tree is read by what lies in it, never by what the names of its files resemble:

- Where a metadata table lies in any folder, the tables name the rows, as `datasets` reads an image folder.
- Otherwise every picture is labelled by its class folder. Folders called train, validation or test, above the class
  folders or directly below them, are the splits.

What is on disk and no row becomes a `Note`, so pictures on disk = rows + pictures that a note names. An entry that
cannot be read is a row, which is refused like any other bad row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from frame_vit.config.schema import DataConfig
from frame_vit.data.manifest import CLASSES, Manifest, ManifestRow, read_manifest
from frame_vit.data.rows import ROLES, Marking, Marks, Note, RawRow, RawSplit, file_row, role_of, with_notes
from frame_vit.errors import RowError, UsageError
from frame_vit.images.decode import SUFFIXES
from frame_vit.system.progress import log
from frame_vit.system.texts import printable, refused_by_windows
from frame_vit.tree import Entry, Tree, some

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "manifest.csv", "manifest.jsonl", CLASSES)
"""Names of files that list the pictures beside and below them."""
MASKS = ("ground_truth",)
"""Folders beside split or class folders that hold masks for their pictures, as in MVTec AD."""
SAVED = ("dataset_dict.json", "state.json")
"""Files by which a folder is known that `save_to_disk` of `datasets` wrote."""
SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}(?:-\w+)?")
"""The name of one of the files that a split is written into, as the hub has it."""
CARD_CHARACTERS = 1_000_000
SPLIT_NAMES = {name for names in ROLES.values() for name in names}


def innermost(tree: Tree, names: Collection[str]) -> Tree:
    """The folder that holds the data set: the tree, or one that lies alone in it and cannot be a class.

    A lone folder is not a class if it holds a metadata table, a saved data set, split folders, or folders with the
    `names` of known classes.
    """
    inner = tree
    while len(inner.children()) == 1 and not _holds_files(inner):
        inner = inner.below(inner.children()[0])
        if role_of(inner.root.name) in ROLES:
            break
        if _is_data_set(inner, names):
            log.info("%s: the data set is read from %s, the only folder in it", tree.root, inner.root)
            return inner
    lone = tree.below(tree.children()[0]) if inner is not tree else inner
    if lone is not tree and role_of(lone.root.name) not in ROLES and len(lone.children()) > 1:
        message = "%s: %s is taken for a class, because it is the only folder; if it is the data set, name %s"
        log.warning(message, tree.root, lone.root.name, lone.root)
    return tree


def metadata_tables(tree: Tree) -> list[Path]:
    """The tables that list the pictures of the tree. Raises `UsageError` if two lie in one folder."""
    tables = [entry.path for entry in tree.of("table") if entry.path.name.lower() in METADATA]
    for table in tables:
        several = [other.name for other in tables if other.parent == table.parent]
        if len(several) > 1:
            raise UsageError(
                f"{table.parent} has several tables of its pictures: {', '.join(several)}",
                f"Name the one to use, such as {table}, or remove the others",
            )
    return tables


def by_tables(tree: Tree, tables: Iterable[Path], data: DataConfig) -> list[RawSplit]:
    """The splits of the rows that the tables list. Raises `UsageError` if the tables do not fit together."""
    contents = {table: read_manifest(table, data, tree.root) for table in tables}
    kind, *other_kinds = {content.kind for content in contents.values()}
    if other_kinds:
        raise UsageError(
            f"{tree.root}: some tables have a column {data.response_column!r}, others only {data.label_column!r}",
            "Use the same columns in all tables",
        )
    listed = _listed(contents)
    names, *other_names = {content.names for content in contents.values()}
    splits = []
    for name in dict.fromkeys(name for content in contents.values() for name in content.splits):
        parts = {table: content.splits[name] for table, content in contents.items() if name in content.splits}
        rows = [
            file_row(_key(tree, table, row, len(parts) > 1), row.answer, row.file, row.marks)
            for table, found in parts.items()
            for row in found
        ]
        source = str(tree.root if len(parts) > 1 else next(iter(parts)))
        splits.append(RawSplit(source, name, kind, rows, () if other_names else names))
    notes = [note for content in contents.values() for note in content.notes]
    return with_notes(splits, [*notes, *beside(tree, {*listed, *contents})])


def by_table(path: Path, data: DataConfig) -> list[RawSplit]:
    """The splits of the rows of a table that the user named."""
    content = read_manifest(path, data)
    splits = [
        RawSplit(str(path), name, content.kind, [file_row(*row) for row in rows], content.names)
        for name, rows in content.splits.items()
    ]
    return with_notes(splits, content.notes)


def by_split(tree: Tree, files: Iterable[Path]) -> dict[str, list[Path]]:
    """Parquet files by split: by the card of the data set, a folder called like a split, or an exact name.

    Such names are test and test-00000-of-00001. All files are `train` if none names a split. Raises `UsageError` if
    only some do, or if the card has several configs.
    """
    files = list(files)
    by_card = _by_card(tree.root, files)
    if by_card:
        return by_card
    splits: dict[str, list[Path]] = {}
    for file in files:
        shard = SHARD.fullmatch(file.stem)
        stem = shard[1] if shard else file.stem if role_of(file.stem) in ROLES else ""
        folder = next((p for p in file.relative_to(tree.root).parts[:-1] if role_of(p) in ROLES), "")
        if stem and folder and role_of(stem) != role_of(folder):
            raise UsageError(f"{file}: the folder and the name are those of two splits", "Rename one of them")
        splits.setdefault(folder or stem, []).append(file)
    unnamed = splits.pop("", [])
    alike = [file.name for file in unnamed if {*re.split(r"[\W_]+", file.stem.lower())} & SPLIT_NAMES]
    if alike and not splits:
        advice = "a split has a folder of its own, or a name such as test.parquet"
        log.warning("%s: all parquet files are read as train, %s too; %s", tree.root, some(alike), advice)
    if unnamed and splits:
        named = [file for found in splits.values() for file in found]
        raise UsageError(
            f"{tree.root}: {named[0].name} names a split, {unnamed[0].name} does not",
            "Put every file into a folder called train, validation or test, or give it such a name",
        )
    roles = [*ROLES]
    in_order = sorted(splits, key=lambda name: roles.index(role_of(name)) if role_of(name) in roles else len(roles))
    return {name: splits[name] for name in in_order} or {"train": unnamed}


def class_folders(tree: Tree, data: DataConfig) -> list[RawSplit]:
    """The splits of pictures that are labelled by their folder.

    Raises `UsageError` if there are no pictures, or if folders for splits and others lie side by side.
    """
    tops = [folder for folder in tree.children() if folder.name.lower() not in MASKS]
    parts = _split_folders(tree, tops, data)
    if parts:
        splits = [_split(tree.below(part), part.name, data) for part in sorted(parts)]
        used = {entry.path for part in parts for entry in tree.below(part).entries}
        return with_notes(splits, beside(tree, used))
    if _has_splits_below_classes(tree):
        whole = _split(tree, "train", data)
        by_split: dict[str, list[RawRow]] = {}
        for row in whole.rows:
            by_split.setdefault(row.key.split("/")[1], []).append(row)
        splits = [RawSplit(whole.source, name, whole.kind, rows) for name, rows in sorted(by_split.items())]
        return with_notes(splits, whole.notes)
    _check_only_class_folders(tree, tops)
    return [_split(tree, "train", data)]


def beside(tree: Tree, used: Collection[Path]) -> list[Note]:
    """The notes on all entries of a tree but those that were `used`."""
    return _passed_over(tree, [entry for entry in tree.entries if entry.path not in used], [])


@dataclass(frozen=True)
class _Refused:
    """Reads nothing, but says why."""

    reason: str

    def __call__(self) -> bytes:
        raise RowError(self.reason)


def _by_card(root: Path, files: Collection[Path]) -> dict[str, list[Path]]:
    """Files by split as README.md, the card of a data set on the hub, lists them; empty if it lists none."""
    import yaml

    try:
        text = (root / "README.md").read_text(encoding="utf-8")[:CARD_CHARACTERS]
        configs = yaml.safe_load(text.split("---\n")[1])["configs"] if text.startswith("---\n") else []
        listed = [each["data_files"] for each in configs]
    except (OSError, ValueError, yaml.YAMLError, IndexError, KeyError, TypeError):
        return {}
    if len(listed) > 1:
        names = ", ".join(str(each.get("config_name")) for each in configs)
        raise UsageError(f"{root}: its card has several configs: {names}", "Name the folder or the file of one of them")
    splits: dict[str, list[Path]] = {}
    for each in listed[0] if listed and isinstance(listed[0], list) else listed:
        split, patterns = (each["split"], each["path"]) if isinstance(each, dict) else ("train", each)
        patterns = [patterns] if isinstance(patterns, str) else patterns
        found = {file for pattern in patterns for file in root.glob(pattern)}
        splits.setdefault(split, []).extend(sorted(found & {*files}))
    return {split: found for split, found in splits.items() if found}


def _holds_files(tree: Tree) -> bool:
    """Whether anything that may be part of a data set lies directly in the root."""
    found = tree.of("picture", "broken", "table", "disguised")
    return any(entry.path.parent == tree.root and not entry.problem for entry in found)


def _is_data_set(tree: Tree, names: Collection[str]) -> bool:
    inside = {folder.name for folder in tree.children()}
    roles = {role_of(name) for name in inside if name.lower() not in MASKS}
    return (
        any(
            entry.path.name.lower() in METADATA or entry.path.suffix.lower() == ".parquet"
            for entry in tree.of("table")
            if entry.path.parent == tree.root
        )
        or any((tree.root / name).is_file() for name in SAVED)
        or ("train" in roles and roles <= {*ROLES})
        or (tree.root.name not in names and not inside.isdisjoint(names))
    )


def _listed(contents: Mapping[Path, Manifest]) -> set[Path]:
    """The files that the tables list. Raises `UsageError` if two tables list the same one."""
    first: dict[Path, Path] = {}
    for table, content in contents.items():
        for file in {row.file for rows in content.splits.values() for row in rows}:
            other = first.setdefault(file, table)
            if other != table:
                raise UsageError(f"{file} is listed in two tables: {other} and {table}", "List it in one of them")
    return {*first}


def _key(tree: Tree, table: Path, row: ManifestRow, is_one_of_several: bool) -> str:
    """The key of a row, with the table where a split has rows of several tables."""
    return f"{table.relative_to(tree.root).as_posix()}, {row.key}" if is_one_of_several else row.key


def _check_only_class_folders(tree: Tree, tops: list[Path]) -> None:
    """Raises `UsageError` where the folders may not be classes: beside a table, or with folders for splits inside."""
    tables = [entry.path for entry in tree.of("table") if entry.path.parent == tree.root]
    if len(tops) < 2 and tables:
        holds = ", ".join([*(folder.name for folder in tops), tables[0].name])
        raise UsageError(
            f"{tree.root} holds {holds} and fewer than two class folders: are the labels those of the table?",
            f"To read the labels from the table, name it: {tables[0]}. Otherwise move it out of the folder",
        )
    inside = [folder for folder in tree.folders if folder.parent in tops and role_of(folder.name) in ROLES]
    if inside:
        raise UsageError(
            f"{tree.root}: folders for splits lie in some class folders ({inside[0].relative_to(tree.root)}), but not "
            "every picture lies in CLASS/SPLIT",
            f"If {inside[0].parent.name} is a data set of its own, name {inside[0].parent}; else move the pictures",
        )


def _split_folders(tree: Tree, tops: list[Path], data: DataConfig) -> list[Path]:
    """Those folders that are splits; none if the folders are classes."""
    if data.splits_used is not None and {*data.splits_used} <= {folder.name for folder in tops}:
        return [folder for folder in tops if folder.name in data.splits_used]
    parts = [folder for folder in tops if role_of(folder.name) in ROLES]
    others = [folder.name for folder in tops if folder not in parts]
    if "train" in {role_of(folder.name) for folder in parts} and others:
        names = [folder.name for folder in parts]
        raise UsageError(
            f"{tree.root} has both folders for splits ({', '.join(names)}) and other folders ({', '.join(others)})",
            "Make every folder a split, or every folder a class; or leave the others out with "
            f"--set 'data.splits_used=[{', '.join(names)}]'",
        )
    return [] if others else parts


def _has_splits_below_classes(tree: Tree) -> bool:
    """Whether every picture lies in CLASS/SPLIT/."""
    places = [entry.path.relative_to(tree.root).parts for entry in tree.of("picture")]
    return bool(places) and all(len(place) == 3 and role_of(place[1]) in ROLES for place in places)


def _split(tree: Tree, name: str, data: DataConfig) -> RawSplit:
    """The pictures below a folder, labelled by their class folder.

    Pictures directly in a folder for a test are a split without labels.
    """
    marking = Marking(data, (), str(tree.root))
    rows: list[RawRow] = []
    loose, aside, filled = [], [], set()
    for entry in tree.of("picture", "broken"):
        parts = entry.path.relative_to(tree.root).parts
        if not parts:
            raise UsageError(f"{tree.root}: {entry.problem}", "Give yourself the right to read it")
        if len(parts) == 1 and not entry.problem:
            loose.append(entry)
        elif parts[0].lower() in MASKS:
            aside.append(entry)
        else:
            filled.add(parts[0])
            rows.append(_row(tree, entry, printable(parts[0]), marking))
    is_unlabelled = not data.label_column or role_of(name) in {*ROLES} - {"train"}
    if not rows and not tree.children() and is_unlabelled:
        rows, loose = [_row(tree, entry, None, marking) for entry in loose], []
    if not rows:
        raise UsageError(
            f"no pictures found in {tree.root}",
            "Expected a saved data set, parquet files, a metadata.csv, or one folder of pictures per class "
            f"({', '.join(SUFFIXES)})",
        )
    rest = [*loose, *aside, *tree.of("table", "disguised", "hidden", "link", "other")]
    empty = [each for each in tree.children() if each.name not in filled and each.name.lower() not in MASKS]
    odd = tuple(printable(class_name) for class_name in sorted(filled) if refused_by_windows(class_name))
    message = f"class folders with a name that Windows refuses: {len(odd)}"
    names = [Note("FV708", str(tree.root), message, odd)] if odd else []
    return RawSplit(str(tree.root), name, "label", rows, notes=(*_passed_over(tree, rest, empty), *names))


def _row(tree: Tree, entry: Entry, label: str | None, marking: Marking) -> RawRow:
    key = printable(entry.path.relative_to(tree.root).as_posix())
    if entry.problem:
        return RawRow(key, label, _Refused(entry.problem), f"{entry.path.absolute()} {entry.problem}")
    return file_row(key, label, entry.path, marking.of({}, key) if entry.kind == "picture" else Marks())


def _passed_over(tree: Tree, entries: Collection[Entry], empty: Iterable[Path]) -> list[Note]:
    """Notes on entries that are no rows, and on class folders without a picture."""
    where = str(tree.root)

    def of(code: str, message: str, *kinds: str) -> Iterable[Note]:
        found = [entry for entry in entries if entry.kind in kinds]
        items = tuple(printable(name) for name in tree.named(found))
        return [Note(code, where, f"{message}: {len(items)}", items)] if items else []

    return [
        *of("FV701", "hidden files and files of the system, passed over", "hidden"),
        *of("FV702", "files passed over, because they are not pictures", "table", "other"),
        *of("FV702", "links not followed, because they lead back into the tree", "link"),
        *of("FV703", "pictures not used, because no table or class folder labels them", "picture", "broken"),
        *of("FV703", "pictures not used, because their names end like those of other files", "disguised"),
        *_without_pictures(tree, empty),
    ]


def _without_pictures(tree: Tree, folders: Iterable[Path]) -> list[Note]:
    items = []
    for folder in folders:
        endings = Counter(e.path.suffix or e.path.name for e in tree.below(folder).of("other", "table", "disguised"))
        found = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items())) or "empty"
        items.append(printable(f"{folder.name}: {found}"))
    message = f"folders without a picture ({', '.join(SUFFIXES)}): {len(items)}"
    return [Note("FV704", str(tree.root), message, tuple(items))] if items else []
