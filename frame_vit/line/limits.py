"""The probabilities behind control charts: limits that hold a false-alarm rate, also after a short baseline.

What the limits of every chart allow for:

- Chance within a subgroup. Counts have exact limits from the beta-binomial distribution (`count_limits`), means have
  limits for a skewed distribution (`skewed`). Both allow for the baseline being an estimate itself.
- The spread between subgroups: days differ by more than chance (another lot, other weather), which large subgroups
  show. Laney (2002, Improved control charts for attributes, Quality Engineering 14, 531-537) therefore widens the
  limits by sigma_z, the spread of the baseline's standardised subgroups; one below 1 counts as 1. Here sigma_z is their
  standard deviation (`spread`), not their mean moving range / 1.128: the moving ranges of 20 subgroups hold the
  information of 12, and show too little of a baseline that drifts slowly.
- That sigma_z is an estimate: limits are quantiles of Student's t with as many degrees of freedom, so far as they are
  wider than those of the normal distribution without Laney's correction (`Quantiles`).

A false-alarm rate is the expected share of subgroups, in control, at which a rule begins to alarm; the expectation is
over baselines, too. Subgroups are taken to be independent. Functions of numbers only; nothing is read or drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, gammaln, log_ndtr, owens_t
from scipy.stats import chi2, t

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMOOTHED = 5
"""Subgroups in a moving sum, and the memory of the moving average, of which it fixes the weight: both then have the
same correlation with the one before."""
WEIGHT = 1 / SMOOTHED
"""The weight of the newest subgroup in the exponentially weighted moving average (EWMA)."""
LONGEST_RUN = 40
"""Subgroups in a run. A short baseline would need longer ones, because its median is uncertain; none is used then."""


@dataclass(frozen=True)
class Quantiles:
    """The limit of a standardised number, for one side: `known` if its standard deviation is known, else `estimated`.

    `estimated` is to be multiplied by the estimate, sigma_z.
    """

    known: float
    estimated: float

    def spread_at_limit(self, sigma_z: float) -> float:
        """The standard deviation (1: chance alone) at which the limit for a known one is as wide as it has to be.

        It holds the false-alarm rate for any true sigma_z of 1 or more: where that is large the estimated limit does
        (Student's t), and the known one keeps it from being narrower than chance alone.
        """
        return max(1.0, sigma_z * self.estimated / self.known)


def single(rate: float, degrees: int, within: float = math.inf) -> Quantiles:
    """The limits of Shewhart's chart, one side of which gives false alarms at this rate.

    `degrees` are those of the spread between subgroups, `within` those of the spread inside them, where that is an
    estimate, too. Source: Shewhart 1931, Economic control of quality of manufactured product; with t for an estimated
    spread as in Quesenberry 1991, SPC Q charts for start-up processes, Journal of Quality Technology 23, 213-224.
    """
    return Quantiles(float(t.isf(rate, within)), float(t.isf(rate, degrees)))


def smooth(rate: float, degrees: int, within: float = math.inf) -> Quantiles:
    """The limits of a moving average, one side of which begins to alarm at this rate; the rest is as for `single`.

    Two consecutive averages have the correlation r = 1 - WEIGHT. An alarm begins where one lies beyond the limit and
    the one before does not; for normal numbers that has the probability 2 T(limit, sqrt((1 - r) / (1 + r))) with Owen's
    T (Owen 1956, Annals of Mathematical Statistics 27, 1075-1090). Averages: Roberts 1959, Control chart tests based on
    geometric moving averages, Technometrics 1, 239-250; Lucas and Saccucci 1990, Exponentially weighted moving average
    control schemes, Technometrics 32, 1-12.
    """
    return Quantiles(_smooth_limit(rate, within), _smooth_limit(rate, degrees))


@lru_cache(maxsize=4096)
def _smooth_limit(rate: float, degrees: float) -> float:
    """The limit in estimated standard deviations: the probability is integrated over chi-squared of the estimate."""
    ratio = math.sqrt(WEIGHT / (2 - WEIGHT))
    scales = weights = np.ones(1)
    if degrees < 1e6:
        width = math.sqrt(2 / degrees)  # of the logarithm of chi-squared, roughly
        squares = np.geomspace(degrees * math.exp(-14 * width), degrees * math.exp(8 * width), 400)
        scales, weights = np.sqrt(squares / degrees), chi2.pdf(squares, degrees) * squares
    weights = weights / weights.sum()
    return float(brentq(lambda limit: float(2 * weights @ owens_t(limit * scales, ratio)) - rate, 0, 1e6))


@lru_cache(maxsize=4096)
def run_length(rate: float, baseline: int) -> int | None:
    """How many subgroups in a row, on one side of the median of `baseline` subgroups, begin to alarm at most so often.

    Both sides together. Whatever the distribution, the share U of it below the baseline's j-th smallest value has the
    distribution Beta(j, baseline - j + 1), and a run of k above begins with the probability E[U (1 - U)^k]; a value
    equal to the median ends a run, so ties make alarms rarer. None where more than LONGEST_RUN are needed.

    Sources: Nelson 1984, The Shewhart control chart - tests for special causes, Journal of Quality Technology 16,
    237-239; Chakraborti, van der Laan and Bakir 2001, Nonparametric control charts, the same 33, 304-315.
    """
    rank = (baseline + 1) // 2
    after = baseline - rank + 1
    for length in range(2, LONGEST_RUN + 1):
        if 2 * math.exp(betaln(rank + 1, after + length) - betaln(rank, after)) <= rate:
            return length
    return None


class Spread(NamedTuple):
    """Laney's sigma_z of a baseline, its degrees of freedom, and the size of the subgroups that show it.

    What differs between subgroups does not average out within one: in a subgroup twice as large it weighs twice as much
    beside chance. Its variance, in units of that of a single part, is therefore the same for subgroups of every size.
    For subgroups of equal size this is Laney's formula.
    """

    sigma_z: float
    degrees: int
    size: float

    @property
    def between(self) -> float:
        """The variance between subgroups, in units of that of a single part."""
        return (max(1.0, self.sigma_z) ** 2 - 1) / self.size

    def at_limit(self, quantiles: Quantiles) -> float:
        """`between`, with the uncertainty of sigma_z that a limit has to allow for."""
        return (quantiles.spread_at_limit(self.sigma_z) ** 2 - 1) / self.size


def spread(deviations: Floats, sizes: Floats, variance: float) -> Spread:
    """The spread between subgroups, from the deviations of their means from the whole, (m,), and their sizes, (m,).

    `variance` is that of a single part. sigma_z² = sum(sizes * deviations²) / variance / (m - 1), Cochran's statistic
    over its degrees of freedom. 0 where the variance is 0: nothing varies, so nothing can be said.
    """
    degrees, total = len(sizes) - 1, float(sizes.sum())
    squares = float(sizes @ deviations**2) / variance / degrees if variance > 0 else 0.0
    return Spread(math.sqrt(squares), degrees, (total - float(sizes @ sizes) / total) / degrees)


class Counts(NamedTuple):
    """The lowest and the highest count that are within the limits."""

    low: int
    high: int


@lru_cache(maxsize=4096)
def count_limits(n: int, share: float, weight: float, low: float, high: float) -> Counts:
    """The limits of a count of n parts, each a hit with a probability that is known as a beta distribution.

    That has the mean `share`, and `weight` is the number of parts that know it as well; for `hits` of a baseline and
    Jeffreys' prior, Beta(hits + 1/2, parts - hits + 1/2), it is parts + 1. `low` and `high` are the limits of a
    standard normal number, which fix the tails: a count below `low` has at most the probability Phi(low), one above
    `high` at most 1 - Phi(high), by the beta-binomial distribution. This allows for small counts, for none at all, and
    for the share being an estimate. As control charts: Quesenberry 1991, SPC Q charts for a binomial parameter p,
    Journal of Quality Technology 23, 239-246.
    """
    a, b = share * weight, (1 - share) * weight
    deviation = math.sqrt(n * share * (1 - share) * (1 + n / weight))
    first = max(0, math.floor(n * share - 40 * deviation - 60))
    counts = np.arange(first, min(n, math.ceil(n * share + 40 * deviation + 60)) + 1)
    logs = gammaln(n + 1) - gammaln(counts + 1) - gammaln(n - counts + 1)
    logs += betaln(counts + a, n - counts + b) - betaln(a, b)
    below = np.logaddexp.accumulate(logs)  # P(count <= c)
    above = np.logaddexp.accumulate(logs[::-1])[::-1]  # P(count >= c)
    return Counts(
        first + int(np.searchsorted(below, log_ndtr(low), side="right")),
        first + int(np.searchsorted(-above, -log_ndtr(-high), side="left")) - 1,
    )


def skewed(limit: float, skewness: float) -> float:
    """Where a standard normal number at `limit` lies if the distribution has this skewness (mean 0, variance 1).

    By Wilson and Hilferty's cube (1931, Proceedings of the National Academy of Sciences 17, 684-688) for a gamma
    distribution of that skewness, which the mean of few skewed numbers resembles. The idea of skewed limits for means:
    Chan and Cui 2003, Skewness correction X-bar and R charts for skewed distributions, Naval Research Logistics 50,
    555-573. For a skewness of 0 the limit is unchanged.
    """
    sign = math.copysign(1, skewness)
    size = max(abs(skewness), 1e-6)  # the formula divides by it
    cube = max(1 + size / 6 * (sign * limit - size / 6), 0) ** 3
    return sign * 2 / size * (cube - 1)
