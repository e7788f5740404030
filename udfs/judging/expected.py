"""What reward each arm may be expected to bring in each segment, by what other people did with it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from udfs.draw import ticket
from udfs.policies.posteriors import beta, shrunk
from udfs.smooth import Column

FOLDS: Final = 5
"""Parts of the people; of each part the rewards are expected by what the others did."""

_BELIEF: Final = 1.0
"""Plays with the mean reward of all that are expected of each arm beforehand."""


def fold_of(person: str) -> int:
    """Say in which part a person is, for ever.

    >>> [fold_of(f"k0:{number}") for number in range(6)]
    [4, 4, 3, 0, 2, 3]
    """
    return int(ticket(f"off-policy|{person}") * FOLDS)


def expected(
    arm: NDArray[np.intp], reward: Column, segment: NDArray[np.intp], fold: NDArray[np.intp], arms: int
) -> Column:
    """Expect of each arm its mean reward in the play's segment, each segment leaning on all, as much as they are alike.

    Cross-fitted: no row is expected by the plays of its own fold, so that the model cannot have seen what it is to be
    judged by (Chernozhukov and others, "Double/debiased machine learning", Econometrics Journal 21, 2018, section 3).

    Args:
        arm: that was drawn, (n,).
        reward: (n,), 0 to 1.
        segment: (n,), numbers from 0 on.
        fold: (n,), all of a person's rows in the same.
        arms: how many there are.

    Returns:
        (n, arms); without plays of other people, the mean of all.

    >>> arm, reward = np.array([0, 0, 0, 0, 1, 1]), np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    >>> fold = np.array([0, 0, 1, 1, 0, 1])
    >>> expected(arm, reward, np.zeros(6, dtype=int), fold, 2)[[0, 2]].round(4).tolist()
    [[0.8889, 0.3333], [0.4444, 0.1667]]
    """
    groups, folds = int(segment.max(initial=0)) + 1, int(fold.max(initial=0)) + 1
    cell = (fold * groups + segment) * arms + arm
    sums = [_table(cell, values, (folds, groups, arms)) for values in (np.ones(len(arm)), reward, reward**2)]
    found = np.empty((len(arm), arms))
    for number in range(folds):
        n, total, squares = (table.sum(axis=0) - table[number] for table in sums)
        plays = float(n.sum())
        mean = float(total.sum()) / plays if plays else float(reward.mean())
        slot = [column.sum(axis=0) for column in (n, total, squares)]
        lent_n, lent_total, _ = shrunk((n, total, squares), slot)
        yes, no = beta(lent_n, lent_total, (mean * _BELIEF, (1.0 - mean) * _BELIEF))
        rows = fold == number
        found[rows] = (yes / (yes + no))[segment[rows]]
    return found


def _table(cell: NDArray[np.intp], values: Column, shape: tuple[int, int, int]) -> Column:
    return np.bincount(cell, weights=values, minlength=int(np.prod(shape))).astype(np.float64).reshape(shape)
