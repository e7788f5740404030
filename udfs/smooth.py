"""Memory that fades: averages in which the recent counts more than the old."""

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
