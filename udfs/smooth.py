"""Memory that fades: averages in which the recent counts more than the old."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]


def faded_rate(grown: Column, age_ms: Column, tau_ms: float) -> Column:
    """Turn a forward-decayed sum into a rate per second, free of the bias of a short memory.

    The sum grew each value by exp((t - landmark) / tau); shrinking it by exp(-age / tau) gives exponential decay
    (Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay", ICDE 2009, section III). Dividing by the weight that
    a constant stream of 1 per second would have gathered in the same time corrects the start, as in Adam
    (Kingma and Ba, ICLR 2015, section 3).

    Args:
        grown: sums of value * exp((t - landmark) / tau), (n,).
        age_ms: time since the landmark, ms, greater than 0, (n,).
        tau_ms: time constant, ms.

    Returns:
        Value per second, (n,).

    >>> tau, seconds = 15_000.0, np.arange(1, 61) * 1000.0
    >>> grown = np.cumsum(2.0 * np.exp(seconds / tau))
    >>> faded_rate(grown, seconds, tau)[[0, 59]].round(2).tolist()
    [2.07, 2.07]
    """
    shrink = np.exp(-age_ms / tau_ms)
    rate: Column = grown * shrink / (tau_ms / 1000.0 * (1.0 - shrink))
    return rate


def ema(values: Column, gain: float) -> Column:
    """Smooth a series exponentially: each value moves the level by a fixed share of the surprise.

    The level starts at the first value (Brown, "Statistical Forecasting for Inventory Control", 1959).

    >>> ema(np.array([1.0, 3.0, 3.0]), 0.5).tolist()
    [1.0, 2.0, 2.5]
    """
    levels = np.empty_like(values)
    level = values[0] if len(values) else 0.0
    for place, value in enumerate(values.tolist()):
        level += gain * (value - level)
        levels[place] = level
    return levels


def steady_gain(signal_to_noise: float) -> float:
    """Give the gain at which the Kalman filter of a local level settles.

    For a level that wanders with variance q and is seen with variance r, the gain is (sqrt(s^2 + 4 s) - s) / 2 with
    s = q / r (Muth, JASA 55, 1960; Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter", 1989,
    4.1.2): an EMA with that gain is the filter, once it has settled.

    >>> round(steady_gain(0.5), 4)
    0.5
    """
    s = signal_to_noise
    return (sqrt(s * s + 4.0 * s) - s) / 2.0


def kalman(values: Column, level_variance: float, noise_variance: float) -> Column:
    """Filter a local level, starting from the first value and knowing no better than it.

    Prediction and update of the one-dimensional Kalman filter (Kalman, 1960; Harvey, 1989, 3.2): what `ema` is with a
    gain that adapts until it has settled.

    Args:
        values: (n,).
        level_variance: of the level's steps.
        noise_variance: of a value around its level, greater than 0.

    Returns:
        The filtered levels, (n,).
    """
    levels = np.empty_like(values)
    level, variance = (values[0] if len(values) else 0.0), noise_variance
    for place, value in enumerate(values.tolist()):
        if place:
            variance += level_variance
            gain = variance / (variance + noise_variance)
            level += gain * (value - level)
            variance *= 1.0 - gain
        levels[place] = level
    return levels


def chart(grown: Column, weights: Column, squares: Column, baseline: Column, spread: Column) -> Column:
    """Say how far a fading mean is from its baseline, in its own standard errors: an EWMA control chart.

    A weighted mean of independent values has the deviation spread * sqrt(sum w^2) / sum w; that is the chart's
    time-varying limit (Roberts, Technometrics 1, 1959; Montgomery, "Statistical Quality Control", section 9.2),
    whatever the pauses between the values. Common growth of weights and sums cancels.

    Args:
        grown: fading sums of the values, (n,).
        weights: the same of their weights, (n,).
        squares: the same of their squared weights, (n,).
        baseline: mean that is expected, (n,).
        spread: deviation of one value, (n,); where it is 0, so is the result.

    >>> one = np.ones(1)
    >>> chart(8.0 * one, 4.0 * one, 4.0 * one, one, one).tolist()
    [2.0]
    """
    known = (spread > 0) & (weights > 0)
    safe = np.where(known, weights, 1.0)
    error = np.where(known, spread * np.sqrt(squares) / safe, 1.0)
    return np.where(known, (grown / safe - baseline) / error, 0.0)
