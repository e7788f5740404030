"""Who has gone quiet, and how likely it is that they would have been back by now."""

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column


def silence(slice_end: NDArray[np.int64], prev_ms: NDArray[np.int64], events: NDArray[np.int64]) -> Column:
    """Seconds since a person's last event, at a moment that is about their silence; 0 where they did something.

    >>> silence(np.array([90_000, 90_000]), np.array([29_500, 29_500]), np.array([0, 2])).tolist()
    [60.5, 0.0]
    """
    return np.where((events == 0) & (prev_ms > 0), slice_end - prev_ms, 0) / 1000.0


def returned_by(silence_ms: Column, gaps: Column, total_ms: Column) -> Column:
    """The chance that a person with such gaps between sessions would have been back within a silence.

    Gaps are taken for exponential, their rate for Gamma-distributed with the prior of one gap of the expected length;
    so the next gap follows Lomax's distribution, 1 - (b / (b + t)) ** a, with a the gaps and b their sum, prior
    included (Lomax, JASA 49, 1954; as in the Pareto/NBD model, Schmittlein, Morrison and Colombo, Management Science
    33, 1987, section 2).

    Args:
        silence_ms: how long they have been silent, (n,).
        gaps: how many gaps, the prior's one included, (n,).
        total_ms: their sum, (n,), greater than 0.

    >>> returned_by(np.array([0.0, 100.0, 100.0]), np.array([1.0, 1.0, 9.0]), np.array([100.0, 100.0, 900.0])).round(3)
    array([0.   , 0.5  , 0.613])
    """
    return 1.0 - (total_ms / (total_ms + silence_ms)) ** gaps
