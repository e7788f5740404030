"""Arms whose worth depends on the kind of person, as a model's trees tell kinds of people apart: by their leaves."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.policies.shares import Column, Truths
from udfs.policies.thompson import best_normal

Leaves = NDArray[np.int64]


class Known(NamedTuple):
    """What each arm has learned of each leaf, ready to be asked.

    Attributes:
        means: of rewards there, (K, leaves).
        deviations: of the means, up to the deviation of a reward, (K, leaves).
    """

    means: Column
    deviations: Column


def columns(leaves: Leaves, sizes: Leaves) -> Leaves:
    """Number the leaves of all trees through.

    A row's leaves are then the places of the ones in a sparse vector of zeros and ones (He et al., "Practical Lessons
    from Predicting Clicks on Ads at Facebook", ADKDD 2014, section 3.1).

    Args:
        leaves: where each row ends in each tree, from 0 on, (n, T).
        sizes: how many leaves each tree has, (T,).

    Returns:
        (n, T).

    >>> columns(np.array([[0, 0, 1], [2, 1, 0]]), np.array([3, 2, 2])).tolist()
    [[0, 3, 6], [2, 4, 5]]
    """
    return leaves + (np.cumsum(sizes) - sizes)


def ready(precision: Column, weighted: Column) -> Known:
    """Take each leaf's mean, and how far it may be off.

    A Bayesian linear regression on zeros and ones that keeps a precision for each leaf by itself, the diagonal, as
    Graepel et al. do ("Web-Scale Bayesian Click-Through Rate Prediction", ICML 2010), whose learner He et al. use.

    Args:
        precision: of each arm and leaf: plays that are expected beforehand, above 0, plus those that came there,
            (K, leaves).
        weighted: likewise the sum of their rewards, (K, leaves).

    Returns:
        Means and deviations.

    >>> known = ready(np.array([[4.0, 16.0]]), np.array([[1.0, 8.0]]))
    >>> known.means.tolist(), known.deviations.tolist()
    ([[0.25, 0.5]], [[0.5, 0.25]])
    """
    return Known(weighted / precision, np.sqrt(1.0 / precision))


def expected(places: Leaves, known: Known) -> tuple[Column, Column]:
    """Say what each arm would bring in each row, and how uncertain that is.

    Each tree says what it knows from the row's leaf, and their answers are averaged: each has seen all plays, so their
    sum would count every reward T times. For the same reason they err together: the deviation is the average, too, not
    the smaller one of independent answers.

    Args:
        places: of each row's leaves, as `columns` numbers them, (n, T).
        known: of the arms.

    Returns:
        Mean and deviation, (n, K) each, the latter up to the deviation of a reward.

    >>> known = ready(np.array([[4.0, 16.0, 1.0]]), np.array([[1.0, 8.0, 0.0]]))
    >>> [each.tolist() for each in expected(np.array([[0, 1]]), known)]
    [[[0.375]], [[0.375]]]
    """
    means, deviations = (
        np.stack([of_arm[places].sum(axis=-1) for of_arm in values], axis=-1) / places.shape[1] for values in known
    )
    return means, deviations


def distribution(places: Leaves, known: Known, spread: float, allowed: Truths | None = None) -> Column:
    """Give each arm its chance to bring most, its worth being Normal around what its leaves say: Thompson sampling.

    Args:
        places: of each row's leaves, as `columns` numbers them, (n, T).
        known: of the arms.
        spread: the deviation of a reward around its leaf's mean, or more to explore more; 0 or more.
        allowed: (n, K) or (K,), at least one in each row; without it, all are.

    Returns:
        Chances, (n, K).

    >>> known = ready(np.array([[9.0, 9.0], [16.0, 1.0]]), np.array([[4.5, 4.5], [16.0, 0.5]]))
    >>> distribution(np.array([[0], [1]]), known, 0.6).round(4).tolist()
    [[0.0228, 0.9772], [0.5, 0.5]]
    """
    means, deviations = expected(places, known)
    return best_normal(means, spread * deviations, allowed)
