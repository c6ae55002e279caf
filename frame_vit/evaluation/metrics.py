"""metrics.json as a typed value, and how its scores are computed.

A part is bad when its true class is not among the good ones. A bad part that is accepted is an *escape*; a good part
that is rejected is *overkill*; a part that is shown to a person is neither. All of these are shares of few parts, so
each is a `Rate` with its exact 95 % interval; macro-F1 and kappa have bootstrap intervals (`Agreement`). Code reads the
fields of `Metrics`; only files, `--json`, gates and the page read its JSON form. Pure functions over arrays; no files,
no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from frame_vit.decision.bootstrap import Agreement
from frame_vit.decision.json_values import json_fields
from frame_vit.decision.judged import Judged
from frame_vit.decision.rates import UNDEFINED, Ids, Logits, Rate, rate, rates
from frame_vit.decision.temperature import Calibration
from frame_vit.decision.thresholds import AnsweredBy, OperatingPoint
from frame_vit.decision.verdicts import Verdict, Verdicts, decide, verdict_rate
from frame_vit.evaluation.directions import Directions
from frame_vit.evaluation.robustness import Robustness
from frame_vit.evaluation.slices import Repeatability, Slice
from frame_vit.labels import LabelSpace
from frame_vit.report.model_card import CardScores


@dataclass(frozen=True)
class ClassScores:
    """Of one class; None where a score is not defined, such as the recall of a class that does not occur.

    `precision_rate` and `recall_rate` are the same shares with their intervals, of the parts that are called this class
    and of those that are of it.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    precision_rate: Rate = UNDEFINED
    recall_rate: Rate = UNDEFINED


@dataclass(frozen=True)
class Headline:
    """The numbers that are compared with and without test-time augmentation."""

    accuracy: float
    macro_f1: float
    escape_rate: Rate
    overkill_rate: Rate
    review_rate: Rate


@dataclass(frozen=True)
class ClassificationScores:
    """Of one split. `confusion_matrix` has a row for each true and a column for each predicted class.

    `escape_by_class` has the escape rate among the parts of each class that is not good.
    """

    confusion_matrix: list[list[int]]
    accuracy: float
    accuracy_interval: Rate
    macro_f1: float
    escape_rate: Rate
    overkill_rate: Rate
    review_rate: Rate
    per_class: dict[str, ClassScores]
    escape_by_class: dict[str, Rate]

    @property
    def headline(self) -> Headline:
        return Headline(self.accuracy, self.macro_f1, self.escape_rate, self.overkill_rate, self.review_rate)


@dataclass(frozen=True)
class AugmentationMetrics:
    """Test-time augmentation: the views that were averaged, and the numbers with and without it.

    `views_per_picture` is how many of them a picture was asked in, on average. `with_tta` is None where not all
    declared views were used.
    """

    used: bool
    views: list[str]
    views_per_picture: float
    with_tta: Headline | None
    without_tta: Headline


@dataclass(frozen=True)
class ClassRates:
    """The rates if the predicted class alone decided, without thresholds."""

    escape_rate: Rate
    overkill_rate: Rate


@dataclass(frozen=True)
class DecisionMetrics:
    """The operating point on this split, and whether its promise applies here.

    `independent`: the thresholds were not chosen on these pictures. `as_chosen`: the answers are averaged over the same
    views. `chosen_by_others`: backend and precision of the answers that they were chosen on, where these differ.
    `review_share`: the share in review on a line with `decision.bad_share` bad parts, None where that is not declared.
    """

    point: OperatingPoint | None
    by_class: ClassRates
    independent: bool
    as_chosen: bool
    chosen_by_others: AnsweredBy | None
    review_share: float | None
    verdicts: dict[str, int] | None


@dataclass(frozen=True)
class NoveltyCounts:
    """How many pictures are flagged as out of distribution, by flag, and whether these go to review."""

    flagged: int
    by: dict[str, int]
    reviewed: bool


