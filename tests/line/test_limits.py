"""Limits against what is known of them: textbook values, exact tails, and simulated false alarms."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import betabinom, binom, gamma, norm

from frame_vit.line.limits import LONGEST_RUN, WEIGHT, count_limits, run_length, single, skewed, smooth, spread


def test_a_single_subgroup_has_the_limits_of_shewhart() -> None:
    limits = single(norm.sf(3), 10**6)
    assert limits.known == pytest.approx(3)
    assert limits.estimated == pytest.approx(3, abs=1e-4)
    assert single(0.00135, 19).estimated == pytest.approx(3.45, abs=0.01), "Student's t with 19 degrees of freedom"


def test_the_moving_average_has_the_limits_of_lucas_and_saccucci() -> None:
    """Their table: with a weight of 0.2 and limits of 2.86 an average run of 370 subgroups, both sides together.

    Here it is a little wider, because an average that comes back within its limits may begin to alarm again.
    """
    assert 2.86 < smooth(1 / 370 / 2, 19).known < 2.9


def test_an_average_begins_to_alarm_as_often_as_said() -> None:
    rate = 0.002
    generator = np.random.default_rng(0)
    average, before, begun = np.zeros(2_000), np.zeros(2_000, bool), 0
    limit = smooth(rate, 19).known * math.sqrt(WEIGHT / (2 - WEIGHT))
    for step in range(320):
        average += WEIGHT * (generator.normal(size=average.size) - average)
        alarm = average > limit
        begun += int((alarm & ~before).sum()) if step >= 20 else 0
        before = alarm
    assert begun / 600_000 == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("degrees", [4, 19, 99])
def test_an_estimated_spread_needs_wider_limits_than_a_known_one(degrees: int) -> None:
    for limits in (single(1e-4, degrees), smooth(1e-4, degrees)):
        assert limits.estimated > limits.known
        assert limits.spread_at_limit(0) == 1
        assert limits.spread_at_limit(2) == pytest.approx(2 * limits.estimated / limits.known)
    assert smooth(1e-4, degrees).estimated < single(1e-4, degrees).estimated, "alarms of an average come in clumps"


@pytest.mark.parametrize("true", [1.0, 1.3, 3.0])
@pytest.mark.parametrize("baseline", [5, 20])
def test_limits_hold_the_rate_over_baselines_whatever_the_spread(true: float, baseline: int) -> None:
    rate, generator = 0.002, np.random.default_rng(baseline)
    limits = single(rate, baseline - 1)
    estimates = true * np.sqrt(generator.chisquare(baseline - 1, 50_000) / (baseline - 1))
    at = np.array([limits.known * limits.spread_at_limit(each) for each in estimates])
    share = float(norm.sf(at / true).mean())
    assert share <= 1.05 * rate
    assert share >= 0.1 * rate, "and are not needlessly wide"


def test_a_run_is_rarer_than_its_rate_and_one_less_is_not() -> None:
    """Simulated for normal numbers; by the theory it holds for every distribution."""
    rate, baseline = 0.01, 20
    length = run_length(rate, baseline)
    assert length is not None
    generator = np.random.default_rng(0)
    shares = []
    for wanted in (length, length - 3):
        begun = 0
        for _ in range(300):
            side = generator.normal(size=400) > np.median(generator.normal(size=baseline))
            run = 0
            for before, now in pairwise(side):
                run = run + 1 if now == before else 1
                begun += run == wanted
        shares.append(begun / 300 / 400)
    assert shares[0] < rate < shares[1]


def test_a_short_baseline_has_no_run() -> None:
    lengths = [run_length(1e-5, baseline) for baseline in (5, 20, 100, 1000)]
    assert lengths[0] is None
    assert [each for each in lengths[1:] if each] == sorted((each for each in lengths[1:] if each), reverse=True)
    assert all(each <= LONGEST_RUN for each in lengths if each)


@pytest.mark.parametrize(("n", "hits", "parts"), [(200, 200, 4000), (20, 0, 100), (50, 1, 400), (300, 4000, 4000)])
def test_counts_beyond_the_limits_have_at_most_the_probability_asked_for(n: int, hits: int, parts: int) -> None:
    low, high = -3.2, 3.6
    limits = count_limits(n, (hits + 0.5) / (parts + 1), parts + 1, low, high)
    counts = betabinom(n, hits + 0.5, parts - hits + 0.5)
    assert counts.cdf(limits.low - 1) <= norm.cdf(low)
    assert counts.cdf(limits.low) > norm.cdf(low)
    assert counts.sf(limits.high) <= norm.sf(high) * (1 + 1e-9)
    assert counts.sf(limits.high - 1) > norm.sf(high)


def test_a_long_baseline_gives_the_limits_of_the_binomial_distribution() -> None:
    limits = count_limits(1000, 0.1, 1e9, -3, 3)
    assert limits.low == binom.ppf(norm.cdf(-3), 1000, 0.1)
    assert limits.high == binom.isf(norm.sf(3), 1000, 0.1)


def test_limits_of_large_subgroups_and_far_tails_are_finite() -> None:
    assert count_limits(10**6, 0.05, 1e9, -4, 4).high == pytest.approx(50_000 + 4 * 218, rel=0.01)
    limits = count_limits(50, 0.001, 250, -40, 40)
    assert (limits.low, limits.high) == (0, 50)
    assert count_limits(50, 0.5, 0.01, -4, 4) == (0, 50), "a share that is not known at all has no limits"


def test_the_spread_of_equal_subgroups_is_that_of_their_standardised_values() -> None:
    z = np.random.default_rng(0).normal(0, 2, 30)
    deviations = (z - z.mean()) * math.sqrt(0.05 * 0.95 / 200)
    found = spread(deviations, np.full(30, 200.0), 0.05 * 0.95)
    assert found.sigma_z == pytest.approx(z.std(ddof=1))
    assert found.degrees == 29
    assert found.size == pytest.approx(200)


def test_what_differs_between_subgroups_has_one_variance_for_subgroups_of_all_sizes() -> None:
    generator = np.random.default_rng(1)
    sizes = generator.integers(50, 500, 4000).astype(float)
    means = generator.normal(0, np.sqrt(4 / sizes + 0.03))
    found = spread(means - sizes @ means / sizes.sum(), sizes, 4.0)
    assert found.between * 4 == pytest.approx(0.03, rel=0.1)
    assert found.at_limit(single(1e-3, found.degrees)) == pytest.approx(found.between, rel=0.1)


def test_where_nothing_varies_the_spread_is_that_of_chance() -> None:
    found = spread(np.zeros(6), np.full(6, 30.0), 0.0)
    assert (found.sigma_z, found.between) == (0, 0)


@pytest.mark.parametrize("shape", [1.0, 4.0, 100.0])
def test_skewed_limits_are_those_of_a_gamma_distribution(shape: float) -> None:
    skewness = 2 / math.sqrt(shape)
    for limit in (-2.0, 0.0, 3.0, 4.0):
        exact = (gamma.ppf(norm.cdf(limit), shape) - shape) / math.sqrt(shape)
        assert skewed(limit, skewness) == pytest.approx(exact, rel=0.07, abs=0.06)
        assert skewed(-limit, -skewness) == pytest.approx(-exact, rel=0.07, abs=0.06)
    assert skewed(3.0, 0.0) == pytest.approx(3, abs=1e-5)
