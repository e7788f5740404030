"""How far two samples lie apart, and how likely chance alone lays two samples of the same kind so far apart."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, chdtri

from udfs.smooth import Column

BINS: Final = 10

_EMPTY: Final = 0.5
_TERMS: Final = np.arange(1.0, 101.0)
_SMALL: Final = 0.2
"""Below this the series of `ks_chance` needs more terms, and is 1 to twelve places."""


class Sample(NamedTuple):
    """Values that count unequally.

    Attributes:
        values: (n,).
        weight: (n,), all above 0.
    """

    values: Column
    weight: Column

    @property
    def size(self) -> float:
        """As how many values that count alike they count."""
        return size(self.weight)

    @property
    def mean(self) -> float:
        """Mean value."""
        return float(np.average(self.values, weights=self.weight))

    def taken(self, some: NDArray[np.bool_]) -> "Sample":
        """Give some of the values."""
        return Sample(self.values[some], self.weight[some])


def size(weight: Column) -> float:
    """Say as how many that count alike some count that do not (Kish, "Survey Sampling", 1965, section 11.7).

    >>> size(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    return float(weight.sum() ** 2 / (weight**2).sum())


def bounds(reference: Sample, bins: int = BINS) -> Column:
    """Part a sample into bins of about as many values each; equal values share a bin.

    What lies beyond a lowest or highest value that many share has a bin of its own, which holds nothing of the sample.

    Args:
        reference: of at least one value.
        bins: how many, where no values are equal.

    Returns:
        The highest value of each bin but the last, ascending.

    >>> alike = np.ones(4)
    >>> bounds(Sample(np.array([3.0, 1.0, 4.0, 2.0]), alike), 2).tolist()
    [2.0]
    >>> bounds(Sample(np.array([0.0, 0.0, 0.0, 7.0]), alike), 4).round(9).tolist()
    [-0.0, 0.0]
    """
    order = np.argsort(reference.values, kind="stable")
    values, reached = reference.values[order], reference.weight[order].cumsum()
    # Weights are whole numbers, so their sums are exact.
    parts = values[np.searchsorted(reached * bins, np.arange(1, bins) * reached[-1])]
    below = [np.nextafter(values[0], -np.inf)] if parts[0] == values[0] else []
    edges: Column = np.unique(np.concatenate([below, parts]))
    return edges


def places(values: Column, edges: Column) -> NDArray[np.intp]:
    """Say in which bin each value lies, from 0 on.

    >>> places(np.array([4.0, 5.0, 5.1, 99.0]), np.array([5.0, 10.0])).tolist()
    [0, 0, 1, 2]
    """
    return np.searchsorted(edges, values, side="left")


def counts(place: NDArray[np.intp], weight: Column, bins: int) -> Column:
    """Count by bin, (bins,), as if all counted alike.

    Args:
        place: bin of each, (n,).
        weight: of each, (n,).
        bins: how many there are.

    >>> counts(np.array([0, 2, 2, 2]), np.ones(4), 3).tolist()
    [1.0, 0.0, 3.0]
    """
    found: Column = np.bincount(place, weight, minlength=bins) * (size(weight) / weight.sum())
    return found


def psi(reference: Column, current: Column) -> Column:
    """Give the population stability index of binned samples.

    The sum over bins of (b - a) ln(b / a), with the shares a of the reference and b of now (Siddiqi, "Credit Risk
    Scorecards", 2006): Jeffreys' divergence, 0 where both are alike, delta^2 where a Normal has moved by delta of its
    deviations. Where a bin is empty on one side, half a value is put there; where on both, it is none.

    Args:
        reference: counts, (bins,).
        current: counts, (..., bins).

    Returns:
        (...,).

    >>> psi(np.array([50.0, 30.0, 20.0]), np.array([[50, 30, 20], [20, 30, 50.0]])).round(4).tolist()
    [0.0, 0.5498]
    """
    there = (reference > 0) | (current > 0)
    a, b = (_shares(np.where(there, np.maximum(each, _EMPTY), 0.0)) for each in (reference, current))
    logs = np.log(np.where(there, b, 1.0) / np.where(there, a, 1.0))
    found: Column = ((b - a) * logs).sum(axis=-1)
    return found


def noise(reference: float | Column, current: float | Column) -> Column:
    """Give what PSI is per degree of freedom where nothing but chance tells two samples apart: 1 / n + 1 / m.

    There PSI over this has a chi-square distribution with one degree of freedom less than there are bins (Yurdakul,
    "Statistical Properties of Population Stability Index", dissertation, Western Michigan University, 2018). So no
    fixed bound fits: chance alone puts two samples of 100 in ten bins beyond 0.25 once in five times.

    Args:
        reference: values, n.
        current: values, m.
    """
    return 1.0 / np.asarray(reference, dtype=np.float64) + 1.0 / np.asarray(current, dtype=np.float64)


def psi_bound(n: float, m: float, bins: int, doubt: float) -> float:
    """Give the PSI that chance alone exceeds with a certain probability.

    >>> round(psi_bound(100, 100, 10, 0.05), 3), round(psi_bound(10_000, 10_000, 10, 0.05), 5)
    (0.338, 0.00338)
    """
    return float(chdtri(bins - 1, doubt) * noise(n, m))


def psi_chance(reference: Column, current: Column) -> float:
    """Say how likely chance alone lays binned samples at least so far apart; see `noise`.

    Args:
        reference: counts, (bins,).
        current: counts, (bins,).

    >>> round(psi_chance(np.array([500.0, 500.0]), np.array([550.0, 450.0])), 4)
    0.0251
    """
    bins = int(((reference > 0) | (current > 0)).sum())
    if bins < 2:  # noqa: PLR2004 - in one bin all samples are alike
        return 1.0
    return float(chdtrc(bins - 1, psi(reference, current) / noise(reference.sum(), current.sum())))


def ks(reference: Sample, current: Sample) -> float:
    """Give the Kolmogorov-Smirnov statistic: how far two samples' distribution functions are apart where farthest.

    >>> ks(Sample(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)), Sample(np.array([3.0, 4.0, 5.0]), np.ones(3)))
    0.5
    """
    every = np.concatenate([reference.values, current.values])
    one, other = (_reached(each, every) for each in (reference, current))
    return float(np.abs(one - other).max())


def ks_chance(distance: float, n: float, m: float) -> float:
    """Say how likely chance alone lays samples of one continuous distribution at least so far apart.

    Q(x) = 2 sum over j of (-1)^(j - 1) exp(-2 j^2 x^2) (Smirnov, "Table for Estimating the Goodness of Fit of Empirical
    Distributions", Annals of Mathematical Statistics 19, 1948), at x = (sqrt(e) + 0.12 + 0.11 / sqrt(e)) distance with
    e = n m / (n + m), which serves small samples too (Stephens, JRSS B 32, 1970; Press et al., "Numerical Recipes", 3rd
    edition, 2007, section 14.3.3). Where values are equal it is too high, never too low (Noether, "Note on the
    Kolmogorov Statistic in the Discrete Case", Metrika 7, 1963).

    >>> round(ks_chance(0.1, 370, 370), 3), ks_chance(0.0, 5, 5)
    (0.046, 1.0)
    """
    root = math.sqrt(n * m / (n + m))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < _SMALL:
        return 1.0
    terms = np.exp(-2.0 * _TERMS**2 * x * x)
    return float(min(1.0, 2.0 * (terms[::2].sum() - terms[1::2].sum())))


def adjusted(chances: Column) -> Column:
    """Adjust for many looks at once: of all that are told by a bound on these, no greater share is false, on average.

    The step-up procedure of Benjamini and Hochberg, "Controlling the False Discovery Rate", JRSS B 57, 1995; it holds
    for columns that go together, too (Benjamini and Yekutieli, Annals of Statistics 29, 2001, theorem 1.2). Where
    nothing has changed at all, every word is false: then the bound is on the chance of saying any.

    Args:
        chances: p values, (n,).

    Returns:
        (n,), from each p value up.

    >>> adjusted(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    order = np.argsort(chances, kind="stable")
    raised = chances[order] * len(chances) / np.arange(1, len(chances) + 1)
    found = np.empty(len(chances))
    found[order] = np.minimum.accumulate(raised[::-1])[::-1]
    return found


def _reached(sample: Sample, at: Column) -> Column:
    """Give the share of a sample up to each of some values."""
    order = np.argsort(sample.values, kind="stable")
    sums = np.concatenate([[0.0], sample.weight[order].cumsum()])
    found: Column = sums[np.searchsorted(sample.values[order], at, side="right")] / sums[-1]
    return found


def _shares(counts: Column) -> Column:
    shares: Column = counts / counts.sum(axis=-1, keepdims=True)
    return shares
