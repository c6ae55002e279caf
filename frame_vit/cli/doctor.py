"""`framevit doctor`: what this machine and this installation can do, shown in groups or as one JSON object."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from frame_vit.cli.options import echo_json, enough_seen
from frame_vit.errors import UsageError

if TYPE_CHECKING:
    from frame_vit.system.caches import CacheUse
    from frame_vit.system.doctor import DeviceState, Diagnosis, Extra

Rows = list[tuple[str, str]]
"""A group of the report: a name and a text each."""
CACHE_FOLDER = "A folder that a config names in data.cache is not looked at, only FRAMEVIT_CACHE or the default."


def doctor(
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    clear_cache: Annotated[bool, typer.Option("--clear-cache", help="First delete framevit's own caches.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
) -> None:
    """Show versions, devices, caches, and what is missing.

    This is what a bug report needs.
    """
    if clear_cache:
        _clear(yes)
    from frame_vit.cli import console

    with console.starting():
        from frame_vit.system.doctor import diagnose

        diagnosis = diagnose()
    if json_output:
        echo_json(diagnosis.to_json())
    else:
        with enough_seen():
            _show(diagnosis)
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _clear(yes: bool) -> None:
    """Deletes framevit's own caches, after asking. Raises `UsageError` where nobody can be asked."""
    from frame_vit.system.caches import cache_folder, cache_use, clear_caches
    from frame_vit.system.files import size
    from frame_vit.system.progress import log

    cache = cache_folder()
    before = sum(part.bytes for part in cache_use(cache))
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            f"--clear-cache would delete {size(before)} in {cache}, and nobody can be asked here", "Add --yes to do it"
        )
    question = f"Delete {size(before)} of framevit's own caches (decoded pictures and what was computed) in {cache}?"
    if not yes and not typer.confirm(question, err=True):
        log.info("nothing was deleted")
        return
    for folder in clear_caches(cache):
        log.warning("%s was left: another process writes it, or it cannot be deleted", folder)
    log.info("%s deleted in %s", size(before - sum(part.bytes for part in cache_use(cache))), cache)


def _show(diagnosis: Diagnosis) -> None:
    installed = ", ".join(f"{package.name} {package.version}" for package in diagnosis.packages if package.version)
    groups: dict[str, Rows] = {
        f"framevit {diagnosis.framevit}": [
            ("Python", diagnosis.python),
            ("platform", diagnosis.platform),
            ("packages", installed or "unknown"),
        ],
        "Devices": [_device(device) for device in diagnosis.devices],
        "Caches": [*(_cache(cache) for cache in diagnosis.caches), _hub_cache(diagnosis), ("", CACHE_FOLDER)],
        "Free space": [(disk.purpose, f"{_size(disk.free)} for {disk.path}") for disk in diagnosis.disks],
        "Extras": [_extra(extra) for extra in diagnosis.extras],
        "Hub": [(_answer(diagnosis.hub.answers), f"{diagnosis.hub.url}: {diagnosis.hub.reason}")],
        "Notes": [("", note) for note in diagnosis.notes],
        "Problems": [("", problem) for problem in diagnosis.problems],
    }
    if diagnosis.precision is not None:
        choice = diagnosis.precision
        groups["Devices"].append(("precision", f"{choice.precision} on {choice.device}: {choice.reason}"))
    _show_groups({title: rows for title, rows in groups.items() if rows})
    _show_summary(diagnosis.healthy)


def _device(device: DeviceState) -> tuple[str, str]:
    return device.name, device.description + (f", {_size(device.memory)} memory" if device.memory else "")


def _cache(cache: CacheUse) -> tuple[str, str]:
    return cache.name, f"{_size(cache.bytes)} of {cache.contents} in {cache.entries} folders, {cache.path}"


def _hub_cache(diagnosis: Diagnosis) -> tuple[str, str]:
    at_least = "" if diagnosis.hub_cache_size.complete else "at least "
    return "hub", f"{at_least}{_size(diagnosis.hub_cache_size.bytes)}, {diagnosis.hub_cache} (kept by --clear-cache)"


def _extra(extra: Extra) -> tuple[str, str]:
    missing = ", ".join(extra.missing)
    return extra.name, f"needs {missing}: {extra.command}" if missing else "installed"


def _answer(answers: bool | None) -> str:
    return "not tried" if answers is None else "answers" if answers else "no answer"


def _size(count: int) -> str:
    from frame_vit.system.files import size

    return size(count)


def _show_groups(groups: dict[str, Rows]) -> None:
    from rich.text import Text

    from frame_vit.cli.console import plain, screen

    widest = max(len(name) for rows in groups.values() for name, _ in rows)
    for title, rows in groups.items():
        indent = " " * (widest + 4 if any(name for name, _ in rows) else 2)
        screen().print(Text(title, style="bold red" if title == "Problems" else "bold"))
        for name, text in rows:
            first = f"  {name}".ljust(len(indent))
            lines = textwrap.wrap(plain(text), max(screen().width, 40), initial_indent=first, subsequent_indent=indent)
            screen().print(Text("\n".join(lines)), soft_wrap=True)
        screen().print()


def _show_summary(healthy: bool) -> None:
    from frame_vit.cli.console import screen

    screen().print(
        "framevit can train and predict here." if healthy else "framevit cannot work here until this is solved."
    )
