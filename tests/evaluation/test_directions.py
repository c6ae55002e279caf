"""Mistakes by direction and their cost, read off the declared symmetries."""

from __future__ import annotations

import numpy as np
import pytest

from frame_vit.config.schema import CostsConfig
from frame_vit.data import demo
from frame_vit.errors import ConfigError
from frame_vit.evaluation.directions import axes, check_costs, costs, directions, expected_cost, mistakes
from frame_vit.labels import LabelSpace
from tests.evaluation.small import judged_parts, one_hot

SPACE = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
P, XP, XM, YP, YM = range(5)


def test_axes_are_those_of_the_mirrors() -> None:
    assert axes(SPACE) == ["", "x", "x", "y", "y"]
    assert axes(LabelSpace.build(["a", "b"])) == ["", ""]
    corners = LabelSpace.build(
        ["tl", "tr", "bl", "br"],
        symmetries={
            "hflip": {"tl": "tr", "tr": "tl", "bl": "br", "br": "bl"},
            "vflip": {"tl": "bl", "bl": "tl", "tr": "br", "br": "tr"},
        },
    )
    assert axes(corners) == ["xy"] * 4
    assert (mistakes(corners)[0, 1:] == "wrong_sign").all()


def test_every_cell_of_the_matrix_is_named() -> None:
    words = mistakes(SPACE)
    assert (np.diag(words) == "right").all()
    assert (words[1:, P] == "missed").all()
    assert (words[P, 1:] == "false_alarm").all()
    assert words[XP, XM] == words[XM, XP] == words[YP, YM] == "wrong_sign"
    assert words[XP, YP] == words[YM, XM] == "wrong_axis"
    two = LabelSpace.build(["good", "fair", "bad"], ["good", "fair"])
    assert mistakes(two)[0, 1] == "other_fine"


def test_a_worked_example() -> None:
    labels = np.array([P, P, P, XP, XP, XM, XM, YP, YP, YM])
    predicted = np.array([P, P, XP, XP, P, XM, XP, YP, XM, YM])
    result = directions(judged_parts(labels, one_hot(predicted, 5), SPACE), CostsConfig())
    assert result.mistakes == {"missed": 1, "false_alarm": 1, "wrong_sign": 1, "wrong_axis": 1, "other_fine": 0}
    assert (result.pass_fail.value, result.pass_fail.n) == (0.8, 10)
    assert result.axis.value == pytest.approx(5 / 6)
    assert result.axis.n == 6
    assert (result.sign.value, result.sign.n) == (0.8, 5)
    assert (result.exact.value, result.exact.n) == (0.6, 10)
    assert result.cost.value == pytest.approx((10 + 1 + 3 + 2) / 10)
    assert list(result.cost.to_json()) == ["value", "low", "high", "n"]


def test_a_sign_flip_is_worse_than_a_missed_axis_and_costs_can_be_set_by_class() -> None:
    prices = costs(SPACE, CostsConfig())
    assert prices[XP, XM] > prices[XP, YP] > prices[XP, XP] == 0
    assert prices[XP, P] > prices[P, XP] > 0
    own = costs(SPACE, CostsConfig.model_validate({"matrix": {"Xplus": {"passed": 50.0}}, "wrong_axis": 0.5}))
    assert own[XP, P] == 50
    assert own[XM, P] == 10
    assert own[XP, YP] == 0.5


@pytest.mark.parametrize("shares", [(0.9, 0.05, 0.03, 0.02), (0.9965, 0.0, 0.0, 0.0035), (0.999, 0.001, 0.0, 0.0)])
def test_the_interval_of_the_cost_covers_it(shares: tuple[float, ...]) -> None:
    random, kinds = np.random.default_rng(1), np.array([0.0, 1.0, 3.0, 10.0])
    covered = []
    for _ in range(300):
        cost = expected_cost(random.choice(kinds, 300, p=shares), kinds)
        covered.append(cost.low <= kinds @ np.array(shares) <= cost.high)
    assert np.mean(covered) >= 0.95


def test_fewer_mistakes_never_prove_less() -> None:
    """Of parts without a mistake the cost is not known to be nothing; one cheap mistake does not make it surer."""
    kinds = np.array([0.0, 1.0, 3.0, 10.0])
    none, one = (expected_cost(np.array([cost] + [0.0] * 999), kinds) for cost in (0.0, 1.0))
    assert (none.value, none.low) == (0, 0)
    assert 0.03 < none.high < one.high


def test_a_cost_for_what_is_no_class_is_refused_as_soon_as_the_classes_are_known() -> None:
    wrong = CostsConfig.model_validate({"matrix": {"Xplus": {"Xminuss": 5.0}}})
    with pytest.raises(ConfigError, match=r"'Xminuss' is not a class.*did you mean 'Xminus'"):
        check_costs(SPACE, wrong)
    check_costs(SPACE, CostsConfig.model_validate({"matrix": {"Xplus": {"Xminus": 5.0}}}))
