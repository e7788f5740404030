"""Which items come first for a person: a cheap choice of candidates, then a model's order of those."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Why
from schemas.signals import FEATURES, USER_FEATURES, Signals
from schemas.slots import Rerank
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.in_force import InForce
from udfs.scoring.models import Model
from udfs.smooth import Column

_UNKNOWN: Final = -1
_AT_ONCE: Final = 64  # users, whose open boxes fit into a processor's cache
_USER_PLACES: Final = range(len(USER_FEATURES))
_ITEM_PLACES: Final = range(len(USER_FEATURES), len(FEATURES))


class People(NamedTuple):
    """What lists are ordered by, of n people.

    Attributes:
        signals: `USER_FEATURES` at least, each (n,).
        clicked: The item each clicked last, "" if none: a list, or a column of texts.
        opened: The items each has clicked in the session.
    """

    signals: Mapping[str, NDArray[Any]]
    clicked: Sequence[str] | NDArray[Any]
    opened: Sequence[Sequence[str]]

    @classmethod
    def one(cls, signals: Signals, clicked: str, opened: Sequence[str]) -> Self:
        """Give one person, from what a record says."""
        return cls({name: np.array([getattr(signals, name)]) for name in USER_FEATURES}, [clicked], [opened])


@dataclass(frozen=True, eq=False)
class Ranked:
    """One slot's lists for a bundle of users.

    Attributes:
        reason: SCORE where a model ordered them, POPULAR where none is in force.
        ids: Ids by the catalogue's rows.
        candidates: (users, candidates) rows of the catalogue, in the prefilter's order.
        scores: (users, candidates) what the order follows.
        order: (users, length) places among the candidates, best first; equal scores stay in the prefilter's order.
        own: How many of the candidates are the prefilter's, or the page's; those after them were added for rules.
        positions: (users, candidates) where the page has them; None where the candidates are the prefilter's.
        absent: (users, candidates) what only fills up the row of a page that has fewer, or must not be shown.
        unknown: Per user, the page's items that the catalogue does not hold, in the page's order.
    """

    reason: Why
    ids: NDArray[np.object_]
    candidates: NDArray[np.intp]
    scores: Column
    order: NDArray[np.intp]
    own: int
    positions: Column | None = None
    absent: NDArray[np.bool_] | None = None
    unknown: Sequence[list[str]] = ()

    def items(self) -> list[list[str]]:
        """Per user, the item ids, best first."""
        chosen: list[list[str]] = self.ids[np.take_along_axis(self.candidates, self.order, axis=1)].tolist()
        return chosen


def rerank(slot: Rerank, people: People, in_force: InForce) -> Ranked | None:
    """Order a slot's items for each user of a bundle; a user's list does not depend on the users beside them.

    Args:
        slot: How many candidates, how many shown.
        people: For whom.
        in_force: The releases that decide.

    Returns:
        The lists, or None where there is no catalogue or it has nothing available.
    """
    catalogue, model = in_force.catalogue, in_force.model
    if catalogue is None or not len(catalogue.ranked):
        return None
    last = _last(catalogue, people.clicked)
    candidates = catalogue.candidates(slot.candidates)[_interests(catalogue, last)]
    scores = _scores(model, catalogue, slot.candidates, people) if model else catalogue.prior[candidates]
    return Ranked(
        reason=Why.SCORE if model else Why.POPULAR,
        ids=catalogue.ids,
        candidates=candidates,
        scores=scores,
        order=np.argsort(-scores, axis=1, kind="stable")[:, : slot.length],
        own=candidates.shape[1],
    )


def answered(lists: Sequence[Sequence[str]], people: People, in_force: InForce) -> Ranked | None:
    """Order the lists that pages have, each for its user: what is not available is left out, the unknown comes last.

    Args:
        lists: Per user, item ids as the page has them, each once.
        people: As for `rerank`.
        in_force: As for `rerank`.

    Returns:
        The lists, or None where there is no catalogue.
    """
    catalogue, model = in_force.catalogue, in_force.model
    if catalogue is None:
        return None
    places = [[(place, item) for place, item in enumerate(items) if item in catalogue.rows] for items in lists]
    shape = len(lists), max(map(len, places), default=0)
    candidates, positions = np.zeros(shape, dtype=np.intp), np.zeros(shape)
    absent = np.ones(shape, dtype=np.bool_)
    for row, known in enumerate(places):
        candidates[row, : len(known)] = [catalogue.rows[item] for _, item in known]
        positions[row, : len(known)] = [place for place, _ in known]
        absent[row, : len(known)] = False
    absent |= ~catalogue.available[candidates]
    if model:
        scores = _one_by_one(model, features(people, catalogue, candidates, positions))
    else:
        scores = catalogue.prior[candidates]
    return Ranked(
        reason=Why.SCORE if model else Why.POPULAR,
        ids=catalogue.ids,
        candidates=candidates,
        scores=scores,
        order=np.argsort(np.where(absent, np.inf, -scores), axis=1, kind="stable"),
        own=shape[1],
        positions=positions,
        absent=absent,
        unknown=[[item for item in items if item not in catalogue.rows] for items in lists],
    )


def added(ranked: Ranked, items: Sequence[int], people: People, in_force: InForce) -> Ranked:
    """Put some items behind everybody's candidates, scored as they are.

    Args:
        ranked: Lists.
        items: Rows of the catalogue.
        people: As for `rerank`.
        in_force: As for `rerank`.
    """
    catalogue, model = in_force.catalogue, in_force.model
    if not items or catalogue is None:
        return ranked
    more = np.tile(np.array(items, dtype=np.intp), (len(ranked.candidates), 1))
    scores = _one_by_one(model, features(people, catalogue, more)) if model else catalogue.prior[more]
    return replace(
        ranked,
        candidates=np.hstack([ranked.candidates, more]),
        scores=np.hstack([ranked.scores, scores]),
        positions=None if ranked.positions is None else np.hstack([ranked.positions, np.zeros(more.shape)]),
    )


def popular(slot: Rerank, catalogue: Catalogue | None) -> list[str] | None:
    """Give the best items for those of whom nothing is known; None where there is nothing to show."""
    return catalogue.popular(slot.length) or None if catalogue else None


def features(people: People, catalogue: Catalogue, items: NDArray[np.intp], positions: Column | None = None) -> Column:
    """Put users and items side by side, as a model sees them.

    Args:
        people: As for `rerank`.
        catalogue: Where the items come from.
        items: (users, items) rows of the catalogue.
        positions: (users, items) where a page has them; None where it has none.

    Returns:
        (users, items, len(FEATURES)) in the order of `FEATURES`.
    """
    last = _last(catalogue, people.clicked)[:, np.newaxis]
    of_users = [column[:, np.newaxis] for column in _of_users(people.signals)]
    opened = among(catalogue, items, people.opened)
    of_items = _of_items(catalogue, items, _interests(catalogue, last), items == last, opened)
    if positions is not None:
        of_items[-1] = positions
    table = np.empty((*items.shape, len(FEATURES)))
    for place, column in enumerate([*of_users, *of_items]):
        table[:, :, place] = column
    return table


def among(catalogue: Catalogue, items: NDArray[np.intp], names: Sequence[Collection[str]]) -> NDArray[np.bool_]:
    """Say which items are among those named.

    Args:
        catalogue: Where the items come from.
        items: (users, items) rows of the catalogue.
        names: Of items, per user.

    Returns:
        As `items`.
    """
    # Each user's items are numbers of their own, so that one search finds everybody's; the unknown, -1, is one of them.
    span = len(catalogue.rows) + 1
    named = [user * span + catalogue.rows.get(name, _UNKNOWN) for user, mine in enumerate(names) for name in mine]
    users = np.arange(len(items))[:, np.newaxis]
    return np.isin(users * span + items, np.array(named, dtype=np.intp))


def _one_by_one(model: Model, table: Column) -> Column:
    """Score (users, items, features) without what `_scores` knows of a catalogue's candidates, (users, items)."""
    return model.forest.score(table.reshape(-1, table.shape[-1])).reshape(table.shape[:-1])


