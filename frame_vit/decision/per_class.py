"""The escape target in groups of bad parts: in every defect class at once (`decision.per_class`), or in all as one.

A bound on the share of all bad parts says nothing of one class. A rare class that always escapes hardly changes that
share. Here each of K groups has a bound of its own, at the confidence 1 - (1 - confidence) / K. By Bonferroni's
inequality (Dunn 1961) all K bounds hold together with at least the stated confidence, however the classes depend on
each other. What holds in every class also holds for all bad parts, whatever the mixture of classes on the line.

Pure functions over numbers; no files, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from frame_vit.decision.json_values import JsonObject
from frame_vit.decision.rates import hits_allowed, parts_needed, upper_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray


BadScores: TypeAlias = "Mapping[str, NDArray[np.float64]]"
"""The scores of the bad parts of each group, in ascending order, by its name; a group may have none."""


class ClassClaim(NamedTuple):
    """What the `n` bad parts of a class prove: at most `bound` of all its parts are accepted. Of the n, `escapes` were.

    `needed` is the smallest number of its parts that can prove the target at all. Of a class without parts, nothing is
    known: its bound is 1.
    """

    n: int
    escapes: int
    bound: float
    needed: int

    @property
    def missing(self) -> int:
        """How many more of its parts it takes before the target can be proven."""
        return max(self.needed - self.n, 0)

    def to_json(self) -> dict[str, Any]:
        return self._asdict()

    @classmethod
    def from_json(cls, values: JsonObject) -> ClassClaim:
        n = values.integer("n", 0, 10**12)
        claim = cls(
            n, values.integer("escapes", 0, n), values.number("bound", 0, 1), values.integer("needed", 0, 10**12)
        )
        values.done()
        return claim


def confidence_in_each(confidence: float, groups: int) -> float:
    """The confidence at which each of so many claims is made, so that all hold together at the one given."""
    return 1 - (1 - confidence) / groups


def highest_threshold(bad: BadScores, target: float, confidence: float) -> float:
    """The highest threshold for which the target can be claimed of every group: the smallest of their thresholds.

    That of a group is its (k + 1)-th smallest score, with the largest k whose bound meets the target. Where no k does,
    because the parts are too few, it is the smallest score, so that none of them is accepted. A group without parts
    has no threshold. Raises `ValueError` where no group has parts.
    """
    each = confidence_in_each(confidence, len(bad))
    return min(float(own[max(hits_allowed(len(own), target, each), 0)]) for own in bad.values() if len(own))


def claims(bad: BadScores, threshold: float, target: float, confidence: float) -> dict[str, ClassClaim]:
    """What can be claimed of each group where everything below the threshold is accepted."""
    each = confidence_in_each(confidence, len(bad))
    needed = parts_needed(target, each)
    escapes = {name: int(np.searchsorted(own, threshold)) for name, own in bad.items()}
    return {
        name: ClassClaim(len(own), escapes[name], upper_bound(escapes[name], len(own), each), needed)
        for name, own in bad.items()
    }


def said_of_classes(claims: Mapping[str, ClassClaim], target: float, confidence: float, split: str) -> str:
    """What holds in each class, and how many parts of which class are missing, in whole sentences."""
    bounds = [f"{of.bound:.3%} of {name} ({of.escapes} of {of.n:,})" for name, of in claims.items() if of.n]
    together = f" for all {len(claims)} defect classes together" if len(claims) > 1 else ""
    said = (
        f"With {confidence:.0%} confidence{together}, at most {_listed(bounds)} are accepted; in brackets, the parts "
        f"of {split}."
    )
    unknown = [name for name, of in claims.items() if not of.n]
    if unknown:
        said += f" Nothing can be claimed for {_listed(unknown)}, because {split} has no such part."
    if missing := [f"{of.missing:,} more of {name}" for name, of in claims.items() if of.missing]:
        needed = max(of.needed for of in claims.values())
        said += (
            f" This does not prove the target of {target:.3%} in every class, which takes at least {needed:,} parts of "
            f"each: {_listed(missing)}."
        )
    return said


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
