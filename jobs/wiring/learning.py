"""The outcomes of udfs/learning/, dressed for Flink: what was shown and what a person did then in, records out."""

import logging
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from msgspec import MsgspecError, json
from pyflink.table import DataTypes
from pyflink.table.types import DataType
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs.wiring.releases import Follower, Loaded
from schemas.decisions import Decision
from schemas.events import Event
from schemas.plays import Play
from schemas.rejects import Reason, Rejected
from schemas.settings import Settings
from schemas.slots import Reward, Trigger, Variant
from udfs.deciding.book import Book, authored
from udfs.learning.plays import context_of, play, summed
from udfs.learning.rewards import APART, heard, kinds, outcome, slot_of, trouble
from udfs.learning.uncertainty import asked

log = logging.getLogger("trimtab")

SETTLE: DataType = DataTypes.ROW(
    [
        DataTypes.FIELD("user_id", DataTypes.STRING()),
        DataTypes.FIELD("record", DataTypes.STRING()),
        DataTypes.FIELD("play", DataTypes.STRING()),
        DataTypes.FIELD("uncertain", DataTypes.BOOLEAN()),
        DataTypes.FIELD("failure", DataTypes.STRING()),
    ]
)
ADD_UP: DataType = DataTypes.STRING()
NOTE: DataType = DataTypes.BIGINT()

_decision: Final = json.Decoder(Decision).decode
_event: Final = json.Decoder(Event).decode
_plays: Final = json.Decoder(list[Play]).decode
_COLUMNS: Final = ("user_id", "record", "play", "uncertain", "failure")


class Fate(Enum):
    """What became of a decision and slot that was shown."""

    TOLD = "told"
    DENIED = "denied"
    NO_REWARD = "no_reward"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"


class Shown(NamedTuple):
    """A row as it came."""

    exposure: Event
    events: Sequence[Event]
    decision: Decision
    at: int
    failure: str | None


class Settled(NamedTuple):
    """A row as it goes, and why; see `SETTLE`."""

    fate: Fate
    user_id: str | None = None
    record: str | None = None
    play: str | None = None
    uncertain: bool = False
    failure: str | None = None


