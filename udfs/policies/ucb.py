"""The arm that might be the best for all we know: the less an arm was played, the more is hoped of it."""

import numpy as np

from udfs.policies.shares import Column, Truths, greedily


def indices(n: Column, total: Column) -> Column:
    """Give the mean of each arm and what is hoped on top.

    UCB1: mean + sqrt(2 ln N / n), N the plays of all arms (Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the
    Multiarmed Bandit Problem", Machine Learning 47, 2002, figure 1).

    Args:
        n: plays of each arm, (..., K), fractions too.
        total: the sum of their rewards, each 0 to 1, (..., K).

    Returns:
        (..., K); infinite for an arm that was never played.

    >>> indices(np.array([8.0, 2.0, 0.0]), np.array([4.0, 1.0, 0.0])).round(4).tolist()
    [1.2587, 2.0174, inf]
    """
    # Plays that have faded may add up to less than one.
    known = 2.0 * np.log(np.maximum(n.sum(axis=-1, keepdims=True), 1.0))
    played = n > 0
    safe = np.where(played, n, 1.0)
    return np.where(played, total / safe + np.sqrt(known / safe), np.inf)


def distribution(n: Column, total: Column, allowed: Truths | None = None) -> Column:
    """Give everything to the arm with the highest index; arms that tie share equally.

    Args:
        n: plays of each arm, (..., K).
        total: the sum of their rewards, (..., K).
        allowed: (..., K), at least one in each row; the plays of the others count towards N all the same.

    Returns:
        Chances, (..., K).

    >>> distribution(np.array([8.0, 0.0, 0.0]), np.array([4.0, 0.0, 0.0])).tolist()
    [0.0, 0.5, 0.5]
    """
    return greedily(indices(n, total), allowed)
