"""The chances of Thompson sampling, held against an integral of high precision and against drawing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.polynomial import legendre
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, ndtr, ndtri

from udfs.policies.thompson import best_beta, best_normal, placed_beta, placed_normal

Column = NDArray[np.float64]

SIMULATED: Final = 4_000_000
PLACES: Final = 3
PLAYS: Final = {
    **{f"n = {10**power:,}": np.full(5, 10.0**power) for power in range(7)},
    "n from 1 to 1,000,000": 10.0 ** np.array([0, 2, 4, 6, 6]),
    "n from 1,000,000 to 1": 10.0 ** np.array([6, 6, 3, 1, 0]),
}

_AWAY: Final = np.array([-1.0, -0.3, 0.0, 0.4, 0.8])
"""Where the arms are, in their own deviations around a common mean: near enough that each has a chance."""

_PART: Final = 500_000
_LEVELS: Final = 10.0 ** np.arange(-15, 0)
_CUTS: Final = np.concatenate([_LEVELS, [0.3, 0.5, 0.7], 1.0 - _LEVELS[::-1]])
_NODES, _WEIGHTS = legendre.leggauss(40)


class Family(NamedTuple):
    """Distributions of arms, by two parameters.

    Attributes:
        best: the chance of each to be the best, as the suite computes it.
        placed: the same for places.
        chance: of parameters and a value, to lie below it.
        value: of parameters and a chance, below which one lies with it.
        drawn: values of all arms, (draws, K), of parameters.
    """

    best: Callable[[Column, Column], Column]
    placed: Callable[[Column, Column, int], Column]
    chance: Callable[[Any, Any, Column], Column]
    value: Callable[[Any, Any, Column], Column]
    drawn: Callable[[Generator, Column, Column], Column]


BETA: Final = Family(
    best_beta,
    placed_beta,
    betainc,
    betaincinv,
    lambda rng, alpha, beta: rng.beta(alpha, beta, (_PART, len(alpha))),
)
NORMAL: Final = Family(
    best_normal,
    placed_normal,
    lambda mean, deviation, x: ndtr((x - mean) / deviation),
    lambda mean, deviation, u: mean + deviation * ndtri(u),
    lambda rng, mean, deviation: rng.normal(mean, deviation, (_PART, len(mean))),
)


class Off(NamedTuple):
    """How far computed chances are off.

    Attributes:
        integral: largest difference from the integral.
        simulation: largest difference from the share of draws, over all places.
        deviations: the largest of these in its standard errors.
    """

    integral: float
    simulation: float
    deviations: float


def cases() -> Iterator[tuple[str, Family, Column, Column]]:
    """Make arms, five at a time: played once, a million times, and so differently."""
    for name, n in PLAYS.items():
        spread = 0.3 / np.sqrt(n + 2.0)
        mean = 0.1 + _AWAY * spread
        yield f"Normal, {name}", NORMAL, mean, spread
        total = np.clip(mean, 0.0, 1.0) * n
        yield f"Beta, {name}", BETA, 1.0 + total, 1.0 + n - total


def off(family: Family, first: Column, second: Column, rng: Generator) -> Off:
    """Compare one row of arms with both."""
    counts = np.zeros((PLACES, len(first)))
    for _ in range(SIMULATED // _PART):
        order = np.argsort(-family.drawn(rng, first, second), axis=1)
        counts += [np.bincount(order[:, place], minlength=len(first)) for place in range(PLACES)]
    p = family.placed(first, second, PLACES)
    apart = np.abs(counts / SIMULATED - p)
    # Of what hardly ever happens a single draw is no deviation.
    errors = np.sqrt(p * (1.0 - p) / SIMULATED) + 1.0 / SIMULATED
    exact = [integrated(family, first, second, arm) for arm in range(len(first))]
    return Off(
        integral=float(np.abs(family.best(first, second) - exact).max()),
        simulation=float(apart.max()),
        deviations=float((apart / errors).max()),
    )


def compared() -> Mapping[str, Off]:
    """Compare all cases."""
    rng = default_rng(17)
    return {name: off(family, first, second, rng) for name, family, first, second in cases()}


def integrated(family: Family, first: Column, second: Column, arm: int) -> float:
    """Integrate the chance of an arm to be the best another way: over its own distribution, with the others' exact.

    The product of the others' chances to lie below the value that the arm reaches with u, for u from 0 to 1, piece by
    piece between whatever is a quantile of any arm.
    """
    own = (first[arm], second[arm])
    marks = [family.chance(*own, family.value(a, b, _CUTS)) for a, b in zip(first, second, strict=True)]
    # The quantiles of a narrow arm may lie where this one has no chance that a float can tell from 0.
    ends = np.unique([0.0, *(mark for each in marks for mark in each.tolist() if mark >= _LEVELS[0]), 1.0])
    width = np.diff(ends)[:, np.newaxis]
    x = family.value(*own, ends[:-1, np.newaxis] + width * (_NODES + 1.0) / 2.0)
    below = np.ones(x.shape)
    for other in range(len(first)):
        if other != arm:
            below *= family.chance(first[other], second[other], x)
    return float((below * width * _WEIGHTS / 2.0).sum())