class Settle(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`settle(exposure, events, decision, shown_time)`: see udfs.learning.rewards.outcome.

    By the slot's reward in the rules that decided: the release that was in force at the decision's slice end, or what
    conf says. There is no outcome of a slot without a reward, or of one whose reward asks for more than the job
    collects; that is said once for each release.
    """

    def __init__(self, settings: Settings, follower: Follower) -> None:
        """Keep what a worker needs, and where releases of rules come from."""
        self._authored = authored(settings)
        self._collected = kinds(settings.slots)
        self._window = int(settings.learn.window)
        self._share = settings.learn.uncertain
        self._follower = follower

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare book and metrics once per worker."""
        self._book = Book.of(None, self._authored)
        group = function_context.get_metric_group().add_group("trimtab")
        self._counters = {fate: group.counter(f"outcomes_{fate.value}") for fate in Fate}
        self._said: set[tuple[str | None, str]] = set()

    def eval(
        self,
        exposures: "pd.Series[Any]",
        events: "pd.Series[Any]",
        decisions: "pd.Series[Any]",
        times: "pd.Series[Any]",
    ) -> pd.DataFrame:
        """Settle a bundle."""
        at = times.to_numpy().astype("datetime64[ms]").astype(np.int64).tolist()
        shown = [_read(*row) for row in zip(exposures, events, decisions, at, strict=True)]
        readable = [each.decision.seq for each in shown if isinstance(each, Shown)]
        self._follower.refresh()
        in_force = iter(self._follower.each(np.array(readable, dtype=np.int64)))
        rows = [self._settled(each, next(in_force)) if isinstance(each, Shown) else each for each in shown]
        for fate, count in Counter(row.fate for row in rows).items():
            self._counters[fate].inc(count)
        return pd.DataFrame(
            {name: np.array([getattr(row, name) for row in rows], dtype=object) for name in _COLUMNS}, copy=False
        )

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()

    def _settled(self, shown: Shown, in_force: Loaded) -> Settled:
        book = in_force.book or self._book
        card = shown.decision.slots.get(slot_of(shown.exposure.decision_id or ""))
        if card is None or card.id != shown.exposure.decision_id:
            return Settled(Fate.UNKNOWN, failure=shown.failure)
        reward = self._reward(slot_of(card.id), book)
        if reward is None:
            return Settled(Fate.NO_REWARD, failure=shown.failure)
        found = outcome(shown.decision, shown.exposure, shown.at, shown.events, reward, self._window)
        if found is None:
            return Settled(Fate.DENIED, failure=shown.failure)
        taught = play(found, book.book.slots.get(found.slot))
        return Settled(
            Fate.TOLD,
            found.user_id,
            json.encode(found).decode(),
            json.encode(taught).decode() if taught else None,
            asked(found.id, found.uncertainty, self._share, self._authored.seed),
            shown.failure,
        )

    def _reward(self, slot: str, book: Book) -> Reward | None:
        declared = book.book.slots.get(slot)
        reward = declared.reward if declared else None
        wrong = trouble(reward, self._collected, self._window) if reward else ""
        if wrong and (book.version, slot) not in self._said:
            self._said.add((book.version, slot))
            log.error("rules %s: no outcomes of %s: %s", book.version or "of conf", slot, wrong)
        return None if wrong else reward


def _read(exposure: str, events: str | None, decision: str, at: int) -> Shown | Settled:
    """Read a row; of events that are none the first is complained of, and the outcome does without them."""
    try:
        shown, decided = _event(exposure), _decision(decision)
    except MsgspecError as error:
        return Settled(Fate.UNREADABLE, failure=_refused(at, str(error)))
    done, complaints = heard(events or "")
    return Shown(shown, done, decided, at, _refused(at, complaints[0]) if complaints else None)


def _refused(at: int, why: str) -> str:
    return json.encode(Rejected(Reason.UNREADABLE, at, detail=why)).decode()


class AddUp(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`add_up(until_ms, plays)`: a period's plays as a record of the topic `plays`, see udfs.learning.plays.summed."""

    def __init__(self, settings: Settings, follower: Follower) -> None:
        """Keep what a worker needs, and where releases of rules come from: they say what linear policies ask."""
        self._authored = authored(settings)
        self._follower = follower

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the book once per worker."""
        del function_context
        self._book = Book.of(None, self._authored)

    def eval(self, untils: "pd.Series[Any]", plays: "pd.Series[Any]") -> "pd.Series[Any]":
        """Add up some periods."""
        ends = untils.to_numpy(dtype=np.int64)
        self._follower.refresh()
        books = [loaded.book or self._book for loaded in self._follower.each(ends)]
        rows = zip(ends.tolist(), plays.tolist(), books, strict=True)
        found = [
            summed(_plays(f"[{listed.replace(APART, ',')}]"), until, _contexts(book)) for until, listed, book in rows
        ]
        return pd.Series([json.encode(each).decode() for each in found], dtype=object)

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()


def _contexts(book: Book) -> dict[str, list[str]]:
    return {name: context_of(slot) for name, slot in book.book.slots.items() if isinstance(slot, Variant | Trigger)}


class Note(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`note(place, seen)`: adds up, for operators, how many moments were decided, and how many of each slot were shown.

    Whatever a restart repeats is counted twice.
    """

    def __init__(self, slots: Sequence[str]) -> None:
        """Keep the slots in the order in which the views number them, from 1; 0 are decisions."""
        self._slots = slots

    def is_deterministic(self) -> bool:
        """Keep the planner from leaving it out."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the counters once per worker."""
        group = function_context.get_metric_group().add_group("trimtab")
        self._counters = [group.counter(name) for name in ("decided", *(f"shown_{slot}" for slot in self._slots))]

    def eval(self, places: "pd.Series[Any]", seen: "pd.Series[Any]") -> "pd.Series[Any]":
        """Add up the counts of some windows."""
        for place, count in zip(places.tolist(), seen.tolist(), strict=True):
            self._counters[place].inc(count)
        return seen
