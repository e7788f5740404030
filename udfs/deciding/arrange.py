"""How a ranked list is put into its final order: what must not be shown, what is pinned, and that neighbours differ.

The list is filled place by place. What comes first in this order wins: what is left out never appears; what is pinned
has its place; what is buried comes after all else; of one group there are only so many close together; of what is left
the most relevant is taken, or one is drawn where exploring is due.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.draw import ticket
from udfs.smooth import Column

NONE: Final = -1
"""No group, no pin, no candidate."""

Truths = NDArray[np.bool_]
Places = NDArray[np.intp]
Codes = NDArray[np.signedinteger[Any]]


class Window(NamedTuple):
    """How alike neighbours may be: at most `most` of a group in any `places` places in a row."""

    most: int
    places: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every list of a slot.

    Attributes:
        length: Places of the list, L.
        relevance: What the score counts against likeness to what stands before, over 0, at most 1: 1 is the score
            alone. The lambda of maximal marginal relevance.
        window: How alike neighbours may be.
        explored: Places, from 0, that are filled by lot, see `spread`.
    """

    length: int
    relevance: float = 1.0
    window: Window | None = None
    explored: Collection[int] = ()


@dataclass(frozen=True, eq=False)
class Candidates:
    """What could be shown to each user of a bundle, in the prefilter's order.

    Attributes:
        scores: (n, m), finite, the best is the highest.
        groups: (n, m) codes, such as of interests, NONE for none: what the window counts and, without features, what
            makes two candidates alike.
        features: (n, m, d) what makes two candidates alike instead: the cosine between them.
        excluded: (n, m) what never appears: seen, capped, unavailable, or only there to make rows equally long.
        pinned: (n, m) the place, from 0, that a candidate must have; NONE for none. The first of two has it, the other
            runs with the rest. What is pinned beyond the list is not shown.
        buried: (n, m) what comes after all else.
    """

    scores: Column
    groups: Codes | None = None
    features: NDArray[np.float64] | None = None
    excluded: Truths | None = None
    pinned: Codes | None = None
    buried: Truths | None = None


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The final lists of a bundle.

    Attributes:
        order: (n, L) places among the candidates; NONE after the last one.
        filled: (n,) how many there are.
        broken: (n,) places at which the window allowed nothing that was left, so that the best of the rest stands
            there. Pins are not counted: whoever pins two of a group side by side wants them there.
        p: (n, L) the probability with which a candidate got its place, given those before it: 1 divided by the number
            that it was drawn from; 1 where nothing was drawn, 0 where nothing stands.
    """

    order: Places
    filled: Places
    broken: Places
    p: Column


def boosted(scores: Column, times: Column | float = 1.0, plus: Column | float = 0.0) -> Column:
    """Push candidates up or down before they are arranged.

    Args:
        scores: (n, m).
        times: (n, m) or for all: factors. For scores of 0 or more: a factor makes a negative score worse.
        plus: (n, m) or for all: what is added, after that.

    >>> boosted(np.array([[0.5, 0.25]]), times=np.array([[1.0, 4.0]]), plus=0.5).tolist()
    [[1.0, 1.5]]
    """
    return scores * times + plus


def spread(share: float, length: int) -> tuple[int, ...]:
    """Give a share of a list's places, in whole places, as far apart as can be and the first as late as can be.

    >>> spread(0.25, 8), spread(0.1, 8), spread(0.0, 8)
    ((3, 7), (7,), ())
    """
    count = round(share * length)
    return tuple((place + 1) * length // count - 1 for place in range(count))


def arrange(candidates: Candidates, rules: Rules, keys: Sequence[str] = ()) -> Arrangement:
    """Put each user's candidates in order; a user's list does not depend on the users beside them.

    The next is the one with the highest lambda * score - (1 - lambda) * likeness to the most alike one before it
    (maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998, section 2), with scores scaled to 0 to 1 over a
    user's candidates that are not excluded. Divided by lambda and scaled back that is score - penalty * likeness, so
    where nothing is alike the order is that of the scores, to the bit. Equal values stay in the candidates' order.

    The window rule is PaiRec's DiversityRule (window and frequency size; there too the first of the rest is taken where
    it allows nothing), which here sees pins ahead as well.

    Args:
        candidates: The bundle's.
        rules: The slot's.
        keys: (n,) of the users' draws, where there are places to explore; each place draws for itself.

    Returns:
        The lists.

    Raises:
        ValueError: there are places to explore, and not a key for each user.

    >>> found = arrange(
    ...     Candidates(np.array([[0.9, 0.8, 0.7, 0.1]]), groups=np.array([[5, 5, 5, 6]])),
    ...     Rules(3, window=Window(most=1, places=2)),
    ... )
    >>> found.order.tolist(), found.broken.tolist()
    ([[0, 3, 1]], [0])
    """
    count, among = candidates.scores.shape
    if rules.explored and len(keys) != count:
        raise ValueError(f"{len(keys)} keys for the draws of {count} users")
    everybody, everything = np.arange(count), np.ones((count, among), dtype=np.bool_)
    left, order = _pinned(candidates, rules.length)
    upper = everything if candidates.buried is None else ~candidates.buried
    worth = _Worth(candidates, rules.relevance)
    crowd = _Crowd(candidates.groups, rules.window, order) if candidates.groups is not None and rules.window else None
    broken, p = np.zeros(count, dtype=np.intp), np.where(order == NONE, 0.0, 1.0)
    for place in range(rules.length if among else 0):
        fits = crowd.room(place) if crowd else everything
        pool = _preferred(_preferred(left, upper), fits)
        if place in rules.explored:
            best, odds = _drawn(pool, [f"{key}|{place}" for key in keys])
        else:
            best, odds = np.where(pool, worth.now, -np.inf).argmax(axis=1), np.ones(count)
        # Of an empty pool the best is no candidate.
        users = np.flatnonzero((order[:, place] == NONE) & pool[everybody, best])
        best = best[users]
        order[users, place], p[users, place], left[users, best] = best, odds[users], False
        broken[users] += ~fits[users, best]
        worth.follow(order[:, place])
        if crowd:
            crowd.follow(place, order[:, place])
    gaps = np.argsort(order == NONE, axis=1, kind="stable")
    return Arrangement(
        order=np.take_along_axis(order, gaps, axis=1),
        filled=(order != NONE).sum(axis=1),
        broken=broken,
        p=np.take_along_axis(p, gaps, axis=1),
    )


class _Worth:
    """What each candidate is worth at the next place.

    Attributes:
        now: (n, m).
    """

    def __init__(self, candidates: Candidates, relevance: float) -> None:
        self.now = self._scores = candidates.scores
        self._likeness = _likeness(candidates) if relevance < 1 else None
        self._penalty = (1 - relevance) / relevance * _spans(candidates)
        self._nearest = np.full_like(self.now, -np.inf)

    def follow(self, taken: Places) -> None:
        """Go on to the next place, after one at which these were taken, (n,)."""
        if self._likeness:
            np.maximum(self._nearest, self._likeness(taken), out=self._nearest)
            self.now = self._scores - self._penalty * self._nearest


class _Crowd:
    """Of which groups there are enough around a place, those pinned further down among them."""

    def __init__(self, groups: Codes, window: Window, order: Places) -> None:
        self._most, self._width = window
        self._same = _same_group(groups)
        self._nowhere = np.zeros(groups.shape, dtype=np.int16)
        self._pins = np.flatnonzero((order != NONE).any(axis=0)).tolist()
        # place -> (n, m) 1 for those of the group that stands there
        self._there = {place: self._of_that_group(order[:, place]) for place in self._pins}

    def room(self, place: int) -> Truths:
        """Say for which candidates there is room, (n, m)."""
        # The fullest windows end here or at a pin ahead: any other one has no more in it than the one before it.
        ends = [place, *(pin for pin in self._pins if place < pin < place + self._width)]
        room: Truths = np.all([self._count(end) < self._most for end in ends], axis=0)
        return room

    def follow(self, place: int, taken: Places) -> None:
        """Go on to the next place, after one at which these were taken, (n,)."""
        self._there[place] = self._of_that_group(taken)
        self._there.pop(place - self._width + 1, None)

    def _count(self, end: int) -> NDArray[np.int16]:
        """Count each candidate's group in the window that ends at a place."""
        inside = range(end - self._width + 1, end + 1)
        count: NDArray[np.int16] = sum(
            (self._there[place] for place in inside if place in self._there), start=self._nowhere
        )
        return count

    def _of_that_group(self, taken: Places) -> NDArray[np.int16]:
        there: NDArray[np.int16] = (self._same(taken) & (taken != NONE)[:, np.newaxis]).astype(np.int16)
        return there


