"""`framevit compare` as a function: two models on the same pictures, and whether their difference could be chance.

Both models answer for the same parts, so the comparison is paired: only the parts on which exactly one of the two is
right say anything about which is better (McNemar 1947).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frame_vit.data.examples import Split
from frame_vit.decision.json_values import json_value
from frame_vit.decision.judged import Judged
from frame_vit.decision.rates import Rate, rate
from frame_vit.decision.verdicts import Verdict
from frame_vit.errors import DataError, UsageError
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import DataRequest, SelectedSplit, recorded_fingerprint, select_split
from frame_vit.system.progress import Tick, log, silent

LEVEL = 0.05
"""A difference is claimed where chance alone would give it with less than this probability, over all questions."""
BETTER = {
    "accuracy": "is right more often",
    "escape_rate": "lets fewer bad parts escape",
    "overkill_rate": "rejects fewer good parts",
    "review_rate": "sends fewer parts to review",
}


class PairedTest(NamedTuple):
    """On how many parts only one of the two is right, and the probability of such a difference by chance."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class ComparedRate:
    """The rates of A and B on the same parts, and the paired test of their difference."""

    a: Rate
    b: Rate
    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class ChangedDecision:
    """A picture on which the two models decide differently, with its true class."""

    a: str
    b: str
    file: str
    true: str


@dataclass(frozen=True)
class Comparison:
    """Two models on the `n` pictures of a split; without good classes only the accuracy is compared."""

    split: str
    n: int
    accuracy: ComparedRate
    escape_rate: ComparedRate | None = None
    overkill_rate: ComparedRate | None = None
    review_rate: ComparedRate | None = None
    changed: list[ChangedDecision] | None = None

    @property
    def rates(self) -> dict[str, ComparedRate]:
        """The rates that are compared, by their name in JSON."""
        rates = {
            "accuracy": self.accuracy,
            "escape_rate": self.escape_rate,
            "overkill_rate": self.overkill_rate,
            "review_rate": self.review_rate,
        }
        return {name: compared for name, compared in rates.items() if compared is not None}

    @property
    def conclusion(self) -> str:
        """Who is better at what, or that no difference can be shown, in one sentence."""
        claims = []
        for name, compared in self.rates.items():
            # Several questions are asked of the same parts, so p is corrected for their number (Bonferroni).
            if compared.p * len(self.rates) < LEVEL:
                winner = "A" if compared.only_a > compared.only_b else "B"
                high, low = sorted((compared.only_a, compared.only_b), reverse=True)
                claims.append(f"{winner} {BETTER[name]} ({high} against {low}, p = {compared.p:.2g})")
        if claims:
            return "; ".join(claims) + "."
        differing = self.accuracy.only_a + self.accuracy.only_b
        return (
            f"No difference can be shown on these {self.n} pictures: only one of the two is right on {differing} of "
            f"them (p = {self.accuracy.p:.2g})."
        )

    def to_json(self) -> dict[str, Any]:
        """What `framevit compare --json` prints; what is not compared has no key."""
        values: dict[str, Any] = {"split": self.split, "n": self.n} | json_value(self.rates)
        if self.changed is not None:
            values["changed"] = json_value(self.changed)
        return values | {"verdict": self.conclusion}


def mcnemar(a_right: NDArray[np.bool_], b_right: NDArray[np.bool_]) -> PairedTest:
    """The exact (binomial) test by McNemar (1947), from where A and where B is right, (N,) each."""
    from scipy.stats import binomtest

    only_a, only_b = int((a_right & ~b_right).sum()), int((~a_right & b_right).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return PairedTest(only_a, only_b, p)


def compare_judged(a: Judged, b: Judged, split: str, files: Sequence[str]) -> Comparison:
    """Models A and B on the same parts, both in the classes of A; `files` names the picture of each row."""
    comparison = Comparison(split, len(a), _compared(a.right, b.right, _share(a.right), _share(b.right)))
    if a.verdicts is None or b.verdicts is None:
        return comparison
    true = [a.space.names[label] for label in a.labels]
    return replace(
        comparison,
        escape_rate=_compared_verdict(a, b, Verdict.ACCEPT, ~a.good),
        overkill_rate=_compared_verdict(a, b, Verdict.REJECT, a.good),
        review_rate=_compared_verdict(a, b, Verdict.REVIEW, np.ones(len(a), bool)),
        changed=[
            ChangedDecision(Verdict(a.verdicts[row]).word, Verdict(b.verdicts[row]).word, files[row], true[row])
            for row in np.flatnonzero(a.verdicts != b.verdicts).tolist()
        ],
    )


def compare(one: Predictor, other: Predictor, request: DataRequest, tick: Tick = silent) -> Comparison:
    """Two models on the same pictures: a split of the first one's run, or a whole other data set.

    Raises `UsageError` where their classes differ, `DataError` where they cannot use the same pictures.
    """
    if {*one.labels.names} != {*other.labels.names} or one.labels.ok != other.labels.ok:
        raise UsageError(
            "the two models know different classes, or call others good: "
            f"{', '.join(one.labels.names)} against {', '.join(other.labels.names)}"
        )
    config = request.config
    config = config.model_copy(update={"data": config.data.model_copy(update={"slice_by": None, "part_by": None})})
    request = replace(request, config=config)
    # Each model reads the pictures by its own preprocessing, but both read the split of the first one's run.
    first = select_split(one.metadata, one.run, request, tick)
    a = one.judge_split(first.split, tick)
    second = select_split(other.metadata, one.run if request.source is None else other.run, request, tick)
    b = other.judge_split(second.split, tick)
    if _digests(first.split) != _digests(second.split):
        raise DataError("the two models cannot use the same pictures of this data: their bit depth or region differ")
    if request.source is None:
        _warn_of_other_split(other, second)
    return compare_judged(a, b.in_classes_of(a), first.name, [example.key for example in first.split.examples])


def _compared_verdict(a: Judged, b: Judged, unwanted: Verdict, parts: NDArray[np.bool_]) -> ComparedRate:
    """How often each model gives the marked parts a verdict that they should not get."""
    assert a.verdicts is not None
    assert b.verdicts is not None
    a_hit, b_hit = a.verdicts[parts] == unwanted, b.verdicts[parts] == unwanted
    return _compared(~a_hit, ~b_hit, _share(a_hit), _share(b_hit))


def _compared(a_right: NDArray[np.bool_], b_right: NDArray[np.bool_], a: Rate, b: Rate) -> ComparedRate:
    return ComparedRate(a, b, *mcnemar(a_right, b_right))


def _share(hits: NDArray[np.bool_]) -> Rate:
    return rate(int(hits.sum()), len(hits))


def _digests(split: Split) -> list[str]:
    return [example.digest for example in split.examples]


def _warn_of_other_split(other: Predictor, selected: SelectedSplit) -> None:
    if other.run is None:
        return
    if recorded_fingerprint(other.run, selected.name) != selected.dataset.split_fingerprint(selected.name):
        log.warning(
            "%s split its data differently: it may have been trained on pictures of this %s", other.run, selected.name
        )
