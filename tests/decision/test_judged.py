"""What is read off judged pictures: predicted classes, good parts, mistakes, another model's class order."""

from __future__ import annotations

import numpy as np

from frame_vit.decision.judged import Judged
from frame_vit.decision.verdicts import Verdict
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"])
LOGITS = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [3, 0, 1]], np.float32)
LABELS = np.array([0, 1, 1, 2])
VERDICTS = np.array([Verdict.REJECT, Verdict.REVIEW, Verdict.REJECT, Verdict.ACCEPT], np.int8)


def judged(verdicts: np.ndarray[tuple[int], np.dtype[np.int8]] | None = VERDICTS) -> Judged:
    flags = [{}, {"light": "dark"}, {}, {"size": "small", "mode": "L"}]
    light = np.zeros(4, np.float32)
    return Judged(LOGITS, None, verdicts, flags, SPACE, LABELS, -LOGITS, None, light)


def test_classes_good_parts_and_flags_are_read_off_the_arrays() -> None:
    assert judged().predicted.tolist() == [0, 1, 2, 0]
    assert judged().right.tolist() == [True, True, False, False]
    assert judged().good.tolist() == [True, False, False, False]
    assert judged().flagged.tolist() == [False, True, False, True]
    assert len(judged()) == 4


def test_a_mistake_is_a_wrong_class_or_a_wrong_verdict() -> None:
    assert judged().mishandled.tolist() == [True, False, True, True], "a good part that is rejected counts, too"
    assert judged(None).mishandled.tolist() == [False, False, True, True]


def test_answers_can_be_put_into_the_class_order_of_another_model() -> None:
    """Two models that know the same classes in another order say the same of the same parts."""
    other = LabelSpace.build(["right", "ok", "left"], ["ok"])
    order = [other.names.index(name) for name in SPACE.names]
    theirs = Judged(
        LOGITS[:, [2, 0, 1]], None, VERDICTS, [{}] * 4, other, np.array([order[label] for label in LABELS]),
        -LOGITS[:, [2, 0, 1]], None, np.zeros(4, np.float32),
    )  # fmt: skip
    assert theirs.predicted.tolist() != judged().predicted.tolist()
    same = theirs.in_classes_of(judged())
    assert (same.logits == LOGITS).all()
    assert (same.single_logits == -LOGITS).all()
    assert same.predicted.tolist() == judged().predicted.tolist()
    assert same.right.tolist() == theirs.right.tolist()
