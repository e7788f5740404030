"""What a policy would have been worth had it drawn the arms: estimated from what another one drew, and what came of it.

A play counts as often as the policy would have drawn its arm beside how often it was drawn: its weight, w = pi / p
(Horvitz and Thompson, JASA 47, 1952). What follows is about the moments that were met: a policy that brings people
elsewhere would have met others. And where the chances of a draw change while it is kept, within a session, its weight
is that of the moment.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.judging.certainty import certainty
from udfs.smooth import Column

_HAIR: Final = 1e-9
"""What chances may miss 1 by when they are summed."""


class Log(NamedTuple):
    """Plays of one slot, a row each.

    Attributes:
        person: whose play it is, (n,), numbers from 0 on.
        arm: the one that was drawn, (n,).
        reward: what came of it, (n,), 0 to 1.
        p: with which chances it was drawn, (n, K), above 0 for the one that was; 0 too for an arm that was not there.
        expected: what a model makes of each arm's reward, (n, K), see `udfs.judging.expected`; of a row it must know
            nothing but the moment.
    """

    person: NDArray[np.intp]
    arm: NDArray[np.intp]
    reward: Column
    p: Column
    expected: Column

    def taken(self, rows: NDArray[np.bool_]) -> "Log":
        """Give some of the rows."""
        return Log(self.person[rows], self.arm[rows], self.reward[rows], self.p[rows], self.expected[rows])


class Estimate(NamedTuple):
    """What a policy is worth, by one estimator.

    Attributes:
        value: mean reward of a play; not a number where nothing says anything.
        influence: how much each row moves it, (n,); they add up to 0.
        lost: share of each row's plays of which the value holds nothing, (n,): there the reward may be 0 or 1.
    """

    value: float
    influence: Column
    lost: Column


class Interval(NamedTuple):
    """Where the truth lies, as the confidence asks.

    Attributes:
        low: its lower end.
        high: its upper end.
        error: standard error of the value.
        telling: on how many people that rests, see `udfs.judging.certainty`.
    """

    low: float
    high: float
    error: float
    telling: float


class Support(NamedTuple):
    """How much a log says of a policy.

    Attributes:
        effective: so many plays of the policy's own would say as much: (sum w)^2 / sum w^2 (Kong, "A Note on Importance
            Sampling using Standardized Weights", University of Chicago, 1992).
        people: the same of people, with the sum of each one's weights: plays of one person are no news to each other.
        largest: the largest weight.
        unsupported: share of the policy's plays with arms that the log could not draw.
        beyond: share of its plays that a bound on weights cuts off, those unsupported among them.
    """

    effective: float
    people: float
    largest: float
    unsupported: float
    beyond: float


Estimator = Callable[[Log, Column], Estimate]
"""Takes a log and a policy's chances, (n, K); a row may sum to less than 1: what is missing goes to arms unheard of."""


def on_policy(log: Log) -> Estimate:
    """Say what the policy that drew was worth: the mean of what came of it."""
    return _mean(log.reward)


def ips(log: Log, target: Column, most: float = np.inf) -> Estimate:
    """Average rewards by their weights: inverse propensity scoring; with a bound on weights, clipped.

    What a bound cuts off, sum max(0, pi - most p), is known exactly, and its rewards lie between 0 and 1: so much
    higher the truth may be (bounds of the kind of Manski, "Nonparametric Bounds on Treatment Effects", American
    Economic Review 80, 1990). The same holds for arms that could not be drawn.

    Args:
        log: of n plays.
        target: the policy's chances, (n, K).
        most: the largest weight that counts (Ionides, "Truncated Importance Sampling", Journal of Computational and
            Graphical Statistics 17, 2008).

    >>> log = Log(np.arange(2), np.array([0, 1]), np.array([1.0, 0.0]), np.array([[0.25, 0.75]] * 2), np.zeros((2, 2)))
    >>> both = np.array([[0.5, 0.5]] * 2)
    >>> ips(log, both).value, ips(log, both, most=1.0).value, ips(log, both, most=1.0).lost.tolist()
    (1.0, 0.5, [0.25, 0.25])
    """
    return _mean(np.minimum(weights(log, target), most) * log.reward, _lost(log, target, most))


def snips(log: Log, target: Column) -> Estimate:
    """Average rewards by their weights over the sum of these: self-normalised inverse propensity scoring.

    Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning", NIPS 2015, equation 8. Its
    value does not move when 1 is added to all rewards.

    >>> log = Log(np.arange(2), np.array([0, 1]), np.array([1.0, 0.0]), np.array([[0.25, 0.75]] * 2), np.zeros((2, 2)))
    >>> round(snips(log, np.array([[0.5, 0.5]] * 2)).value, 6)
    0.75
    """
    weight = weights(log, target)
    total = weight.sum()
    if not total:
        return Estimate(np.nan, np.zeros(len(weight)), np.ones(len(weight)))
    value = float((weight * log.reward).sum() / total)
    return Estimate(value, weight * (log.reward - value) * (len(weight) / total), np.zeros(len(weight)))


