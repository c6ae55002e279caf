"""The label space: class names and ids, the good classes, aliases, and what symmetries do to classes. Stdlib only.

The classes are directions: the mirror image of an `Xplus` frame shows an `Xminus`. A `LabelSpace` therefore knows what
each declared symmetry does to the classes. A declaration is a partial map by name; classes that it does not name stay
the same. Each map must be a permutation, and together they are extended to the group that they generate. Two ways to
the same view must lead to the same classes, so a flip must be its own inverse and quarter turns must fit the flips.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from frame_vit.errors import ConfigError
from frame_vit.images.geometry import GENERATORS, IDENTITY, View


class LabelledView(NamedTuple):
    """A view, and what it does to classes: in this view, a picture of class id `i` shows class id `classes[i]`."""

    view: View
    classes: tuple[int, ...]


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set or model, checked by `build`."""

    names: tuple[str, ...]
    """in the order of the class ids"""
    ok: frozenset[str] = frozenset()
    """names of the good classes; all others are defects"""
    symmetries: dict[str, dict[str, str]] = field(default_factory=dict)
    """by symmetry: what each class becomes, all classes named"""
    aliases: dict[str, str] = field(default_factory=dict)
    """other spellings: {spelling: class}"""

    @classmethod
    def build(
        cls,
        names: Sequence[str],
        ok: Iterable[str] = (),
        symmetries: Mapping[str, Mapping[str, str]] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> LabelSpace:
        """The label space of a config or a stored model. Raises one `ConfigError` that lists every mistake."""
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

    def with_aliases(self, aliases: Mapping[str, str]) -> LabelSpace:
        """The same classes with further spellings. Raises `ConfigError` where one does not lead to a class."""
        return self.build(self.names, self.ok, self.symmetries, {**self.aliases, **aliases})

    def __len__(self) -> int:
        return len(self.names)

    def id(self, label: str) -> int:
        """The class id of a name or alias. Raises `KeyError` with the nearest name if there is none."""
        name = self.aliases.get(label, label)
        if name not in self.names:  # models of earlier versions may know a class in another normal form
            name = next((known for known in self.names if _composed(known) == _composed(name)), name)
        if name not in self.names:
            raise KeyError(f"label {label!r} is not among the classes{did_you_mean(label, self.names)}")
        return self.names.index(name)

    def is_ok(self, class_id: int) -> bool:
        return self.names[class_id] in self.ok

    @property
    def ok_ids(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self)) if self.is_ok(i))

    def group(self, generators: Iterable[str] | None = None) -> tuple[LabelledView, ...]:
        """All views that these symmetries (default: all declared ones) generate, the identity first.

        Raises `ConfigError` if two ways to a view lead to different classes.
        """
        chosen = self.symmetries if generators is None else {g: self.symmetries[g] for g in generators}
        steps = [
            (key, LabelledView(GENERATORS[key], tuple(self.names.index(mapping[n]) for n in self.names)))
            for key, mapping in chosen.items()
        ]
        classes_of = {IDENTITY: tuple(range(len(self)))}
        queue = [IDENTITY]
        for view in queue:
            for key, step in steps:
                reached = step.view.after(view)
                classes = tuple(step.classes[c] for c in classes_of[view])
                if reached not in classes_of:
                    classes_of[reached] = classes
                    queue.append(reached)
                elif classes_of[reached] != classes:
                    raise ConfigError(self._contradiction(key, view, reached, classes, classes_of[reached]))
        return tuple(LabelledView(view, classes) for view, classes in classes_of.items())

    def to_json(self) -> dict[str, Any]:
        """What framevit.json stores; `build(**values)` restores it."""
        moved = {k: {a: b for a, b in m.items() if a != b} for k, m in self.symmetries.items()}
        ok = [n for n in self.names if n in self.ok]
        return {"names": list(self.names), "ok": ok, "symmetries": moved, "aliases": dict(self.aliases)}

    def _contradiction(
        self, key: str, view: View, reached: View, classes: tuple[int, ...], others: tuple[int, ...]
    ) -> str:
        wrong = next(i for i in range(len(self)) if classes[i] != others[i])
        start, one, other = self.names[wrong], self.names[classes[wrong]], self.names[others[wrong]]
        if reached == IDENTITY and view == GENERATORS[key]:
            return f"labels.symmetries.{key}: applied twice it gives the same picture, but turns {start!r} into {one!r}"
        return (
            f"labels.symmetries.{key}: contradicts the others: {view.name} followed by {key} is {reached.name}, "
            f"which turns {start!r} into {one!r} one way and into {other!r} the other"
        )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def plainly(name: str) -> str:
    """A name without differences that people overlook: case, outer blanks, repeated blanks."""
    return " ".join(name.split()).casefold()


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` with the most similar known word; empty if none is similar."""
    names = list(words)
    same = [name for name in names if plainly(name) == plainly(word)]
    near = same or difflib.get_close_matches(word.strip(), names, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _name_mistakes(names: Sequence[str]) -> list[str]:
    mistakes = [] if len(names) >= 2 else [f"labels.names: at least two classes are needed, not {len(names)}"]
    seen: dict[str, str] = {}
    for name in names:
        plain = plainly(name)
        if not plain:
            mistakes.append("labels.names: a class name is empty")
        elif plain in seen:
            mistakes.append(f"labels.names: {seen[plain]!r} and {name!r} are the same name, case and blanks aside")
        seen[plain] = name
    return mistakes


def _unknown(key: str, labels: Iterable[str], names: Sequence[str]) -> list[str]:
    unknown = [label for label in dict.fromkeys(labels) if label not in names]
    return [f"{key}: {label!r} is not a class{did_you_mean(label, names)}" for label in unknown]


def unknown_symmetries(keys: Iterable[str]) -> list[str]:
    """A mistake for every key that is not the name of a symmetry."""
    return [
        f"labels.symmetries.{key}: unknown symmetry{did_you_mean(key, GENERATORS)}; expected {', '.join(GENERATORS)}"
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
        return [f"{where}: not one to one: no class becomes {', '.join(lost)}, and several become {', '.join(twice)}"]
    return []
