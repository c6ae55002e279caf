"""The classes, their order, which of them are fine, and what a mirrored picture's class becomes. Stdlib only.

The classes are directions: the mirror image of an `Xplus` frame shows an `Xminus`. A `LabelSpace` therefore carries,
beside the names, what each declared symmetry does to them. Declarations are partial maps by name (what is not named
stays), checked to be permutations, and closed to the whole group they generate; two ways to the same view must move
the classes alike, so a flip must be its own inverse and quarter turns must fit the flips.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from frame_vit.errors import ConfigError
from frame_vit.images.geometry import GENERATORS, IDENTITY, View


class LabelledView(NamedTuple):
    """A view of the picture, and the class each class becomes under it: a picture of class `i` shows `classes[i]`."""

    view: View
    classes: tuple[int, ...]


@dataclass(frozen=True)
class LabelSpace:
    """Class names in class-id order, the fine ones, aliases, and declared symmetries (maps by name, all names)."""

    names: tuple[str, ...]
    ok: frozenset[str] = frozenset()
    symmetries: dict[str, dict[str, str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        names: Sequence[str],
        ok: Iterable[str] = (),
        symmetries: Mapping[str, Mapping[str, str]] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> LabelSpace:
        """Checks everything and raises one `ConfigError` that lists every mistake."""
        ok, symmetries, aliases = list(ok), symmetries or {}, aliases or {}
        mistakes = _name_mistakes(names) + _unknown("labels.ok", ok, names)
        mistakes += _unknown("labels.aliases", aliases.values(), names)
        mistakes += [f"labels.aliases: {a!r} is itself a class" for a in aliases if a in names]
        for key, mapping in symmetries.items():
            mistakes += _permutation_mistakes(key, mapping, names)
        if mistakes:
            raise ConfigError("\n".join(mistakes), "Class names: " + ", ".join(map(repr, names)))
        full = {key: {name: mapping.get(name, name) for name in names} for key, mapping in symmetries.items()}
        space = cls(tuple(names), frozenset(ok), full, dict(aliases))
        space.group()
        return space

    def __len__(self) -> int:
        return len(self.names)

    def id(self, label: str) -> int:
        """The class id of a name or alias; `KeyError` with the nearest known name where there is none."""
        name = self.aliases.get(label, label)
        if name not in self.names:
            raise KeyError(f"label {label!r} is not among the classes{did_you_mean(label, self.names)}")
        return self.names.index(name)

    def is_ok(self, class_id: int) -> bool:
        return self.names[class_id] in self.ok

    @property
    def ok_ids(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self)) if self.is_ok(i))

    def group(self, generators: Iterable[str] | None = None) -> tuple[LabelledView, ...]:
        """All views that the named generators (default: all declared) produce, the untouched picture first."""
        chosen = self.symmetries if generators is None else {g: self.symmetries[g] for g in generators}
        steps = [
            (key, LabelledView(GENERATORS[key], tuple(self.names.index(mapping[n]) for n in self.names)))
            for key, mapping in chosen.items()
        ]
        found = {IDENTITY: tuple(range(len(self)))}
        queue = [IDENTITY]
        for view in queue:
            for key, step in steps:
                reached = step.view.after(view)
                classes = tuple(step.classes[c] for c in found[view])
                if reached not in found:
                    found[reached] = classes
                    queue.append(reached)
                elif found[reached] != classes:
                    raise ConfigError(self._contradiction(key, view, reached, classes, found[reached]))
        return tuple(LabelledView(view, classes) for view, classes in found.items())

    def to_json(self) -> dict[str, Any]:
        """What `framevit.json` stores; `build(**...)` takes it back."""
        moved = {k: {a: b for a, b in m.items() if a != b} for k, m in self.symmetries.items()}
        ok = [n for n in self.names if n in self.ok]
        return {"names": list(self.names), "ok": ok, "symmetries": moved, "aliases": dict(self.aliases)}

    def _contradiction(
        self, key: str, view: View, reached: View, classes: tuple[int, ...], known: tuple[int, ...]
    ) -> str:
        wrong = next(i for i in range(len(self)) if classes[i] != known[i])
        start, now, then = self.names[wrong], self.names[classes[wrong]], self.names[known[wrong]]
        if reached == IDENTITY and view == GENERATORS[key]:
            return (
                f"labels.symmetries.{key}: doing it twice must give the same picture, but turns {start!r} into {now!r}"
            )
        return (
            f"labels.symmetries.{key}: contradicts the others: {view.name} then {key} is {reached.name}, "
            f"which turns {start!r} into {now!r} one way and into {then!r} the other"
        )


def plainly(name: str) -> str:
    """A name without what people overlook: case, and blanks around or doubled in it."""
    return " ".join(name.split()).casefold()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"`, or nothing where no known word is near."""
    names = list(known)
    same = [name for name in names if plainly(name) == plainly(word)]
    near = same or difflib.get_close_matches(word.strip(), names, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _name_mistakes(names: Sequence[str]) -> list[str]:
    mistakes = [] if len(names) >= 2 else [f"labels.names: at least two classes are needed, found {len(names)}"]
    seen: dict[str, str] = {}
    for name in names:
        plain = plainly(name)
        if not plain:
            mistakes.append("labels.names: an empty name")
        elif plain in seen:
            mistakes.append(f"labels.names: {seen[plain]!r} and {name!r} are the same but for case or blanks")
        seen[plain] = name
    return mistakes


def _unknown(key: str, given: Iterable[str], names: Sequence[str]) -> list[str]:
    return [f"{key}: {g!r} is not a class{did_you_mean(g, names)}" for g in dict.fromkeys(given) if g not in names]


def unknown_symmetries(keys: Iterable[str]) -> list[str]:
    """One mistake for every key that is not the name of a symmetry."""
    return [
        f"labels.symmetries.{key}: unknown symmetry{did_you_mean(key, GENERATORS)}; known: {', '.join(GENERATORS)}"
        for key in keys
        if key not in GENERATORS
    ]


def _permutation_mistakes(key: str, mapping: Mapping[str, str], names: Sequence[str]) -> list[str]:
    where = f"labels.symmetries.{key}"
    mistakes = unknown_symmetries([key]) or _unknown(where, [*mapping, *mapping.values()], names)
    if mistakes:
        return mistakes
    image = [mapping.get(name, name) for name in names]
    lost = [name for name in names if name not in image]
    if lost:
        twice = sorted({name for name in image if image.count(name) > 1})
        return [f"{where}: not one to one: nothing becomes {', '.join(lost)}, and several become {', '.join(twice)}"]
    return []
