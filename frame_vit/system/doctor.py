"""`framevit doctor`: what this installation and this machine can do, and what is wrong with them.

It is what a bug report needs, so it must work where framevit itself does not: every library is imported here only to
see whether that succeeds, and a failure becomes a sentence. A problem is something that training or prediction needs
and that is broken; a note is worth knowing and breaks nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from frame_vit import __version__
from frame_vit.system.caches import CacheUse, FolderSize, cache_folder, cache_use, hub_cache_folder, hub_cache_size
from frame_vit.system.files import existing_parent, free_space, size
from frame_vit.system.hub import HubState, hub_state
from frame_vit.system.machine import NUMBER_FORMATS, cores, processor_flags, processor_name

PACKAGE = "framevit"
MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
"""Packages whose module has another name than the package (apart from `-` for `_`)."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
LITTLE_SPACE = 2_000_000_000
"""Bytes. A large pretrained model with its checkpoints takes more than that."""


@dataclass(frozen=True)
class Package:
    """A package that framevit needs: its installed version (None: not installed), and why it is unusable, if it is."""

    name: str
    version: str | None
    fault: str | None = None


@dataclass(frozen=True)
class DeviceState:
    """A device to compute on: by the name that --device takes, with what it is and its memory in bytes, if known."""

    name: str
    description: str
    memory: int | None = None


@dataclass(frozen=True)
class PrecisionState:
    """The device and the precision that `auto` takes on this machine, and the reason as a sentence."""

    device: str
    precision: str
    reason: str


@dataclass(frozen=True)
class Disk:
    """Free bytes on the disk of a folder, and what the folder is for. A folder need not exist yet."""

    purpose: str
    path: Path
    free: int
    writable: bool


@dataclass(frozen=True)
class Extra:
    """An optional part of framevit: the packages that it lacks here, and the command that installs them."""

    name: str
    missing: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `framevit doctor` reports."""

    framevit: str
    python: str
    platform: str
    packages: list[Package]
    devices: list[DeviceState]
    precision: PrecisionState | None
    caches: list[CacheUse]
    hub_cache: Path
    hub_cache_size: FolderSize
    disks: list[Disk]
    extras: list[Extra]
    hub: HubState
    problems: list[str]
    notes: list[str]

    @property
    def healthy(self) -> bool:
        """Whether training and prediction can work."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """One JSON object; sizes are in bytes, paths are texts."""
        values = asdict(self, dict_factory=_with_texts)
        return {"healthy": self.healthy} | values


def diagnose() -> Diagnosis:
    """Looks at everything: imports the required packages, and opens one connection to the hub. Changes nothing."""
    required, extras = _requirements()
    packages = [_examined(name) for name in required]
    computing = _computing(not any(package.fault for package in packages if package.name == "torch"))
    cache = cache_folder()
    disks = [_disk("caches", cache), _disk("working folder", Path.cwd())]
    state = [_extra(name, needed) for name, needed in extras.items()]
    hub = hub_state()
    return Diagnosis(
        framevit=__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        platform=platform.platform(),
        packages=packages,
        devices=computing.devices,
        precision=computing.precision,
        caches=cache_use(cache),
        hub_cache=hub_cache_folder(),
        hub_cache_size=hub_cache_size(hub_cache_folder()),
        disks=disks,
        extras=state,
        hub=hub,
        problems=_problems(packages, disks),
        notes=[*computing.notes, *_notes(packages, disks, hub)],
    )


def _with_texts(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in items}


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The names of the required packages, and those of every extra, from framevit's own package metadata."""
    try:
        lines = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return [], {}
    required: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in lines:
        name, extra = _parsed(line)
        if extra is None:
            required.append(name)
        elif name != PACKAGE:
            extras.setdefault(extra, []).append(name)
    return required, extras


def _parsed(line: str) -> tuple[str, str | None]:
    """The package and the extra (None: required) of a line such as `onnx>=1.18; extra == 'export'`."""
    name = re.match(r"[\w.-]+", line)
    extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
    assert name is not None, line
    return name[0].lower(), extra[1] if extra else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _examined(name: str) -> Package:
    """The package after an attempt to import it."""
    version = _version(name)
    if version is None:
        return Package(name, None, "it is not installed")
    if fault := _outdated(name, version):
        return Package(name, version, fault)
    try:
        importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except Exception as error:  # a broken library raises whatever it stumbles over
        return Package(name, version, f"importing it fails: {type(error).__name__}: {error}")
    return Package(name, version)


