"""How good a model is on lists it never saw: whether what earns comes first, and whether it says how likely that is."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.draw import ticket
from udfs.learning.rates import Rate, rate
from udfs.scoring.ndcg import ndcg
from udfs.smooth import Column
from udfs.training.examples import Examples
from udfs.training.fitting import by_list, grades

BINS: Final = 10

_LEAST: Final = 1e-12
"""A chance beyond which a logarithm is not asked."""

Truths = NDArray[np.bool_]


class Calibration(NamedTuple):
    """What chances promised and what came, in bins of equally many rows from the least likely to the likeliest.

    Attributes:
        promised: (bins,) mean chance.
        came: (bins,) mean of what came.
        weight: (bins,) share of the rows, by weight.
        noise: (bins,) standard error of what came, if all is as promised.
    """

    promised: Column
    came: Column
    weight: Column
    noise: Column

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance (Naeini, Cooper and Hauskrecht, AAAI 2015)."""
        return float((self.weight * np.abs(self.promised - self.came)).sum())

    @property
    def excess(self) -> float:
        """What of the error is more than chances that are right would show with so few rows, at least 0.

        A mean of distances is never 0: of a Normal one it is sqrt(2 / pi) standard errors (that bias is the subject of
        Roelofs et al., "Mitigating Bias in Calibration Error Estimation", AISTATS 2022).
        """
        return max(0.0, self.error - float((self.weight * self.noise).sum()) * math.sqrt(2.0 / math.pi))


@dataclass(frozen=True, eq=False)
class Judged:
    """How some scores did on lists.

    Attributes:
        auc: chance that a row that earned scores above one that did not.
        ndcg: (lists,) of the first places; nan where nothing was earned.
        losses: (rows,) logarithmic loss; None where scores are no chances.
        calibration: likewise.
    """

    auc: float
    ndcg: Column
    losses: Column | None
    calibration: Calibration | None


@dataclass(frozen=True, eq=False)
class Bench:
    """What models are judged by: lists, what each row earned and how much it counts.

    Attributes:
        lists: those of people and times that no model learned from.
        weights: (rows,), see `udfs.training.weights`.
        wanted: (rows,) what comes true: 0 or 1, or the reward itself.
        among: places that NDCG looks at.
    """

    lists: Examples
    weights: Column
    wanted: Column
    among: int

    @property
    def list_weights(self) -> Column:
        """How much each list counts for NDCG: as the rows that earned, (lists,); 0 where nothing was earned."""
        earned = self.lists.earned
        weights = by_list(self.weights, earned, self.lists.sizes)
        return np.where(np.bincount(self.lists.of_list[earned], minlength=len(weights)) > 0, weights, 0.0)

    def judged(self, scores: Column, *, chances: bool) -> Judged:
        """Hold scores against what was earned.

        Args:
            scores: (rows,).
            chances: whether they say how likely a reward is.
        """
        return Judged(
            auc=auc(scores, self.lists.earned, self.weights),
            ndcg=_ndcg(self.lists, scores, self.among),
            losses=log_losses(scores, self.wanted) if chances else None,
            calibration=calibration(scores, self.wanted, self.weights) if chances else None,
        )

    def mean_ndcg(self, values: Column, some: Truths | None = None) -> Rate:
        """Average over lists that earned, by person; see `averaged`."""
        weights = self.list_weights if some is None else np.where(some, self.list_weights, 0.0)
        return averaged(np.nan_to_num(values), weights, self.lists.users)

    def mean_loss(self, losses: Column, some: Truths | None = None) -> Rate:
        """Average over rows, by person; see `averaged`."""
        of_list = self.lists.of_list
        weights = self.weights if some is None else np.where(some[of_list], self.weights, 0.0)
        return averaged(losses, weights, self.lists.users[of_list])


