"""How the clusters of one release become those of the next: who keeps their id, who is new, which belong together."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from schemas.clusters import MAX_CLUSTERS, Cluster, Clustering, Feature
from udfs.segments.clusters import Clusters, default_name
from udfs.segments.kmeans import Fit, Points, squares

NOBODY: Final = -1


class NoIdLeftError(ValueError):
    """All ids were given, and a cluster is new."""


class Counted(NamedTuple):
    """What clusters were fitted to.

    Attributes:
        rows: how many.
        since: slice end of the oldest, ms since 1970.
        until: slice end of the newest.
        inertia: mean squared distance to the nearest centroid.
    """

    rows: int
    since: int
    until: int
    inertia: float


def begun(
    fit: Fit, features: Sequence[Feature], cuts: Sequence[int], counted: Counted, before: Clusters | None
) -> Clustering:
    """Give clusters ids of their own, the heaviest the least.

    Args:
        fit: the clusters.
        features: of the centroids, in order.
        cuts: groups in each layer, falling.
        counted: what they were fitted to.
        before: the release that they take the place of. They go on with its numbers, so that nobody takes them for
            its clusters; where too few are left, from 1 again.
    """
    k = len(fit.mass)
    first = before.content.next_id if before else 1
    first = first if first + k - 1 <= MAX_CLUSTERS else 1
    ids = [0] * k
    for number, place in enumerate(np.argsort(-fit.mass, kind="stable").tolist()):
        ids[place] = first + number
    called = [(each, default_name(each)) for each in ids]
    return _clustering(fit, called, features, cuts, parent="", counted=counted, next_id=first + k)


def continued(fit: Fit, parent: Clusters, cuts: Sequence[int], counted: Counted, within: float) -> Clustering:
    """Give clusters the ids and names of the parent's they were matched to, and the others numbers never given.

    Args:
        fit: the clusters, on the parent's scales.
        parent: the release before.
        cuts: groups in each layer, falling.
        counted: what they were fitted to.
        within: see `matched`.

    Raises:
        NoIdLeftError: no number is left.
    """
    content = parent.content
    called, next_id = [], content.next_id
    for place in matched(parent.centroids, fit.centroids, within).tolist():
        if place == NOBODY:
            called.append((next_id, default_name(next_id)))
            next_id += 1
        else:
            called.append((content.clusters[place].id, content.clusters[place].name))
    if next_id > MAX_CLUSTERS + 1:
        raise NoIdLeftError(f"all {MAX_CLUSTERS} ids were given")
    return _clustering(fit, called, content.features, cuts, parent=parent.version, counted=counted, next_id=next_id)


def matched(old: Points, new: Points, within: float) -> NDArray[np.intp]:
    """Tell which new centroids are old ones that have moved.

    The pairs, each old and new one in at most one, of the least total distance, where a pair further apart than
    `within` is no pair and costs just that (Schuhmacher, Vo and Vo, IEEE Trans. Signal Processing 56, 2008, III; the
    pairs by the Hungarian method, Kuhn 1955).

    Args:
        old: (m, d).
        new: (k, d).
        within: greatest distance that one may have moved.

    Returns:
        (k,) row of the old one, or -1.

    >>> matched(np.array([[0.0], [5.0]]), np.array([[5.5], [9.0], [0.1]]), within=1.0).tolist()
    [1, -1, 0]
    """
    apart = np.sqrt(squares(new, old))
    rows, columns = linear_sum_assignment(np.minimum(apart, within))
    found = np.full(len(new), NOBODY, dtype=np.intp)
    near = apart[rows, columns] <= within
    found[rows[near]] = columns[near]
    return found


def layers(centroids: Points, mass: NDArray[np.float64], cuts: Sequence[int]) -> NDArray[np.intp]:
    """Join clusters to wider and wider groups, each time the two whose union adds the least inertia.

    Ward's method (Ward, JASA 58, 1963) on all the rows that the clusters stand for: joining a and b adds
    m_a m_b / (m_a + m_b) times the squared distance of their middles. Of equally cheap pairs the first is joined.

    Args:
        centroids: (k, d).
        mass: (k,) greater than 0.
        cuts: how many groups there are to be in each layer; falling, from fewer than k to 1 or more.

    Returns:
        (k, cuts) row of the heaviest cluster in each one's group; of equally heavy ones the first.

    >>> layers(np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([1.0, 8.0, 1.0, 2.0]), [3, 2]).tolist()
    [[1, 1], [1, 1], [2, 3], [3, 3]]
    """
    groups = [[row] for row in range(len(mass))]
    found = np.empty((len(mass), len(cuts)), dtype=np.intp)
    for layer, cut in enumerate(cuts):
        while len(groups) > cut:
            one, other = _cheapest(groups, centroids, mass)
            groups[one] += groups.pop(other)
        for group in groups:
            found[group, layer] = max(sorted(group), key=lambda row: mass[row])
    return found


def _cheapest(groups: Sequence[Sequence[int]], centroids: Points, mass: NDArray[np.float64]) -> tuple[int, int]:
    weights = np.array([mass[group].sum() for group in groups])
    middles = np.array([np.average(centroids[group], axis=0, weights=mass[group]) for group in groups])
    cost = weights[:, np.newaxis] * weights / (weights[:, np.newaxis] + weights) * squares(middles, middles)
    cost[np.tril_indices(len(groups))] = np.inf
    one, other = np.unravel_index(int(cost.argmin()), cost.shape)
    return int(one), int(other)


def _clustering(
    fit: Fit,
    called: Sequence[tuple[int, str]],
    features: Sequence[Feature],
    cuts: Sequence[int],
    *,
    parent: str,
    counted: Counted,
    next_id: int,
) -> Clustering:
    # By id, so that equals are told apart in the same way whatever order they were found in.
    order = sorted(range(len(called)), key=lambda row: called[row])
    ids, names = zip(*(called[row] for row in order), strict=True)
    centroids, mass = fit.centroids[order], fit.mass[order]
    groups = np.array(ids)[layers(centroids, mass, cuts)].tolist()
    rows = zip(ids, names, mass.tolist(), centroids.tolist(), groups, strict=True)
    return Clustering(list(features), list(cuts), [Cluster(*row) for row in rows], parent, *counted, next_id)
