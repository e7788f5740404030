"""Mostly the arm that did best so far, and now and then any arm: epsilon-greedy."""

import numpy as np

from udfs.policies.shares import Column, Truths, evenly, greedily


def distribution(means: Column, epsilon: float, allowed: Truths | None = None) -> Column:
    """Explore with a fixed chance (Sutton and Barto, "Reinforcement Learning", 2nd edition, 2018, section 2.2).

    Args:
        means: mean reward of each arm, (..., K); where arms tie for the best, they share.
        epsilon: the chance that any allowed arm is taken, the best one too, 0 to 1.
        allowed: (..., K), at least one in each row; without it, all are.

    Returns:
        Chances, (..., K).

    >>> distribution(np.array([0.02, 0.05, 0.03, 0.01]), 0.2).round(6).tolist()
    [0.05, 0.85, 0.05, 0.05]
    """
    every = np.ones(means.shape, dtype=np.bool_) if allowed is None else allowed
    return (1.0 - epsilon) * greedily(means, every) + epsilon * evenly(every)
