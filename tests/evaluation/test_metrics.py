"""Numbers against worked examples."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.evaluation.metrics import evaluation_metrics, score
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["ok", "left", "right"], ["ok"], {"hflip": {"left": "right", "right": "left"}})


def logits(predicted: list[int], classes: int = 3) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.eye(classes, dtype=np.float32)[predicted]


def ids(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_escape_is_bad_accepted_and_overkill_is_good_rejected() -> None:
    numbers = score(ids([0, 0, 0, 0, 1, 1, 2, 2, 2]), logits([0, 0, 0, 1, 1, 0, 2, 1, 0]), SPACE)
    assert numbers["escape_rate"]["value"] == pytest.approx(2 / 5)
    assert numbers["overkill_rate"]["value"] == pytest.approx(1 / 4)
    assert numbers["accuracy"] == pytest.approx(5 / 9)
    assert numbers["confusion_matrix"] == [[3, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert numbers["per_class"]["left"] == {
        "precision": pytest.approx(1 / 3),
        "recall": pytest.approx(1 / 2),
        "f1": pytest.approx(0.4),
        "support": 2,
    }


def test_without_fine_classes_escape_and_overkill_are_not_defined() -> None:
    numbers = score(ids([0, 1]), logits([0, 1]), LabelSpace.build(["a", "b", "c"]))
    assert numbers["escape_rate"]["value"] is None
    assert numbers["overkill_rate"]["value"] is None


def test_a_class_that_does_not_occur_does_not_count_and_is_not_zero() -> None:
    numbers = score(ids([0, 0, 1]), logits([0, 0, 1]), SPACE)
    assert numbers["macro_f1"] == 1.0
    assert numbers["per_class"]["right"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_a_class_never_predicted_counts_as_zero_f1() -> None:
    assert score(ids([0, 1]), logits([0, 0]), SPACE)["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_both_numbers_stand_in_the_metrics() -> None:
    """Two views: the untouched one is wrong on the second picture, the average is right."""
    views = np.stack([logits([0, 2]), np.array([[3, 0, 0], [0, 3, 0]], np.float32)], axis=1)
    both = evaluation_metrics("test", ids([0, 1]), views, SPACE, ["identity", "hflip"])
    assert both["accuracy"] == both["tta"]["with_tta"]["accuracy"] == 1.0
    assert both["tta"]["without_tta"]["accuracy"] == 0.5
    assert both["tta"]["used"] is True
    single = evaluation_metrics("test", ids([0, 1]), views[:, :1], SPACE, ["identity", "hflip"])
    assert (single["accuracy"], single["tta"]["used"], single["tta"]["with_tta"]) == (0.5, False, None)
