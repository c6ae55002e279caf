"""Values that no person would write, into everything that framevit parses: each is used, or refused in plain words."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from frame_vit.config.load import load_config
from frame_vit.config.schema import Config, Section
from frame_vit.config.yaml12 import dump_yaml
from frame_vit.errors import ConfigError, ModelError, UsageError
from frame_vit.images.geometry import GENERATORS
from frame_vit.labels import LabelSpace
from frame_vit.model.metadata import parse_metadata
from frame_vit.prediction.rows import read_done
from tests.prediction.rows import SPACE, write

OLD_MODEL = Path(__file__).parents[1] / "run_of_0_5_0" / "runs" / "old-001" / "model" / "framevit.json"
# To shrink a failure takes minutes; what was found is short enough.
MANY = settings(
    deadline=None,
    max_examples=150,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

NAMES = st.sampled_from(["passed", "Xplus", "Xminus", "passed ", "", "no", "\ud800", "a\0b", "../x", "[red]"])
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | NAMES
    | st.sampled_from([10**400, -1, 0, 1e308, "demo", "1e-4", "x" * 5000])
)
ANYTHING = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


def keys_of(section: type[Section]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with some of a section's keys and sometimes another one, and anything as their values."""
    known = {
        name: keys_of(info.annotation) | ANYTHING
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
        else ANYTHING
        for name, info in section.model_fields.items()
    }
    some = st.fixed_dictionaries({}, optional=known)
    return st.builds(lambda values, more: {**values, **more}, some, st.dictionaries(NAMES, ANYTHING, max_size=1))


@given(values=keys_of(Config), override=st.sampled_from(["", "=", "a", "data.train.x=1", "data.seed=[", "data=1"]))
@MANY
def test_any_config_is_used_or_refused_key_by_key(tmp_path: Path, values: dict[str, Any], override: str) -> None:
    file = tmp_path / "any.yaml"
    try:
        text = dump_yaml(values).encode("utf-8", "surrogatepass")
    except (UnicodeError, OverflowError):
        return
    file.write_bytes(text)
    with suppress(UsageError):
        load_config(file, [override] if override else [], complete=False)


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-16")))
@MANY
def test_any_file_is_a_config_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "any.yaml").write_bytes(content)
    with suppress(UsageError):
        load_config(tmp_path / "any.yaml", complete=False)


PARTIAL = st.dictionaries(NAMES, NAMES, max_size=3)


@given(
    names=st.lists(NAMES, max_size=5),
    ok=st.lists(NAMES, max_size=3),
    symmetries=st.dictionaries(st.sampled_from([*GENERATORS, "turn"]), PARTIAL, max_size=3),
    aliases=PARTIAL,
)
@MANY
def test_any_label_space_is_one_or_refused(
    names: list[str], ok: list[str], symmetries: dict[str, dict[str, str]], aliases: dict[str, str]
) -> None:
    with suppress(ConfigError):
        space = LabelSpace.build(names, ok, symmetries, aliases)
        assert [space.id(name) for name in names] == [*range(len(names))]
        assert LabelSpace.build(**json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@given(data=st.data())
@MANY
def test_rows_with_anything_in_them_are_resumed_or_refused(tmp_path: Path, form: str, data: st.DataObject) -> None:
    """Bytes of a good file are replaced, removed and added; also a file that never was one."""
    file = tmp_path / f"rows.{form}"
    file.unlink(missing_ok=True)
    write(file, form, ["a.jpg", "=b.jpg", 'c"\n.jpg'])
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    if data.draw(st.integers(0, 9)) == 0:
        content = bytearray(data.draw(st.binary(max_size=80)))
    file.write_bytes(content)
    with suppress(UsageError):
        done = read_done(file, form, SPACE)
        assert 0 <= done.end <= len(content)
        assert all(isinstance(name, str) for name in done.names)


@given(value=ANYTHING)
@MANY
def test_a_row_of_any_shape_is_resumed_or_refused(tmp_path: Path, value: Any) -> None:
    row = {"file": "a", "status": "ok", "probabilities": {"ok": 1, "=bad": 0}}
    for key in [*row, ""]:
        text = json.dumps({**row, key: value} if key else value)
        (tmp_path / "rows.jsonl").write_text(text + "\n")
        with suppress(UsageError):
            assert all(isinstance(name, str) for name in read_done(tmp_path / "rows.jsonl", "jsonl", SPACE).names)


def places(value: Any) -> list[list[Any]]:
    """The path of every value inside, the whole first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [[], *([key, *path] for key, each in inner for path in places(each))]


GOOD = json.loads(OLD_MODEL.read_text())


@given(path=st.sampled_from(places(GOOD)), value=ANYTHING, gone=st.booleans())
@MANY
def test_a_framevit_json_with_one_value_changed_is_used_or_refused(path: list[Any], value: Any, gone: bool) -> None:
    changed: Any = copy.deepcopy(GOOD)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    if not path:
        changed = value
    elif gone and isinstance(inside, dict):
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    with suppress(ModelError):
        parse_metadata(json.dumps(changed), "framevit.json")


@pytest.mark.parametrize("text", ["", "{", "null", '"x"', "9" * 5000, '{"format": 1}'])
def test_what_is_no_framevit_json_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        parse_metadata(text, "framevit.json")
