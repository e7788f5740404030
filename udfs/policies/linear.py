"""Arms whose worth depends on the person: each has a line through what is known of people, and how sure it is of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from udfs.policies.shares import Column, Truths, greedily
from udfs.policies.thompson import best_normal


def features(signals: Sequence[Column]) -> Column:
    """Say what is known of people: 1, then each signal as sign(x) ln(1 + |x|), so that none drowns the others.

    Args:
        signals: each (n,), one at least.

    Returns:
        (n, 1 + signals).

    >>> features([np.array([0.0, np.e - 1.0, 1.0 - np.e])]).tolist()
    [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]]
    """
    tamed = [np.sign(column) * np.log1p(np.abs(column)) for column in signals]
    return np.column_stack([np.ones(len(signals[0])), *tamed])


class Lines(NamedTuple):
    """What each arm has learned, ready to be asked.

    Attributes:
        weights: of each feature, (K, d); or (n, K, d), those of each row.
        covariance: of the weights, up to the variance of a reward, (K, d, d); or (n, K, d, d).
    """

    weights: Column
    covariance: Column


def ready(precision: Column, weighted: Column) -> Lines:
    """Solve each arm's ridge regression, once for all rows.

    Disjoint models as in Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news article
    recommendation", WWW 2010, algorithm 1: theta = A^-1 b.

    Args:
        precision: A of each arm: the identity (or another ridge), plus x x' of each play, (K, d, d).
        weighted: b of each arm: the sum of reward times x, (K, d).

    Returns:
        Weights and their covariance.

    >>> ready(np.array([[[2.0, 0.0], [0.0, 4.0]]]), np.array([[1.0, 1.0]])).weights.tolist()
    [[0.5, 0.25]]
    """
    inverse = np.linalg.inv(precision)
    covariance = (inverse + inverse.swapaxes(-1, -2)) / 2.0
    return Lines((covariance * weighted[:, np.newaxis, :]).sum(axis=-1), covariance)


def expected(x: Column, lines: Lines) -> tuple[Column, Column]:
    """Say what each arm would bring in each row, and how uncertain that is.

    Args:
        x: (n, d); a feature that is always 1 makes the constant.
        lines: of the arms.

    Returns:
        x'theta, and sqrt(x' A^-1 x), (n, K) each.

    >>> lines = ready(np.array([[[2.0, 0.0], [0.0, 4.0]]]), np.array([[1.0, 1.0]]))
    >>> [each.tolist() for each in expected(np.array([[1.0, 2.0]]), lines)]
    [[[1.0]], [[1.224744871391589]]]
    """
    arms_and_features = lines.weights.shape[-2:]
    means, along = np.zeros((len(x), arms_and_features[0])), np.zeros((len(x), *arms_and_features))
    for feature, values in enumerate(x.T):
        means += values[:, np.newaxis] * lines.weights[..., feature]
        along += values[:, np.newaxis, np.newaxis] * lines.covariance[..., feature]
    variance = (along * x[:, np.newaxis, :]).sum(axis=-1)
    return means, np.sqrt(np.maximum(variance, 0.0))


def ucb(x: Column, lines: Lines, alpha: float, allowed: Truths | None = None) -> Column:
    """Give everything to the arm that might bring most: LinUCB (Li et al., WWW 2010, algorithm 1); ties share.

    Args:
        x: (n, d).
        lines: of the arms.
        alpha: how many deviations are hoped for on top.
        allowed: (n, K) or (K,), at least one in each row; without it, all are.

    Returns:
        Chances, (n, K).

    >>> lines = ready(np.array([[[9.0]], [[1.0]]]), np.array([[4.5], [0.1]]))
    >>> [ucb(np.array([[1.0]]), lines, alpha).tolist() for alpha in (0.1, 1.0)]
    [[[1.0, 0.0]], [[0.0, 1.0]]]
    """
    means, deviations = expected(x, lines)
    return greedily(means + alpha * deviations, allowed)


def thompson(x: Column, lines: Lines, v: float, allowed: Truths | None = None) -> Column:
    """Give each arm its chance to bring most, its weights being Normal around what was learned.

    Linear Thompson sampling (Agrawal and Goyal, "Thompson Sampling for Contextual Bandits with Linear Payoffs", ICML
    2013, algorithm 1), with an own line for each arm: theta ~ N(A^-1 b, v^2 A^-1), so x'theta is Normal too, and
    independent from arm to arm.

    Args:
        x: (n, d).
        lines: of the arms.
        v: the deviation of a reward around its line, or more to explore more; 0 or more.
        allowed: (n, K) or (K,), at least one in each row; without it, all are.

    Returns:
        Chances, (n, K).

    >>> lines = ready(np.array([[[9.0]], [[16.0]]]), np.array([[4.5], [16.0]]))
    >>> thompson(np.array([[1.0]]), lines, 0.6).round(4).tolist()
    [[0.0228, 0.9772]]
    """
    means, deviations = expected(x, lines)
    return best_normal(means, v * deviations, allowed)
