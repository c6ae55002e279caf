"""Where a model is worse: by camera, size or light; whether its answers repeat; which rows a person should inspect.

A slice is all pictures with the same value of something, such as the camera. Pure functions over arrays: what the
pictures are sliced by comes as one word for each row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.decision.json_values import json_fields
from frame_vit.decision.judged import Judged
from frame_vit.decision.rates import Ids, Rate, rate, softmax
from frame_vit.decision.verdicts import Verdict, verdict_rate

SURPRISE = 0.05
"""A slice stands out where chance alone would give it this many mistakes with less than this probability, corrected
for the number of slices that are compared."""
MOST_VALUES = 60


@dataclass(frozen=True)
class Slice:
    """The pictures with one `value` of what they are sliced `by`; `stands_out` if it has too many mistakes."""

    by: str
    value: str
    n: int
    accuracy: Rate
    escape_rate: Rate
    overkill_rate: Rate
    stands_out: bool


@dataclass(frozen=True)
class Repeatability:
    """How far the answers for several pictures of one part agree, with each other and with the label.

    `alike` is the share of parts whose predicted class is always the same, `decided` of those whose verdict is.
    `kappa` is Fleiss' kappa (1971), which allows any number of pictures of a part; `kappa_label` is Cohen's kappa of
    answers and labels. `disagreeing` names the parts whose predicted classes differ.
    """

    parts: int
    pictures: int
    alike: Rate
    decided: Rate | None
    kappa: float
    kappa_label: float
    disagreeing: list[str]

    def to_json(self) -> dict[str, Any]:
        """The key of metrics.json for the disagreeing parts is `unlike`."""
        values: dict[str, Any] = json_fields(self)
        return values | {"unlike": values.pop("disagreeing")}


@dataclass(frozen=True)
class RowsToInspect:
    """Row numbers that a person should look at, sorted.

    `escaped` are bad parts that are accepted, `scrapped` good parts that are rejected, those with a score close to the
    threshold first; None without verdicts.
    `mistakes` are wrong classes, the most confident first; `unsure` are all rows, the smallest lead of the first class
    first; `suspects` look mislabelled, the least probable label first.
    """

    escaped: list[int] | None
    scrapped: list[int] | None
    mistakes: list[int]
    unsure: list[int]
    suspects: list[int]


def slices(judged: Judged, words: Mapping[str, Sequence[str]]) -> list[Slice]:
    """One slice for every value of each of the `words` (by what: one word for each row).

    Whether a slice stands out is decided by Fisher's exact test of its mistakes against all other rows, corrected for
    the number of values. A single value is no slice; of more than 60 values the most frequent ones are kept.
    """
    return [row for by, values in words.items() for row in _slices_by(by, values, judged)]


def _slices_by(by: str, values: Sequence[str], judged: Judged) -> list[Slice]:
    from scipy.stats import fisher_exact

    column, wrong = np.array(values, dtype=object), judged.mishandled
    counted = Counter(values).most_common(MOST_VALUES)
    rows = []
    for value in sorted(word for word, _ in counted) if len(counted) > 1 else ():
        inside = column == value
        table = [[(wrong & inside).sum(), (~wrong & inside).sum()], [(wrong & ~inside).sum(), (~wrong & ~inside).sum()]]
        by_chance = float(fisher_exact(table, alternative="greater").pvalue)
        rows.append(
            Slice(
                by=by,
                value=value or "(none)",
                n=int(inside.sum()),
                accuracy=rate(int(judged.right[inside].sum()), int(inside.sum())),
                escape_rate=verdict_rate(judged.verdicts, Verdict.ACCEPT, inside & ~judged.good),
                overkill_rate=verdict_rate(judged.verdicts, Verdict.REJECT, inside & judged.good),
                stands_out=by_chance * len(counted) < SURPRISE,
            )
        )
    return rows


def quartiles(values: NDArray[np.float32]) -> list[str]:
    """One word for each value: its quartile and the bounds of that; an empty word where all values are equal."""
    if not len(values) or values.min() == values.max():
        return [""] * len(values)
    edges = np.unique(np.quantile(values, (0.25, 0.5, 0.75)))
    bounds = [float(values.min()), *edges.tolist(), float(values.max())]
    place = np.searchsorted(edges, values, side="left")
    return [f"{i + 1}: {bounds[i]:.4g} to {bounds[i + 1]:.4g}" for i in place]


def repeatability(judged: Judged, parts: Sequence[str]) -> Repeatability | None:
    """From the name of the part that each row shows (empty: unknown); None where no part has two pictures."""
    from sklearn.metrics import cohen_kappa_score

    labels, predicted = judged.labels, judged.predicted
    names, place = np.unique(np.array(parts, dtype=object).astype(str), return_inverse=True)
    counts = _counts(place, predicted, (len(names), len(judged.space)))
    several = (counts.sum(axis=1) > 1) & (names != "")
    if not several.any():
        return None
    rows = several[place]
    decided = None
    if judged.verdicts is not None:
        decided = _always_alike(_counts(place, judged.verdicts, (len(names), len(Verdict)))[several])
    kappa = cohen_kappa_score(labels[rows], predicted[rows]) if len({*labels[rows], *predicted[rows]}) > 1 else 1.0
    return Repeatability(
        parts=int(several.sum()),
        pictures=int(rows.sum()),
        alike=_always_alike(counts[several]),
        decided=decided,
        kappa=fleiss_kappa(counts[several]),
        kappa_label=float(kappa),
        disagreeing=[str(name) for name in names[several & (counts.max(axis=1) < counts.sum(axis=1))]],
    )


def _counts(place: Ids, answers: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int64]:
    """(parts, answers): how often each part got each answer."""
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, (place, answers), 1)
    return counts


def _always_alike(counts: NDArray[np.int64]) -> Rate:
    """The share of parts that always got the same answer, from counts (parts, answers)."""
    return rate(int((counts.max(axis=1) == counts.sum(axis=1)).sum()), len(counts))


def fleiss_kappa(counts: NDArray[np.int64]) -> float:
    """Agreement beyond chance, from how often each part got each class (parts, classes), each part at least twice."""
    each = counts.sum(axis=1)
    agreed = ((counts**2).sum(axis=1) - each) / (each * (each - 1))
    by_chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return 1.0 if by_chance == 1 else float((agreed.mean() - by_chance) / (1 - by_chance))


def rows_to_inspect(judged: Judged) -> RowsToInspect:
    """The rows that a person should look at.

    A row looks mislabelled by the rule of confident learning (Northcutt, Jiang and Chuang 2021): of the classes whose
    probability is at least the mean that rows of that class have, the most probable one is not the label.
    """
    labels, probabilities = judged.labels, softmax(judged.logits.astype(np.float64))
    own, predicted = probabilities[np.arange(len(labels)), labels], probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    two = np.sort(probabilities, axis=1)[:, -2:]
    margin = two[:, 1] - two[:, 0]
    average = np.array([own[labels == c].mean() if (labels == c).any() else np.inf for c in range(len(judged.space))])
    sure = np.where(probabilities >= average, probabilities, -1)
    suspect = (sure.argmax(axis=1) != labels) & (sure.max(axis=1) >= 0)
    return RowsToInspect(
        escaped=_sorted_rows(judged, Verdict.ACCEPT, ~judged.good),
        scrapped=_sorted_rows(judged, Verdict.REJECT, judged.good),
        mistakes=_rows(predicted != labels, -confidence),
        unsure=np.argsort(margin, kind="stable").tolist(),
        suspects=_rows(suspect, own),
    )


def _sorted_rows(judged: Judged, verdict: Verdict, parts: NDArray[np.bool_]) -> list[int] | None:
    """The marked parts that got this verdict, those with a score close to the threshold first."""
    if judged.verdicts is None or judged.scores is None:
        return None
    return _rows((judged.verdicts == verdict) & parts, judged.scores if verdict == Verdict.REJECT else -judged.scores)


def _rows(chosen: NDArray[np.bool_], order: NDArray[np.floating[Any]]) -> list[int]:
    """The chosen row numbers by ascending `order` (N,)."""
    rows = np.flatnonzero(chosen)
    return [int(row) for row in rows[np.argsort(order[rows], kind="stable")]]
