"""Whether a series has left its usual level, by an average in which the recent counts more than the old.

The EWMA control chart (Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1, 1959), with
the exact limits of Montgomery, Introduction to Statistical Quality Control, section 9.2.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column

_NORMAL: Final = 1.4826
"""Standard deviations in a median absolute deviation, where values are spread normally: 1 / 0.6745."""


class Usual(NamedTuple):
    """What a series is when nothing is the matter, in its own unit.

    Attributes:
        level: the chart's centre line.
        deviation: the standard deviation of one value around it, 0 or more.
    """

    level: float
    deviation: float


class Standing(NamedTuple):
    """Where a chart stands after some values.

    Attributes:
        average: of the values so far, the recent ones counting more.
        values: how many they were.
    """

    average: float
    values: int


class Chart(NamedTuple):
    """A chart of a series.

    Attributes:
        average: (n,) after each value.
        lower: (n,) control limit.
        upper: (n,) control limit.
        sigmas: (n,) how many standard deviations of the average it lies off the centre line, negative below.
        alarm: (n,) whether the average lies beyond a limit.
        standing: from which the chart goes on.
    """

    average: Column
    lower: Column
    upper: Column
    sigmas: Column
    alarm: NDArray[np.bool_]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Limits:
    """How a chart is drawn.

    Attributes:
        weight: of the newest value, over 0, at most 1; the smaller, the smaller the shifts that are seen, but later.
        width: how many standard deviations of the average a limit lies off the centre line.
    """

    weight: float = 0.2
    width: float = 3.0


def usual(values: Column, *, robust: bool = True) -> Usual:
    """Say what is usual, from values at whose time nothing was the matter.

    Robust, the median stands for the mean and the scaled median absolute deviation for the standard deviation (Hampel,
    JASA 69, 1974): up to half of the values may be far out, and neither moves far.

    Args:
        values: (n,), at least one.
        robust: take the median; else mean and sample standard deviation, as Montgomery does.

    >>> usual(np.array([4.0, 5.0, 6.0, 5.0, 900.0]))
    Usual(level=5.0, deviation=1.4826)
    >>> usual(np.array([4.0, 5.0, 6.0]), robust=False)
    Usual(level=5.0, deviation=1.0)
    """
    if robust:
        level = float(np.median(values))
        return Usual(level, _NORMAL * float(np.median(np.abs(values - level))))
    return Usual(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0)


def chart(values: Column, normal: Usual, limits: Limits, standing: Standing | None = None) -> Chart:
    """Draw a chart.

    z(i) = weight * x(i) + (1 - weight) * z(i - 1), z(0) the centre line. After i values its standard deviation is that
    of one value times sqrt(weight / (2 - weight) * (1 - (1 - weight)^2i)). So drawing on in parts gives what drawing at
    once gives.

    Args:
        values: (n,), finite.
        normal: centre line, and deviation of one value.
        limits: weight and width.
        standing: where an earlier part of the series left off; at its start nothing.

    Returns:
        The chart. Without any deviation, whatever lies off the centre line is infinitely far off.

    >>> found = chart(np.array([10.0, 10.5, 13.0, 14.0]), Usual(10.0, 1.0), Limits(weight=0.1, width=2.7))
    >>> found.average.round(3).tolist(), found.upper.round(3).tolist(), found.alarm.tolist()
    ([10.0, 10.05, 10.345, 10.71], [10.27, 10.363, 10.424, 10.467], [False, False, False, True])
    """
    before = standing or Standing(normal.level, 0)
    weight = limits.weight
    moved = accumulate(values.tolist(), lambda level, value: level + weight * (value - level), initial=before.average)
    average = np.array(list(moved))
    count = np.arange(before.values + 1, before.values + len(values) + 1, dtype=np.float64)
    deviation = normal.deviation * np.sqrt(
        limits.weight / (2 - limits.weight) * (1 - (1 - limits.weight) ** (2 * count))
    )
    off = average[1:] - normal.level
    sigmas = np.where(off == 0, 0.0, np.divide(off, deviation, out=np.copysign(np.inf, off), where=deviation > 0))
    reach = limits.width * deviation
    return Chart(
        average=average[1:],
        lower=normal.level - reach,
        upper=normal.level + reach,
        sigmas=sigmas,
        alarm=np.abs(off) > reach,
        standing=Standing(float(average[-1]), before.values + len(values)),
    )
