"""Which items come first for a person: a cheap choice of candidates, then a model's order of those."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Why
from schemas.signals import FEATURES, USER_FEATURES
from schemas.slots import Rerank
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.in_force import InForce
from udfs.scoring.models import Model
from udfs.smooth import Column

Clicked = Sequence[str] | NDArray[Any]
"""The item each user clicked last, "" if none: a list, or a column of texts."""

_UNKNOWN: Final = -1
_AT_ONCE: Final = 64  # users, whose open boxes fit into a processor's cache
_USER_PLACES: Final = range(len(USER_FEATURES))
_ITEM_PLACES: Final = range(len(USER_FEATURES), len(FEATURES))


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


def rerank(slot: Rerank, signals: Mapping[str, NDArray[Any]], clicked: Clicked, in_force: InForce) -> Ranked | None:
    """Order a slot's items for each user of a bundle; a user's list does not depend on the users beside them.

    Args:
        slot: How many candidates, how many shown.
        signals: `USER_FEATURES` at least, each (users,).
        clicked: The item each user clicked last, "" if none.
        in_force: The releases that decide.

    Returns:
        The lists, or None where there is no catalogue or it has nothing available.
    """
    catalogue, model = in_force.catalogue, in_force.model
    if catalogue is None or not len(catalogue.ranked):
        return None
    last = _last(catalogue, clicked)
    candidates = catalogue.candidates(slot.candidates)[_interests(catalogue, last)]
    scores = _scores(model, catalogue, slot.candidates, signals, last) if model else catalogue.prior[candidates]
    return Ranked(
        reason=Why.SCORE if model else Why.POPULAR,
        ids=catalogue.ids,
        candidates=candidates,
        scores=scores,
        order=np.argsort(-scores, axis=1, kind="stable")[:, : slot.length],
        own=candidates.shape[1],
    )


def answered(
    lists: Sequence[Sequence[str]], signals: Mapping[str, NDArray[Any]], clicked: Clicked, in_force: InForce
) -> Ranked | None:
    """Order the lists that pages have, each for its user: what is not available is left out, the unknown comes last.

    Args:
        lists: Per user, item ids as the page has them, each once.
        signals: As for `rerank`.
        clicked: As for `rerank`.
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
        scores = _one_by_one(model, features(signals, clicked, catalogue, candidates, positions))
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


def added(
    ranked: Ranked, items: Sequence[int], signals: Mapping[str, NDArray[Any]], clicked: Clicked, in_force: InForce
) -> Ranked:
    """Put some items behind everybody's candidates, scored as they are.

    Args:
        ranked: Lists.
        items: Rows of the catalogue.
        signals: As for `rerank`.
        clicked: As for `rerank`.
        in_force: As for `rerank`.
    """
    catalogue, model = in_force.catalogue, in_force.model
    if not items or catalogue is None:
        return ranked
    more = np.tile(np.array(items, dtype=np.intp), (len(ranked.candidates), 1))
    scores = _one_by_one(model, features(signals, clicked, catalogue, more)) if model else catalogue.prior[more]
    return replace(
        ranked,
        candidates=np.hstack([ranked.candidates, more]),
        scores=np.hstack([ranked.scores, scores]),
        positions=None if ranked.positions is None else np.hstack([ranked.positions, np.zeros(more.shape)]),
    )


def popular(slot: Rerank, catalogue: Catalogue | None) -> list[str] | None:
    """Give the best items for those of whom nothing is known; None where there is nothing to show."""
    return catalogue.popular(slot.length) or None if catalogue else None


