"""How much each shown item counts when a model learns: what few look at, or what was drawn from many, counts more.

*Places.* A reward needs that somebody looks, and is then wanted: the chance of a reward is that of the place to be
looked at times that of the item to be wanted (examination hypothesis; Richardson et al., WWW 2007). A reward at a place
that one in three looks at stands for three (Joachims, Swaminathan and Schnabel, "Unbiased Learning-to-Rank with Biased
Feedback", WSDM 2017, section 4: inverse propensity weighting of clicks).

How likely a place is looked at is learned from the lists themselves, for nobody shuffles them for that. Intervention
harvesting (Agarwal et al., "Estimating Position Bias without Intrusive Interventions", WSDM 2019) compares an item
with itself at places where different rankers put it for one query; lists here are personal, no two are of one query.
Regression-EM (Wang et al., "Position Bias Estimation for Unbiased Learning to Rank in Personal Search", WSDM 2018)
needs no such pairs, but what its regression of relevance misses it takes for the place. Here the records know better:
which place an item had follows from its logged score and from what else was on the list. So items of like score, on
lists of like scores, are such an experiment: the score and the list's mean are all that place and relevance share (a
balancing score; Rosenbaum and Rubin, JASA 79, 1984). Rewards are counted by stratum of these and place, and the chances
of places and strata whose products fit the counts best are found, each in turn, exactly.

Lists that rules have bent, or that everybody gets, are no such experiment and tell nothing here.

*Draws.* An item at an explored place was drawn with a known probability from those that were left: with its inverse as
weight it stands for all of them (Horvitz and Thompson, JASA 47, 1952; Schnabel et al., "Recommendations as Treatments",
ICML 2016), so that a model is not taught by what earlier models chose alone.

Both weights are clipped, which trades a little bias for much variance (Ionides, JCGS 17, 2008).
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.settings import Train
from udfs.smooth import Column
from udfs.training.examples import Examples

_LEVELS: Final = 10
_STRATA: Final = 30
_LEAST_ROWS: Final = 50
"""Rows of a stratum, so that few rows make fewer strata."""

_BELIEF: Final = 5.0
"""Rewards that count as much as what the place above lets expect."""

_ROUNDS: Final = 2000
_STILL: Final = 1e-9


def place_chances(earned: NDArray[np.bool_], places: NDArray[np.intp], strata: NDArray[np.intp]) -> Column:
    """Say how likely each place is looked at, beside the first, from rows whose relevance follows from their stratum.

    Maximum likelihood of Poisson counts whose means are rows * chance of the place * chance of the stratum: each factor
    in turn takes the value at which expected and counted rewards agree (iterative proportional fitting; Deming and
    Stephan, Annals of Mathematical Statistics 11, 1940). Places with few rewards are drawn towards the one above.

    Args:
        earned: (rows,) whether there was a reward.
        places: (rows,) from 0.
        strata: (rows,) from 0.

    Returns:
        (places,), the first 1; empty where there are no rows.

    >>> rows = np.repeat([0, 1, 2, 3], 1000)  # two strata, each at two places
    >>> earned = np.arange(4000) % 1000 < np.repeat([400, 200, 100, 50], 1000)
    >>> place_chances(earned, rows % 2, rows // 2).round(2).tolist()
    [1.0, 0.5]
    """
    if not len(places):
        return np.empty(0)
    shape = int(strata.max()) + 1, int(places.max()) + 1
    cell = strata * shape[1] + places
    rows = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    rewards = np.bincount(cell, earned, minlength=shape[0] * shape[1]).reshape(shape)
    of_place, of_stratum = rewards.sum(axis=0), rewards.sum(axis=1)
    chances = np.ones(shape[1])
    for _ in range(_ROUNDS):
        looked_at = (rows * chances).sum(axis=1)
        wanted = np.divide(of_stratum, looked_at, out=np.zeros(shape[0]), where=looked_at > 0)
        expected = (rows * wanted[:, np.newaxis]).sum(axis=0)
        above, before = 1.0, chances
        chances = np.empty(shape[1])
        for place in range(shape[1]):
            above = chances[place] = (of_place[place] + _BELIEF * above) / (expected[place] + _BELIEF)
        chances /= chances[0]
        if np.abs(chances - before).max() < _STILL:
            break
    return chances


def strata(scores: Column, levels: Column, by: NDArray[np.object_]) -> NDArray[np.intp]:
    """Part rows, those of each model for themselves: into equal parts by level, and each of these by score.

    Args:
        scores: (rows,), finite.
        levels: (rows,) the mean score of the row's list.
        by: (rows,) what the scores are of.

    Returns:
        (rows,) numbers from 0 on.

    >>> flat = np.zeros(200)
    >>> strata(np.arange(200.0), flat, np.repeat(np.array(["m1", "m2"], dtype=object), 100))[::25].tolist()
    [0, 0, 1, 1, 2, 2, 3, 3]
    """
    found = np.empty(len(scores), dtype=np.intp)
    first = 0
    for name in sorted(set(by.tolist())):
        mine = np.flatnonzero(by == name)
        for level in _equal_parts(levels[mine], min(_LEVELS, len(mine) // (_STRATA * _LEAST_ROWS))):
            rows = mine[level]
            for part in _equal_parts(scores[rows], min(_STRATA, len(rows) // _LEAST_ROWS)):
                found[rows[part]] = first
                first += 1
    return found


def looked_at(taught: Examples) -> dict[str, Column]:
    """Say of each slot how likely its places are looked at, beside the first, (places,); see `place_chances`."""
    of_list = taught.of_list
    telling = (taught.by != "")[of_list] & np.isfinite(taught.scores)
    found = {}
    for slot in sorted(set(taught.slots.tolist())):
        rows = np.flatnonzero(telling & (taught.slots == slot)[of_list])
        lists = of_list[rows]
        sums, counts = np.bincount(lists, taught.scores[rows]), np.bincount(lists)
        groups = strata(taught.scores[rows], sums[lists] / counts[lists], taught.by[lists])
        found[slot] = place_chances(taught.earned[rows], taught.places[rows], groups)
    return found


def of_places(taught: Examples, chances: Mapping[str, Column], conf: Train) -> Column:
    """Weigh rewards by how likely their places are looked at.

    What was not rewarded counts as it is. The weights of all rewards together are as many as there are, so a model
    says how likely a reward is at a place like most: as often as one comes, over all. Where a reward has the chance q,
    what that leaves of the bias is of the order of q.

    Args:
        taught: lists.
        chances: slot -> (places,), see `looked_at`; a place beyond those is taken for the last of them.
        conf: whether and where to clip.

    Returns:
        (rows,).
    """
    weights = np.ones(len(taught.gains))
    if not conf.position_weights or not taught.earned.any():
        return weights
    of_list = taught.of_list
    for slot, chance in chances.items():
        rows = np.flatnonzero((taught.slots == slot)[of_list] & taught.earned)
        if len(chance) and len(rows):
            seldom = 1.0 / np.maximum(chance[np.minimum(taught.places[rows], len(chance) - 1)], 1.0 / conf.clip)
            weights[rows] = seldom
    weights[taught.earned] *= taught.earned.sum() / weights[taught.earned].sum()
    return weights


def of_draws(taught: Examples, conf: Train) -> Column:
    """Weigh rows by the inverse of how likely the item was at its place, (rows,)."""
    if not conf.propensity_weights:
        return np.ones(len(taught.p))
    return 1.0 / np.maximum(taught.p, 1.0 / conf.clip)


def _equal_parts(values: Column, count: int) -> Iterator[NDArray[np.intp]]:
    """Give the places of the lowest values, of the next, and so on; equal values stay together."""
    edges = np.quantile(values, np.arange(1, count) / count) if count > 1 else np.empty(0)
    part = np.searchsorted(edges, values, side="right")
    order = np.argsort(part, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
