"""Whether a model's scores still promise what they promised: by what came of each item, then and now."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from udfs.drifting.distances import Sample, bounds, places, size
from udfs.drifting.rows import Rows
from udfs.smooth import Column
from udfs.training.quality import calibration


class Kept(NamedTuple):
    """Promises of one stretch and what came of them.

    Attributes:
        scores: of each item: the chance promised, (items,).
        residue: what came less that, (items,).
        counts: for how many each item stands, (items,).
        off: of each list the mean residue, and that of the residue times how far the promise lies above a usual one,
            (n, 2).
        weight: for how many each list stands, (n,).
    """

    scores: Column
    residue: Column
    counts: Column
    off: Column
    weight: Column

    @property
    def error(self) -> float:
        """Expected calibration error."""
        return calibration(self.scores, self.scores + self.residue, self.counts).error

    @property
    def promised(self) -> float:
        """Mean promise."""
        return float(np.average(self.scores, weights=self.counts))

    def lists(self, some: NDArray[np.bool_]) -> "Kept":
        """Give some of the lists; the items stay."""
        return self._replace(off=self.off[some], weight=self.weight[some])


def kept(rows: Rows, came: Column, usual: float) -> Kept:
    """Hold promises against what came.

    Nothing is done about how far down people look: that moves what comes then as much as now.

    Args:
        rows: all of which have scores, within 0 and 1.
        came: of each item, (items,).
        usual: a chance, the same for all stretches that are compared.
    """
    residue = came - rows.scores
    sums = [np.bincount(rows.row, each) for each in (residue, residue * (rows.scores - usual))]
    return Kept(
        scores=rows.scores,
        residue=residue,
        counts=rows.weight[rows.row],
        off=np.column_stack(sums) / np.bincount(rows.row)[:, np.newaxis],
        weight=rows.weight,
    )


def moved(reference: Kept, current: Kept) -> float:
    """Say how far what comes has moved against what is promised: the mean distance over bins of the reference's scores.

    A calibration error may be the same though promises were too high before and are too low now; this is not.

    >>> then, now = (
    ...     Kept(np.array([0.1, 0.5]), np.array(residue), np.ones(2), np.empty((0, 2)), np.empty(0))
    ...     for residue in ([0.1, 0.0], [-0.1, 0.0])
    ... )
    >>> moved(then, now), then.error == now.error
    (0.1, True)
    """
    edges = bounds(Sample(reference.scores, reference.counts))
    residues, weights = [], []
    for each in (reference, current):
        place = places(each.scores, edges)
        weights.append(np.bincount(place, each.counts, minlength=len(edges) + 1))
        residues.append(np.bincount(place, each.counts * each.residue, minlength=len(edges) + 1))
    there = (weights[0] > 0) & (weights[1] > 0)
    means = [residue[there] / weight[there] for residue, weight in zip(residues, weights, strict=True)]
    shares = weights[1][there] / weights[1].sum()
    return float((shares * np.abs(means[1] - means[0])).sum())


def apart(reference: Kept, current: Kept) -> tuple[float, int]:
    """Say how far two stretches are apart in how promises are kept: chi-square, and its degrees of freedom.

    A recalibration has an intercept and a slope (Cox, "Two Further Applications of a Model for Binary Regression",
    Biometrika 45, 1958); their scores are the two means of `Kept.off`, and this is the squared distance of these in
    their common covariance (Hotelling, "The Generalization of Student's Ratio", Annals of Mathematical Statistics 2,
    1931). Lists are independent, items of one list need not be.
    """
    (mean, spread, n), (mean_now, spread_now, m) = _moments(reference), _moments(current)
    covariance = (n * spread + m * spread_now) / (n + m) * (1.0 / n + 1.0 / m)
    off = mean_now - mean
    degrees = int(np.linalg.matrix_rank(covariance, hermitian=True))
    return float(off @ np.linalg.pinv(covariance, hermitian=True) @ off), degrees


def chance(reference: Kept, current: Kept) -> float:
    """Say how likely chance alone puts two stretches at least so far apart."""
    squared, degrees = apart(reference, current)
    return float(chdtrc(degrees, squared)) if degrees else 1.0


def _moments(of: Kept) -> tuple[Column, Column, float]:
    """Give the weighted means, (2,), the covariance of single lists, (2, 2), and as how many equal ones they count."""
    share = of.weight / of.weight.sum()
    mean = (share[:, np.newaxis] * of.off).sum(axis=0)
    off = of.off - mean
    return mean, np.einsum("n,na,nb->ab", share, off, off), size(of.weight)
