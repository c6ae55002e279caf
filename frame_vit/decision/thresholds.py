"""How the two thresholds of a model are chosen, and what can be claimed of them.

A part is bad when its true class is not among the good ones (`labels.ok`). Its *score* is the probability of being bad,
1 - p(good). A part is accepted when its score is below the first threshold, rejected when it is at or above the second,
and shown to a person (review) in between.

The first threshold is the (k + 1)-th smallest score of the n bad parts in the split, where k is the largest number of
escapes whose exact upper bound (Clopper and Pearson 1934, one-sided) still meets the target. This is a
distribution-free tolerance limit (Wilks 1941): whatever the distribution of the scores of bad parts, the share of all
bad parts below the threshold exceeds the target with a probability of at most 1 - confidence. With
`decision.per_class` every defect class has such a threshold of its own, and the smallest is taken (`per_class`).

Pure functions over arrays; no files, no torch. Nothing here loads pydantic: `predict` reads operating points, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from frame_vit.decision.json_values import JsonObject, json_fields
from frame_vit.decision.per_class import BadScores, ClassClaim, claims, highest_threshold, said_of_classes
from frame_vit.decision.rates import Ids, hits_allowed, parts_needed, upper_bound
from frame_vit.labels import LabelSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frame_vit.config.schema import DecisionConfig


JUST_ABOVE_1 = math.nextafter(1.0, math.inf)
"""The highest threshold: no score reaches it."""
Scores: TypeAlias = "NDArray[np.float64]"
Mask: TypeAlias = "NDArray[np.bool_]"
"""Marks some of N parts, (N,)."""


class Claim(NamedTuple):
    """What `n` bad parts prove: with this confidence, at most `bound` of all bad parts are accepted.

    `escapes` of the n were accepted; `needed` is the smallest number of bad parts that can prove the target at all.
    Where the target is for every class, `bound` is that of the worst class, and `needed` counts the parts of all.
    """

    target: float
    confidence: float
    n: int
    escapes: int
    bound: float
    needed: int

    @property
    def met(self) -> bool:
        return self.bound <= self.target

    def to_json(self) -> dict[str, Any]:
        return self._asdict() | {"met": self.met}

    @classmethod
    def from_json(cls, values: JsonObject) -> Claim:
        n = values.integer("n", 0, 10**12)
        claim = cls(
            values.number("target", 0, 1),
            values.number("confidence", 0, 1),
            n,
            values.integer("escapes", 0, n),
            values.number("bound", 0, 1),
            values.integer("needed", 0, 10**12),
        )
        if "met" in values and values.flag("met") != claim.met:
            raise ValueError(f"{values.path('met')} contradicts the bound and the target")
        values.done()
        return claim


class OverkillClaim(NamedTuple):
    """What the good parts prove: at most `bound` of all good parts are rejected; `rejected` of those seen were.

    `needed` is the smallest number of good parts that can prove the target at all.
    """

    target: float
    rejected: int
    bound: float
    needed: int

    def to_json(self) -> dict[str, Any]:
        return self._asdict()

    @classmethod
    def from_json(cls, values: JsonObject) -> OverkillClaim:
        claim = cls(
            values.number("target", 0, 1),
            values.integer("rejected", 0, 10**12),
            values.number("bound", 0, 1),
            values.integer("needed", 0, 10**12),
        )
        values.done()
        return claim


@dataclass(frozen=True)
class ThresholdsBasis:
    """The pictures and answers that thresholds were chosen on.

    `split` is its name: its pictures prove nothing about how good the thresholds are. `bad_share` is the share of bad
    parts on the line, None where it was not declared; `overkill` is None without a target for it. `per_class` has the
    claim of each defect class, None where the target is for all bad parts as one.
    `pictures_fingerprint` is `pictures` in JSON; `views` names those that the answers were averaged over. What an
    earlier framevit did not record is None.
    """

    split: str = ""
    good: int = 0
    bad: int = 0
    bad_share: float | None = None
    overkill: OverkillClaim | None = None
    pictures_fingerprint: str | None = None
    views: tuple[str, ...] | None = None
    backend: str | None = None
    precision: str | None = None
    per_class: dict[str, ClassClaim] | None = None

    def to_json(self) -> dict[str, Any]:
        """The `facts` of framevit.json: without `split`, which is stored beside them, and without unknown values."""
        values = json_fields(self)
        del values["split"]
        known = {key: value for key, value in values.items() if value is not None or key == "bad_share"}
        return {"pictures" if key == "pictures_fingerprint" else key: value for key, value in known.items()}

    @classmethod
    def from_json(cls, split: str, facts: JsonObject) -> ThresholdsBasis:
        """Unknown facts are passed over: they only describe, and a later framevit may know more of them."""
        return cls(
            split,
            facts.integer("good", 0, 10**12) if "good" in facts else 0,
            facts.integer("bad", 0, 10**12) if "bad" in facts else 0,
            facts.number("bad_share", 0, 1) if "bad_share" in facts else None,
            OverkillClaim.from_json(facts.object("overkill")) if "overkill" in facts else None,
            facts.text("pictures") if "pictures" in facts else None,
            facts.texts("views") if "views" in facts else None,
            facts.text("backend") if "backend" in facts else None,
            facts.text("precision") if "precision" in facts else None,
            _class_claims(facts.object("per_class")) if "per_class" in facts else None,
        )

    def answered_by(self, precision: str) -> AnsweredBy:
        """Backend and precision of the answers; what was not recorded is torch, in the `precision` given."""
        return AnsweredBy(self.backend or "torch", self.precision or precision)


class AnsweredBy(NamedTuple):
    """The backend and the precision that logits were computed with."""

    backend: str
    precision: str


@dataclass(frozen=True)
class OperatingPoint:
    """The two thresholds of a model, what can be claimed of them, and what they were chosen on; in framevit.json."""

    accept_below: float
    reject_from: float
    claim: Claim
    basis: ThresholdsBasis = field(default_factory=ThresholdsBasis)

    def to_json(self) -> dict[str, Any]:
        return {
            "accept_below": self.accept_below,
            "reject_from": self.reject_from,
            "claim": self.claim.to_json(),
            "chosen_on": self.basis.split,
            "facts": self.basis.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """Raises `KeyError` for a missing value, `ValueError` for thresholds out of order and an impossible claim."""
        stored = JsonObject(values, "decision")
        accept_below = stored.number("accept_below", 0, JUST_ABOVE_1)
        reject_from = stored.number("reject_from", 0, JUST_ABOVE_1)
        if accept_below > reject_from:
            raise ValueError(f"{stored.path('accept_below')} is above reject_from: {accept_below:g}, {reject_from:g}")
        claim = Claim.from_json(stored.object("claim"))
        split = stored.text("chosen_on") if "chosen_on" in stored else ""
        facts = stored.object("facts") if "facts" in stored else JsonObject({}, stored.path("facts"))
        stored.done()
        return cls(accept_below, reject_from, claim, ThresholdsBasis.from_json(split, facts))


def operating_point(labels: Ids, scores: Scores, space: LabelSpace, config: DecisionConfig) -> OperatingPoint | None:
    """The thresholds for parts with (N,) true class ids and scores; None without any bad or without any good part.

    With too few bad parts for the target, the threshold accepts none of them, and the claim says what that proves. With
    `decision.per_class` the same is true of each defect class.
    """
    good = np.isin(labels, space.ok_ids)
    if good.all() or not good.any():
        return None
    bad = {"": np.sort(scores[~good])}
    if config.per_class:
        ids = {name: i for i, name in enumerate(space.names) if not space.is_ok(i)}
        bad = {name: np.sort(scores[labels == i]) for name, i in ids.items()}
    accept_below, of_each = _accept(bad, scores[good], config)
    reject_from = _reject(scores, good, accept_below, config)
    overkill = _overkill(scores[good], reject_from, config)
    basis = ThresholdsBasis("", int(good.sum()), int((~good).sum()), config.bad_share, overkill)
    if config.per_class:
        basis = replace(basis, per_class=of_each)
    return OperatingPoint(accept_below, reject_from, _claim(of_each, config), basis)


def curve(labels: Ids, scores: Scores, space: LabelSpace) -> DetectionCurve:
    """Escape and overkill at every threshold below which parts could be accepted.

    From accepting nothing to accepting everything; scikit-learn's `det_curve` omits the ends, where one of them is 0.
    """
    good = np.isin(labels, space.ok_ids)
    thresholds = np.append(np.unique(scores), np.nextafter(scores.max(), np.inf))
    escape = np.searchsorted(np.sort(scores[~good]), thresholds) / max((~good).sum(), 1)
    overkill = 1 - np.searchsorted(np.sort(scores[good]), thresholds) / max(good.sum(), 1)
    return DetectionCurve(thresholds, escape, overkill)


class DetectionCurve(NamedTuple):
    """Thresholds (T,) in ascending order; the share of bad parts accepted and of good parts rejected at each."""

    thresholds: Scores
    escape: Scores
    overkill: Scores


def part_weights(good: Mask, bad_share: float | None) -> Scores:
    """The share of all parts that each part stands for, (N,): on a line with `bad_share` bad parts, or as they are."""
    if bad_share is None:
        return np.full(len(good), 1 / len(good))
    weights = np.where(good, (1 - bad_share) / max(good.sum(), 1), bad_share / max((~good).sum(), 1))
    return np.asarray(weights, np.float64)


def promise(point: OperatingPoint) -> str:
    """What can be claimed of the thresholds, and what it would take to prove the targets, in whole sentences."""
    claim, overkill = point.claim, point.basis.overkill
    if point.basis.per_class is not None:
        said = said_of_classes(point.basis.per_class, claim.target, claim.confidence, point.basis.split)
    else:
        said = (
            f"With {claim.confidence:.0%} confidence, at most {claim.bound:.3%} of bad parts are accepted "
            f"({claim.escapes} of the {claim.n} bad parts of {point.basis.split} are)."
        )
        if not claim.met:
            said += (
                f" This does not prove the target of {claim.target:.3%}, which takes at least {claim.needed:,} bad "
                "parts."
            )
    if overkill:
        said += f" At most {overkill.bound:.3%} of good parts are rejected ({overkill.rejected} are)."
        if overkill.bound > overkill.target:
            said += (
                f" This does not prove the target of {overkill.target:.3%}, which takes at least "
                f"{overkill.needed:,} good parts, none of them rejected."
            )
    return said


def _accept(bad: BadScores, good: Scores, config: DecisionConfig) -> tuple[float, dict[str, ClassClaim]]:
    """The first threshold, and what can be claimed of each group of bad parts; `good` are the scores of good parts."""
    target, confidence = config.max_escape_rate, config.confidence
    # Every threshold up to this score keeps the claims. Of those that reject equally few good parts, take the middle.
    highest = highest_threshold(bad, target, confidence)
    below = good[good < highest]
    threshold = _between(float(below.max()), highest) if len(below) else highest
    return threshold, claims(bad, threshold, target, confidence)


def _claim(of_each: Mapping[str, ClassClaim], config: DecisionConfig) -> Claim:
    """The claim of all bad parts. What is proven of each group is proven of all of them, so the worst bound counts."""
    n, escapes, bounds, needed = zip(*of_each.values(), strict=True)
    return Claim(config.max_escape_rate, config.confidence, sum(n), sum(escapes), max(bounds), sum(needed))


def _class_claims(stored: JsonObject) -> dict[str, ClassClaim]:
    """The claims of framevit.json by class."""
    return {name: ClassClaim.from_json(stored.object(name)) for name in stored.values}


def _between(low: float, high: float) -> float:
    """The middle of two scores on the scale of their log-odds; above `low`, at most `high`."""
    odds = [math.log(max(p, 1e-300)) - math.log(max(1 - p, 1e-16)) for p in (low, high)]
    middle = 1 / (1 + math.exp(-sum(odds) / 2))
    return min(max(middle, math.nextafter(low, math.inf)), high)


def _reject(scores: Scores, good: Mask, accept_below: float, config: DecisionConfig) -> float:
    """The second threshold: set by the bound on overkill, or as high as the review budget allows."""
    if config.max_overkill_rate is not None:
        most = max(hits_allowed(int(good.sum()), config.max_overkill_rate, config.confidence), 0)
        # The `most` good parts with the highest scores may be rejected; the next one may not.
        return max(accept_below, math.nextafter(float(np.sort(scores[good])[-1 - most]), math.inf))
    weights = part_weights(good, config.bad_share)
    above = scores >= accept_below
    order = np.argsort(scores[above], kind="stable")
    ends, filled = scores[above][order], np.cumsum(weights[above][order])
    # Parts of equal score get the same verdict, so the review band can only end after the last of them.
    last = np.append(ends[1:] != ends[:-1], True) if len(ends) else np.zeros(0, bool)
    within = np.flatnonzero(last & (filled <= config.review_budget + 1e-12))
    if not len(within):
        return accept_below
    reached = within[-1]
    return float(ends[reached + 1]) if reached + 1 < len(ends) else math.nextafter(float(ends[-1]), math.inf)


def _overkill(good: Scores, reject_from: float, config: DecisionConfig) -> OverkillClaim | None:
    """What the scores of good parts prove about overkill; None without a target."""
    target = config.max_overkill_rate
    if target is None:
        return None
    rejected = int((good >= reject_from).sum())
    bound = upper_bound(rejected, len(good), config.confidence)
    return OverkillClaim(target, rejected, bound, parts_needed(target, config.confidence))
