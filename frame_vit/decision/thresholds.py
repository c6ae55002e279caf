"""From probabilities to decisions with bounds: accept, review, reject. Pure functions over arrays; no files, no torch.

A part is bad when its true class is not among the fine ones. Its *score* is 1 - p(fine). It is accepted when its score
lies below one threshold, rejected when it lies at or above a second one, and shown to a person in between.

The first threshold is the (k + 1)-th smallest score of the n bad parts at hand, where k is the largest number of
escapes whose exact upper bound (Clopper and Pearson 1934, one-sided) still meets the target. That is a
distribution-free tolerance limit (Wilks 1941): however bad parts' scores are distributed, the share of all bad parts
below it exceeds the target with a probability of at most 1 - confidence.

---
A trained model's temperature and thresholds: chosen on a split, through the predictor, and stored with the model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from frame_vit.config.schema import DecisionConfig
from frame_vit.decision.rates import Ids, Logits, parts_needed, rate, upper_bound
from frame_vit.labels import LabelSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frame_vit.config.schema import DecisionConfig  # predict starts without the library that checks configs


Scores: TypeAlias = "NDArray[np.float64]"
Verdicts: TypeAlias = "NDArray[np.int8]"
Flags: TypeAlias = "NDArray[np.bool_]"
ACCEPT, REVIEW, REJECT = 0, 1, 2
VERDICTS = ("accept", "review", "reject")


class Claim(NamedTuple):
    """What `n` bad parts allow to be said: with `confidence`, at most `bound` of all bad parts are accepted.

    `escapes` of the n were; `needed` is how many bad parts it takes to claim the target at all.
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


@dataclass(frozen=True)
class OperatingPoint:
    """Where a model's scores are cut, and what can be claimed of that; stored in framevit.json.

    `chosen_on` names the split that it was chosen on, which therefore says nothing about how good it is.
    """

    accept_below: float
    reject_from: float
    claim: Claim
    chosen_on: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"claim": self.claim._asdict() | {"met": self.claim.met}}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> OperatingPoint:
        claim = {key: values["claim"][key] for key in Claim._fields}
        return cls(**(values | {"claim": Claim(**claim)}))


