"""Each arm as often as it is likely to be the best: Thompson sampling, with the chances computed instead of drawn."""

from typing import Final

import numpy as np

from udfs.policies.quadrature import places
from udfs.policies.shares import Column, Truths

_Z: Final[Column] = np.array([-5.0, -2.5, 0.0, 2.5, 5.0])
"""Where the pieces of a Normal end, in deviations. Beyond the last there is less than a millionth of the chance."""

_DROPS: Final[Column] = np.array([1.5, 3.0, 5.5]) ** 2 / 2.0
"""By how much the logarithm of a Beta density has fallen where a piece ends: as that of a Normal at so many deviations.

Since it bends down everywhere, a polynomial can follow it from one such end to the next, whatever its shape. Chosen,
as those of the Normal, for errors of some 1e-6.
"""

_ROUNDS: Final = 4
"""Of Newton's method: pieces need not end exactly where they are meant to."""

_POINT: Final = 1e-9
"""A deviation, beside how far the row's arms reach, below which a value counts as known."""


def best_beta(alpha: Column, beta: Column, allowed: Truths | None = None) -> Column:
    """Give the chance of each arm to be the best, its chance of a reward being known as a Beta distribution.

    Thompson (Biometrika 25, 1933) plays an arm with just this probability; Chapelle and Li ("An Empirical Evaluation of
    Thompson Sampling", NIPS 2011, algorithm 2) draw a value from each Beta and take the highest, which has it.

    Args:
        alpha: (..., K), above 0.
        beta: (..., K), above 0.
        allowed: (..., K), at least one in each row; without it, all are.

    Returns:
        (..., K), less than 1e-5 off; each row sums to 1.

    >>> best_beta(np.array([1.0, 3.0]), np.array([1.0, 1.0])).round(4).tolist()
    [0.25, 0.75]
    """
    return placed_beta(alpha, beta, 1, allowed)[..., 0, :]


def best_normal(mean: Column, deviation: Column, allowed: Truths | None = None) -> Column:
    """Give the chance of each arm to be the best, its value being known as a Normal distribution.

    Args:
        mean: (..., K).
        deviation: (..., K), 0 or more; 0 is a value that is known, and such values that tie share.
        allowed: (..., K), at least one in each row; without it, all are.

    Returns:
        (..., K), less than 1e-5 off; each row sums to 1.

    >>> best_normal(np.array([0.0, 1.0]), np.array([3.0, 4.0])).round(4).tolist()
    [0.4207, 0.5793]
    """
    return placed_normal(mean, deviation, 1, allowed)[..., 0, :]


def placed_beta(alpha: Column, beta: Column, count: int, allowed: Truths | None = None) -> Column:
    """Give the chance of each arm to take each place when arms are sorted by a draw of each from its Beta distribution.

    Args:
        alpha: (..., K), above 0.
        beta: (..., K), above 0.
        count: of places.
        allowed: (..., K), at least one in each row; without it, all are.

    Returns:
        (..., count, K): place by place a distribution over the arms; all 0 at places for which no arm is left.

    >>> placed_beta(np.array([1.0, 3.0]), np.array([1.0, 1.0]), 2).round(4).tolist()
    [[0.25, 0.75], [0.75, 0.25]]
    """
    first, second, rule = _rows(alpha, beta, allowed)
    top = np.log(first / second)[..., np.newaxis]
    ends = np.concatenate([top - _fall(first, second), top, top + _fall(second, first)], axis=-1)
    peak = first * np.log(first / (first + second)) + second * np.log(second / (first + second))
    for_yes, for_no, highest = _arms(first), _arms(second), _arms(peak)

    # Over log odds a Beta density has no poles, whatever its parameters, and its logarithm bends down: with s the
    # logistic function it is s(x)^alpha s(-x)^beta, since the change of variable adds 1 to both exponents.
    def log_density(part: slice, x: Column, out: Column) -> None:
        both = np.log1p(np.exp(-np.abs(x)))
        np.multiply(for_yes[..., part], np.minimum(x, 0.0) - both, out=out)
        out += for_no[..., part] * (np.minimum(-x, 0.0) - both)
        out -= highest[..., part]

    found = places(log_density, ends, count, rule)
    return found.reshape(*alpha.shape[:-1], *found.shape[1:])


def placed_normal(mean: Column, deviation: Column, count: int, allowed: Truths | None = None) -> Column:
    """Give the chance of each arm to take each place when arms are sorted by a draw of each from its Normal one.

    Args:
        mean: (..., K).
        deviation: (..., K), 0 or more.
        count: of places.
        allowed: (..., K), at least one in each row; without it, all are.

    Returns:
        (..., count, K): place by place a distribution over the arms; all 0 at places for which no arm is left.

    >>> placed_normal(np.zeros(3), np.array([1.0, 1.0, 0.0]), 3).round(4).tolist()
    [[0.375, 0.375, 0.25], [0.25, 0.25, 0.5], [0.375, 0.375, 0.25]]
    """
    centre, spread, rule = _rows(mean, deviation, allowed)
    centre = centre - centre.max(axis=-1, keepdims=True)
    reach = spread.max(axis=-1, keepdims=True) - centre.min(axis=-1, keepdims=True)
    spread = np.maximum(spread, _POINT * np.where(reach > 0, reach, 1.0))
    ends = centre[..., np.newaxis] + spread[..., np.newaxis] * _Z
    middles, inverses = _arms(centre), _arms(1.0 / spread)

    def log_density(part: slice, x: Column, out: Column) -> None:
        np.subtract(x, middles[..., part], out=out)
        out *= inverses[..., part]
        out *= out
        out *= -0.5

    found = places(log_density, ends, count, rule)
    return found.reshape(*mean.shape[:-1], *found.shape[1:])


def _rows(first: Column, second: Column, allowed: Truths | None) -> tuple[Column, Column, Truths | None]:
    """Lay rows of arms one below the other, (rows, K)."""
    shape, flat = first.shape, (-1, first.shape[-1])
    first, second = first.reshape(flat), second.reshape(flat)
    if allowed is None:
        return first, second, None
    rule = np.broadcast_to(allowed, shape).reshape(flat)
    # Who is not allowed stands where one stands who is, and so no piece is cut for them.
    other = rule.argmax(axis=-1, keepdims=True)
    first = np.where(rule, first, np.take_along_axis(first, other, axis=-1))
    return first, np.where(rule, second, np.take_along_axis(second, other, axis=-1)), rule


def _fall(alpha: Column, beta: Column) -> Column:
    """Find how far below its top, in log odds, the logarithm of a Beta density has fallen by each of _DROPS.

    At a distance d it has fallen by alpha d + (alpha + beta) ln(1 + p (e^-d - 1)), p = alpha / (alpha + beta). Newton's
    method from beyond the place comes down to it, since the logarithm bends down.

    Returns:
        (rows, K, len(_DROPS)).
    """
    a, b = alpha[..., np.newaxis], beta[..., np.newaxis]
    share = a / (a + b)
    distance: Column = np.sqrt(2.0 * _DROPS * (1.0 / a + 1.0 / b)) + _DROPS / a
    for _ in range(_ROUNDS):
        less = np.expm1(-distance)
        fallen = a * distance + (a + b) * np.log1p(share * less)
        slope = -a * b * less / (a + b + a * less)
        distance -= (fallen - _DROPS) / slope
    return distance


def _arms(values: Column) -> Column:
    """Turn (rows, K) to (K, 1, 1, rows): for all nodes and pieces."""
    return np.ascontiguousarray(values.T)[:, np.newaxis, np.newaxis]
