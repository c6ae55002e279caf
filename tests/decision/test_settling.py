"""One view answers for all only where that changes few enough classes and decisions, and the promise still holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_vit.config.schema import DecisionConfig
from frame_vit.decision.rates import Ids, Logits, softmax
from frame_vit.decision.settling import as_asked, changes, doubt, settled, settling_limit, views_asked
from frame_vit.decision.thresholds import JUST_ABOVE_1, operating_point
from frame_vit.decision.verdicts import scores
from frame_vit.labels import LabelSpace

SPACE = LabelSpace.build(["passed", "Xplus", "Xminus"], ["passed"])
CONFIG = DecisionConfig(max_escape_rate=0.05, review_budget=0.1)


def answers(seed: int, count: int, noise: float = 1.5) -> tuple[Ids, Logits]:
    """True classes, and logits (N, 4 views, 3 classes) that favour them; each view errs for itself."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    logits = 4.0 * np.eye(3)[labels][:, None] + noise * random.normal(size=(count, 4, 3))
    return labels, (logits * random.uniform(0.2, 2.0, (count, 1, 1))).astype(np.float32)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 200))
def test_doubt_is_what_the_confidence_lacks_and_tells_the_surest_apart(seed: int, scale: float) -> None:
    logits = (scale * np.random.default_rng(seed).normal(size=(20, 3))).astype(np.float32)
    exact = 1 - softmax(logits.astype(np.float64)).max(axis=1)
    assert doubt(logits) == pytest.approx(exact, abs=1e-12)
    gap = np.diff(np.sort(logits, axis=1), axis=1)[:, -1]
    assert (doubt(logits) > 0).all() or gap.max() > 700


def test_a_confidence_that_rounds_to_one_can_still_be_doubted() -> None:
    sure, surer = doubt(np.array([[0, 40, 0], [0, 60, 0]], np.float32))
    assert sure > surer > 0


@given(seed=st.integers(0, 10_000), limit=st.floats(0, 1) | st.none())
def test_a_settled_picture_has_its_first_view_and_the_others_the_mean_of_all(seed: int, limit: float | None) -> None:
    _, logits = answers(seed, 30)
    alone = settled(logits[:, 0], limit)
    asked = as_asked(logits, limit).mean(axis=1)
    assert asked[alone] == pytest.approx(logits[alone, 0])
    assert np.array_equal(asked[~alone], logits[~alone].mean(axis=1))
    assert views_asked(logits[:, 0], limit, 4).tolist() == [1 if one else 4 for one in alone]
    assert limit is not None or not alone.any()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), most=st.sampled_from([0.0, 0.01, 0.05, 0.2]))
def test_the_limit_changes_at_most_the_stated_share(seed: int, most: float) -> None:
    labels, logits = answers(seed, 120)
    limit = settling_limit(labels, logits, SPACE, CONFIG, most)
    assert 0 <= limit <= JUST_ABOVE_1
    assert changes(labels, logits, limit, SPACE, CONFIG).mean() <= most


def test_views_that_agree_are_asked_once_and_a_first_view_that_is_noise_settles_nothing() -> None:
    labels, logits = answers(0, 400)
    agreed = np.repeat(logits[:, :1], 4, axis=1)
    assert settling_limit(labels, agreed, SPACE, CONFIG, 0.0) == JUST_ABOVE_1
    noise = logits.copy()
    noise[:, 0] = 20 * np.random.default_rng(1).normal(size=(400, 3))
    assert settled(noise[:, 0], settling_limit(labels, noise, SPACE, CONFIG, 0.01)).mean() <= 0.02


def test_a_first_view_that_is_surely_wrong_about_a_bad_part_is_not_trusted_for_it() -> None:
    """One such part would pull the accept threshold below all good parts."""
    labels, logits = answers(2, 300, noise=0.2)
    bad = int(np.flatnonzero(labels)[0])
    logits[bad, 0] = (9, 0, 0)
    limit = settling_limit(labels, logits, SPACE, DecisionConfig(max_escape_rate=0.005), 0.02)
    assert not settled(logits[[bad], 0], limit)[0]


def test_without_a_good_class_only_the_class_counts() -> None:
    space = LabelSpace.build(SPACE.names)
    labels, logits = answers(3, 200)
    limit = settling_limit(labels, logits, space, CONFIG, 0.02)
    differ = as_asked(logits, limit).mean(axis=1).argmax(axis=1) != logits.mean(axis=1).argmax(axis=1)
    assert 0 < views_asked(logits[:, 0], limit, 4).mean() < 4
    assert differ.mean() <= 0.02


def test_the_promise_holds_for_answers_of_as_many_views_as_were_needed() -> None:
    """400 models: the limit from one sample, the thresholds from a second, the true escape rate from a large third."""
    config = DecisionConfig(max_escape_rate=0.1, confidence=0.9)
    broken = 0
    for turn in range(400):
        limit = settling_limit(*answers(3 * turn, 90), SPACE, config, 0.05)
        labels, logits = answers(3 * turn + 1, 90)
        point = operating_point(labels, scores(as_asked(logits, limit).mean(axis=1), SPACE), SPACE, config)
        assert point is not None
        labels, logits = answers(3 * turn + 2, 6000)
        new = scores(as_asked(logits[labels > 0], limit).mean(axis=1), SPACE)
        broken += bool((new < point.accept_below).mean() > point.claim.bound)
    # 400 fair draws of one in ten exceed 58 with a probability of 0.1 %.
    assert broken <= 58
