"""What lists that were shown teach: of each item what a model saw of it at that moment, and what it earned.

A row is an item of a list as it was decided. A page gets the whole list and says once that it showed it; how far down
somebody looked is not known. So every item is a row, those below a click too, and what was not clicked counts as not
wanted; that few look so far down is what weights of places are for (`udfs.training.weights`).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import starmap
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Why
from schemas.outcomes import Outcome
from schemas.settings import Train
from schemas.signals import FEATURES, USER_FEATURES
from udfs.counting.sampling import LEFT_OUT
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.rank import People, features
from udfs.draw import ticket
from udfs.smooth import Column

Index = NDArray[np.intp]
Truths = NDArray[np.bool_]
Texts = NDArray[np.object_]

TWICE: Final = "more than once"

_KIND: Final = "rerank"
_OF_ROWS: Final = ("features", "gains", "places", "p", "scores")
_BY_SCORE: Final = frozenset({Why.SCORE, Why.POPULAR})


@dataclass(frozen=True, eq=False)
class Examples:
    """Lists, and the items on them: the rows of a list lie together, in its order.

    Attributes:
        ids: (lists,) of the outcomes.
        users: (lists,) pseudonyms.
        at: (lists,) when they were shown, ms since 1970.
        due: (lists,) when their rewards were known, ms since 1970.
        slots: (lists,) where.
        segments: (lists,) the rule segment the person was in; "" for none.
        by: (lists,) the releases of model and catalogue by which scores were made; "" where the scores alone did not
            say in which order the list came.
        sizes: (lists,) rows of each.
        features: (rows, len(FEATURES)) as `udfs.deciding.rank.features` gives them.
        gains: (rows,) what events about the item were worth, 0 to 1.
        places: (rows,) in the list, from 0.
        p: (rows,) how likely the item was at its place, given those before it.
        scores: (rows,) by which the list was ordered; nan where the record has none.
    """

    ids: Texts
    users: Texts
    at: NDArray[np.int64]
    due: NDArray[np.int64]
    slots: Texts
    segments: Texts
    by: Texts
    sizes: Index
    features: Column
    gains: Column
    places: Index
    p: Column
    scores: Column

    @classmethod
    def none(cls) -> Self:
        """Give no list at all."""
        return cls.joined([])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put lists together: by time and id, so that it does not matter in which order they came; each id once."""
        texts, numbers, places = np.empty(0, np.object_), np.empty(0, np.int64), np.empty(0, np.intp)
        column = np.empty(0)
        empty = cls(
            *(texts, texts, numbers, numbers, texts, texts, texts, places),
            *(np.empty((0, len(FEATURES))), column, places, column, column),
        )
        every = [empty, *parts]
        whole = cls(*(np.concatenate([getattr(part, each.name) for part in every]) for each in fields(cls)))
        _, first = np.unique(whole.ids.astype(str), return_index=True)
        order = sorted(first.tolist(), key=lambda row: (whole.at[row], whole.ids[row]))
        return whole.taken(np.array(order, dtype=np.intp))

    @property
    def starts(self) -> Index:
        """Where each list's rows begin, (lists,)."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def of_list(self) -> Index:
        """The list of each row, (rows,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def earned(self) -> Truths:
        """Which rows were worth anything, (rows,)."""
        return self.gains > 0

    def taken(self, lists: Index | Truths) -> Self:
        """Give some of the lists, in the order asked for."""
        chosen = np.flatnonzero(lists) if lists.dtype == np.bool_ else lists
        sizes, starts = self.sizes[chosen], self.starts[chosen]
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = np.repeat(starts, sizes) + within
        return type(self)(
            *(getattr(self, each.name)[rows if each.name in _OF_ROWS else chosen] for each in fields(self))
        )

    def newest(self, rows: int) -> Self:
        """Give the newest lists that have no more than so many rows in all."""
        behind = np.cumsum(self.sizes[::-1])[::-1]
        return self if not len(behind) or behind[0] <= rows else self.taken(behind <= rows)


@dataclass(frozen=True, eq=False)
class Parts:
    """Who teaches, who says when to stop, and by whom is judged: no person is in two of them.

    Attributes:
        learn: before the newest lists.
        watch: as old as those, of other people.
        judge: the newest, of people who are held out.
        newest: all of the newest, those too of people who taught by what they did before.
    """

    learn: Examples
    watch: Examples
    judge: Examples
    newest: Examples


def examples(outcomes: Iterable[Outcome], shelves: Mapping[str, Catalogue], left_out: Counter[str]) -> Examples:
    """Make rows of outcomes; the features are worked out anew from what each record says was known then.

    Args:
        outcomes: in any order.
        shelves: catalogue releases by version.
        left_out: why -> outcomes, counted up.
    """
    fit: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if reason := unwanted(outcome, shelves):
            left_out[reason] += 1
        else:
            fit[outcome.ver.catalogue or ""].append(outcome)
    return Examples.joined(list(starmap(_rows, ((some, shelves[version]) for version, some in sorted(fit.items())))))


def unwanted(outcome: Outcome, shelves: Mapping[str, Catalogue]) -> str:
    """Say why a list teaches nothing; empty where it does.

    A holdout's or a control group's list does: its features are no other than anybody's.
    """
    card = outcome.card
    if card.kind != _KIND or not card.items:
        return "of no list"
    if outcome.unfit:
        return LEFT_OUT[outcome.unfit[0]]
    if outcome.shown and card.items[outcome.position : outcome.position + 1] != [outcome.shown]:
        return "not shown as decided"
    shelf = shelves.get(outcome.ver.catalogue or "")
    if shelf is None:
        return "of a catalogue that is gone"
    return "" if any(item in shelf.rows for item in card.items) else "of items that their catalogue does not hold"


def parted(taught: Examples, conf: Train, until: float = np.inf) -> Parts:
    """Part what is learned from what is judged, by people and by time.

    Which people are held out follows from their pseudonyms, so it is the same ones in every round, and the live model
    has not learned from them either. What is learned from was known before the first list that is judged.

    Args:
        taught: in the order of time.
        conf: which shares.
        until: nothing that was shown later is learned from, ms since 1970; judged are the newest lists all the same.
    """
    held_out, watched = (
        _drawn(taught.users, part, share) for part, share in (("", conf.held_out), ("|watched", conf.watched))
    )
    count = len(taught.at)
    from_ = taught.at[min(int((1 - conf.newest) * count), count - 1)] if count else 0
    known, newest = ~held_out & (taught.due <= from_) & (taught.at < until), taught.at >= from_
    return Parts(
        learn=taught.taken(known & ~watched),
        watch=taught.taken(known & watched),
        judge=taught.taken(held_out & newest),
        newest=taught.taken(newest),
    )


def _drawn(users: Texts, part: str, share: float) -> Truths:
    drawn = {user: ticket(f"train|{user}{part}") < share for user in dict.fromkeys(users.tolist())}
    return np.array([drawn[user] for user in users.tolist()], dtype=np.bool_)


def _rows(outcomes: Sequence[Outcome], catalogue: Catalogue) -> Examples:
    """Make rows of lists of one catalogue; an item that it does not hold has no features, so it is no row."""
    shown = [[place for place, item in enumerate(each.card.items or ()) if item in catalogue.rows] for each in outcomes]
    sizes = np.array([len(places) for places in shown], dtype=np.intp)
    there = np.arange(sizes.max()) < sizes[:, np.newaxis]
    items, asked = np.zeros(there.shape, dtype=np.intp), np.zeros(there.shape)
    gains, p, scores = np.zeros(there.shape), np.ones(there.shape), np.full(there.shape, np.nan)
    for row, (outcome, places) in enumerate(zip(outcomes, shown, strict=True)):
        names = [(outcome.card.items or [])[place] for place in places]
        here = slice(len(places))
        items[row, here] = [catalogue.rows[name] for name in names]
        gains[row, here] = [outcome.gains.get(name, 0.0) for name in names]
        if outcome.asked[:1] == [outcome.slot]:
            of_page = {name: float(place) for place, name in enumerate(outcome.asked[1:])}
            asked[row, here] = [of_page.get(name, 0.0) for name in names]
        for column, said in ((p, outcome.trace.p), (scores, outcome.trace.scores)):
            # What the catalogue did not hold stands behind all that has a score and a probability.
            known = [place for place in places if place < len(said or ())]
            column[row, : len(known)] = [(said or ())[place] for place in known]
    people = People(
        {name: np.array([getattr(each.signals, name) for each in outcomes]) for name in USER_FEATURES},
        [each.clicked for each in outcomes],
        [each.opened for each in outcomes],
    )
    table = features(people, catalogue, items, asked)
    return Examples(
        ids=_texts(outcomes, lambda each: each.id),
        users=_texts(outcomes, lambda each: each.user_id),
        at=np.array([each.at for each in outcomes], dtype=np.int64),
        due=np.array([each.due for each in outcomes], dtype=np.int64),
        slots=_texts(outcomes, lambda each: each.slot),
        segments=_texts(outcomes, lambda each: each.segment),
        by=_texts(outcomes, _scored_by),
        sizes=sizes,
        features=table[there],
        gains=np.minimum(gains[there], 1.0),
        places=np.array([place for places in shown for place in places], dtype=np.intp),
        p=p[there],
        scores=scores[there],
    )


def _scored_by(outcome: Outcome) -> str:
    if outcome.card.reason not in _BY_SCORE or not outcome.trace.scores:
        return ""
    return f"{outcome.ver.model or ''} {outcome.ver.catalogue}"


def _texts(outcomes: Sequence[Outcome], of: Callable[[Outcome], str]) -> Texts:
    return np.array([of(each) for each in outcomes], dtype=np.object_)
