"""Which rows of a table are alike: k-means, begun anew or gone on with from where an earlier run left off."""

from dataclasses import dataclass
from math import log
from typing import Final, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Rows of numbers on comparable scales, (n, d)."""

_RESTARTS: Final = 10
_BATCH: Final = 1024
_STEPS: Final = 60
_ROUNDS: Final = 300
_SWAPS: Final = 6

_WORTH: Final = 0.05
"""Share of the inertia that is worth an id: for less, nobody loses theirs."""

_DEAD: Final = 0.01
"""Share of an even share of the mass below which a centroid stands for nothing any more."""


class TooAlikeError(ValueError):
    """There are fewer different rows than clusters were asked for."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Centroids, and what each stands for.

    Attributes:
        centroids: (k, d).
        mass: (k,) sum of the weights that were ever counted for each, faded since.
    """

    centroids: Points
    mass: NDArray[np.float64]

    def faded(self, elapsed: float, half_life: float) -> Self:
        """Let mass fade by half in each half-life; both in the same unit, of time or of rows.

        >>> Fit(np.zeros((2, 1)), np.array([8.0, 2.0])).faded(20, 10).mass.tolist()
        [2.0, 0.5]
        """
        return type(self)(self.centroids, self.mass * 0.5 ** (elapsed / half_life))


def fitted(points: Points, weights: NDArray[np.float64], k: int, rng: Generator) -> Fit:
    """Find k centroids from nothing.

    Several times seeds (`seeded`) and mini-batches (`walked`); the best of these by its inertia is `polished` on all
    rows, and tried for better places (`swapped`).

    Args:
        points: (n, d).
        weights: (n,) how much each row counts, greater than 0.
        k: how many.
        rng: of the seeds and the batches; the same state gives the same fit.

    Raises:
        TooAlikeError: there are fewer than k different rows.

    >>> rows = np.array([[0.0], [0.2], [9.0], [9.4]])
    >>> found = fitted(rows, np.ones(4), 2, np.random.Generator(np.random.PCG64(1)))
    >>> sorted(found.centroids.round(3).ravel().tolist()), found.mass.tolist()
    ([0.1, 9.2], [2.0, 2.0])
    """
    nothing = np.empty((0, points.shape[1]))
    tries = [walked(points, weights, seeded(points, weights, k, rng, nothing), rng) for _ in range(_RESTARTS)]
    best = min(tries, key=lambda each: inertia(points, weights, each))
    return swapped(points, weights, polished(points, weights, best, rng), rng)


def refitted(points: Points, weights: NDArray[np.float64], parent: Fit, k: int, rng: Generator) -> Fit:
    """Go on from earlier centroids, whose mass counts as that many rows at each of them.

    What has faded to less than a hundredth of an even share and hardly draws a row is dead: its place is seeded
    anew, as are places that the parent did not have. Of a parent with more than k the lightest go. A living one gives
    up its place (`swapped`) only for one that is worth it.

    Args:
        points: (n, d) rows that the parent has not counted.
        weights: (n,) how much each counts, greater than 0.
        parent: earlier centroids, their mass faded to the time of the weights.
        k: how many.
        rng: of the seeds.

    Raises:
        TooAlikeError: there are fewer different rows than places to be seeded.

    >>> old = Fit(np.array([[0.0], [9.0]]), np.array([6.0, 2.0]))
    >>> found = refitted(np.array([[1.0], [2.0], [10.0]]), np.ones(3), old, 2, np.random.Generator(np.random.PCG64(1)))
    >>> found.centroids.round(3).ravel().tolist(), found.mass.tolist()
    ([0.375, 9.333], [8.0, 3.0])
    """
    mass = parent.mass + _drawn(points, weights, parent.centroids)[0]
    alive = np.flatnonzero(mass >= _DEAD * mass.sum() / k)
    kept = parent.centroids[alive[np.argsort(-mass[alive], kind="stable")][:k]]
    points, weights = np.vstack([points, parent.centroids]), np.append(weights, parent.mass)
    start = seeded(points, weights, k, rng, kept)
    return swapped(points, weights, polished(points, weights, start, rng), rng, worth=_WORTH)


def seeded(points: Points, weights: NDArray[np.float64], k: int, rng: Generator, given: Points) -> Points:
    """Draw the centroids that are missing among the rows, far ones rather than near ones.

    k-means++ (Arthur and Vassilvitskii, SODA 2007): a row is drawn by its weighted squared distance to the nearest
    centroid so far; of 2 + ln k draws the one that leaves the least inertia is taken (their section 4, "greedy").

    Args:
        points: (n, d).
        weights: (n,).
        k: how many there shall be.
        rng: of the draws.
        given: (m, d) those that are there already, at most k.

    Returns:
        (k, d) the given ones first.

    Raises:
        TooAlikeError: too few different rows are left to draw from.
    """
    centroids = given
    near = squares(points, given).min(axis=1, initial=np.inf)
    while len(centroids) < k:
        left = (weights * near if len(centroids) else weights).cumsum()
        if not left[-1] > 0:
            raise TooAlikeError(f"only {len(centroids)} of {k} groups differ")
        draws = np.searchsorted(left, rng.random(2 + int(log(k))) * left[-1], side="right")
        tried = np.minimum(near[:, np.newaxis], squares(points, points[draws]))
        best = int(np.argmin(weights @ tried))
        centroids, near = np.vstack([centroids, points[draws[best]]]), tried[:, best]
    return centroids


def walked(points: Points, weights: NDArray[np.float64], start: Points, rng: Generator) -> Points:
    """Let centroids walk by mini-batches of rows drawn at random (Sculley, WWW 2010, algorithm 1)."""
    fit = Fit(start, np.zeros(len(start)))
    for _ in range(_STEPS):
        rows = rng.integers(len(points), size=_BATCH)
        fit = step(points[rows], weights[rows], fit)
    return fit.centroids


def step(points: Points, weights: NDArray[np.float64], fit: Fit) -> Fit:
    """Count a batch: each row draws its nearest centroid towards it, the less the more that has counted already.

    Row by row with a rate of weight / mass, as in Sculley's algorithm 1, each centroid is the mean of all that it has
    counted; so that mean is taken at once.

    Args:
        points: (n, d).
        weights: (n,).
        fit: from where on. Let it fade first if time has passed, see `Fit.faded`.

    >>> found = step(np.array([[4.0], [9.0]]), np.ones(2), Fit(np.array([[0.0], [10.0]]), np.array([3.0, 0.0])))
    >>> found.centroids.ravel().tolist(), found.mass.tolist()
    ([1.0, 9.0], [4.0, 1.0])
    """
    return _middles(fit, *_drawn(points, weights, fit.centroids))


def polished(points: Points, weights: NDArray[np.float64], start: Points, rng: Generator) -> Fit:
    """Move centroids to the middle of what they draw until nothing moves (Lloyd, IEEE Trans. Inf. Theory 28, 1982).

    A centroid that draws nothing is seeded anew.

    Args:
        points: (n, d).
        weights: (n,).
        start: (k, d).
        rng: of the seeds, where any are needed.
    """
    centroids = start
    for _ in range(_ROUNDS):
        fit = step(points, weights, Fit(centroids, np.zeros(len(start))))
        if not fit.mass.all():
            centroids = seeded(points, weights, len(start), rng, fit.centroids[fit.mass > 0])
        elif np.array_equal(fit.centroids, centroids):
            break
        else:
            centroids = fit.centroids
    return fit


def swapped(points: Points, weights: NDArray[np.float64], fit: Fit, rng: Generator, worth: float = 0.0) -> Fit:
    """Move centroids that are least missed to where they are needed more, a few times.

    A swap (Kanungo et al., Computational Geometry 28, 2004, section 3; the new place drawn as in `seeded`) leaves the
    places where moving little by little gets stuck: two groups in one cluster, one group in two, a group that is gone.

    Args:
        points: (n, d).
        weights: (n,).
        fit: a polished one.
        rng: of the draws.
        worth: share of the inertia that a swap must save.
    """
    k = len(fit.mass)
    least = inertia(points, weights, fit.centroids)
    for _ in range(_SWAPS if k > 1 else 0):
        others = np.delete(fit.centroids, _least_missed(points, weights, fit.centroids), axis=0)
        tried = polished(points, weights, seeded(points, weights, k, rng, others), rng)
        found = inertia(points, weights, tried.centroids)
        if found < (1 - worth) * least:
            fit, least = tried, found
    return fit


def inertia(points: Points, weights: NDArray[np.float64], centroids: Points) -> float:
    """Mean squared distance of a row to its nearest centroid, weighted.

    >>> inertia(np.array([[0.0], [2.0]]), np.array([3.0, 1.0]), np.array([[1.0], [5.0]]))
    1.0
    """
    return float(np.average(squares(points, centroids).min(axis=1), weights=weights))


def squares(points: Points, centroids: Points) -> Points:
    """Squared distances of rows to centroids.

    Feature by feature, so that a row's distances do not depend on what else is in the table; a matrix product would
    round them differently from table to table.

    Args:
        points: (n, d).
        centroids: (k, d).

    Returns:
        (n, k).
    """
    apart = np.zeros((len(points), len(centroids)))
    for values, middles in zip(points.T, centroids.T, strict=True):
        apart += (values[:, np.newaxis] - middles) ** 2
    return apart


def _drawn(points: Points, weights: NDArray[np.float64], centroids: Points) -> tuple[NDArray[np.float64], Points]:
    """Add up the rows that each centroid is nearest to: their weights (k,), and weighted sums (k, d)."""
    k = len(centroids)
    nearest = squares(points, centroids).argmin(axis=1)
    added = np.bincount(nearest, weights, k).astype(np.float64)
    sums: Points = np.column_stack([np.bincount(nearest, weights * values, k) for values in points.T])
    return added, sums


def _middles(fit: Fit, added: NDArray[np.float64], sums: Points) -> Fit:
    """Take the mean of what each centroid has counted, earlier and now; one that has counted nothing stays."""
    mass = fit.mass + added
    total = fit.centroids * fit.mass[:, np.newaxis] + sums
    centroids = np.where(mass[:, np.newaxis] > 0, total / np.where(mass > 0, mass, 1.0)[:, np.newaxis], fit.centroids)
    return Fit(centroids, mass)


def _least_missed(points: Points, weights: NDArray[np.float64], centroids: Points) -> int:
    """Find the centroid without which inertia grows the least."""
    apart = squares(points, centroids)
    nearest, (one, other) = apart.argmin(axis=1), np.sort(apart, axis=1)[:, :2].T
    return int(np.bincount(nearest, weights * (other - one), len(centroids)).argmin())
