"""How long people waited: delays counted in buckets, so that percentiles of millions fit in a few numbers."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def bounds(lags_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round delays up to two significant digits: the upper bounds of their buckets, at most 10 % above.

    >>> bounds(np.array([0, 7, 99, 101, 1234])).tolist()
    [1, 7, 99, 110, 1300]
    """
    lags = np.maximum(lags_ms, 1)
    step = 10 ** np.maximum(np.floor(np.log10(lags)).astype(np.int64) - 1, 0)
    upper: NDArray[np.int64] = -(-lags // step) * step
    return upper


def histogram(lags_ms: NDArray[np.int64]) -> dict[int, int]:
    """Count delays by bucket.

    >>> histogram(np.array([101, 105, 7]))
    {7: 1, 110: 2}
    """
    upper, counts = np.unique(bounds(lags_ms), return_counts=True)
    return dict(zip(upper.tolist(), counts.tolist(), strict=True))


def percentile(counts: Mapping[int, int], share: float) -> int:
    """Read a percentile off a histogram: the bound of the bucket that reaches it, ms; 0 for an empty one.

    >>> percentile({7: 98, 110: 2}, 0.5), percentile({7: 98, 110: 2}, 0.99)
    (7, 110)
    """
    wanted = share * sum(counts.values())
    reached = 0
    for upper in sorted(counts):
        reached += counts[upper]
        if reached >= wanted:
            return upper
    return 0
