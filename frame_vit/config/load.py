"""Reads a configuration from a YAML file and `--set` overrides, checks it, and writes it as YAML again.

Every key has a default (`schema`). All mistakes are reported at once, each as `section.key: what is wrong`: unknown
keys with the nearest known one, values of the wrong type, and keys that contradict each other. Nothing here reads data
or a model, so whatever depends on those is checked later.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from frame_vit.config.schema import Config, ScratchConfig, Section
from frame_vit.config.yaml12 import MAX_CHARACTERS, dump_yaml, parse_yaml
from frame_vit.errors import ConfigError, UsageError
from frame_vit.findings import KINDS
from frame_vit.images.geometry import GENERATORS
from frame_vit.labels import did_you_mean, unknown_symmetries
from frame_vit.system.files import read_plain_text


def load_config(path: Path | None, overrides: Sequence[str] = (), complete: bool = True) -> Config:
    """The defaults, replaced by the keys of the file, then by `section.key=value` overrides.

    If `complete`, data.train must be set; to print a config it need not be. Raises `ConfigError` that lists every
    mistake, `UsageError` if the file cannot be read.
    """
    values = _read(path) if path else {}
    for override in overrides:
        _override(values, override)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_one_line(e) for e in error.errors()), _ALL_KEYS) from None
    mistakes = list(_contradictions(config))
    if complete and config.data.train is None:
        mistakes.insert(0, "data.train: not set; name a hub data set, a folder or a file, or demo for synthetic frames")
    if mistakes:
        raise ConfigError("\n".join(mistakes), _ALL_KEYS)
    return config


def dump_config(config: Config, comments: bool = False) -> str:
    """The whole configuration as YAML; with `comments`, each key has its documentation above it."""
    if not comments:
        return dump_yaml(config.model_dump())
    return "\n".join(_commented(config, ""))


LARGEST_FILE = 4 * MAX_CHARACTERS
"""Bytes of a config file: its characters take up to four each."""
_ALL_KEYS = "framevit train --print-config shows every key with its meaning and default"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_plain_text(path, LARGEST_FILE)
    except FileNotFoundError:
        raise UsageError(f"no such config file: {path}", "The folder configs/ has worked examples") from None
    except UsageError as error:
        raise UsageError(f"cannot read the config: {error.message}", error.hint) from None
    except OSError as error:
        raise UsageError(f"cannot read the config {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the config {path}: {error}", "Save it as UTF-8") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path}: not a mapping of sections ({', '.join(Config.model_fields)})", _ALL_KEYS)
    return values or {}


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected section.key=value", "For example --set training.epochs=5")
    *parents, last = key.strip().split(".")
    block: Any = values
    for parent in parents:
        if block.get(parent) is None:
            block[parent] = {}
        block = block[parent]
        if not isinstance(block, dict):
            raise ConfigError(f"--set {override}: {parent} is not a section", _ALL_KEYS)
    block[last] = parse_yaml(text, f"--set {key}")


def _one_line(error: Any) -> str:
    """A pydantic error as `section.key: what is wrong`, without the union members that pydantic adds to the path."""
    block: Any = Config
    path: list[str] = []
    for part in error["loc"]:
        fields = getattr(block, "model_fields", None)
        if fields is not None:
            path.append(str(part))
            if part not in fields:
                near = _nearest(str(part), list(fields))
                advice = f"did you mean {near}?" if near else f"the keys are {', '.join(fields)}"
                return f"{'.'.join(path)}: unknown key; {advice}"
            block = fields[part].annotation
        elif isinstance(part, int) or (isinstance(part, str) and part.isidentifier() and part in GENERATORS):
            path.append(str(part))
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"{'.'.join(path)}: {message}, not {error['input']!r}"


def _nearest(key: str, fields: list[str]) -> str:
    """The most similar key of a section; but one of exactly this name in another section before one that is far off."""
    own = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
    if own and difflib.get_close_matches(key, own, cutoff=0.8):
        return own[0]
    elsewhere = [path for path in _all_keys(Config) if path.rpartition(".")[2] == key]
    return " or ".join(elsewhere) or next(iter(own), "")


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, info in section.model_fields.items():
        yield prefix + key
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _all_keys(info.annotation, f"{prefix}{key}.")


def _contradictions(config: Config) -> Iterator[str]:
    if config.labels.names == "auto":
        yield from unknown_symmetries(config.labels.symmetries)
    else:
        try:
            config.label_space(config.labels.names)
        except ConfigError as error:
            yield error.message
    for key in GENERATORS:
        if getattr(config.augment, key) and key not in config.labels.symmetries:
            yield (
                f"augment.{key}: not declared in labels.symmetries. If classes are directions, a "
                f"picture under {key} has another class; declare it in labels.symmetries.{key}, for example "
                "{Xplus: Xminus, Xminus: Xplus}, or {} if no class changes"
            )
    for key in ("severity", "allow"):
        for code in getattr(config.data.audit, key):
            if code not in KINDS:
                advice = f"{did_you_mean(code, KINDS)}; `framevit help audit` lists them"
                yield f"data.audit.{key}.{code}: unknown code{advice}"
    yield from _unknown_classes_in_costs(config)
    if config.data.roi is not None:
        x1, y1, x2, y2 = config.data.roi
        if not (0 <= x1 < x2 and 0 <= y1 < y2):
            yield f"data.roi: {config.data.roi} is not [x1, y1, x2, y2] with 0 <= x1 < x2 and 0 <= y1 < y2"
    yield from _scratch_mistakes(config.model.scratch)
    if config.model.init == "scratch" and config.model.image_size is not None:
        yield "model.image_size: is for pretrained models; a new model has the size of model.scratch.image_size"
    if config.data.val_fraction + config.data.test_fraction + config.data.calibration_fraction >= 1:
        yield (
            "data.val_fraction: together with test_fraction and calibration_fraction nothing is left to train on; "
            "their sum must be below 1"
        )


def _scratch_mistakes(scratch: ScratchConfig) -> Iterator[str]:
    if scratch.image_size % scratch.patch_size:
        yield f"model.scratch.image_size: {scratch.image_size} is not a multiple of patch_size, {scratch.patch_size}"
    if scratch.hidden_size % scratch.heads:
        yield f"model.scratch.hidden_size: {scratch.hidden_size} is not a multiple of heads, {scratch.heads}"


def _unknown_classes_in_costs(config: Config) -> Iterator[str]:
    names = config.labels.names
    for true, row in config.decision.costs.matrix.items() if names != "auto" else ():
        for name in (true, *row):
            if name not in names:
                yield f"decision.costs.matrix: {name!r} is not a class{did_you_mean(name, names)}"


def _commented(section: BaseModel, indent: str) -> Iterator[str]:
    for key, info in type(section).model_fields.items():
        value = getattr(section, key)
        for line in (info.description or "").splitlines():
            yield f"{indent}# {line.strip()}"
        if isinstance(value, Section):
            yield f"{indent}{key}:"
            yield from _commented(value, indent + "  ")
        else:
            text = dump_yaml(value, flow=True)
            yield f"{indent}{key}: {text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}"