def features(
    signals: Mapping[str, NDArray[Any]],
    clicked: Clicked,
    catalogue: Catalogue,
    items: NDArray[np.intp],
    positions: Column | None = None,
) -> Column:
    """Put users and items side by side, as a model sees them.

    Args:
        signals: `USER_FEATURES` at least, each (users,).
        clicked: The item each user clicked last, "" if none.
        catalogue: Where the items come from.
        items: (users, items) rows of the catalogue.
        positions: (users, items) where a page has them; None where it has none.

    Returns:
        (users, items, len(FEATURES)) in the order of `FEATURES`.
    """
    last = _last(catalogue, clicked)[:, np.newaxis]
    of_users = [column[:, np.newaxis] for column in _of_users(signals)]
    of_items = _of_items(catalogue, items, _interests(catalogue, last), items == last)
    if positions is not None:
        of_items[-1] = positions
    table = np.empty((*items.shape, len(FEATURES)))
    for place, column in enumerate([*of_users, *of_items]):
        table[:, :, place] = column
    return table


def _one_by_one(model: Model, table: Column) -> Column:
    """Score (users, items, features) without what `_scores` knows of a catalogue's candidates, (users, items)."""
    return model.forest.score(table.reshape(-1, table.shape[-1])).reshape(table.shape[:-1])


def _scores(
    model: Model, catalogue: Catalogue, count: int, signals: Mapping[str, NDArray[Any]], last: NDArray[np.intp]
) -> Column:
    """Score each user's candidates: what the model says of their `features`, to the bit, (users, candidates)."""
    forest, interests, candidates = model.forest, _interests(catalogue, last), catalogue.candidates(count)
    left_open = forest.left_open(_USER_PLACES, _of_users(signals))
    raw = np.empty((len(last), candidates.shape[1]))
    for interest in np.unique(interests).tolist():
        everybody, worth = np.flatnonzero(interests == interest), _worth(model, catalogue, count, interest)
        for start in range(0, len(everybody), _AT_ONCE):
            users = everybody[start : start + _AT_ONCE]
            raw[users] = forest.counted(left_open[users]) @ worth
    # An item is worth something else to those who clicked it last.
    users, places = np.nonzero(candidates[interests] == last[:, np.newaxis])
    clicked = _of_items(catalogue, last[users], interests[users], np.ones(len(users), dtype=np.bool_))
    own = left_open[users] & forest.left_open(_ITEM_PLACES, clicked)
    raw[users, places] = forest.counted(own) @ forest.values
    return forest.scale(raw)


@lru_cache(maxsize=64)  # the interests of a slot or two, also while one release follows another
def _worth(model: Model, catalogue: Catalogue, count: int, interest: int) -> Column:
    """What each box adds to the scores of an interest's candidates, for those who leave it open, (boxes, items)."""
    forest, items = model.forest, catalogue.candidates(count)[interest]
    columns = _of_items(catalogue, items, np.int16(interest), np.zeros(len(items), dtype=np.bool_))
    return np.ascontiguousarray((forest.counted(forest.left_open(_ITEM_PLACES, columns)) * forest.values).T)


def _of_users(signals: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Give the columns of `USER_FEATURES`."""
    return [signals[name] for name in USER_FEATURES]


def _of_items(
    catalogue: Catalogue, items: NDArray[np.intp], interests: NDArray[np.int16] | np.int16, clicked: NDArray[np.bool_]
) -> list[NDArray[Any]]:
    """Give the columns of `ITEM_FEATURES`, each as `items`, beside the interest and the item somebody clicked last."""
    same_interest = (catalogue.codes[items] == interests) & (interests != _UNKNOWN)
    return [*np.moveaxis(catalogue.features[items], -1, 0), same_interest, clicked, np.zeros(items.shape)]


def _last(catalogue: Catalogue, clicked: Clicked) -> NDArray[np.intp]:
    return np.array([catalogue.rows.get(item, _UNKNOWN) for item in clicked], dtype=np.intp)


def _interests(catalogue: Catalogue, last: NDArray[np.intp]) -> NDArray[np.int16]:
    # The unknown, -1, picks the last row of the catalogue's candidates: the best of all.
    return np.where(last == _UNKNOWN, np.int16(_UNKNOWN), catalogue.codes[last])
