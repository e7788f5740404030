"""Quartiles of millions of values from a few thousand counters, which machines can count apart and add up."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

_ERROR: Final = 0.01
_GROWTH: Final = (1 + _ERROR) / (1 - _ERROR)
_LEAST, _MOST = 1e-6, 1e12
_STEPS: Final = int(np.ceil(np.log(_MOST / _LEAST) / np.log(_GROWTH)))
_MIDDLES: Final = _LEAST * _GROWTH ** np.arange(_STEPS) * (2 * _GROWTH / (_GROWTH + 1))
_GRID: Final = np.concatenate([-_MIDDLES[::-1], [0.0], _MIDDLES])


def tally(values: NDArray[Any]) -> Counts:
    """Count values on a fixed grid; the tallies of parts add up to that of the whole.

    The grid is fine near 0 and coarse far out, that of DDSketch (Masson, Rim and Lee, VLDB 2019, section 2.1): each
    bucket stands for its values with a relative error of at most 1 %. What is closer to 0 than 1e-6 counts as 0, what
    is beyond 1e12 as 1e12.

    Args:
        values: (n,), finite.

    Returns:
        (buckets,) how many values lie in each, from the lowest.
    """
    size = np.abs(values.astype(np.float64))
    # Rounding may put a value beside an edge on its other side, which costs no more than the error allowed.
    steps = np.floor(np.log(np.maximum(size, _LEAST) / _LEAST) / np.log(_GROWTH)).astype(np.int64)
    away = np.where(size < _LEAST, 0, np.minimum(steps, _STEPS - 1) + 1)
    return np.bincount(_STEPS + np.sign(values).astype(np.int64) * away, minlength=len(_GRID))


def quantile(counts: Counts, q: float) -> float:
    """Read a quantile off a tally, at most 1 % off that of the values themselves.

    Between two values it lies on the line between them, as in `numpy.quantile`.

    Args:
        counts: of `tally`, at least one value.
        q: 0 to 1.

    >>> round(quantile(tally(np.array([1000, 1000, 1000, 5000])), 0.5))
    1007
    """
    reached = counts.cumsum()
    place = q * (float(reached[-1]) - 1)
    below, above = _GRID[np.searchsorted(reached, [np.floor(place), np.ceil(place)], side="right")].tolist()
    return float(below + (above - below) * (place % 1))


def beyond(counts: Counts, least: float, most: float) -> int:
    """Count the values outside of two bounds.

    >>> beyond(tally(np.array([-7, 1000, 1010, 5000])), 0, 2000)
    2
    """
    return int(counts[(least > _GRID) | (most < _GRID)].sum())


def standing(counts: Counts, value: float) -> float:
    """Give the share of the values that lie below one, those beside it counted by half; 0.5 where there are none.

    The mid-rank percentile; values within the same bucket, 2 % apart at most, are taken for equal.

    >>> standing(tally(np.array([1, 2, 3, 4])), 3), standing(tally(np.empty(0)), 3)
    (0.625, 0.5)
    """
    total = int(counts.sum())
    if not total:
        return 0.5
    place = int(np.flatnonzero(tally(np.array([value])))[0])
    return float((counts[:place].sum() + counts[place] / 2) / total)
