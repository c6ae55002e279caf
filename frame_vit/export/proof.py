"""A trained model as one ONNX file for a PC without torch, proven against torch on real pictures before it is kept.

torch's own exporter draws the graph; settings, embeddings and what the numbers are go into the file's metadata. int8 is
ONNX Runtime's quantisation: static, calibrated on training pictures, where that answers alike, else dynamic.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frame_vit.backends.backend import Backend
from frame_vit.backends.onnx_backends import OnnxRuntime, OpenVino
from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import ExportConfig
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import PictureFlags, sample_rows
from frame_vit.decision.verdicts import Verdict
from frame_vit.images.pixel_array import Float32, PixelArray
from frame_vit.model.classifier import Classifier
from frame_vit.prediction.predictor import Answers, Predictor
from frame_vit.system.progress import Tick

BATCHES = (1, 8)


class Proof:
    """What torch answers in fp32 for pictures of the test split, and how others' answers differ from that."""

    def __init__(self, classifier: Classifier, test: Split, limits: ExportConfig, tick: Tick) -> None:
        rows = sample_rows(len(test), limits.pictures)
        self.pixels = PixelArray.of(np.asarray(test.pixels[rows]))
        self.keys = [test.examples[row].key for row in rows]
        self.source = test.name
        self.metadata, self.limits = classifier.metadata, limits
        self.tick = tick
        peer = Predictor(Torch(classifier, "cpu", "fp32"), batch_size=8)
        self.torch = peer.answer_all(self.pixels, tick, "asking torch")

    def of(self, path: Path, name: str) -> dict[str, Any]:
        """How the answers of an exported file differ, at batch 1 and 8: the largest difference and what it changes."""
        found = {
            str(batch): self._differs(OnnxRuntime(path, self.metadata), f"{name}, {batch} at once", batch)
            for batch in BATCHES
        }
        worst = max(found.values(), key=lambda of: of["max_logit_difference"])
        changed = ("changed_decisions", "newly_accepted", "changed_classes", "max_distance_difference")
        most = {key: max(of[key] for of in found.values()) for key in changed}
        return {"batches": found, "max_logit_difference": worst["max_logit_difference"], "worst": worst["worst"]} | most

    def openvino(self, path: Path) -> dict[str, Any]:
        """The same in OpenVINO, in the precision that it takes by itself; empty where it is not installed."""
        if importlib.util.find_spec("openvino") is None:
            return {}
        backend = OpenVino(path, self.metadata)
        found = self._differs(backend, f"OpenVINO in {backend.precision}", BATCHES[-1])
        return {"precision": backend.precision, "agrees": self.share(found) <= self.limits.int8_changed} | found

    def share(self, found: dict[str, Any]) -> float:
        """Of how many pictures the decision changes, or the class, as a share."""
        return float(max(found["changed_decisions"], found["changed_classes"]) / len(self.pixels))

    def _differs(self, backend: Backend, stage: str, batch: int) -> dict[str, Any]:
        predictor = Predictor(backend, batch_size=batch)
        found = predictor.answer_all(self.pixels, self.tick, f"asking {stage}")
        return difference(predictor, self.torch, found, self.keys)


def difference(predictor: Predictor, before: Answers, after: Answers, keys: Sequence[str]) -> dict[str, Any]:
    """How two sets of answers differ: the largest difference of a logit, in which picture, and what it changes.

    Decisions are compared with the flag of the embedding's distance, the only one that answers can change.
    """
    by_picture = np.abs(before.logits - after.logits).max(axis=(1, 2))
    worst = int(by_picture.argmax())
    means = [answers.averaged for answers in (before, after)]
    far = [predictor.distances(answers) for answers in (before, after)]
    was, judged = (predictor.verdicts(m, _too_far(d, predictor)) for m, d in zip(means, far, strict=True))
    changed = accepted = 0
    if was is not None and judged is not None:
        changed = int((was != judged).sum())
        accepted = int(((judged == Verdict.ACCEPT) & (was != Verdict.ACCEPT)).sum())
    return {
        "max_logit_difference": float(by_picture[worst]),
        "worst": keys[worst],
        "changed_decisions": changed,
        "newly_accepted": accepted,
        "changed_classes": int((means[0].argmax(axis=1) != means[1].argmax(axis=1)).sum()),
        "max_distance_difference": _largest(*far),
    }


def _largest(before: Float32 | None, after: Float32 | None) -> float:
    return 0.0 if before is None or after is None else float(np.abs(before - after).max())


def _too_far(distance: Float32 | None, predictor: Predictor) -> list[PictureFlags]:
    count = 0 if distance is None else len(distance)
    if distance is None or predictor.metadata.novelty is None or "distance" not in predictor.metadata.novelty.ranges:
        return [{}] * count
    limit = predictor.metadata.novelty.ranges["distance"][1]
    return [{"distance": "far"} if value > limit else {} for value in distance]