def direct(log: Log, target: Column) -> Estimate:
    """Believe the model: the direct method. Its interval knows of the moments only, not how wrong the model may be."""
    return _mean((target * log.expected).sum(axis=-1))


def doubly_robust(log: Log, target: Column, most: float = np.inf) -> Estimate:
    """Believe the model, and put right by their weights the plays where it was wrong; with a bound, only those below.

    Dudik, Langford and Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011, equation 2: right if either the
    chances or the model are. With a bound, SWITCH-DR (Wang, Agarwal and Dudik, "Optimal and Adaptive Off-policy
    Evaluation in Contextual Bandits", ICML 2017, section 4): where weights are larger, the model alone is believed.

    Args:
        log: of n plays.
        target: the policy's chances, (n, K).
        most: the largest weight with which the model is put right.

    >>> p, model = np.array([[0.25, 0.75]] * 2), np.array([[0.5, 0.5]] * 2)
    >>> log = Log(np.arange(2), np.array([0, 1]), np.array([1.0, 0.0]), p, model)
    >>> both = np.array([[0.5, 0.5]] * 2)
    >>> round(doubly_robust(log, both).value, 6), round(doubly_robust(log, both, most=1.0).value, 6)
    (0.833333, 0.333333)
    """
    weight = weights(log, target)
    surprise = log.reward - log.expected[np.arange(len(log.arm)), log.arm]
    return _mean((target * log.expected).sum(axis=-1) + np.where(weight <= most, weight, 0.0) * surprise)


def apart(one: Estimate, other: Estimate) -> Estimate:
    """Say how much more one policy is worth than another by the same plays: what moves both alike falls out."""
    return Estimate(one.value - other.value, one.influence - other.influence, one.lost)


def interval(estimate: Estimate, person: NDArray[np.intp], confidence: float, least: float = 0.0) -> Interval:
    """Say between what bounds a value lies.

    Args:
        estimate: of n plays.
        person: whose each is, (n,).
        confidence: such as 0.95.
        least: the lowest it can be: 0 for a mean of rewards, -1 for a difference of two; the highest is 1.

    Returns:
        The interval; both ends within what can be.
    """
    found = certainty(estimate.influence, person, confidence)
    above, lost = found, 0.0
    if estimate.lost.any():
        lost = float(estimate.lost.mean())
        above = certainty(estimate.influence + estimate.lost - lost, person, confidence)
    low, high = estimate.value - found.below, estimate.value + lost + above.above
    return Interval(float(np.clip(low, least, 1.0)), float(np.clip(high, least, 1.0)), found.error, found.telling)


def support(log: Log, target: Column, most: float) -> Support:
    """Say how much a log says of a policy.

    Args:
        log: of n plays, at least one.
        target: the policy's chances, (n, K).
        most: the largest weight that counts; `effective` and `people` are of weights cut to it.

    >>> log = Log(np.array([0, 1, 1]), np.zeros(3, int), np.zeros(3), np.array([[0.5, 0.5, 0.0]] * 3), np.zeros((3, 3)))
    >>> [round(each, 3) for each in support(log, np.array([[0.9, 0.0, 0.1]] * 3), most=1.0)]
    [3.0, 1.8, 1.8, 0.1, 0.5]
    """
    weight = weights(log, target)
    cut = np.minimum(weight, most)
    of_people = np.bincount(log.person, weights=cut).astype(np.float64)
    return Support(
        effective=_kong(cut),
        people=_kong(of_people),
        largest=float(weight.max()),
        unsupported=float(_lost(log, target, np.inf).mean()),
        beyond=float(_lost(log, target, most).mean()),
    )


def weights(log: Log, target: Column) -> Column:
    """Say how much more often a policy would have drawn what was drawn, (n,)."""
    rows = np.arange(len(log.arm))
    found: Column = target[rows, log.arm] / log.p[rows, log.arm]
    return found


def _lost(log: Log, target: Column, most: float) -> Column:
    """Give the share of plays in each row that weights up to a bound do not reach, (n,)."""
    # Without a bound an arm is reached, however rarely it is drawn, unless it never is.
    reached = np.where(log.p > 0, target if np.isinf(most) else np.minimum(target, most * log.p), 0.0)
    lost = 1.0 - reached.sum(axis=-1)
    return np.where(lost > _HAIR, lost, 0.0)


def _mean(values: Column, lost: Column | None = None) -> Estimate:
    value = float(values.mean())
    return Estimate(value, values - value, np.zeros(len(values)) if lost is None else lost)


def _kong(weight: Column) -> float:
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0
