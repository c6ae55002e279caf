"""README and help topics against the code: commands, flags, links, paths, config keys and the tree exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

from frame_vit.cli.app import COMMANDS, app
from frame_vit.config.load import load_config
from frame_vit.config.schema import AuditConfig, Config, Section
from frame_vit.findings import KINDS, FindingKind
from frame_vit.help.topics import topic_text, topics
from tests.benchmarks.recipes_figure import Row, accuracies
from tests.benchmarks.study import rows_in

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "frame_vit"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README": README} | {name: topic_text(name) for name in topics()}
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PARSED = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LARGEST_PICTURE = 300_000
LONGEST_README = 220


def used_commands(text: str) -> Iterator[tuple[str, str]]:
    """Every command that a page shows, `framevit NAME ...`, with the rest of its line or of its code span."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    shown = re.findall(r"`(framevit [^`\n]+)`", text) + re.findall(r"^(?:\$ )?(framevit .*)$", blocks, re.MULTILINE)
    for command in shown:
        name, _, rest = command.removeprefix("framevit ").partition(" ")
        if re.fullmatch(r"[a-z]+", name):
            yield name, rest.partition("  #")[0]
    for name, rest in re.findall(r"-m frame_vit ([a-z]+) (.*)", text):
        yield name, rest


def config_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Every section and key of the config, by dotted name."""
    for key, info in section.model_fields.items():
        yield f"{prefix}{key}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from config_keys(info.annotation, f"{prefix}{key}.")


def printed_lines() -> list[str]:
    """The lines of output that the README shows below its commands; a line of blocks and dots is no sentence."""
    blocks = re.findall(r"^```\n\$ framevit [^\n]*\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line != "..."]


@cache
def printed_texts() -> list[list[str | None]]:
    """Every text in the package that has a word, as its constant parts; None stands for a value."""
    texts = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts.append([str(part.value) if isinstance(part, ast.Constant) else None for part in parts])
    return [parts for parts in texts if words(" ".join(part for part in parts if part))]


@cache
def templates() -> list[re.Pattern[str]]:
    """The texts of the package as patterns, in which a value matches anything."""
    return [
        re.compile("".join("(.+?)" if part is None else re.escape(part) for part in parts)) for parts in printed_texts()
    ]


def words(text: str) -> list[str]:
    return re.findall(r"(?<![\w./-])[A-Za-z]{2,}(?![\w/])", text)


def is_printed(text: str) -> bool:
    """Whether the package prints such a text: a value of a few words, or a template with values that it prints."""
    if text.endswith("..."):  # cut off in the README
        constant = re.sub(r"\S*\d\S*", "", text).strip(" .")
        return any(constant in part for parts in printed_texts() for part in parts if part)
    matches = (template.fullmatch(text) for template in templates())
    return len(words(text)) < 4 or any(all(map(is_printed, match.groups())) for match in matches if match)


def flags_of(name: str) -> set[str]:
    return {flag for each in PARSED[name].params for flag in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_says_what_it_is(path: Path) -> None:
    load_config(path)
    head = path.read_text().split("\nlabels:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"framevit train --config configs/{path.name}" in head
    assert "Expect" in head
    assert path.name in README
    assert f"`configs/{path.name}`" in PAGES["models"]


def test_the_readme_is_short_and_starts_with_the_two_commands() -> None:
    assert len(README.splitlines()) <= LONGEST_README
    start = README.partition("## Start")[2].partition("\n## ")[0]
    first = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/framevit train --config configs/demo.yaml"
    for command in (first, ".venv/bin/pip install '.[test]' && .venv/bin/python -m pytest"):
        assert f"```sh\n{command}\n```" in start


@pytest.mark.parametrize("name", sorted(PARSED))
def test_every_command_is_explained_in_its_help_the_readme_and_its_topic(name: str) -> None:
    assert PARSED[name].help
    assert f"**`framevit {name}`**" in README
    for parameter in PARSED[name].params:
        assert parameter.help if hasattr(parameter, "help") else True, f"{name} {parameter.name} is not explained"
    if COMMANDS[name].topic:
        assert name in {used for used, _ in used_commands(PAGES[COMMANDS[name].topic])}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_command_and_flag_on_a_page_exists(page: str) -> None:
    for name, rest in used_commands(PAGES[page]):
        assert name in PARSED, name
        shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*(?![\w.])", re.sub(r"'[^']*'", "", rest)))
        assert shown <= flags_of(name), f"framevit {name} {rest}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_example_of_a_command_uses_its_own_flags(name: str) -> None:
    ((used, rest),) = used_commands(f"`{COMMANDS[name].example}`")
    assert used == name
    assert set(re.findall(r"(?<!\w)--?[a-z][a-z0-9-]*", rest)) <= flags_of(name)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_topic_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"`framevit help ([a-z-]+)`", PAGES[page]))
    assert named <= set(topics())