@dataclass(frozen=True)
class Metrics:
    """The whole of metrics.json. `suspects` are keys of rows that look mislabelled; `skipped` counts unusable rows."""

    split: str
    n: int
    labels: tuple[str, ...]
    scores: ClassificationScores
    agreement: Agreement
    tta: AugmentationMetrics
    device: str
    answered_by: AnsweredBy
    novelty: NoveltyCounts | None
    decision: DecisionMetrics
    calibration: Calibration
    directions: Directions
    slices: list[Slice]
    repeatability: Repeatability | None
    suspects: list[str]
    skipped: int = 0
    robustness: Robustness | None = None

    def to_json(self) -> dict[str, Any]:
        """The keys of metrics.json, in the order of the file; `robustness` only where it was measured."""
        values: dict[str, Any] = json_fields(self)
        if self.robustness is None:
            del values["robustness"]
        scores, _, novelty = values.pop("scores"), values.pop("answered_by"), values.pop("novelty")
        start: dict[str, Any] = {key: values.pop(key) for key in ("split", "n", "labels")}
        start |= scores | values.pop("agreement") | {key: values.pop(key) for key in ("tta", "device")}
        start |= {"precision": self.answered_by.precision, "backend": self.answered_by.backend, "unlike": novelty}
        return start | values

    def for_card(self) -> CardScores:
        """What the model card reports."""
        scores = self.scores
        return CardScores(
            self.split, self.n, scores.accuracy, scores.macro_f1, scores.escape_rate, scores.overkill_rate
        )


def score(labels: Ids, logits: Logits, space: LabelSpace, verdicts: Verdicts | None = None) -> ClassificationScores:
    """The scores of (N, C) logits on parts with (N,) true class ids; without verdicts, the predicted class decides.

    `macro_f1` is the mean over the classes that occur, as true or as predicted ones.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = logits.argmax(axis=1)
    ids = list(range(len(space)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=ids, zero_division=np.nan
    )
    occurs = [i for i in ids if support[i] or (predicted == i).any()]
    good = np.isin(labels, space.ok_ids)
    judged = decide(logits, space, None) if verdicts is None else verdicts
    matrix = confusion_matrix(labels, predicted, labels=ids)
    right = np.diagonal(matrix)
    called, known = rates(right, matrix.sum(axis=0)), rates(right, matrix.sum(axis=1))
    return ClassificationScores(
        confusion_matrix=matrix.tolist(),
        accuracy=float((predicted == labels).mean()),
        accuracy_interval=rate(int((predicted == labels).sum()), len(labels)),
        macro_f1=float(np.nan_to_num(f1[occurs]).mean()),
        escape_rate=verdict_rate(judged, Verdict.ACCEPT, ~good),
        overkill_rate=verdict_rate(judged, Verdict.REJECT, good),
        review_rate=verdict_rate(judged, Verdict.REVIEW, np.ones(len(labels), bool)),
        per_class={
            name: ClassScores(
                _number(precision[i]), _number(recall[i]), _number(f1[i]), int(support[i]), called[i], known[i]
            )
            for i, name in enumerate(space.names)
        },
        escape_by_class=_escape_by_class(labels, judged, space),
    )


def _escape_by_class(labels: Ids, judged: Verdicts | None, space: LabelSpace) -> dict[str, Rate]:
    """The share of the parts of each bad class that is accepted; undefined where there are no verdicts or no parts."""
    names = [name for i, name in enumerate(space.names) if not space.is_ok(i)]
    if judged is None:
        return dict.fromkeys(names, UNDEFINED)
    parts = np.bincount(labels, minlength=len(space))
    accepted = np.bincount(labels[judged == Verdict.ACCEPT], minlength=len(space))
    of_each = dict(zip(space.names, rates(accepted, parts), strict=True))
    return {name: of_each[name] for name in names}


def score_judged(judged: Judged) -> ClassificationScores:
    """The scores of the averaged answers."""
    return score(judged.labels, judged.logits, judged.space, judged.verdicts)


def augmentation_metrics(judged: Judged, views: list[str], asked: float, declared: int) -> AugmentationMetrics:
    """The numbers with and without averaging over these views, `asked` on average, of so many `declared` ones."""
    single = score(judged.labels, judged.single_logits, judged.space, judged.single_verdicts)
    averaged = score_judged(judged).headline if len(views) == declared else None
    return AugmentationMetrics(len(views) > 1, views, asked, averaged, single.headline)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
