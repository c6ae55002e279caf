"""Bootstrap intervals of scores that are no plain shares: macro-F1, Cohen's kappa, the expected calibration error.

A bootstrap (Efron and Tibshirani 1993) draws test sets like the one that was seen and computes the score of each. The
scores of this module depend on few counts only: the cells of the confusion matrix, or the bins of a reliability
diagram. So counts are drawn, not parts, and thousands of parts cost no more than ten. Every draw has the same seed: the
same counts always have the same interval.

What was not seen is not drawn: after a test without a mistake, a plain bootstrap claims that there can be none. The
lower end is therefore drawn with one mistake more than was seen, and the upper end with one right answer more, as the
ends of an exact interval are (Clopper and Pearson 1934). The tests check by simulation that the intervals cover.

Pure functions over arrays; no files, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from frame_vit.decision.rates import Rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


SEED = 0
MOST_DRAWS, FEWEST_DRAWS = 2000, 50
COUNTS_DRAWN = 300_000
"""With many cells there are fewer draws, so that no matrix takes long: draws times cells is at most about this."""
TAIL = 0.025
"""The share of the draws beyond either end of a 95 % interval."""
Numbers: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True)
class Agreement:
    """How well the predicted classes agree with the true ones; the value of `macro_f1_interval` is the macro-F1.

    `kappa` (Cohen 1960) is the agreement beyond that of answers drawn by chance with the same frequencies: 1 where all
    are right, 0 for chance. It is not defined where all parts have one class and are right.
    """

    macro_f1_interval: Rate
    kappa: Rate


class _Sums(NamedTuple):
    """Parts by true class, by predicted class, and the right ones by class, of R matrices: (R, C) each."""

    true: Numbers
    predicted: Numbers
    right: Numbers


@dataclass(frozen=True)
class _Cells:
    """The M cells of a (C, C) confusion matrix that are not empty: true and predicted class ids and counts, (M,)."""

    true: NDArray[np.intp]
    predicted: NDArray[np.intp]
    counts: NDArray[np.int64]
    classes: int

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    def sums(self, counts: NDArray[Any]) -> _Sums:
        """Of (R, M) counts in these cells."""
        right = self.true == self.predicted
        return _Sums(self._by(self.true, counts), self._by(self.predicted, counts), self._by(self.true, counts * right))

    def drawn(self, random: np.random.Generator) -> tuple[_Sums, _Sums]:
        """Of test sets drawn from the parts of this one and one more: once that is wrong, once it is right.

        Its true class is any, as often as that occurs; where it is wrong, its predicted class is any at all.
        """
        draws = int(np.clip(COUNTS_DRAWN // len(self.counts), FEWEST_DRAWS, MOST_DRAWS))
        counts = random.multinomial(self.n, np.append(self.counts, 1) / (self.n + 1), draws)
        own, more = self.sums(counts[:, :-1]), counts[:, -1]
        true = random.multinomial(more, self.sums(self.counts[None]).true[0] / self.n)
        predicted = random.multinomial(more, np.full(self.classes, 1 / self.classes))
        wrong = _Sums(own.true + true, own.predicted + predicted, own.right)
        return wrong, _Sums(own.true + true, own.predicted + true, own.right + true)

    def _by(self, ids: NDArray[np.intp], counts: NDArray[Any]) -> Numbers:
        from scipy.sparse import csr_array

        places = np.arange(len(ids)), ids
        return np.asarray(counts @ csr_array((np.ones(len(ids)), places), shape=(len(ids), self.classes)))


def agreement(confusion_matrix: Sequence[Sequence[int]] | NDArray[np.int64]) -> Agreement:
    """Macro-F1 and kappa of a (C, C) matrix, rows true and columns predicted, with their intervals.

    The macro-F1 is the mean over the classes that occur, as true or as predicted ones.
    """
    matrix = np.asarray(confusion_matrix, np.int64)
    true, predicted = matrix.nonzero()
    cells = _Cells(true, predicted, matrix[true, predicted], len(matrix))
    if not cells.n:
        return Agreement(Rate(None, 0.0, 1.0, 0), Rate(None, -1.0, 1.0, 0))
    seen = cells.sums(cells.counts[None])
    occur = (seen.true + seen.predicted)[0] > 0
    worse, better = cells.drawn(np.random.default_rng(SEED))
    drawn = (seen, worse, better)
    f1, kappas = [_macro_f1(sums, occur) for sums in drawn], [_kappa(sums) for sums in drawn]
    kappa = Rate(None, -1.0, 1.0, cells.n) if np.isnan(kappas[0][0]) else _estimate(kappas, cells.n)
    return Agreement(_estimate(f1, cells.n), kappa)


def error_interval(counts: Numbers, confidence: Numbers, accuracy: Numbers) -> Rate:
    """The expected calibration error (Naeini et al. 2015) over B bins, all (B,), with its interval.

    The error sums up how far confidence and accuracy lie apart, so chance only adds to it: that of a perfect model is
    above zero in every test. The ordinary bootstrap adds chance once more. The lower end is therefore what is left when
    as much is subtracted as chance alone adds, 97.5 times in 100; it is 0 where the error may be nothing but chance.
    The upper end is the bootstrap's, less what chance adds on average.
    """
    n = int(counts.sum())
    if not n:
        return Rate(None, 0.0, 1.0, 0)
    random, whole = np.random.default_rng(SEED), counts.astype(np.int64)
    share, value = counts / n, float(np.abs(confidence - accuracy) @ counts / n)
    low, high = value, value
    # A bin without a mistake would not vary, so half an answer of each kind is added to it in the second round.
    for expected in (accuracy, (accuracy * counts + 0.5) / (counts + 1)):
        drawn = random.binomial(whole, expected, (MOST_DRAWS, len(counts))) / counts
        error, chance = np.abs(drawn - confidence) @ share, np.abs(drawn - expected) @ share
        added = error.mean() - np.abs(expected - confidence) @ share
        low = min(low, value - float(np.quantile(chance, 1 - TAIL)))
        high = max(high, float(np.quantile(error, 1 - TAIL) - added))
    return Rate(value, max(low, 0.0), min(high, 1.0), n)


def _macro_f1(sums: _Sums, occur: NDArray[np.bool_]) -> Numbers:
    """(R,), over the classes that `occur` (C,) in the test set and in the draw."""
    parts = (sums.true + sums.predicted)[:, occur]
    f1 = 2 * sums.right[:, occur] / np.maximum(parts, 1)
    return np.asarray(f1.sum(axis=1) / (parts > 0).sum(axis=1))


def _kappa(sums: _Sums) -> Numbers:
    """(R,), at least -1; NaN where all parts have one class and are called that."""
    n = sums.true.sum(axis=1)
    agreed, by_chance = sums.right.sum(axis=1) / n, (sums.true * sums.predicted).sum(axis=1) / n**2
    beyond = np.where(by_chance < 1, 1 - by_chance, np.nan)
    return np.asarray(np.maximum((agreed - by_chance) / beyond, -1.0))


def _estimate(scores: list[Numbers], n: int) -> Rate:
    """From the score that was seen, (1,), and those of the draws for the lower and for the upper end, (R,) each."""
    seen, worse, better = scores
    value = float(seen[0])
    low, high = float(np.nanquantile(worse, TAIL)), float(np.nanquantile(better, 1 - TAIL))
    return Rate(value, min(low, value), max(high, value), n)
