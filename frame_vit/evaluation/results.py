"""The evaluation of one labelled split: all metrics, and the rows behind them. Nothing is written here.

The predictor judges the split once (`Judged`); every number, slice, gallery and row is computed from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from frame_vit.config.schema import CostsConfig
from frame_vit.data.examples import Split
from frame_vit.decision.bootstrap import Agreement, agreement
from frame_vit.decision.judged import Judged
from frame_vit.decision.per_class import confidence_in_each
from frame_vit.decision.rates import parts_needed, upper_bound
from frame_vit.decision.temperature import calibration
from frame_vit.decision.thresholds import AnsweredBy, part_weights
from frame_vit.decision.verdicts import Verdict
from frame_vit.evaluation.directions import directions
from frame_vit.evaluation.metrics import (
    ClassificationScores,
    ClassRates,
    DecisionMetrics,
    Metrics,
    NoveltyCounts,
    augmentation_metrics,
    score,
    score_judged,
)
from frame_vit.evaluation.robustness import Robustness
from frame_vit.evaluation.slices import RowsToInspect, quartiles, repeatability, rows_to_inspect, slices
from frame_vit.images.pixel_array import Float32
from frame_vit.prediction.predictor import Predictor
from frame_vit.prediction.rows import LabelledPrediction
from frame_vit.runs.data import pictures_fingerprint
from frame_vit.system.progress import Tick, silent

MANY_SIZES = 8
"""With more sizes than this, pictures are sliced by the quartile of their area."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a split and what they were computed from; `rows` are in the order of the split."""

    metrics: Metrics
    rows: list[LabelledPrediction]
    split: Split
    judged: Judged
    inspect: RowsToInspect

    def completed(self, skipped: int, robustness: Robustness | None = None) -> Evaluation:
        """With what the split alone does not tell: how many rows of the data set are unusable, and the robustness."""
        return replace(self, metrics=replace(self.metrics, skipped=skipped, robustness=robustness))


def evaluate_split(predictor: Predictor, split: Split, costs: CostsConfig, tick: Tick = silent) -> Evaluation:
    """Judges every example of a split and computes its metrics."""
    judged = predictor.judge_split(split, tick)
    inspect, scores = rows_to_inspect(judged), score_judged(judged)
    metrics = Metrics(
        split=split.name,
        n=len(judged),
        labels=judged.space.names,
        scores=scores,
        agreement=_agreement(scores),
        tta=augmentation_metrics(
            judged,
            [view.name for view, _ in predictor.views],
            predictor.views_asked(judged.single_logits),
            len(predictor.group),
        ),
        device=str(predictor.device),
        answered_by=AnsweredBy(predictor.backend.name, predictor.precision),
        novelty=_novelty_counts(judged, predictor),
        decision=_decision_metrics(judged, split, predictor),
        calibration=calibration(judged.labels, judged.logits, predictor.metadata.temperature),
        directions=directions(judged, costs),
        slices=slices(judged, slice_words(split, judged.light)),
        repeatability=repeatability(judged, [example.marks.part for example in split.examples]),
        suspects=[split.examples[row].key for row in inspect.suspects],
    )
    predictions = predictor.predictions([example.key for example in split.examples], judged)
    true = [judged.space.names[example.label] for example in split.examples]
    rows = [LabelledPrediction(prediction, label) for prediction, label in zip(predictions, true, strict=True)]
    return Evaluation(metrics, rows, split, judged, inspect)


def _agreement(scores: ClassificationScores) -> Agreement:
    """With the macro-F1 that is reported, to the last digit."""
    found = agreement(scores.confusion_matrix)
    return replace(found, macro_f1_interval=found.macro_f1_interval._replace(value=scores.macro_f1))


def _novelty_counts(judged: Judged, predictor: Predictor) -> NoveltyCounts | None:
    """None where the model has no novelty reference."""
    reference = predictor.metadata.novelty
    if reference is None:
        return None
    by = Counter(name for flags in judged.flags for name in flags)
    return NoveltyCounts(int(judged.flagged.sum()), dict(by), reference.reviewed)


def _decision_metrics(judged: Judged, split: Split, predictor: Predictor) -> DecisionMetrics:
    point, verdicts = predictor.metadata.operating_point, judged.verdicts
    by_class = score(judged.labels, judged.logits, judged.space)
    return DecisionMetrics(
        point=point,
        by_class=ClassRates(by_class.escape_rate, by_class.overkill_rate),
        independent=point is None or point.basis.pictures_fingerprint != pictures_fingerprint(split),
        as_chosen=predictor.as_chosen,
        chosen_by_others=_chosen_by_others(predictor),
        review_share=_review_share(judged, point.basis.bad_share if point else None),
        verdicts=None if verdicts is None else {each.word: int((verdicts == each).sum()) for each in Verdict},
    )


