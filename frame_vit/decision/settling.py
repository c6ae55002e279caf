"""Which pictures one view settles, so that test-time augmentation asks for the others only where they can matter.

The *doubt* of an answer is the probability of all classes but the most likely one. A picture is settled by its
untouched view if the doubt of that view lies below a limit: the highest one at which no more than a stated share of the
validation pictures gets another class or decision than from all views. The thresholds are chosen afterwards, on answers
that come about in this way. Where they are chosen on other pictures than the limit, what is claimed of them holds for
what `predict` does.

Pure functions over arrays; no files, no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frame_vit.decision.rates import Ids, Logits
from frame_vit.decision.thresholds import JUST_ABOVE_1, Mask, Scores, operating_point
from frame_vit.decision.verdicts import Verdicts, decide, scores
from frame_vit.labels import LabelSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frame_vit.config.schema import DecisionConfig


STEPS = 100
"""Limits that are tried: quantiles of the doubt."""


def doubt(logits: Logits) -> Scores:
    """The probability of all classes but the most likely one, of (N, C) logits: (N,) float64.

    It is a sum of small probabilities, so it tells answers apart whose confidence rounds to 1.
    """
    powers = np.sort(np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True)), axis=1)
    return np.asarray(powers[:, :-1].sum(axis=1) / powers.sum(axis=1))


def settled(single: Logits, limit: float | None) -> Mask:
    """Which of the pictures with these (N, C) logits of their untouched view need no other view, (N,)."""
    return np.zeros(len(single), bool) if limit is None else doubt(single) < limit


def as_asked(logits: Logits, limit: float | None) -> Logits:
    """(N, views, C) as they are where settled pictures are asked in one view only, whose logits then stand in all."""
    return np.where(settled(logits[:, 0], limit)[:, None, None], logits[:, :1], logits)


def views_asked(single: Logits, limit: float | None, views: int) -> NDArray[np.int64]:
    """How many of so many views each picture is asked in, (N,), by the (N, C) logits of its untouched view."""
    return np.where(settled(single, limit), 1, views)


def settling_limit(labels: Ids, logits: Logits, space: LabelSpace, config: DecisionConfig, most: float) -> float:
    """The highest limit at which at most this share of the pictures gets another class or decision than from all views.

    Of pictures with (N,) true class ids and (N, views, C) logits. For every limit the thresholds are chosen anew, as
    they will be: a bad part that its first view takes for a good one can lower them. 0: no picture is settled.
    """
    doubts, before = doubt(logits[:, 0]), _outcome(labels, logits, space, config)
    quantiles = np.unique(np.quantile(doubts, np.linspace(0, 1, STEPS + 1), method="lower"))[::-1]
    for limit in (JUST_ABOVE_1, *quantiles[quantiles > doubts.min()]):
        after = _outcome(labels, as_asked(logits, limit), space, config)
        if _differ(before, after).mean() <= most:
            return float(limit)
    return 0.0


def changes(labels: Ids, logits: Logits, limit: float, space: LabelSpace, config: DecisionConfig) -> Mask:
    """Which pictures have another class or decision at this limit than from all views, (N,), each by thresholds of its
    own that are chosen on these pictures."""
    return _differ(*(_outcome(labels, views, space, config) for views in (logits, as_asked(logits, limit))))


class _Outcome(NamedTuple):
    """The classes and the decisions of N pictures."""

    classes: Ids
    verdicts: Verdicts | None


def _outcome(labels: Ids, logits: Logits, space: LabelSpace, config: DecisionConfig) -> _Outcome:
    """What (N, views, C) logits decide by thresholds that are chosen on these pictures."""
    averaged = logits.mean(axis=1)
    point = operating_point(labels, scores(averaged, space), space, config) if space.ok else None
    return _Outcome(averaged.argmax(axis=1), decide(averaged, space, point))


def _differ(one: _Outcome, other: _Outcome) -> Mask:
    differ = np.asarray(one.classes != other.classes)
    if one.verdicts is None or other.verdicts is None:
        return differ
    return np.asarray(differ | (one.verdicts != other.verdicts))