def _pinned(candidates: Candidates, length: int) -> tuple[Truths, Places]:
    """Put pins in their places: what is left for the others, (n, m), and the lists so far, (n, L)."""
    shape = candidates.scores.shape
    left = np.ones(shape, dtype=np.bool_) if candidates.excluded is None else ~candidates.excluded
    order = np.full((shape[0], length), NONE, dtype=np.intp)
    if candidates.pinned is not None:
        left &= candidates.pinned < length
        users, items = np.nonzero(left & (candidates.pinned != NONE))
        places = candidates.pinned[users, items]
        _, first = np.unique(users * length + places, return_index=True)
        order[users[first], places[first]] = items[first]
        left[users[first], items[first]] = False
    return left, order


def _preferred(pool: Truths, wanted: Truths) -> Truths:
    """Keep of each row's pool what is wanted; all of it where nothing is."""
    both = pool & wanted
    kept: Truths = both | (pool & ~both.any(axis=1, keepdims=True))
    return kept


def _drawn(pool: Truths, keys: Sequence[str]) -> tuple[Places, Column]:
    """Draw one of each row's pool: which, (n,), and with which probability, (n,)."""
    count = pool.sum(axis=1)
    nth = (np.array([ticket(key) for key in keys]) * count).astype(np.intp)
    return (pool.cumsum(axis=1) > nth[:, np.newaxis]).argmax(axis=1), 1.0 / np.maximum(count, 1)