def _scores(model: Model, catalogue: Catalogue, count: int, people: People) -> Column:
    """Score each user's candidates: what the model says of their `features`, to the bit, (users, candidates)."""
    forest, last, candidates = model.forest, _last(catalogue, people.clicked), catalogue.candidates(count)
    interests = _interests(catalogue, last)
    left_open = forest.left_open(_USER_PLACES, _of_users(people.signals))
    raw = np.empty((len(last), candidates.shape[1]))
    for interest in np.unique(interests).tolist():
        everybody, worth = np.flatnonzero(interests == interest), _worth(model, catalogue, count, interest)
        for start in range(0, len(everybody), _AT_ONCE):
            users = everybody[start : start + _AT_ONCE]
            raw[users] = forest.counted(left_open[users]) @ worth
    # An item is worth something else to those who clicked it, last or before.
    mine = candidates[interests]
    is_last, opened = mine == last[:, np.newaxis], among(catalogue, mine, people.opened)
    users, places = np.nonzero(is_last | opened)
    at = users, places
    clicked = _of_items(catalogue, mine[at], interests[users], is_last[at], opened[at])
    own = left_open[users] & forest.left_open(_ITEM_PLACES, clicked)
    raw[users, places] = forest.counted(own) @ forest.values
    return forest.scale(raw)


@lru_cache(maxsize=64)  # the interests of a slot or two, also while one release follows another
def _worth(model: Model, catalogue: Catalogue, count: int, interest: int) -> Column:
    """What each box adds to the scores of an interest's candidates, for those who leave it open, (boxes, items)."""
    forest, items = model.forest, catalogue.candidates(count)[interest]
    untouched = np.zeros(len(items), dtype=np.bool_)
    columns = _of_items(catalogue, items, np.int16(interest), untouched, untouched)
    return np.ascontiguousarray((forest.counted(forest.left_open(_ITEM_PLACES, columns)) * forest.values).T)


def _of_users(signals: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Give the columns of `USER_FEATURES`."""
    return [signals[name] for name in USER_FEATURES]


def _of_items(
    catalogue: Catalogue,
    items: NDArray[np.intp],
    interests: NDArray[np.int16] | np.int16,
    last: NDArray[np.bool_],
    opened: NDArray[np.bool_],
) -> list[NDArray[Any]]:
    """Give the columns of `ITEM_FEATURES`, each as `items`, beside the interest and the items somebody clicked."""
    same_interest = (catalogue.codes[items] == interests) & (interests != _UNKNOWN)
    return [*np.moveaxis(catalogue.features[items], -1, 0), same_interest, last, opened, np.zeros(items.shape)]


def _last(catalogue: Catalogue, clicked: Sequence[str] | NDArray[Any]) -> NDArray[np.intp]:
    return np.array([catalogue.rows.get(item, _UNKNOWN) for item in clicked], dtype=np.intp)


def _interests(catalogue: Catalogue, last: NDArray[np.intp]) -> NDArray[np.int16]:
    # The unknown, -1, picks the last row of the catalogue's candidates: the best of all.
    return np.where(last == _UNKNOWN, np.int16(_UNKNOWN), catalogue.codes[last])
