"""How sure an average is where people count several times and a few of them may weigh more than all others."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from udfs.smooth import Column

_STRAIGHT: Final = 1e-8
"""Skewness of a mean below which its distribution is not bent back: rounding would be more than what is corrected."""


class Certainty(NamedTuple):
    """How far an average may be off.

    Attributes:
        error: its standard error.
        below: how far the truth may lie below it, as the confidence asks; infinite where nothing can be told.
        above: how far above.
        telling: on how many people the error rests: (sum s^2)^2 / sum s^4, with s each one's share of it.
    """

    error: float
    below: float
    above: float
    telling: float


NOTHING: Final = Certainty(math.nan, math.inf, math.inf, 0.0)
"""Of an average that nobody tells of, or all exactly alike: what was never seen may be all the same."""


def certainty(influence: Column, person: NDArray[np.intp], confidence: float) -> Certainty:
    """Say how sure an average over rows is, where people are independent and the rows of one are not.

    Three things, each of which makes an interval of plus and minus two errors miss too often:

    * Rows of a person go together, so they are added up before anything is squared: the cluster-robust variance (Liang
      and Zeger, Biometrika 73, 1986), times G / (G - 1) of G people.
    * The error is itself estimated, from few people where rewards are rare or weights heavy. So it is Student's t, with
      as many degrees of freedom as the kurtosis k leaves the variance: 2 G / (k - (G - 3) / (G - 1)), which is G - 1
      for a Normal (O'Neill, "Some Useful Moment Results in Sampling Problems", The American Statistician 68, 2014).
    * Sums of rare rewards are skew: those that are too low have too small an error. The studentised mean is bent back
      by Hall's transformation ("On the Removal of Skewness by Transformation", JRSS B 54, 1992), whose inverse is
      3 / a ((1 + a (x - a / 6))^(1/3) - 1), with a the skewness over sqrt(G).

    Args:
        influence: how much each row moves the average, (n,); they add up to 0.
        person: whose row it is, (n,), numbers from 0 on.
        confidence: such as 0.95.

    >>> tens = np.array([-(3.0**0.5), 0.0, 0.0, 0.0, 0.0, 3.0**0.5])
    >>> [round(each, 4) for each in certainty(tens, np.arange(6), 0.95)]  # kurtosis 3: t of 5 degrees is 2.5706
    [0.4472, 1.1496, 1.1496, 2.0]
    """
    sums = np.bincount(person, weights=influence)[np.unique(person)] if len(person) else np.empty(0)
    people = len(sums)
    square, fourth = float((sums**2).sum()), float((sums**4).sum())
    if people < 2 or not fourth:  # noqa: PLR2004 - one alone does not vary
        return NOTHING
    telling = square**2 / fourth
    error = math.sqrt(square * people / (people - 1)) / len(influence)
    freedom = 2.0 * people / (people / telling - (people - 3.0) / (people - 1.0))
    far = float(stdtrit(max(freedom, 1.0), (1.0 + confidence) / 2.0))
    skewness = float((sums**3).sum()) / square**1.5
    return Certainty(error, error * unbent(far, skewness), -error * unbent(-far, skewness), telling)


def unbent(x: float, skewness: float) -> float:
    """Give the studentised mean that Hall's transformation takes to a value.

    Args:
        x: the value.
        skewness: of the mean: of the single ones, over the square root of their number.

    >>> unbent(1.96, 0.0), round(unbent(1.96, 0.3), 3), round(unbent(-1.96, 0.3), 3)
    (1.96, 1.63, -2.65)
    """
    if abs(skewness) < _STRAIGHT:
        return x
    return 3.0 / skewness * (math.cbrt(1.0 + skewness * (x - skewness / 6.0)) - 1.0)
