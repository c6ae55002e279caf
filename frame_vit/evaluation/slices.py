"""Where a model is worse: by camera, size, light; whether it repeats itself; which rows a person should look at.

Pure functions over arrays; what belongs together comes as one word a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.decision.rates import Ids, Logits, rate, softmax
from frame_vit.decision.thresholds import ACCEPT, REJECT, VERDICTS, Verdicts, share_of
from frame_vit.labels import LabelSpace

SURPRISE = 0.05
"""A slice stands out where chance would give so many more mistakes less often than this, over all values together."""
MOST_VALUES = 60


def slices(
    words: Mapping[str, Sequence[str]], labels: Ids, predicted: Ids, judged: Verdicts | None, space: LabelSpace
) -> list[dict[str, Any]]:
    """Accuracy, escape and overkill for every value of every `words` (by what: a word a row), with exact intervals.

    `stands_out` by Fisher's exact test of the mistakes (a wrong class, a bad part accepted, a good one rejected) beside
    all others, corrected for the number of values. A single value is no slice; of very many the largest are kept.
    """
    from scipy.stats import fisher_exact

    right, good = predicted == labels, np.isin(labels, space.ok_ids)
    fine = right.copy()
    if judged is not None:
        fine &= np.where(good, judged != REJECT, judged != ACCEPT)
    found: list[dict[str, Any]] = []
    for by, values in words.items():
        array = np.array(values, dtype=object)
        counted = Counter(values).most_common(MOST_VALUES)
        for value in sorted(word for word, _ in counted) if len(counted) > 1 else ():
            there = array == value
            table = [[(~fine & there).sum(), (fine & there).sum()], [(~fine & ~there).sum(), (fine & ~there).sum()]]
            found.append(
                {
                    "by": by,
                    "value": value or "(none)",
                    "n": int(there.sum()),
                    "accuracy": rate(int(right[there].sum()), int(there.sum())),
                    "escape_rate": share_of(judged, ACCEPT, there & ~good),
                    "overkill_rate": share_of(judged, REJECT, there & good),
                    "stands_out": float(fisher_exact(table, alternative="greater").pvalue) * len(counted) < SURPRISE,
                }
            )
    return found


def quartiles(values: NDArray[np.float32]) -> list[str]:
    """A word for each value: which quarter of all it lies in, with its bounds; one word where they are all alike."""
    if not len(values) or values.min() == values.max():
        return [""] * len(values)
    edges = np.unique(np.quantile(values, (0.25, 0.5, 0.75)))
    bounds = [float(values.min()), *edges.tolist(), float(values.max())]
    place = np.searchsorted(edges, values, side="left")
    return [f"{i + 1}: {bounds[i]:.4g} to {bounds[i + 1]:.4g}" for i in place]


def repeatability(
    parts: Sequence[str], labels: Ids, predicted: Ids, judged: Verdicts | None, space: LabelSpace
) -> dict[str, Any] | None:
    """How far the answers on several pictures of one part agree, with each other and with the label.

    `alike` is the share of parts that are always called the same, `decided` of those that are always decided the same;
    `kappa` Fleiss' kappa (1971) for any number of pictures a part; `kappa_label` Cohen's kappa of answers and labels.
    None where no part has two pictures.
    """
    from sklearn.metrics import cohen_kappa_score

    names, place = np.unique(np.array(parts, dtype=object).astype(str), return_inverse=True)
    counts = _counts(place, predicted, (len(names), len(space)))
    several = (counts.sum(axis=1) > 1) & (names != "")
    if not several.any():
        return None
    rows = several[place]
    kappa = cohen_kappa_score(labels[rows], predicted[rows]) if len({*labels[rows], *predicted[rows]}) > 1 else 1.0
    return {
        "parts": int(several.sum()),
        "pictures": int(rows.sum()),
        "alike": _alike(counts[several]),
        "decided": None if judged is None else _alike(_counts(place, judged, (len(names), len(VERDICTS)))[several]),
        "kappa": fleiss_kappa(counts[several]),
        "kappa_label": float(kappa),
        "unlike": [str(name) for name in names[several & (counts.max(axis=1) < counts.sum(axis=1))]],
    }


def _counts(place: Ids, said: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int64]:
    """(parts, answers): how often each part got each answer."""
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, (place, said), 1)
    return counts


def _alike(counts: NDArray[np.int64]) -> dict[str, float | int | None]:
    """The share of parts that always got the same answer."""
    return rate(int((counts.max(axis=1) == counts.sum(axis=1)).sum()), len(counts))


def fleiss_kappa(counts: NDArray[np.int64]) -> float:
    """Agreement beyond chance; (parts, classes) how often each part was called each class, at least twice in all."""
    each = counts.sum(axis=1)
    agreed = ((counts**2).sum(axis=1) - each) / (each * (each - 1))
    by_chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return 1.0 if by_chance == 1 else float((agreed.mean() - by_chance) / (1 - by_chance))


def worth_a_look(labels: Ids, logits: Logits) -> dict[str, list[int]]:
    """Row numbers: the surest mistakes, the least sure answers, and rows that look mislabelled, each the worst first.

    Mislabelled, as confident learning has it (Northcutt, Jiang and Chuang 2021): the likeliest class among those whose
    probability is at least what rows of that class have on average is another than the label.
    """
    probabilities = softmax(logits.astype(np.float64))
    rows = np.arange(len(labels))
    own, predicted = probabilities[rows, labels], probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    two = np.sort(probabilities, axis=1)[:, -2:]
    margin = two[:, 1] - two[:, 0]
    average = np.array([own[labels == c].mean() if (labels == c).any() else np.inf for c in range(logits.shape[1])])
    sure = np.where(probabilities >= average, probabilities, -1)
    suspect = (sure.argmax(axis=1) != labels) & (sure.max(axis=1) >= 0)
    wrong = np.flatnonzero(predicted != labels)
    return {
        "mistakes": wrong[np.argsort(-confidence[wrong], kind="stable")].tolist(),
        "unsure": np.argsort(margin, kind="stable").tolist(),
        "suspects": np.flatnonzero(suspect)[np.argsort(own[suspect], kind="stable")].tolist(),
    }