def scores(logits: Logits, space: LabelSpace) -> Scores:
    """1 - p(fine) of (N, C) logits, (N,); small ones exactly, as the sum of the other probabilities."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    bad = [i for i in range(len(space)) if not space.is_ok(i)]
    return np.asarray(powers[..., bad].sum(axis=-1) / powers.sum(axis=-1))


def operating_point(labels: Ids, found: Scores, space: LabelSpace, settings: DecisionConfig) -> OperatingPoint | None:
    """The thresholds for (N,) true class ids and scores; None where there are no bad or no good parts to choose by.

    Where there are too few bad parts for the target, none of them is accepted, and the claim says what that proves.
    """
    good = np.isin(labels, space.ok_ids)
    if good.all() or not good.any():
        return None
    claim, accept_below = _accept(np.sort(found[~good]), found[good], settings)
    reject_from = _reject(found, good, accept_below, settings)
    facts: dict[str, Any] = {"good": int(good.sum()), "bad": int((~good).sum()), "bad_share": settings.bad_share}
    if settings.max_overkill_rate is not None:
        rejected = int((found[good] >= reject_from).sum())
        bound = upper_bound(rejected, int(good.sum()), settings.confidence)
        needed = parts_needed(settings.max_overkill_rate, settings.confidence)
        facts["overkill"] = {
            "target": settings.max_overkill_rate,
            "rejected": rejected,
            "bound": bound,
            "needed": needed,
        }
    return OperatingPoint(accept_below, reject_from, claim, facts=facts)


def verdicts(found: Scores, point: OperatingPoint) -> Verdicts:
    """ACCEPT, REVIEW or REJECT for each score, (N,)."""
    judged = np.full(len(found), REVIEW, np.int8)
    judged[found < point.accept_below] = ACCEPT
    judged[found >= point.reject_from] = REJECT
    return judged


def decide(
    logits: Logits, space: LabelSpace, point: OperatingPoint | None, review: Flags | None = None
) -> Verdicts | None:
    """The verdicts on (N, C) logits: by the operating point, or without one by whether the class is a fine one.

    Where `review` (N,) says so, a person decides. None where no class is fine, so that nothing could be accepted.
    """
    if not space.ok:
        return None
    if point is not None:
        judged = verdicts(scores(logits, space), point)
    else:
        judged = np.where(np.isin(logits.argmax(axis=1), space.ok_ids), ACCEPT, REJECT).astype(np.int8)
    if review is not None:
        judged[review] = REVIEW
    return judged


def share_of(judged: Verdicts | None, verdict: int, parts: NDArray[np.bool_]) -> dict[str, float | int | None]:
    """The share of these parts that got a verdict; unknown where nothing was judged."""
    return rate(0, 0) if judged is None else rate(int((judged[parts] == verdict).sum()), int(parts.sum()))


def curve(labels: Ids, found: Scores, space: LabelSpace) -> dict[str, list[float]]:
    """Escape and overkill, both as shares, at every threshold below which parts could be accepted.

    From accepting nothing to accepting everything; scikit-learn's `det_curve` leaves out where one of the two is 0.
    """
    good = np.isin(labels, space.ok_ids)
    thresholds = np.append(np.unique(found), np.nextafter(found.max(), np.inf))
    escape = np.searchsorted(np.sort(found[~good]), thresholds) / max((~good).sum(), 1)
    overkill = 1 - np.searchsorted(np.sort(found[good]), thresholds) / max(good.sum(), 1)
    return {"threshold": thresholds.tolist(), "escape": escape.tolist(), "overkill": overkill.tolist()}


def _accept(bad: Scores, good: Scores, settings: DecisionConfig) -> tuple[Claim, float]:
    target, confidence, n = settings.max_escape_rate, settings.confidence, len(bad)
    most = max(_allowed(n, target, confidence), 0)
    # Any threshold up to this score keeps the promise; of those that reject as few good parts, the middle of the gap.
    highest = float(bad[most])
    below = good[good < highest]
    threshold = _between(float(below.max()), highest) if len(below) else highest
    escapes = int((bad < threshold).sum())
    needed = parts_needed(target, confidence)
    return Claim(target, confidence, n, escapes, upper_bound(escapes, n, confidence), needed), threshold


def _allowed(n: int, target: float, confidence: float) -> int:
    """How many of n may be seen so that the upper bound still meets the target; -1 where not even none may."""
    allowed = -1
    while allowed + 1 < n and upper_bound(allowed + 1, n, confidence) <= target:
        allowed += 1
    return allowed


def _between(low: float, high: float) -> float:
    """The middle of two scores, on the scale of their log-odds; above the low one, at most the high one."""
    odds = [math.log(max(p, 1e-300)) - math.log(max(1 - p, 1e-16)) for p in (low, high)]
    middle = 1 / (1 + math.exp(-sum(odds) / 2))
    return min(max(middle, math.nextafter(low, math.inf)), high)


def _reject(found: Scores, good: NDArray[np.bool_], accept_below: float, settings: DecisionConfig) -> float:
    """From where on parts are rejected: by the bound on overkill, or as far as the review budget reaches."""
    if settings.max_overkill_rate is not None:
        most = max(_allowed(int(good.sum()), settings.max_overkill_rate, settings.confidence), 0)
        # The `most` highest of the good parts may be rejected; the next one may not.
        return max(accept_below, math.nextafter(float(np.sort(found[good])[-1 - most]), math.inf))
    weights = part_weights(good, settings.bad_share)
    above = found >= accept_below
    order = np.argsort(found[above], kind="stable")
    ends, filled = found[above][order], np.cumsum(weights[above][order])
    # Parts of equal score are treated alike, so only the last of them can be an end.
    last = np.append(ends[1:] != ends[:-1], True) if len(ends) else np.zeros(0, bool)
    within = np.flatnonzero(last & (filled <= settings.review_budget + 1e-12))
    if not len(within):
        return accept_below
    reached = within[-1]
    return float(ends[reached + 1]) if reached + 1 < len(ends) else math.nextafter(float(ends[-1]), math.inf)


def part_weights(good: NDArray[np.bool_], bad_share: float | None) -> Scores:
    """What share of all parts each part stands for: as they are, or on a line on which `bad_share` are bad."""
    if bad_share is None:
        return np.full(len(good), 1 / len(good))
    weights = np.where(good, (1 - bad_share) / max(good.sum(), 1), bad_share / max((~good).sum(), 1))
    return np.asarray(weights, np.float64)


def promise(point: OperatingPoint) -> str:
    """What can be claimed, and what it would take to claim the target."""
    claim, overkill = point.claim, point.facts.get("overkill")
    said = (
        f"with {claim.confidence:.0%} confidence at most {claim.bound:.3%} of bad parts are accepted "
        f"({claim.escapes} of {claim.n} bad parts of {point.chosen_on})"
    )
    if not claim.met:
        said += (
            f"; that does not show the target of {claim.target:.3%}, which takes at least {claim.needed:,} bad parts"
        )
    if overkill:
        said += f"; at most {overkill['bound']:.3%} of good parts are rejected ({overkill['rejected']})"
        if overkill["bound"] > overkill["target"]:
            said += (
                f", where the target of {overkill['target']:.3%} needs at least {overkill['needed']:,}, none rejected"
            )
    return said
