"""Hands the decisions of a bundle to the pages: cards to Redis, how long people waited, and what did not go through."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from msgspec import json

from jobs.wiring.cards import SEVERITY, Cards, Entry, Fate
from schemas.decisions import Heartbeat, Membership, Sort
from schemas.events import PULSE_USER
from schemas.rejects import Reason, Rejected
from udfs.counting.lags import histogram
from udfs.deciding.decide import VERSION, Verdict
from udfs.segments.clusters import Clusters
from udfs.signals.moments import Columns

HEARTBEAT_TTL_MS: Final = 3_600_000
"""A pipeline silent for an hour has no heartbeat left to misread."""

SORTS: Final = tuple(sort.value for sort in Sort)
"""What tells segments apart: a membership is kept of each."""

_MINUTE_MS: Final = 60_000
_REASONS: Final = {Fate.FAILED: Reason.WRITE_FAILED, Fate.SKIPPED: Reason.WRITE_SKIPPED}


class Counter(Protocol):
    """A metric that only grows."""

    def inc(self, n: int = 1) -> None:
        """Add to it."""


class _Writer:
    """Writes the entries of a bundle's rows, and says the trouble with Redis and its end, once each."""

    def __init__(self, cards: Cards, log: logging.Logger) -> None:
        self._cards = cards
        self._log = log
        self._trouble = ""

    def put(self, entries: Iterable[tuple[int, Entry]], count: int) -> list[Fate]:
        """Write entries, each with its row; a row of the `count` fares as the worst of its entries, written if none."""
        pairs = list(entries)
        fates = self._cards.put([entry for _, entry in pairs])
        worst = [0] * count
        for (row, _), severity in zip(pairs, map(SEVERITY.index, fates), strict=True):
            worst[row] = max(worst[row], severity)
        return [SEVERITY[severity] for severity in worst]

    def report(self) -> None:
        """Say trouble, or its end, if it is news."""
        if self._cards.trouble != self._trouble:
            self._trouble = self._cards.trouble
            self._log.warning("redis: %s", self._trouble or "answers again")


