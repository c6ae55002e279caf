"""A judged split of a few parts, and a small model that is often right, for the tests of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import CostsConfig, DecisionConfig
from frame_vit.data import demo
from frame_vit.data.examples import Example, Split
from frame_vit.data.rows import Marks
from frame_vit.decision.judged import Judged
from frame_vit.decision.rates import Logits
from frame_vit.decision.thresholds import OperatingPoint, operating_point
from frame_vit.decision.verdicts import scores
from frame_vit.evaluation.results import Evaluation, evaluate_split
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import Preprocessing, read_picture
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Predictor

DEMO = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
SIDE = Preprocessing(32, 32)
DEFAULT = DecisionConfig()


def one_hot(predicted: Sequence[int] | Any, classes: int = 3) -> Logits:
    """Logits (N, C) whose largest is that of the predicted class."""
    return np.asarray(np.eye(classes, dtype=np.float32)[np.asarray(predicted)])


def judged_parts(labels: Any, logits: Logits, space: LabelSpace, verdicts: Any = None) -> Judged:
    """Parts with these true class ids, logits and verdicts, none of them flagged."""
    count = len(labels)
    bad = scores(logits, space) if space.ok else None
    decided = None if verdicts is None else np.asarray(verdicts, np.int8)
    ids, light = np.asarray(labels, np.int64), np.zeros(count, np.float32)
    return Judged(logits, bad, decided, [{}] * count, space, ids, logits, decided, light)


class Reader(torch.nn.Module):
    """Answers from the light of a picture, by a fixed rule: often right, sometimes not."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(32 * 32, classes)

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=8 * self.head(pixel_values.mean(dim=1).flatten(1)))


def small_backend(space: LabelSpace, **metadata: Any) -> Torch:
    return Torch(Classifier(Reader(len(space)), ModelMetadata(space, SIDE, **metadata)), "cpu", "fp32")


def small_predictor(space: LabelSpace = DEMO, point: OperatingPoint | None = None, tta: bool = False) -> Predictor:
    return Predictor(small_backend(space, operating_point=point), tta=tta)


def small_split(space: LabelSpace = DEMO, keys: str = "row-{}.jpg", count: int = 60) -> Split:
    """Synthetic frames; three cameras, and two pictures of each part."""
    frames = demo.frames(count, 5)
    data = [demo.jpeg(frame) for frame in frames]
    examples = [
        Example(
            keys.format(i), i % len(space), (f.box,), demo.WIDTH, demo.HEIGHT, str(i), lambda d=d: d,  # type: ignore[misc]
            str(i), Marks(slice=f"cam{i % 3}", part=f"part{i // 2}"),
        )
        for i, (f, d) in enumerate(zip(frames, data, strict=True))
    ]  # fmt: skip
    return Split("test", examples, PixelArray.of(np.stack([read_picture(d, SIDE).pixels for d in data])))


def small_evaluation(
    space: LabelSpace = DEMO, keys: str = "row-{}.jpg", decision: DecisionConfig = DEFAULT
) -> tuple[Evaluation, Predictor]:
    """An evaluation with thresholds chosen on the same pictures, and the predictor that was evaluated."""
    split = small_split(space, keys)
    logits = small_predictor(space).answer_all(split.pixels).averaged
    point = operating_point(split.labels, scores(logits, space), space, decision) if space.ok else None
    predictor = small_predictor(space, point)
    return evaluate_split(predictor, split, CostsConfig()), predictor
