"""Help topics by name: the Markdown files in this folder, with tables and lists made from the code.

The first line of a file is its title: `# Data: where pictures and labels come from`. The word before the colon is for
the reader, the file's name is the topic. A marker on a line of its own stands for what the code knows best: the kinds
of finding and what to do about them in `audit.md`, the config keys in `configuration.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame_vit.errors import UsageError
from frame_vit.findings import KINDS
from frame_vit.labels import did_you_mean

if TYPE_CHECKING:
    from frame_vit.config.schema import Section

FOLDER = Path(__file__).parent
FINDINGS_MARKER = "<!-- findings -->"
ADVICE_MARKER = "<!-- advice -->"
KEYS_MARKER = "<!-- keys -->"


def topics() -> dict[str, str]:
    """Every topic by name, with one line on what it is about."""
    return {path.stem: _summary(path) for path in sorted(FOLDER.glob("*.md"))}


def topic_text(name: str) -> str:
    """The Markdown of a topic. Raises `UsageError` where there is none, with the nearest name."""
    if name not in topics():
        raise UsageError(f"there is no help topic {name!r}{did_you_mean(name, topics())}", "framevit help lists them")
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    for marker, made in ((FINDINGS_MARKER, findings_table), (ADVICE_MARKER, advice_list), (KEYS_MARKER, keys_list)):
        if marker in text:
            text = text.replace(marker, made())
    return text


def topic_list() -> str:
    """All topics as Markdown, a line each."""
    lines = [f"- `{name}`: {summary}" for name, summary in topics().items()]
    return "\n".join(["# Help topics", "", "Read one with `framevit help TOPIC`.", "", *lines, ""])


def findings_table() -> str:
    """The kinds of finding of an audit, as a Markdown table."""
    rows = ["| code | finding | severity | threshold |", "| --- | --- | --- | --- |"]
    for kind in KINDS.values():
        threshold = f"`{kind.threshold}`" if kind.threshold else ""
        rows.append(f"| {kind.code} | {kind.title} | {kind.severity} | {threshold} |")
    return "\n".join(rows)


def advice_list() -> str:
    """What to do about each kind of finding, as a Markdown list."""
    return "\n".join(f"- {kind.code}, {kind.title}: {kind.advice}" for kind in KINDS.values())


def keys_list() -> str:
    """Every config key with its default and meaning, as a Markdown list under a heading for each section."""
    from frame_vit.config.schema import Config

    lines: list[str] = []
    for name, section in Config().__dict__.items():
        lines += [f"### {name}", "", *_keys(section, f"{name}."), ""]
    return "\n".join(lines).rstrip()


def _keys(section: Section, prefix: str) -> Iterator[str]:
    from frame_vit.config.schema import Section

    for key, info in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            meaning = " ".join((info.description or "").split()).replace("|", "or")
            yield f"- `{prefix}{key}` ({_written(value)}): {meaning}"


def _written(value: Any) -> str:
    """A default as it is written in YAML."""
    import json

    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _summary(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().strip().partition(": ")[2]
