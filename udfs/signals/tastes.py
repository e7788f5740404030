"""What a person likes: how their interests are shared out, how broad they are, and how they shift."""

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column


def shares(liking: NDArray[np.int64]) -> Column:
    """Share out liking over the interests; all 0 where none was shown.

    Args:
        liking: weighted events by interest, (n, interests).

    >>> shares(np.array([[3, 1], [0, 0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    total = liking.sum(axis=1, keepdims=True)
    shared: Column = liking / np.maximum(total, 1)
    return shared


def foremost(liking: NDArray[np.int64]) -> Column:
    """Give the largest share, (n,).

    >>> foremost(np.array([[3, 1], [0, 0]])).tolist()
    [0.75, 0.0]
    """
    largest: Column = shares(liking).max(axis=1)
    return largest


def evenness(liking: NDArray[np.int64]) -> Column:
    """Say how evenly liking is spread: Shannon's entropy over the entropy of an even spread (Pielou, 1966), 0 to 1.

    >>> evenness(np.array([[2, 2], [4, 0], [0, 0]])).tolist()
    [1.0, 0.0, 0.0]
    """
    even: Column = np.abs(_entropy(shares(liking))) / np.log2(liking.shape[1])
    return even


def divergence(now: NDArray[np.int64], before: NDArray[np.int64]) -> Column:
    """Say how far two spreads are apart: Jensen-Shannon divergence, bits, 0 to 1 (Lin, 1991, section IV).

    The entropy of their mean, less the mean of their entropies; 0 where one of them is empty.

    >>> divergence(np.array([[1, 0], [1, 1], [0, 0]]), np.array([[0, 1], [2, 2], [1, 0]])).tolist()
    [1.0, 0.0, 0.0]
    """
    p, q = shares(now), shares(before)
    apart = _entropy((p + q) / 2.0) - (_entropy(p) + _entropy(q)) / 2.0
    both = (now.sum(axis=1) > 0) & (before.sum(axis=1) > 0)
    return np.where(both, np.clip(apart, 0.0, 1.0), 0.0)


def _entropy(p: Column) -> Column:
    entropy: Column = -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=1)
    return entropy
