"""What is known of each arm, from how often it was played and how it was rewarded.

Of an arm's plays three sums are kept: `n`, how many there were; `total`, of their rewards; `squares`, of the squares of
these. Where recent plays count more than old ones, they are no whole numbers.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from udfs.policies.shares import Column

_VARIANCE: Final = 0.25
"""Of a single reward, expected beforehand: between 0 and 1, none varies more."""


def means(n: Column, total: Column) -> Column:
    """Give the mean reward of each arm, (..., K); 0 for one that was never played.

    >>> means(np.array([4.0, 0.0]), np.array([3.0, 0.0])).tolist()
    [0.75, 0.0]
    """
    return np.divide(total, n, out=np.zeros(n.shape), where=n > 0)


def beta(n: Column, total: Column, prior: Sequence[float] = (1.0, 1.0)) -> tuple[Column, Column]:
    """Give the Beta distribution of each arm's chance of a reward.

    The conjugate posterior of a coin (Gelman et al., "Bayesian Data Analysis", 3rd edition, 2013, section 2.4). A
    reward between 0 and 1 counts as that share of a coin, which rather understates what is known of its mean.

    Args:
        n: plays, (..., K).
        total: of their rewards, each 0 to 1, (..., K).
        prior: plays with and without a reward that are expected beforehand, both above 0.

    Returns:
        Alpha and beta, (..., K) each.

    >>> [each.tolist() for each in beta(np.array([10.0, 0.0]), np.array([3.0, 0.0]))]
    [[4.0, 1.0], [8.0, 1.0]]
    """
    yes, no = prior
    return yes + total, no + np.maximum(n - total, 0.0)


def normal(n: Column, total: Column, squares: Column, prior: Sequence[float] = (0.5, 1.0)) -> tuple[Column, Column]:
    """Give the Normal distribution of each arm's mean reward.

    The conjugate posterior for rewards of a known variance (Murphy, "Conjugate Bayesian analysis of the Gaussian
    distribution", 2007, section 2; BDA3, section 2.5); that variance is what `noise` finds.

    Args:
        n: plays, (..., K).
        total: of their rewards, (..., K).
        squares: of their rewards, (..., K).
        prior: the mean expected beforehand, and how many plays that expectation is worth, above 0.

    Returns:
        Mean, and standard deviation of the mean, (..., K) each.

    >>> mean, deviation = normal(np.array([0.0, 15.0]), np.array([0.0, 7.5]), np.array([0.0, 7.5]))
    >>> mean.tolist(), deviation.round(4).tolist()
    ([0.5, 0.5], [0.5164, 0.1291])
    """
    mean, strength = prior
    counted = n + strength
    return (total + strength * mean) / counted, np.sqrt(noise(n, total, squares) / counted)


def noise(n: Column, total: Column, squares: Column) -> Column:
    """Estimate how much a single reward varies around its arm's mean, for all arms of a slot together.

    Squares within the arms over their degrees of freedom, and one reward of a variance of 0.25 seen beforehand (a
    scaled inverse chi-square prior, BDA3, section 2.6); so it is above 0 even where all rewards are the same.

    Args:
        n: plays, (..., K).
        total: of their rewards, (..., K).
        squares: of their rewards, (..., K).

    Returns:
        The variance, (..., 1).

    >>> noise(np.array([9.0, 1.0]), np.array([3.0, 1.0]), np.array([3.0, 1.0])).round(6).tolist()
    [0.25]
    """
    within = np.maximum(squares - total * means(n, total), 0.0)
    freedom = np.maximum(n - 1.0, 0.0)
    variance: Column = (_VARIANCE + within.sum(axis=-1, keepdims=True)) / (1.0 + freedom.sum(axis=-1, keepdims=True))
    return variance


def apart(n: Column, total: Column) -> float:
    """Estimate how far the segments of a slot lie apart, all arms together: from 0, not at all, to 1, utterly.

    The correlation of two plays of one arm in one segment, if the arm's chance in each segment is drawn from a Beta
    distribution: by moments, from how much more the segments' means are spread than single plays explain (Kleinman,
    "Proportions with extraneous variance: single and independent samples", JASA 68, 1973, with the weights n). For
    rewards between 0 and 1, which vary less than coins do, it is rather understated.

    Args:
        n: plays, (S, K).
        total: of their rewards, each 0 to 1, (S, K).

    Returns:
        The correlation; 0 where too little was played to tell.

    >>> n = np.array([[500.0], [500.0]])
    >>> [round(apart(n, np.array([[100.0 - more], [100.0 + more]])), 3) for more in (0, 50, 100)]
    [0.0, 0.123, 0.499]
    """
    played = n > 0
    plays = n.sum(axis=0)
    middle = means(plays, total.sum(axis=0))
    single = middle * (1.0 - middle)
    # An arm that was never rewarded, or always, says nothing about how far they lie apart.
    told = single > 0
    spread = np.where(told, (n * (means(n, total) - middle) ** 2).sum(axis=0) / np.where(told, single, 1.0), 0.0)
    by_chance = np.where(told, played.sum(axis=0) - 1.0, 0.0)
    at_most = np.where(told, plays - means(plays, (n**2).sum(axis=0)), 0.0) - by_chance
    room = float(at_most.sum())
    return float(np.clip((spread - by_chance).sum() / room, 0.0, 1.0)) if room > 0 else 0.0


def shrunk(segments: Sequence[Column], slot: Sequence[Column]) -> tuple[Column, Column, Column]:
    """Lend each segment plays of the whole slot: with little data it takes the slot's view, with much it has its own.

    Empirical Bayes (BDA3, section 5.3). With a correlation of rho within segments, a segment's chance is spread around
    the slot's as if (1 - rho) / rho plays told it beforehand (Kleinman, JASA 68, 1973), and the slot's is known from
    the plays of the others: together as good as 1 / (rho / (1 - rho) + 1 / others) plays. So each of the others' plays
    counts (1 - rho) / (1 - rho + rho others): whole where segments do not differ, and not at all where they have
    nothing in common.

    Args:
        segments: n, total and squares of each, (S, K); rewards are 0 to 1.
        slot: n, total and squares of all plays, those in the segments among them, (K,).

    Returns:
        The three sums of each segment, (S, K), for any policy to take as if all plays were the segment's own.

    >>> n, total = np.array([[500.0], [500.0], [2.0]]), np.array([[50.0], [150.0], [2.0]])
    >>> lent = shrunk([n, total, total], [n.sum(axis=0), total.sum(axis=0), total.sum(axis=0)])
    >>> means(*lent[:2]).round(3).ravel().tolist()
    [0.103, 0.298, 0.392]
    """
    rho = apart(*segments[:2])
    others = [np.maximum(of_all - own, 0.0) for own, of_all in zip(segments, slot, strict=True)]
    against = 1.0 - rho + rho * others[0]
    worth = np.divide(1.0 - rho, against, out=np.zeros(against.shape), where=against > 0)
    n, total, squares = (own + worth * lent for own, lent in zip(segments, others, strict=True))
    return n, total, squares
