"""Logits and labels -> numbers. Pure functions over arrays; no files, no torch.

A part is bad when its true class is not among the fine ones. It escapes when it is accepted all the same; a good part
that is rejected is overkill; what a person looks at is neither. All are shares of few parts, so each comes with its
exact 95 % interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from frame_vit.decision.rates import Ids, Logits, rate
from frame_vit.decision.thresholds import ACCEPT, REJECT, REVIEW, Flags, OperatingPoint, decide, share_of
from frame_vit.labels import LabelSpace


def score(
    labels: Ids, logits: Logits, space: LabelSpace, point: OperatingPoint | None = None, review: Flags | None = None
) -> dict[str, Any]:
    """The numbers of one split: (N,) true class ids, (N, C) logits; decisions by the operating point or by class.

    Where `review` (N,) says so, a person decides.

    `macro_f1` is over the classes that occur, as true or predicted ones; a precision or recall of nothing is None.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = logits.argmax(axis=1)
    ids = list(range(len(space)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=ids, zero_division=np.nan
    )
    occurs = [i for i in ids if support[i] or (predicted == i).any()]
    ok = np.isin(labels, space.ok_ids)
    judged = decide(logits, space, point, review)
    return {
        "confusion_matrix": confusion_matrix(labels, predicted, labels=ids).tolist(),
        "accuracy": float((predicted == labels).mean()),
        "accuracy_interval": rate(int((predicted == labels).sum()), len(labels)),
        "macro_f1": float(np.nan_to_num(f1[occurs]).mean()),
        "escape_rate": share_of(judged, ACCEPT, ~ok),
        "overkill_rate": share_of(judged, REJECT, ok),
        "review_rate": share_of(judged, REVIEW, np.ones(len(labels), bool)),
        "per_class": {
            name: {
                "precision": _number(precision[i]),
                "recall": _number(recall[i]),
                "f1": _number(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(space.names)
        },
    }


def evaluation_metrics(
    split: str,
    labels: Ids,
    views: Logits,
    space: LabelSpace,
    group: list[str],
    point: OperatingPoint | None = None,
    review: Flags | None = None,
) -> dict[str, Any]:
    """metrics.json from the logits (N, V, C) of the views that were asked for, the untouched picture's first.

    The numbers are those of the average over the views. `tta` says which views these were of the declared `group`,
    and has the numbers with and, for comparison, without averaging (None for what was not asked for).
    """
    whole = views.shape[1] == len(group)
    with_tta, without = (score(labels, logits, space, point, review) for logits in (views.mean(axis=1), views[:, 0]))
    head = ("accuracy", "macro_f1", "escape_rate", "overkill_rate", "review_rate")
    return {
        "split": split,
        "n": len(labels),
        "labels": list(space.names),
        **with_tta,
        "tta": {
            "used": views.shape[1] > 1,
            "views": group[: views.shape[1]],
            "with_tta": {key: with_tta[key] for key in head} if whole else None,
            "without_tta": {key: without[key] for key in head},
        },
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
