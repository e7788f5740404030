"""How chances are shared where nothing tells arms apart: equally."""

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
Truths = NDArray[np.bool_]


def evenly(allowed: Truths) -> Column:
    """Share equally among the arms that are allowed.

    Args:
        allowed: (..., K), at least one in each row.

    Returns:
        Chances, (..., K).

    >>> evenly(np.array([[True, True, False, True, True], [False, True, False, False, False]])).tolist()
    [[0.25, 0.25, 0.0, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0, 0.0]]
    """
    chances: Column = allowed / allowed.sum(axis=-1, keepdims=True)
    return chances


def greedily(scores: Column, allowed: Truths | None = None) -> Column:
    """Give everything to the arm with the highest score; arms that tie share equally.

    Args:
        scores: (..., K), infinite ones too.
        allowed: (..., K), at least one in each row; without it, all are.

    Returns:
        Chances, (..., K).

    >>> greedily(np.array([0.1, 0.3, 0.3])).tolist()
    [0.0, 0.5, 0.5]
    >>> greedily(np.array([0.1, 0.3, 0.3]), np.array([True, False, True])).tolist()
    [0.0, 0.0, 1.0]
    """
    if allowed is None:
        return evenly(scores == scores.max(axis=-1, keepdims=True))
    highest = np.where(allowed, scores, -np.inf).max(axis=-1, keepdims=True)
    return evenly((scores == highest) & allowed)
