"""YAML with the rules of version 1.2 for numbers and booleans; no duplicate keys, aliases or Python objects.

PyYAML follows YAML 1.1, in which `5e-5` is a text and a class named `no` is False. This module keeps PyYAML's safe
parser and replaces only the rules that decide which plain words are numbers or booleans. It knows no config keys.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from frame_vit.errors import ConfigError

MAX_CHARACTERS = 1_000_000
"""A longer text is refused; no config is near this."""


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            # Aliases of aliases can make a small file expand to gigabytes.
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int):
                raise yaml.MarkedYAMLError(problem="a key must be a text or integer", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key!r}", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that either YAML version would read as something else."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        # Only double quotes preserve the rarer line breaks.
        style = '"' if set(text) & set("\n\r\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_str)
_Loader.yaml_implicit_resolvers = {}
# The core schema of YAML 1.2 (chapter 10.3.2), except that a number with leading zeros, such as an id, stays a text.
_RULES = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "int": (r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"
              r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
}  # fmt: skip
for _tag, (_pattern, _first) in _RULES.items():
    _words = list(_first) + [""] * (_tag == "null")
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _words)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. Raises `ConfigError` with `where` it came from and the line."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{where}: longer than {MAX_CHARACTERS:,} characters")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: {error.problem or error.context}") from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply") from None
    except Exception as error:  # for a standard tag with the wrong content, PyYAML raises errors of many kinds
        raise ConfigError(f"{where}: not YAML: {error}") from None


def dump_yaml(value: Any, flow: bool = False) -> str:
    """YAML that `parse_yaml` reads back as the same value; with `flow`, on one line."""
    width = 2**31 if flow else 80
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width)