def _outdated(name: str, version: str) -> str | None:
    """Why the installed version is not one that framevit's metadata allows; None where it is, or that is unknown."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return None
    for line in importlib.metadata.requires(PACKAGE) or []:
        requirement = Requirement(line)
        here = requirement.marker is None and requirement.name.lower() == name
        if here and not requirement.specifier.contains(version, prereleases=True):
            return f"version {version} does not satisfy {requirement.specifier}"
    return None


def _extra(name: str, needed: list[str]) -> Extra:
    missing = tuple(package for package in needed if _version(package) is None)
    return Extra(name, missing, f"pip install '{PACKAGE}[{name}]'")


class _Computing(NamedTuple):
    """The devices that PyTorch can use, the precision of `auto`, and what is odd about them, as sentences."""

    devices: list[DeviceState]
    precision: PrecisionState | None
    notes: list[str]


def _computing(torch_works: bool) -> _Computing:
    """What there is to compute on. Only the CPU is listed where PyTorch does not work."""
    abilities = [flag for flag in NUMBER_FORMATS if flag in processor_flags()]
    listed = f" ({' '.join(abilities)})" if abilities else ""
    devices = [DeviceState("cpu", f"{processor_name()}, {cores()} cores{listed}", _memory())]
    if not torch_works:
        return _Computing(devices, None, [])
    try:
        return _with_cards(devices)
    except Exception as error:  # a driver that fails when it is asked for details
        return _Computing(devices, None, [f"PyTorch cannot examine the devices: {type(error).__name__}: {error}."])


def _with_cards(devices: list[DeviceState]) -> _Computing:
    import torch

    from frame_vit.system.devices import precision_rule, resolve_device

    cards, notes = torch.cuda.device_count() if torch.cuda.is_available() else 0, []
    for number in range(cards):
        card = torch.cuda.get_device_properties(number)
        what = f"{card.name}, compute capability {card.major}.{card.minor}, CUDA {torch.version.cuda}"
        devices.append(DeviceState(f"cuda:{number}", what, card.total_memory))
    if torch.backends.mps.is_available():
        devices.append(DeviceState("mps", "Apple GPU"))
    if not cards and NVIDIA_DRIVER.exists():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        notes.append(
            f"An NVIDIA driver is installed, but PyTorch {torch.__version__}, {build}, cannot use a card. Update the "
            "driver, or install the PyTorch build for it (pytorch.org/get-started)."
        )
    elif len(devices) == 1:
        notes.append("PyTorch finds no graphics card, so training and prediction run on the CPU.")
    device = resolve_device("auto")
    rule = precision_rule(device)
    return _Computing(devices, PrecisionState(str(device), rule.best, rule.reason), notes)


def _memory() -> int | None:
    """Main memory in bytes, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _disk(purpose: str, folder: Path) -> Disk:
    return Disk(purpose, folder, free_space(folder), _writable(existing_parent(folder)))


def _writable(folder: Path) -> bool:
    """Whether a file can be made in the folder; tried, because permissions alone do not tell on every file system."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _problems(packages: list[Package], disks: list[Disk]) -> list[str]:
    faults = [f"The package {package.name} cannot be used: {package.fault}." for package in packages if package.fault]
    advice = ["In framevit's source folder, pip install --upgrade . installs the packages it needs."] if faults else []
    folders = [
        f"The folder of the {disk.purpose}, {disk.path}, cannot be written. Name another with FRAMEVIT_CACHE."
        for disk in disks
        if not disk.writable and disk.purpose == "caches"
    ]
    return faults + advice + folders


def _notes(packages: list[Package], disks: list[Disk], hub: HubState) -> list[str]:
    notes = []
    if not packages:
        notes.append("framevit runs from its source and is not installed, so the packages it needs were not checked.")
    for disk in disks:
        if not disk.writable and disk.purpose != "caches":
            notes.append(f"The {disk.purpose}, {disk.path}, cannot be written; runs would go to {disk.path / 'runs'}.")
        if disk.free < LITTLE_SPACE:
            notes.append(f"Only {size(disk.free)} are free for the {disk.purpose} ({disk.path}).")
    if hub.answers is False:
        notes.append(
            f"The hub at {hub.url} does not answer ({hub.reason}). Models and data sets that are in the local cache "
            "work; others cannot be downloaded."
        )
    return notes