class Serving:
    """Writes what was decided where pages read it, and never raises over it.

    A pulse brings the heartbeat, the cards of everybody and of each segment, and the table that pages draw from. These
    last as long as a person's card, so what a job left behind that has stopped is not shown for ever. A person without
    a card is to have none from now on.
    """

    def __init__(
        self,
        cards: Cards,
        grace_ms: int,
        clock: Callable[[], int],
        counters: Mapping[Fate, Counter],
        log: logging.Logger,
    ) -> None:
        """Take the writer and what it is told.

        Args:
            cards: The writer.
            grace_ms: How long a key outlives its decision's expiry.
            clock: Wall clock, ms since 1970.
            counters: How many rows met which fate.
            log: Where Redis's trouble and its end are said, once each.
        """
        self._cards = cards
        self._writer = _Writer(cards, log)
        self._grace_ms = grace_ms
        self._clock = clock
        self._counters = counters

    def serve(self, moments: Columns, verdicts: Sequence[Verdict]) -> list[str | None]:
        """Write a bundle.

        Args:
            moments: The columns of `schemas.slices.Moment`, each of shape (n,).
            verdicts: What was decided of each.

        Returns:
            Per row a record of the topic `rejected` for a write that did not go through, else None.
        """
        fates = self._writer.put(self._entries(moments, verdicts), len(verdicts))
        self._count_lags(moments, fates)
        for fate, counter in self._counters.items():
            counter.inc(fates.count(fate))
        # After the lags: sending them may meet trouble, too.
        self._writer.report()
        rows_of = zip(fates, moments["user_id"].tolist(), moments["slice_end"].tolist(), strict=True)
        return [failure(fate, user_id, seq, self._cards.trouble) for fate, user_id, seq in rows_of]

    def close(self) -> None:
        """Send what waits to be sent."""
        self._cards.close()

    def _entries(self, moments: Columns, verdicts: Sequence[Verdict]) -> Iterator[tuple[int, Entry]]:
        """Say what to write, and for which row."""
        columns = (moments[name].tolist() for name in ("user_id", "account", "slice_end"))
        for row, (user_id, account, seq, verdict) in enumerate(zip(*columns, verdicts, strict=True)):
            until = verdict.expires + self._grace_ms
            if user_id == PULSE_USER:
                yield row, self._heartbeat(seq)
                yield row, Entry(self._cards.default_key, seq, until, verdict.card)
                yield row, Entry(self._cards.policy_key, seq, until, verdict.table)
                for segment, card in verdict.defaults:
                    yield row, Entry(self._cards.segment_key(segment), seq, until, card)
            else:
                yield row, Entry(self._cards.key(user_id), seq, until, verdict.card)
                if account:
                    yield row, Entry(self._cards.key(account), seq, until, verdict.card)

    def _heartbeat(self, seq: int) -> Entry:
        now = self._clock()
        beat = json.encode(Heartbeat(v=1, seq=seq, acked=now)).decode()
        return Entry(self._cards.heartbeat_key, seq, now + HEARTBEAT_TTL_MS, beat)

    def _count_lags(self, moments: Columns, fates: Sequence[Fate]) -> None:
        """Count how long it took from the first event to the card; a pulse takes along what others left to be sent."""
        written = np.array([fate is Fate.WRITTEN for fate in fates]) & (moments["user_id"] != PULSE_USER)
        now = self._clock()
        self._cards.count_lags(now // _MINUTE_MS, histogram(now - moments["first_ms"][written]))


class Move(NamedTuple):
    """A decision in which somebody changed segments, or left for good; the columns of the view `moved`."""

    user_id: str
    slice_end: int
    farewell: bool
    segment: str
    segment_before: str
    cluster: int
    cluster_before: int


class Told(NamedTuple):
    """What became of a move: a record for each sort of segment that changed, and of a write that did not go through."""

    rules: str | None
    clusters: str | None
    failure: str | None


class Memberships:
    """Tells who changed segments: to Redis, the newest of each sort under a key of its own, and as records."""

    def __init__(self, cards: Cards | None, kept_ms: int, log: logging.Logger) -> None:
        """Take the writer (None: nobody is served), how long a membership is kept, and where trouble is said."""
        self._cards = cards
        self._writer = _Writer(cards, log) if cards else None
        self._kept_ms = kept_ms

    def tell(self, moves: Sequence[Move], clusters: Sequence[Clusters | None]) -> list[Told]:
        """Write a bundle.

        Args:
            moves: who moved from where to where.
            clusters: the release in force for each.
        """
        records = [self._records(move, release) for move, release in zip(moves, clusters, strict=True)]
        failures = self._failures(moves, records)
        return [
            Told(found.get("rules"), found.get("clusters"), failed)
            for found, failed in zip(records, failures, strict=True)
        ]

    def _records(self, move: Move, clusters: Clusters | None) -> dict[str, str]:
        """Write what changed, by sort; of somebody who left for good there is nothing to say."""
        if move.farewell:
            return {}
        told = []
        if move.segment != move.segment_before:
            told.append(
                Membership(VERSION, move.slice_end, move.user_id, Sort.RULES, move.segment, move.segment_before)
            )
        if move.cluster != move.cluster_before:
            told.append(
                Membership(
                    VERSION,
                    move.slice_end,
                    move.user_id,
                    Sort.CLUSTERS,
                    _name(clusters, move.cluster),
                    _name(clusters, move.cluster_before),
                    clusters.layers_of(move.cluster) if clusters and move.cluster else [],
                    clusters.version if clusters else "",
                )
            )
        return {each.by.value: json.encode(each).decode() for each in told}

    def _failures(self, moves: Sequence[Move], records: Sequence[Mapping[str, str]]) -> list[str | None]:
        """Write the keys of a bundle, and say which writes did not go through."""
        if not (self._cards and self._writer):
            return [None] * len(moves)
        fates = self._writer.put(self._entries(self._cards, moves, records), len(moves))
        self._writer.report()
        return [
            failure(fate, move.user_id, move.slice_end, self._cards.trouble)
            for move, fate in zip(moves, fates, strict=True)
        ]

    def _entries(
        self, cards: Cards, moves: Sequence[Move], records: Sequence[Mapping[str, str]]
    ) -> Iterator[tuple[int, Entry]]:
        """Say what to write, and for which row; of somebody who left for good both keys go."""
        for row, (move, found) in enumerate(zip(moves, records, strict=True)):
            for by, value in (dict.fromkeys(SORTS) if move.farewell else found).items():
                key = cards.membership_key(move.user_id, by)
                yield row, Entry(key, move.slice_end, move.slice_end + self._kept_ms, value)


def _name(clusters: Clusters | None, cluster: int) -> str:
    """Name a cluster; one that the release in force does not hold any more goes by its id."""
    if not cluster:
        return ""
    return clusters.name_of(cluster) if clusters else f"k{cluster}"


def failure(fate: Fate, user_id: str, seq: int, trouble: str) -> str | None:
    """Make the record of the topic `rejected` for a write that did not go through; the next pulse makes up for one."""
    if fate not in _REASONS or user_id == PULSE_USER:
        return None
    return json.encode(Rejected(reason=_REASONS[fate], at=seq, user_id=user_id, detail=trouble)).decode()