def test_every_command_names_a_topic_and_the_readme_names_all() -> None:
    assert {command.topic for command in COMMANDS.values()} - {""} <= set(topics())
    assert all(f"`{name}`" in README for name in topics())


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_link_and_path_exists(page: str) -> None:
    linked = [link for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]) if "://" not in link]
    named = re.findall(r"(?<![\w/.])(?:frame_vit|tests|configs|\.ci)/[\w./-]*\w", PAGES[page])
    for path in (*linked, *named):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_config_key_on_a_page_exists(page: str) -> None:
    sections = "|".join(Config.model_fields)
    keys = set(re.findall(rf"(?:`|--set |\[\")((?:{sections})\.[a-z_0-9.]*[a-z_0-9])(?=[`:=])", PAGES[page]))
    assert {key for key in keys if not key.endswith((".onnx", ".json"))} <= set(config_keys())


def test_the_tree_in_the_readme_is_the_tree() -> None:
    tree = re.sub(r"\n {10,}", " ", README.partition("```\nframe_vit/\n")[2].partition("```")[0])
    shown = {line.split()[0]: line for line in tree.splitlines()}
    parts = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))]
    assert set(shown) - {"tests/", "configs/"} == {
        path.name + "/" * path.is_dir() for path in parts if path.name != "__init__.py"
    }
    for folder in (path for path in parts if path.is_dir()):
        rooms = sorted(path.stem for path in folder.glob("*.py") if path.name != "__init__.py")
        listed = re.sub(r"[\w]+/", "", shown[f"{folder.name}/"].rpartition(": ")[2])
        assert re.findall(r"\w+", listed) == rooms, folder.name


def test_the_pictures_in_the_readme_are_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 2
    assert all(0 < (ROOT / picture).stat().st_size <= LARGEST_PICTURE for picture in pictures)


@pytest.mark.parametrize(("page", "data"), [("README", "frames"), ("training", "frames"), ("training", "boards")])
def test_the_table_of_recipes_is_computed_from_the_rows_that_were_measured(page: str, data: str) -> None:
    rows = rows_in(ROOT / "tests/benchmarks/recipes.csv", Row)
    assert "\n".join(accuracies(rows, data)) in PAGES[page]


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "frame_vit", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("framevit ")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.code)
def test_every_kind_of_finding_stands_in_the_audit_topic(kind: FindingKind) -> None:
    threshold = f"`{kind.threshold}`" if kind.threshold else ""
    assert f"| {kind.code} | {kind.title} | {kind.severity} | {threshold} |" in PAGES["audit"]
    assert not kind.threshold or kind.threshold in AuditConfig.model_fields


@pytest.mark.parametrize("page", sorted(PAGES))
def test_codes_on_a_page_exist(page: str) -> None:
    assert set(re.findall(r"FV\d{3}", PAGES[page])) <= set(KINDS)


@pytest.mark.parametrize("line", printed_lines())
def test_the_output_in_the_readme_is_what_the_program_prints(line: str) -> None:
    """Columns, which are two spaces or a bar apart, are printed one by one."""
    cells = re.split(r" {2,}|[┃│|]", line)
    assert [cell for cell in cells if not is_printed(cell.strip())] == []
