"""No arm is ever given up: each keeps a least chance, so that we would notice if it became the best."""

import numpy as np

from udfs.policies.shares import Column, Truths


def floored(p: Column, least: float, allowed: Truths | None = None) -> Column:
    """Mix chances with equal ones, as much as makes each at least `least`; which of two is larger stays so.

    Args:
        p: chances, (..., K), each row sums to 1.
        least: the smallest chance of an allowed arm, 0 or more.
        allowed: (..., K), at least one in each row; without it, all are. The others must have no chance.

    Returns:
        Chances, (..., K).

    Raises:
        ValueError: there are too many arms for so large a chance each.

    >>> floored(np.array([0.75, 0.25, 0.0]), 0.1).round(6).tolist()
    [0.625, 0.275, 0.1]
    >>> floored(np.array([0.75, 0.25, 0.0]), 0.4)
    Traceback (most recent call last):
    ...
    ValueError: 3 arms cannot have a chance of at least 0.4 each: at most 0.333333
    """
    every = np.ones(p.shape, dtype=np.bool_) if allowed is None else allowed
    arms = every.sum(axis=-1, keepdims=True)
    most = int(arms.max(initial=1))
    if most * least > 1.0:
        raise ValueError(f"{most} arms cannot have a chance of at least {least:g} each: at most {1 / most:.6g}")
    # Nothing is taken from `least` itself, so no rounding can put a chance below it.
    raised: Column = (1.0 - arms * least) * p + np.where(every, least, 0.0)
    return raised
