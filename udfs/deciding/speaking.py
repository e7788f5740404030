"""Which rules speak for a slot, and whose word counts: the first case that holds of each, rule against rule."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.rules import Day, Schedule
from schemas.slots import Resolve
from udfs.deciding.book import Place, Ready
from udfs.deciding.facts import Facts

SILENT: Final = -1

_ALWAYS: Final = Schedule()
_DAY_MS: Final = 86_400_000
_EPOCH_DAY: Final = 3
"""1970 began on a Thursday, the fourth day of the week."""
_DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Voices(NamedTuple):
    """What the rules of one slot say, a row a person.

    Attributes:
        case: (n, rules) the place of the case that holds, the number of cases for `else`; SILENT for none.
        rank: (n, rules) what they are held against one another by.
        share: (n, rules) whose word counts: 1 for one of them, or shares that add up to 1; 0 where nobody speaks.
    """

    case: NDArray[np.intp]
    rank: NDArray[np.float64]
    share: NDArray[np.float64]


def voices(place: Place, facts: Facts, *, heard: NDArray[np.bool_]) -> Voices:
    """Ask the rules of a slot.

    Args:
        place: the slot.
        facts: of n people.
        heard: (n,) for whom rules count at all.
    """
    rows = len(facts.users)
    case = np.full((rows, len(place.rules)), SILENT, dtype=np.intp)
    rank = np.zeros(case.shape)
    for column, rule in enumerate(place.rules):
        open_ = heard.copy()
        for number, ready in enumerate(rule.cases):
            here = open_ & _holds(ready, facts)
            case[here, column] = number
            rank[here, column] = _rank(place.slot.resolve, rule.rule.priority, rule.rule.weight, ready, facts)[here]
            open_ &= ~here
        if rule.rule.otherwise is not None:
            case[open_, column] = len(rule.cases)
            rank[open_, column] = _rank(place.slot.resolve, rule.rule.priority, rule.rule.weight, None, facts)[open_]
    return Voices(case, rank, _shares(case != SILENT, rank, weighted=place.slot.resolve == "weight"))


def scheduled(schedule: Schedule, ends: NDArray[np.int64], hours: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say when a schedule is open.

    Args:
        schedule: from, until, hours of the person's day, days of UTC.
        ends: (n,) ms since 1970.
        hours: (n,) where the people are; -1 where that is not known: then no hours are open.

    Returns:
        (n,).

    >>> night = Schedule(hours=[22, 6], days=["thu"])
    >>> scheduled(night, np.array([0, 0, 0, 86_400_000]), np.array([23, 6, -1, 23])).tolist()
    [True, False, False, False]
    """
    found = np.ones(len(ends), dtype=np.bool_)
    if schedule.since:
        found &= ends >= round(schedule.since.timestamp() * 1000)
    if schedule.until:
        found &= ends < round(schedule.until.timestamp() * 1000)
    if schedule.hours:
        since, until = schedule.hours
        inside = (since <= hours) & (hours < until) if since <= until else (since <= hours) | (hours < until)
        found &= inside & (hours >= 0)
    if schedule.days:
        found &= np.isin((ends // _DAY_MS + _EPOCH_DAY) % len(_DAYS), [_DAYS.index(day) for day in schedule.days])
    return found


def _holds(ready: Ready, facts: Facts) -> NDArray[np.bool_]:
    columns, case = facts.columns, ready.case
    found: NDArray[np.bool_] = ready.when(columns)
    if case.min_events:
        found = found & (columns["session_events"] >= case.min_events)
    if case.schedule != _ALWAYS:
        found = found & scheduled(case.schedule, facts.ends, columns["hour"])
    if ready.watched:
        since = facts.held[ready.name]
        found = found & (since > 0) & (facts.ends - since >= case.hold)
    return found


def _rank(resolve: Resolve, priority: int, weight: float, ready: Ready | None, facts: Facts) -> NDArray[np.float64]:
    """Say by what a rule is held against the others, (n,)."""
    rows = len(facts.users)
    if resolve == "recency":
        return facts.held[ready.name].astype(np.float64) if ready else np.zeros(rows)
    if resolve == "confidence":
        if ready is None:
            return np.zeros(rows)
        return ready.confidence(facts.columns).astype(np.float64) if ready.confidence else np.ones(rows)
    return np.full(rows, float(priority) if resolve == "priority" else weight)


def _shares(speaks: NDArray[np.bool_], rank: NDArray[np.float64], *, weighted: bool) -> NDArray[np.float64]:
    """Give the word to the highest rank, of equals to the first; or to all by weight.

    >>> speaks, rank = np.array([[True, True], [False, True], [False, False]]), np.array([[1.0, 3.0]] * 3)
    >>> _shares(speaks, rank, weighted=False).tolist(), _shares(speaks, rank, weighted=True).tolist()
    ([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]], [[0.25, 0.75], [0.0, 1.0], [0.0, 0.0]])
    """
    share = np.zeros(rank.shape)
    rows = np.flatnonzero(speaks.any(axis=1))
    if not len(rows):
        return share
    if weighted:
        weights = np.where(speaks, rank, 0.0)[rows]
        share[rows] = weights / weights.sum(axis=1, keepdims=True)
    else:
        share[rows, np.where(speaks, rank, -np.inf)[rows].argmax(axis=1)] = 1.0
    return share
