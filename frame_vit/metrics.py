"""Logits and labels -> numbers. Pure functions over arrays; no files, no torch.

A part is bad when its true class is not among the fine ones. It escapes when it is accepted all the same; a good part
that is rejected is overkill. Both are shares of few parts, so each comes with its 95 % Wilson interval (Wilson 1927;
Brown, Cai and DasGupta 2001 recommend it for shares near 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.labels import LabelSpace

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]


def softmax(logits: Logits) -> Logits:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def rate(hits: int, n: int) -> dict[str, float | int | None]:
    """A share with its 95 % Wilson interval; of nothing, it is unknown and the interval is everything."""
    if n == 0:
        return {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    from scipy.stats import binomtest  # here and below: predict starts a second sooner without them

    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return {"value": hits / n, "low": float(interval.low), "high": float(interval.high), "n": n}


def score(labels: Ids, logits: Logits, space: LabelSpace) -> dict[str, Any]:
    """The numbers of one split: (N,) true class ids, (N, C) logits.

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
    accepted = np.isin(predicted, space.ok_ids)
    judged = bool(space.ok_ids)
    return {
        "confusion_matrix": confusion_matrix(labels, predicted, labels=ids).tolist(),
        "accuracy": float((predicted == labels).mean()),
        "accuracy_interval": rate(int((predicted == labels).sum()), len(labels)),
        "macro_f1": float(np.nan_to_num(f1[occurs]).mean()),
        "escape_rate": rate(int((accepted & ~ok).sum()), int((~ok).sum()) if judged else 0),
        "overkill_rate": rate(int((~accepted & ok).sum()), int(ok.sum()) if judged else 0),
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


def evaluation_metrics(split: str, labels: Ids, views: Logits, space: LabelSpace, group: list[str]) -> dict[str, Any]:
    """metrics.json from the logits (N, V, C) of the views that were asked for, the untouched picture's first.

    The numbers are those of the average over the views. `tta` says which views these were of the declared `group`,
    and has the numbers with and, for comparison, without averaging (None for what was not asked for).
    """
    whole = views.shape[1] == len(group)
    with_tta, without = score(labels, views.mean(axis=1), space), score(labels, views[:, 0], space)
    head = ("accuracy", "macro_f1", "escape_rate", "overkill_rate")
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