def _review_share(judged: Judged, bad_share: float | None) -> float | None:
    """The share of parts in review on a line with this share of bad parts; None where that is not declared."""
    if judged.verdicts is None or bad_share is None:
        return None
    return float(part_weights(judged.good, bad_share)[judged.verdicts == Verdict.REVIEW].sum())


def _chosen_by_others(predictor: Predictor) -> AnsweredBy | None:
    """Backend and precision of the answers that the thresholds were chosen on, where the predictor uses others."""
    point, now = predictor.metadata.operating_point, AnsweredBy(predictor.backend.name, predictor.precision)
    if point is None:
        return None
    before = point.basis.answered_by(predictor.precision)
    return None if before == now else before


def slice_words(split: Split, light: Float32) -> dict[str, Sequence[str]]:
    """What pictures are sliced by (`data.slice_by`, size, light), each with one word for each row."""
    examples = split.examples
    return {
        "slice_by": [example.marks.slice for example in examples],
        "size": _size_words([(example.width, example.height) for example in examples]),
        "light": quartiles(light),
    }


def _size_words(sizes: list[tuple[int, int]]) -> list[str]:
    if len({*sizes}) <= MANY_SIZES:
        return [f"{width} x {height}" for width, height in sizes]
    return quartiles(np.array([width * height for width, height in sizes], np.float32))


def sample_size(metrics: Metrics) -> str:
    """What this number of parts proves about escapes, what the target takes, and what limits the promise."""
    escape, decision = metrics.scores.escape_rate, metrics.decision
    if escape.value is None:
        return "Escapes are not defined: labels.ok names no class, or there is no bad part."
    hits, n = round(escape.value * escape.n), escape.n
    claim = decision.point.claim if decision.point else None
    confidence = claim.confidence if claim else 0.95
    bound = upper_bound(hits, n, confidence)
    said = (
        f"{hits} of {n} bad parts are accepted: with {confidence:.0%} confidence, at most {bound:.2%} of all bad parts"
    )
    if claim is None:
        said += ". This model has no thresholds, so the predicted class decides."
    elif bound <= claim.target:
        said += f", which meets the target of {claim.target:.2%}."
    elif n < (needed := parts_needed(claim.target, confidence)):
        said += (
            f". To prove the target of {claim.target:.2%}, at least {needed:,} bad parts must be tested, none accepted."
        )
    else:
        said += f". This does not prove the target of {claim.target:.2%}."
    return said + _said_of_classes(metrics) + "".join(f" {limit}" for limit in _limits(metrics))


def _said_of_classes(metrics: Metrics) -> str:
    """Whether these parts prove the target in every defect class; empty where it is for all bad parts as one."""
    point, escapes = metrics.decision.point, metrics.scores.escape_by_class
    if point is None or point.basis.per_class is None:
        return ""
    target, each = point.claim.target, confidence_in_each(point.claim.confidence, len(escapes))
    bounds = {name: upper_bound(round((of.value or 0) * of.n), of.n, each) for name, of in escapes.items()}
    open_ones = [f"{name} ({bound:.2%})" for name, bound in bounds.items() if bound > target]
    if not open_ones:
        return f" In every defect class it is at most {max(bounds.values()):.2%}, with that confidence in all of them."
    return (
        f" The target is for every defect class, and these pictures do not prove it for {', '.join(open_ones)}. That "
        f"takes at least {parts_needed(target, each):,} parts of each, none accepted."
    )


def _limits(metrics: Metrics) -> list[str]:
    """What makes the numbers or the promise of the thresholds weaker than they look, a sentence each."""
    decision, limits = metrics.decision, []
    if not decision.independent:
        limits.append("But the thresholds were chosen on these pictures, so this proves nothing about others.")
    if decision.chosen_by_others:
        backend, precision = decision.chosen_by_others
        limits.append(f"The thresholds were chosen on answers of {backend} in {precision}, which differ slightly.")
    if not decision.as_chosen:
        limits.append("The thresholds were chosen on answers averaged over other views, so the promise does not hold.")
    if metrics.repeatability:
        limits.append("Several pictures show the same part, but the intervals count pictures, so they are too narrow.")
    return limits
