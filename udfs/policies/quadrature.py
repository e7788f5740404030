"""How likely each arm comes first, second and so on when every arm draws a value: computed, not simulated."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.polynomial import legendre

from udfs.policies.shares import Column, Truths

LogDensity = Callable[[slice, Column, Column], None]
"""Writes logarithms of the arms' densities, each up to a constant: of some rows, at values (nodes, pieces, rows), into
(K, nodes, pieces, rows)."""

_ROOTS, _ROOT_WEIGHTS = legendre.leggauss(5)

_NODES: Final[Column] = (_ROOTS + 1.0) / 2.0
"""Where a piece of length 1 is looked at."""

_WEIGHTS: Final[Column] = _ROOT_WEIGHTS / 2.0
"""Of the values there, for the integral over the piece."""

_UP_TO: Final[Column] = (
    legendre.legval(_ROOTS, legendre.legint(np.eye(len(_ROOTS)), lbnd=-1, axis=0)).T
    @ np.linalg.inv(legendre.legvander(_ROOTS, len(_ROOTS) - 1))
    / 2.0
)
"""Of the values there, (to, of), for the integral from the piece's start up to each node: that of the polynomial."""

_ROOM: Final = 2**16
"""So many densities are computed at a time: as many as stay near the processor."""

_LEAST: Final = -60.0
"""Logarithms of densities stop here: less adds nothing, but processors are slow on numbers that are nearly 0."""


def places(log_density: LogDensity, ends: Column, count: int, allowed: Truths | None = None) -> Column:
    """Give the chance of each arm to take each place when all are sorted by a value that each draws, the highest first.

    An arm is at place l + 1 if it draws some x and exactly l of the others draw more: the integral of its density at x
    times the chance of that, a Poisson binomial one (Wang, "On the Number of Successes in Independent Trials",
    Statistica Sinica 3, 1993). It is taken piece by piece with the Gauss-Legendre rule (Davis and Rabinowitz, "Methods
    of Numerical Integration", 1984, section 2.7), the pieces ending where some arm's density has visibly changed; so a
    narrow arm is not overlooked between the nodes of a broad one. Distributions come out of the same densities: the
    integral, up to each node, of the polynomial through the nodes of a piece.

    Args:
        log_density: of the arms.
        ends: of the pieces that each arm needs, in any order, (rows, K, E); beyond the outermost, no arm has density.
        count: of places.
        allowed: (rows, K); who is not allowed takes no place. Without it, all are.

    Returns:
        (rows, count, K), each place sums to 1, or to 0 where there are not so many arms.
    """
    rows, arms, of_arm = ends.shape
    pieces = arms * of_arm - 1
    # Rows come last, where numpy is fastest; and nothing is ever summed along them.
    sorted_ends = np.ascontiguousarray(np.sort(ends.reshape(rows, pieces + 1), axis=-1).T)
    size = max(1, min(rows, _ROOM // (arms * len(_NODES) * pieces)))
    room = np.empty((2, arms, len(_NODES), pieces, size))
    chances = np.zeros((rows, count, arms))
    for start in range(0, rows, size):
        part = slice(start, min(start + size, rows))
        density, below = room[..., : part.stop - start]
        mine, forbidden = sorted_ends[:, part], None if allowed is None else ~allowed[part].T
        width = np.diff(mine, axis=0)
        log_density(part, mine[:-1] + _NODES[:, np.newaxis, np.newaxis] * width, density)
        share = _integrated(width, density, below, forbidden)
        for arm, above in enumerate(_above(below, count)):
            for place, chance in enumerate(above):
                of_pieces = share[arm] * _weighted(_WEIGHTS, chance * density[arm])
                chances[part, place, arm] = np.cumsum(of_pieces, axis=0)[-1]
    of_all = chances.sum(axis=-1, keepdims=True)
    np.divide(chances, of_all, out=chances, where=of_all > 0)
    return chances


def _integrated(width: Column, density: Column, below: Column, forbidden: Truths | None) -> Column:
    """Turn logarithms into densities, and write the chance of each arm to lie below each node.

    Args:
        width: of the pieces, (pieces, rows).
        density: (K, nodes, pieces, rows), still logarithms; densities afterwards.
        below: likewise; chances afterwards, 1 for those who are forbidden.
        forbidden: (K, rows).

    Returns:
        (K, pieces, rows): what a density of 1 all over a piece would come to of the arm's whole chance.
    """
    np.exp(np.maximum(density, _LEAST, out=density), out=density)
    at_nodes = density.swapaxes(0, 1)
    mass = width * _weighted(_WEIGHTS, at_nodes)
    up_to = np.cumsum(mass, axis=1)
    whole = up_to[:, -1:]
    share: Column = width / whole
    before = (up_to - mass) / whole
    for node, weights in enumerate(_UP_TO):
        np.add(before, share * _weighted(weights, at_nodes), out=below[:, node])
    np.clip(below, 0.0, 1.0, out=below)
    if forbidden is not None:
        np.copyto(below, 1.0, where=forbidden[:, np.newaxis, np.newaxis])
        np.copyto(share, 0.0, where=forbidden[:, np.newaxis])
    return share


def _weighted(weights: Column, values: Column) -> Column:
    """Add up values with weights along the first axis, in this order, however many the rest are."""
    added: Column = weights[0] * values[0]
    term = np.empty_like(added)
    for weight, value in zip(weights[1:], values[1:], strict=True):
        added += np.multiply(weight, value, out=term)
    return added


def _above(below: Column, count: int) -> list[Sequence[Column]]:
    """Give for each arm the chances that 0, 1 ... of the others lie above a value, as far as places are asked for.

    Args:
        below: the chance of each arm to lie below it, (K, ...).
        count: of places.

    Returns:
        Arm by arm, at most `count` of (...).
    """
    arms = [[arm, 1.0 - arm] if count > 1 else [arm] for arm in below]
    # Taking one arm out of the whole again would divide by chances near 0: what is left and right of it is kept.
    left, right = _running(arms, count), _running(arms[::-1], count)[::-1]
    alone = [np.ones_like(below[0])]
    return [_both(before, after, count) or alone for before, after in zip(left, right, strict=True)]


def _running(arms: Sequence[Sequence[Column]], count: int) -> list[Sequence[Column]]:
    """Count, for each arm, how many of those before it lie above; before the first, nobody is counted."""
    nobody: Sequence[Column] = []
    return list(accumulate(arms[:-1], lambda some, arm: _both(some, arm, count), initial=nobody))


def _both(some: Sequence[Column], others: Sequence[Column], count: int) -> Sequence[Column]:
    """Count those above among some and others together."""
    if not some or not others:
        return some or others
    found = []
    for above in range(min(count, len(some) + len(others) - 1)):
        least, most = max(0, above - len(others) + 1), min(above, len(some) - 1)
        ways = [some[of] * others[above - of] for of in range(least, most + 1)]
        found.append(sum(ways[1:], start=ways[0]))
    return found