def averaged(values: Column, weights: Column, users: NDArray[np.object_]) -> Rate:
    """Give a weighted mean and its standard error, where what one person does resembles the rest of it.

    Args:
        values: (n,).
        weights: (n,), 0 for what does not count.
        users: (n,) whose each is.

    >>> averaged(np.array([1.0, 1.0, 0.0]), np.ones(3), np.array(["a", "a", "b"], dtype=object)).value.__round__(3)
    0.667
    """
    _, person = np.unique(users.astype(str), return_inverse=True)
    return rate(np.bincount(person, values * weights), np.bincount(person, weights))


def auc(scores: Column, earned: Truths, weights: Column | None = None) -> float:
    """Give the chance that a row that earned scores above one that did not; ties count half.

    The Mann-Whitney statistic (Hanley and McNeil, Radiology 143, 1982), each pair counting by both weights; nan where
    all or none earned.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True]))
    0.875
    """
    counts = np.ones(len(scores)) if weights is None else weights
    _, place = np.unique(scores, return_inverse=True)
    size = int(place.max(initial=-1)) + 1
    won = np.bincount(place[earned], counts[earned], minlength=size)
    lost = np.bincount(place[~earned], counts[~earned], minlength=size)
    pairs = float(won.sum() * lost.sum())
    below = lost.cumsum() - lost / 2.0
    return float((won * below).sum() / pairs) if pairs else float("nan")


def log_losses(chances: Column, wanted: Column) -> Column:
    """Give each row's logarithmic loss, nats: of what came, 0 to 1, under the chance it was given.

    >>> log_losses(np.array([0.5, 0.1]), np.array([1.0, 0.0])).round(4).tolist()
    [0.6931, 0.1054]
    """
    sure = np.clip(chances, _LEAST, 1.0 - _LEAST)
    losses: Column = -(wanted * np.log(sure) + (1.0 - wanted) * np.log1p(-sure))
    return losses


def calibration(chances: Column, wanted: Column, weights: Column, bins: int = BINS) -> Calibration:
    """Hold chances against what came, in bins of equally many rows; equal chances share a bin.

    >>> found = calibration(np.array([0.1, 0.1, 0.5, 0.5]), np.array([0.0, 0.0, 1.0, 0.0]), np.ones(4), 2)
    >>> found.promised.tolist(), found.came.tolist(), round(found.error, 3)
    ([0.1, 0.5], [0.0, 0.5], 0.05)
    """
    edges = np.quantile(chances, np.arange(1, bins) / bins) if len(chances) else np.empty(0)
    _, place = np.unique(np.searchsorted(edges, chances, side="right"), return_inverse=True)
    weight = np.bincount(place, weights)
    return Calibration(
        promised=np.bincount(place, weights * chances) / weight,
        came=np.bincount(place, weights * wanted) / weight,
        weight=weight / max(weight.sum(), _LEAST),
        noise=np.sqrt(np.bincount(place, weights**2 * chances * (1.0 - chances))) / weight,
    )


def segments(lists: Examples) -> Iterable[tuple[str, Truths]]:
    """Give each rule segment, and which lists were shown to people in it, the largest first."""
    names, counts = np.unique(lists.segments.astype(str), return_counts=True)
    for place in np.argsort(-counts, kind="stable").tolist():
        yield str(names[place]), lists.segments == names[place]


def _ndcg(lists: Examples, scores: Column, among: int) -> Column:
    """Judge each list in the order of the scores, (lists,)."""
    if not len(lists.sizes):
        return np.empty(0)
    there = np.arange(lists.sizes.max()) < lists.sizes[:, np.newaxis]
    laid, wanted = np.full(there.shape, -np.inf), np.zeros(there.shape, dtype=np.int64)
    laid[there], wanted[there] = scores, grades(lists.gains)
    # Equal scores are drawn: the order in which they were shown would favour the model that made it.
    lots = np.zeros(there.shape)
    lots[there] = [
        ticket(f"{name}|{place}")
        for name, size in zip(lists.ids.tolist(), lists.sizes.tolist(), strict=True)
        for place in range(size)
    ]
    order = np.lexsort((lots, -laid), axis=1)
    found: Column = ndcg(np.take_along_axis(wanted, order, axis=1), among)
    return found
