"""The proof of an exported model: its answers beside those of torch in fp32, on pictures of the test split.

The pictures go through each backend in every view of test-time augmentation, one at once and eight at once, as they do
in `predict`. What is compared is the largest difference of a logit, and how many decisions and classes change. The
decisions are those that follow from the answers alone (`Predictor.verdicts_by_answers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frame_vit.backends.availability import BACKENDS
from frame_vit.backends.backend import FP32, Backend, BackendInfo, ModelSource
from frame_vit.backends.export_record import Agreement, Difference
from frame_vit.backends.onnxruntime_backend import OnnxRuntime
from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import ExportConfig
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import sample_rows
from frame_vit.decision.verdicts import Verdict
from frame_vit.images.pixel_array import Float32, PixelArray
from frame_vit.model.classifier import Classifier
from frame_vit.prediction.answers import Answers
from frame_vit.prediction.predictor import Predictor
from frame_vit.system.progress import Tick

BATCHES = (1, 8)
"""Pictures at once: a graph that was traced for one batch size would fail at the other."""


class BatchDifferences(NamedTuple):
    """The difference at each batch size, and the worst of each figure over all of them."""

    batches: dict[str, Difference]
    worst: Difference


class Proof:
    """torch's answers in fp32 for some pictures of a split, and how far the answers of others are from them."""

    def __init__(self, classifier: Classifier, test: Split, limits: ExportConfig, tick: Tick) -> None:
        rows = sample_rows(len(test), limits.pictures)
        self.pixels = PixelArray.of(np.asarray(test.pixels[rows]))
        self.keys = [test.examples[row].key for row in rows]
        self.source = test.name
        self.metadata, self.limits = classifier.metadata, limits
        self._tick = tick
        reference = Predictor(Torch(classifier, "cpu", "fp32"), batch_size=BATCHES[-1])
        self.reference = reference.answer_all(self.pixels, tick, "answering with torch", all_views=True)

    def differences(self, path: Path, name: str) -> BatchDifferences:
        """How the answers of an exported file in ONNX Runtime differ; `name` stands in the progress."""
        batches = {
            str(size): self._difference(OnnxRuntime(path, self.metadata), f"{name}, {size} at once", size)
            for size in BATCHES
        }
        differences = list(batches.values())
        largest = max(differences, key=lambda difference: difference.max_logit_difference)
        worst = Difference(
            largest.max_logit_difference,
            largest.worst,
            max(each.changed_decisions for each in differences),
            max(each.newly_accepted for each in differences),
            max(each.changed_classes for each in differences),
            max(each.max_distance_difference for each in differences),
        )
        return BatchDifferences(batches, worst)

    def agreements(self, path: Path) -> dict[str, Agreement | None]:
        """For every other backend that reads the fp32 file, whether it agrees; None where it is not installed."""
        others = [info for info in BACKENDS if FP32 in info.precisions and info.name != OnnxRuntime.name]
        return {info.name: self._agreement(info, path) if info.installed else None for info in others}

    def changed_share(self, difference: Difference) -> float:
        """The share of the pictures whose decision or class changes, whichever is larger."""
        return max(difference.changed_decisions, difference.changed_classes) / len(self.pixels)

    def _agreement(self, info: BackendInfo, path: Path) -> Agreement:
        backend = info.open(ModelSource(str(path), path, self.metadata))
        difference = self._difference(backend, f"{info.title} in {backend.precision}", BATCHES[-1])
        agrees = self.changed_share(difference) <= self.limits.int8_changed
        return Agreement(backend.precision, agrees, difference)

    def _difference(self, backend: Backend, stage: str, batch_size: int) -> Difference:
        predictor = Predictor(backend, batch_size=batch_size)
        answers = predictor.answer_all(self.pixels, self._tick, f"comparing {stage} with torch", all_views=True)
        return difference_between(predictor, self.reference, answers, self.keys)


def difference_between(predictor: Predictor, before: Answers, after: Answers, keys: Sequence[str]) -> Difference:
    """How two sets of answers for the same pictures differ; `keys` are the pictures' names."""
    by_picture = np.abs(before.logits - after.logits).max(axis=(1, 2))  # (N, views, classes) -> (N,)
    worst = int(by_picture.argmax())
    before, after = predictor.as_asked(before), predictor.as_asked(after)
    means = [answers.averaged for answers in (before, after)]  # (N, classes)
    distances = [predictor.distances(answers) for answers in (before, after)]  # (N,)
    first, second = (predictor.verdicts_by_answers(answers) for answers in (before, after))
    first_classes, second_classes = (mean.argmax(axis=1) for mean in means)
    changed = accepted = 0
    if first is not None and second is not None:
        changed = int((first != second).sum())
        accepted = int(((second == Verdict.ACCEPT) & (first != Verdict.ACCEPT)).sum())
    return Difference(
        max_logit_difference=float(by_picture[worst]),
        worst=keys[worst],
        changed_decisions=changed,
        newly_accepted=accepted,
        changed_classes=int((first_classes != second_classes).sum()),
        max_distance_difference=_largest(*distances),
    )


def _largest(before: Float32 | None, after: Float32 | None) -> float:
    return 0.0 if before is None or after is None else float(np.abs(before - after).max())
