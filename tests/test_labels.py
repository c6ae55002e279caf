"""The label space: names, aliases, and symmetries that are checked to be a group."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.errors import ConfigError
from frame_vit.images.geometry import GENERATORS, IDENTITY, View
from frame_vit.labels import LabelSpace, did_you_mean

FRAMES = ("passed", "Xplus", "Xminus", "Yplus", "Yminus")
HFLIP = {"Xplus": "Xminus", "Xminus": "Xplus"}
VFLIP = {"Yplus": "Yminus", "Yminus": "Yplus"}
QUARTER = {"Xplus": "Yminus", "Yminus": "Xminus", "Xminus": "Yplus", "Yplus": "Xplus"}


def space(**symmetries: dict[str, str]) -> LabelSpace:
    return LabelSpace.build(FRAMES, ["passed"], symmetries)


def moved(labels: LabelSpace, view: View) -> dict[str, str]:
    """What the group says that the view makes of each class, by name."""
    classes = dict(labels.group())[view]
    return {name: labels.names[classes[i]] for i, name in enumerate(labels.names)}


Point = tuple[int, int, str]
"""A class that is a direction: where the part lies off the middle, and what is wrong with it."""


def seen(point: Point, view: View) -> Point:
    """The point in the picture as the view lays it; x to the right, y downwards."""
    x, y, kind = point
    for _ in range(view.turns):
        x, y = y, -x
    return (-x if view.mirror else x), y, kind


@st.composite
def direction_spaces(draw: st.DrawFn) -> LabelSpace:
    """Classes that really are directions, closed under the declared views: consistent by nature, in random order."""
    chosen = draw(st.lists(st.sampled_from(list(GENERATORS)), unique=True))
    coordinate = st.integers(-2, 2)
    points = set(draw(st.sets(st.tuples(coordinate, coordinate, st.sampled_from("ab")), min_size=2, max_size=4)))
    while new := {seen(p, GENERATORS[g]) for g in chosen for p in points} - points:
        points |= new
    order = draw(st.permutations(sorted(points)))
    maps = {g: {str(p): str(seen(p, GENERATORS[g])) for p in order} for g in chosen}
    return LabelSpace.build([str(p) for p in order], (), maps)


@given(labels=direction_spaces())
@settings(deadline=None, max_examples=60)
def test_the_group_is_closed_and_moves_classes_as_views_compose(labels: LabelSpace) -> None:
    group = dict(labels.group())
    for first, of_first in group.items():
        for then, of_then in group.items():
            assert group[then.after(first)] == tuple(of_then[c] for c in of_first)


@given(labels=direction_spaces())
@settings(deadline=None, max_examples=60)
def test_the_group_holds_every_declared_view_as_declared_and_the_untouched_picture_first(labels: LabelSpace) -> None:
    group = labels.group()
    assert group[0] == (IDENTITY, tuple(range(len(labels))))
    assert len({view for view, _ in group}) == len(group)
    for key, mapping in labels.symmetries.items():
        assert moved(labels, GENERATORS[key]) == mapping
    assert all(sorted(classes) == list(range(len(labels))) for _, classes in group)


@given(labels=direction_spaces())
@settings(deadline=None, max_examples=60)
def test_what_is_stored_as_json_builds_the_same_space(labels: LabelSpace) -> None:
    assert LabelSpace.build(**json.loads(json.dumps(labels.to_json()))) == labels


def test_aliases_and_fine_classes_survive_storage() -> None:
    labels = LabelSpace.build(FRAMES, ["Yplus", "passed"], {"hflip": HFLIP}, {"OK": "passed"})
    stored = labels.to_json()
    assert LabelSpace.build(**stored) == labels
    assert stored["symmetries"] == {"hflip": HFLIP}, "classes that stay are not written"


@pytest.mark.parametrize(
    ("declared", "views"),
    [
        ((), {"identity"}),
        (("hflip",), {"identity", "hflip"}),
        (("hflip", "vflip"), {"identity", "hflip", "vflip", "rot180"}),
        (("rot90",), {"identity", "rot90", "rot180", "rot270"}),
        (
            ("rot90", "hflip"),
            {"identity", "rot90", "rot180", "rot270", "hflip", "vflip", "transpose", "transverse"},
        ),
    ],
)
def test_the_group_is_what_the_declared_views_generate(declared: tuple[str, ...], views: set[str]) -> None:
    known = {"hflip": HFLIP, "vflip": VFLIP, "rot90": QUARTER}
    labels = space(**{key: known[key] for key in declared})
    assert {view.name for view, _ in labels.group()} == views


def test_two_flips_make_the_half_turn_that_nobody_wrote_down() -> None:
    both = moved(space(hflip=HFLIP, vflip=VFLIP), GENERATORS["rot180"])
    assert both == {"passed": "passed", **HFLIP, **VFLIP}


def test_a_group_of_some_symmetries_leaves_the_others_out() -> None:
    labels = space(hflip=HFLIP, vflip=VFLIP)
    assert [view.name for view, _ in labels.group(["vflip"])] == ["identity", "vflip"]
    assert [view.name for view, _ in labels.group([])] == ["identity"]


def test_a_flip_that_is_not_its_own_inverse_is_refused() -> None:
    circle = {"Xplus": "Xminus", "Xminus": "Yplus", "Yplus": "Xplus"}
    with pytest.raises(ConfigError, match=r"labels\.symmetries\.hflip: applied twice it gives the same picture"):
        space(hflip=circle)


def test_quarter_turns_that_do_not_fit_the_flips_are_refused() -> None:
    with pytest.raises(ConfigError, match="contradicts the others"):
        space(hflip=HFLIP, rot90={"Xplus": "Yplus", "Yplus": "Xplus"})


def test_a_half_turn_that_is_not_the_two_flips_is_refused() -> None:
    with pytest.raises(ConfigError, match="rot180"):
        space(hflip=HFLIP, vflip=VFLIP, rot180=HFLIP)


def test_a_map_that_loses_a_class_is_refused_and_says_which() -> None:
    with pytest.raises(ConfigError, match="not one to one: no class becomes Xplus, and several become Xminus"):
        space(hflip={"Xplus": "Xminus"})


def test_an_unknown_symmetry_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"labels\.symmetries\.hfilp: unknown symmetry \(did you mean 'hflip'\?\)"):
        space(hfilp=HFLIP)


def test_all_mistakes_come_at_once_each_on_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        LabelSpace.build(
            FRAMES, ["pased"], {"hflip": {"Xpluss": "Xminus"}, "mirror": {}}, {"OK": "fine", "passed": "Xplus"}
        )
    lines = caught.value.message.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "labels.ok",
        "labels.aliases",
        "labels.aliases",
        "labels.symmetries.hflip",
        "labels.symmetries.mirror",
    ]
    assert "'pased' is not a class (did you mean 'passed'?)" in lines[0]
    assert "'Xpluss' is not a class (did you mean 'Xplus'?)" in lines[3]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["one"], "at least two classes"),
        ([], "at least two classes"),
        (["a", "a"], "the same name, case and blanks aside"),
        (["scratch", "Scratch "], "the same name, case and blanks aside"),
        (["a", "  "], "a class name is empty"),
    ],
)
def test_names_that_cannot_be_told_apart_or_are_none_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LabelSpace.build(names)


def test_the_order_of_the_names_is_the_order_of_the_ids() -> None:
    labels = LabelSpace.build(["1", "10", "2"])
    assert [labels.id(name) for name in ("1", "10", "2")] == [0, 1, 2]
    assert len(labels) == 3


def test_an_alias_has_the_id_of_its_class() -> None:
    labels = LabelSpace.build(FRAMES, aliases={"X+": "Xplus"})
    assert labels.id("X+") == labels.id("Xplus") == 1


def test_an_unknown_label_is_named_with_the_nearest_class() -> None:
    with pytest.raises(KeyError, match=r"label 'Xplus ' is not among the classes \(did you mean 'Xplus'\?\)"):
        space().id("Xplus ")


def test_no_class_is_suggested_for_a_label_that_is_like_none() -> None:
    assert did_you_mean("scratch", FRAMES) == ""
    with pytest.raises(KeyError) as caught:
        space().id("scratch")
    assert "did you mean" not in caught.value.args[0]


def test_fine_classes_are_known_by_id_in_class_order() -> None:
    labels = LabelSpace.build(FRAMES, ["Yplus", "passed"])
    assert labels.ok_ids == (0, 3)
    assert [labels.is_ok(i) for i in range(5)] == [True, False, False, True, False]
