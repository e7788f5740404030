"""Which outcomes stand for a stretch of time: one of each person, so that no busy person outweighs the others."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.outcomes import Outcome
from schemas.signals import USER_FEATURES
from udfs.counting.sampling import LEFT_OUT
from udfs.draw import ticket
from udfs.learning.uncertainty import given
from udfs.smooth import Column


class Span(NamedTuple):
    """From a moment on, and before another, ms since 1970."""

    since: int
    until: int

    def __contains__(self, at: object) -> bool:
        """Say whether a moment lies in it."""
        return isinstance(at, int) and self.since <= at < self.until


class Ranges(NamedTuple):
    """What is held against what.

    Attributes:
        against: the reference's name, for people.
        reference: outcomes that count as usual, by when their rewards were counted.
        window: outcomes that are looked at.
        stretch: equal parts of the window's grid, ms; they lie on multiples of it.
        model: the release whose scores are looked at; empty: none.
        scored: outcomes whose scores count as usual: only scores of one model can be held against one another.
        objective: what the model's scores promise: `binary`, that anything is earned, `cross_entropy`, how much;
            anything else: nothing.
    """

    against: str
    reference: Span
    window: Span
    stretch: int
    model: str
    scored: Span
    objective: str


class Row(NamedTuple):
    """What counts of an outcome.

    Attributes:
        at: when its reward was counted, ms since 1970.
        reward: 0 to 1.
        signals: of the person, in the order of USER_FEATURES.
        arm: that was chosen; empty where the slot has none.
        scores: by the model that is looked at, of a list's items.
        gains: what these items earned.
        drawn: one of the scores; nan where there is none.
    """

    at: int
    reward: float
    signals: tuple[float, ...]
    arm: str
    scores: tuple[float, ...]
    gains: tuple[float, ...]
    drawn: float


class Rows(NamedTuple):
    """Rows as columns, of n people, in the order of time.

    Attributes:
        at: (n,).
        weight: (n,) for how many outcomes each stands.
        reward: (n,).
        signals: (n, len(USER_FEATURES)).
        arms: (n,), empty where there is none.
        drawn: (n,), nan where there is no score.
        scores: of every item that has one, (items,).
        gains: (items,).
        row: whose each is, (items,), from 0 to n - 1.
    """

    at: NDArray[np.int64]
    weight: Column
    reward: Column
    signals: Column
    arms: NDArray[np.object_]
    drawn: Column
    scores: Column
    gains: Column
    row: NDArray[np.intp]

    def taken(self, some: NDArray[np.bool_]) -> "Rows":
        """Give some of the people."""
        items = some[self.row]
        return Rows(
            at=self.at[some],
            weight=self.weight[some],
            reward=self.reward[some],
            signals=self.signals[some],
            arms=self.arms[some],
            drawn=self.drawn[some],
            scores=self.scores[items],
            gains=self.gains[items],
            row=(np.cumsum(some) - 1)[self.row[items]],
        )


class _Person:
    """What is kept of a person: the row that stands for them, and the periods in which they were there."""

    __slots__ = ("lot", "periods", "row")

    def __init__(self, lot: tuple[float, float], row: Row) -> None:
        self.lot, self.row, self.periods = lot, row, set[int]()


class Drawn:
    """One outcome of each person, and of so many people at most.

    A person's outcomes resemble one another, and tests of chance take each for news. So one stands for all, drawn by
    hashes, the smallest win; and so are the people, where there are more than are looked at. The same outcomes give the
    same rows in whatever order they come.

    What is compared are the people of a period as long as the window: in a longer stretch there are more of those who
    come rarely, though nothing has changed. So a person counts as often as there are periods in which they were there;
    which period the row is from is drawn first.
    """

    def __init__(self, most: int, origin: int, period: int) -> None:
        """Begin with nobody.

        Args:
            most: people.
            origin: where a period begins, ms since 1970.
            period: its length, ms.
        """
        self._most, self._origin, self._period = most, origin, period
        self._bar = 1.0  # nobody from here on is kept
        self._kept: dict[float, _Person] = {}  # by hash

    def add(self, outcome: Outcome, model: str) -> None:
        """Draw from one more.

        Args:
            outcome: of the slot and stretch.
            model: whose scores are kept.
        """
        place = ticket(f"drift|{outcome.user_id}")
        if place >= self._bar:
            return
        period = (outcome.due - self._origin) // self._period
        lot = ticket(f"drift|{outcome.user_id}|{period}"), ticket(f"drift|{outcome.id}")
        person = self._kept.get(place)
        if person is None:
            person = self._kept[place] = _Person(lot, _row(outcome, model))
        elif lot < person.lot:
            person.lot, person.row = lot, _row(outcome, model)
        person.periods.add(period)
        if len(self._kept) > 2 * self._most:
            self._prune()

    def rows(self) -> Rows:
        """Give what was drawn."""
        if len(self._kept) > self._most:
            self._prune()
        people = [person for _, person in sorted(self._kept.items(), key=lambda each: (each[1].row.at, each[0]))]
        rows = [person.row for person in people]
        sizes = np.array([len(row.scores) for row in rows], dtype=np.intp)
        return Rows(
            at=np.array([row.at for row in rows], dtype=np.int64),
            weight=np.array([float(len(person.periods)) for person in people]),
            reward=np.array([row.reward for row in rows]),
            signals=np.array([row.signals for row in rows]).reshape(len(rows), len(USER_FEATURES)),
            arms=np.array([row.arm for row in rows], dtype=np.object_),
            drawn=np.array([row.drawn for row in rows]),
            scores=np.array([score for row in rows for score in row.scores]),
            gains=np.array([gain for row in rows for gain in row.gains]),
            row=np.repeat(np.arange(len(rows)), sizes),
        )

    def _prune(self) -> None:
        kept = sorted(self._kept)[: self._most]
        self._kept = {place: self._kept[place] for place in kept}
        self._bar = float(np.nextafter(kept[-1], 1.0))


class Slot(NamedTuple):
    """What was drawn of one slot.

    Attributes:
        name: of the slot.
        reference: as usual.
        scored: as usual, of the model that is looked at.
        window: now.
    """

    name: str
    reference: Rows
    scored: Rows
    window: Rows


class Gathered:
    """The outcomes that are held against one another, slot by slot.

    Attributes:
        read: outcomes of any of the spans.
        left_out: why -> outcomes.
    """

    def __init__(self, ranges: Ranges, most: int) -> None:
        """Begin with nothing.

        Args:
            ranges: what is held against what.
            most: people of each slot and span.
        """
        self.read = 0
        self.left_out: Counter[str] = Counter()
        self._ranges = ranges
        since, until = ranges.window
        self._drawn = {
            span: defaultdict[str, Drawn](lambda: Drawn(most, since, until - since)) for span in Slot._fields[1:]
        }

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Add some outcomes; those of other times are passed over."""
        for outcome in outcomes:
            here = [span for span in self._drawn if self._counts(outcome, span)]
            self.read += bool(here)
            if here and (reason := _unwanted(outcome)):
                self.left_out[reason] += 1
                continue
            for span in here:
                self._drawn[span][outcome.slot].add(outcome, self._ranges.model)

    def asks(self, due: int) -> bool:
        """Say whether an outcome of a moment counts anywhere."""
        return any(due in getattr(self._ranges, span) for span in self._drawn)

    def holds(self, span: str) -> bool:
        """Say whether a span holds anything."""
        return bool(self._drawn[span])

    def slots(self) -> list[Slot]:
        """Give each slot, by name."""
        names = sorted({name for drawn in self._drawn.values() for name in drawn})
        return [Slot(name, *(drawn[name].rows() for drawn in self._drawn.values())) for name in names]

    def _counts(self, outcome: Outcome, span: str) -> bool:
        there = outcome.due in getattr(self._ranges, span)
        return there and (span != "scored" or bool(_scores(outcome, self._ranges.model)))


def _unwanted(outcome: Outcome) -> str:
    if outcome.unfit:
        return LEFT_OUT[outcome.unfit[0]]
    return "without consent to measure" if outcome.unmeasured else ""


def _scores(outcome: Outcome, model: str) -> Sequence[float]:
    """Give the scores that a model has given; none where another one, or none, was asked."""
    return given(outcome.card, outcome.trace) if outcome.ver.model == model else ()


def _row(outcome: Outcome, model: str) -> Row:
    scores, items = _scores(outcome, model), outcome.card.items or []
    return Row(
        at=outcome.due,
        reward=outcome.reward,
        signals=tuple(float(getattr(outcome.signals, name)) for name in USER_FEATURES),
        arm=outcome.card.arm or "",
        scores=tuple(scores),
        gains=tuple(outcome.gains.get(item, 0.0) for item in items[: len(scores)]),
        # Those of one list resemble one another too.
        drawn=scores[int(ticket(f"drift|{outcome.id}|item") * len(scores))] if scores else np.nan,
    )