def _spans(candidates: Candidates) -> Column:
    """How far each user's scores reach, (n, 1); where all are equal, 1, so that likeness alone decides."""
    shown = True if candidates.excluded is None else ~candidates.excluded
    low = candidates.scores.min(axis=1, keepdims=True, where=shown, initial=np.inf)
    high = candidates.scores.max(axis=1, keepdims=True, where=shown, initial=-np.inf)
    return np.where(high > low, high - low, 1.0)


def _likeness(candidates: Candidates) -> Callable[[Places], Column | Truths] | None:
    """Say how to compare what was taken, (n,), with the candidates, (n, m)."""
    if candidates.features is not None:
        return _cosine(candidates.features)
    return None if candidates.groups is None else _same_group(candidates.groups)


def _same_group(groups: Codes) -> Callable[[Places], Truths]:
    everybody = np.arange(len(groups))
    # What has no group is like nothing, not even like what has none either.
    others = np.where(groups == NONE, NONE - 1, groups)

    def same(taken: Places) -> Truths:
        found: Truths = others == groups[everybody, taken][:, np.newaxis]
        return found

    return same


def _cosine(features: NDArray[np.float64]) -> Callable[[Places], Column]:
    """Compare by the cosine between feature vectors; a vector of zeros is like nothing.

    Feature by feature, so that a row's result does not depend on how many rows there are.
    """
    everybody, columns = np.arange(len(features)), np.ascontiguousarray(np.moveaxis(features, -1, 0))
    length = np.sqrt(sum((column * column for column in columns), start=np.zeros(features.shape[:2])))
    units = columns / np.where(length > 0, length, 1.0)
    nowhere = np.zeros(features.shape[:2])
    return lambda taken: sum((unit * unit[everybody, taken][:, np.newaxis] for unit in units), start=nowhere)
