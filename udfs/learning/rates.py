"""How often people take a chance, each having had several, how sure that is, and whether two groups differ."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column

_Z95: Final = 1.959964


class Rate(NamedTuple):
    """A share of chances that were taken.

    Attributes:
        value: of all chances together; 0 where there was none.
        error: its standard error.
    """

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, as for a Normal distribution, within 0 and 1."""
        return max(0.0, self.value - _Z95 * self.error), min(1.0, self.value + _Z95 * self.error)


NEVER: Final = Rate(0.0, 0.0)
"""Of those who had no chance."""


def rate(hits: Column | NDArray[np.int64], trials: Column | NDArray[np.int64]) -> Rate:
    """Give a share of chances, where those of one person resemble each other and people are independent.

    The delta method for a ratio of sums over people (Deng, Knoblich and Lu, "Applying the Delta Method in Metric
    Analytics", KDD 2018, section 3.1): the variance is that of hits - share * trials over people, over the square of
    the mean number of trials.

    Args:
        hits: of each person, (n,).
        trials: of each person, (n,).

    >>> [round(each, 4) for each in rate(np.array([1, 0, 3]), np.array([2, 2, 4]))]
    [0.5, 0.2165]
    >>> rate(np.array([]), np.array([]))
    Rate(value=0.0, error=0.0)
    """
    total, people = float(trials.sum()), int((trials > 0).sum())
    if not total:
        return NEVER
    value = float(hits.sum()) / total
    residues = (hits - value * trials) ** 2
    unbiased = people / (people - 1) if people > 1 else 1.0
    return Rate(value, math.sqrt(float(residues.sum()) * unbiased) / total)


def chance(one: Rate, other: Rate) -> float:
    """Say how likely two groups would differ at least so much if nothing told them apart: the two-sided z-test.

    >>> round(chance(Rate(0.12, 0.005), Rate(0.10, 0.005)), 5)
    0.00468
    >>> chance(Rate(0.1, 0.0), Rate(0.1, 0.0))
    1.0
    """
    error = math.hypot(one.error, other.error)
    return math.erfc(abs(one.value - other.value) / error / math.sqrt(2.0)) if error else 1.0
