"""The same contract kept by the obvious program: one Python process, one event after the other."""

import json
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from enum import Enum
from math import exp
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from msgspec import convert
from msgspec.json import encode as to_json
from msgspec.structs import astuple, replace

from jobs.wiring import wire
from jobs.wiring.cards import Cards, Entry
from jobs.wiring.keys import pseudonym_key
from jobs.wiring.releases import Follower
from jobs.wiring.settings import load
from schemas.derive import columns
from schemas.events import PULSE_BODY, Event, Kind, RawEvent
from schemas.rejects import Reason
from schemas.settings import Settings
from schemas.slices import MOMENT, SHOWN, Moment
from schemas.slots import capped
from tests.bench.children import answer
from udfs.decide import Columns, Decider
from udfs.pseudonym import pseudonymiser
from udfs.refusal import rejected, rejection
from udfs.texts import check_texts

TOPICS: Final = {"events": "plain-events", "rejected": "plain-rejected", "decisions": "plain-decisions"}
"""Its topics, beside the job's, so that the two can be compared."""

PREFIX: Final = "plain"
"""Its prefix in Redis."""

WORTH: Final = ("view", "click", "hover", "search", "cart", "purchase", "rate", "form", "rage", "error")

_POLL: Final = 5000
_POLL_S: Final = 0.5
_QUEUE_FULL_S: Final = 0.05
_FIELDS: Final = Event.__struct_fields__[2:]
_DTYPE: Final = {"STRING": np.object_, "BIGINT": np.int64, "DOUBLE": np.float64}
_DTYPES: Final = {column.name: _DTYPE[column.sql_type] for column in columns(Moment)}


@dataclass(slots=True)
class Slice:
    """What one user did in one slice."""

    first_ms: int
    last_ms: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    urgent: bool = False
    dwell_ms: int = 0
    scroll_permille: int = 0
    clicked: tuple[int, str] = (0, "")
    seen: list[int] = field(default_factory=lambda: [0] * len(SHOWN))


@dataclass(slots=True)
class Person:
    """What is remembered of one user."""

    prev_ms: int = 0
    prev_end: int = 0
    clicked: str = ""
    session_start: int = 0
    session_slices: int = 0
    session_events: int = 0
    session_clicks: int = 0
    session_dwell_ms: int = 0
    shown: list[int] = field(default_factory=lambda: [0] * len(SHOWN))
    life_slices: int = 0
    life_points: int = 0
    life_squares: int = 0
    landmark: int = 0
    fading_fast: float = 0.0
    fading_mid: float = 0.0
    fading_slow: float = 0.0


class Place(TypedDict):
    """Where a record lies, and when it happened."""

    at: int
    partition: int
    offset: int


class NotJsonError(ValueError):
    """NaN and Infinity, which the standard library reads, are not JSON."""


class PlainConsumer:
    """Reads clicks, keeps dictionaries, decides who is due, writes.

    Args:
        settings: the job's own.
        together: decide all who came due in a poll with one call, instead of each alone.
    """

    def __init__(self, settings: Settings, *, together: bool) -> None:
        self._settings = settings
        self._together = together
        self._pseudonym = pseudonymiser(pseudonym_key(settings.pseudonyms, os.environ), settings.pseudonyms.key_id)
        self._producer = wire.producer(settings.kafka.bootstrap)
        self._cards = Cards(replace(settings.redis, prefix=PREFIX), time.monotonic)
        self._decider = Decider(settings.slots, settings.decide, settings.signals)
        releases = settings.releases
        self._follower = Follower(
            releases.store, releases.poll, releases.load_timeout, _now_ms, logging.getLogger("trimtab")
        )
        self._lanes = {name: lane for lane, name in enumerate(capped(settings.slots))}
        self._urgent = {kind.value for kind in settings.decide.urgent}
        self._worth = {kind: round(getattr(settings.signals.points, kind) * 1000) for kind in WORTH}
        self._people: dict[str, Person] = {}
        # Per partition: its records are in the order of time, and all of one user's records are in it.
        self._open: dict[int, dict[int, dict[str, Slice]]] = {}
        self._due: list[Moment] = []
        self._entries: list[Entry] = []

    def run(self) -> None:
        """Read the raw topic from its beginning to its end."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._settings.kafka.bootstrap,
                "group.id": "plain",
                "enable.partition.eof": True,
                "fetch.message.max.bytes": wire.LARGEST_BATCH,
            }
        )
        reading = set(consumer.list_topics("clicks").topics["clicks"].partitions)
        consumer.assign([TopicPartition("clicks", partition, OFFSET_BEGINNING) for partition in sorted(reading)])
        # Model and catalogue are loaded before the first record, not while it waits.
        self._follower.refresh()
        self._follower.at(np.array([_now_ms()]))
        while reading:
            self._follower.refresh()
            for message in consumer.consume(_POLL, _POLL_S):
                error = message.error()
                if error is None:
                    self._take(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    reading.discard(message.partition() or 0)
                    self._close(message.partition() or 0)
                else:
                    raise RuntimeError(f"clicks: the broker answers: {error.str()}")
            self._write()
        consumer.close()
        self._producer.flush()

    def _take(self, message: Message) -> None:
        body, partition, at = message.value(), message.partition() or 0, message.timestamp()[1]
        slice_ms = self._settings.time.slice
        slice_end = (at // slice_ms + 1) * slice_ms
        slices = self._open.setdefault(partition, {})
        if slice_end not in slices:
            self._close(partition)
            slices[slice_end] = {}
        if body == PULSE_BODY:
            return
        try:
            event = self._read(body)
            user_id = self._pseudonym(event.user_id)
            record = _event_record(event, user_id, at)
        except (ValueError, RecursionError) as error:
            self._reject(error, body or b"", Place(at=at, partition=partition, offset=message.offset() or 0))
            return
        self._send("events", user_id, record, at)
        found = slices[slice_end].get(user_id)
        if found is None:
            found = slices[slice_end][user_id] = Slice(first_ms=at)
        self._add(found, event, at)

    def _read(self, body: bytes | None) -> RawEvent:
        if not body or len(body) > self._settings.clean.max_bytes:
            raise ValueError("empty or too large")
        event = convert(json.loads(body, parse_constant=_refuse), RawEvent)
        check_texts(event, body)
        return event

    def _reject(self, error: Exception, body: bytes, place: Place) -> None:
        limits = self._settings.clean
        kept = limits.kept_bytes
        if not body:
            refused = rejected(Reason.EMPTY, body, **place, kept_bytes=kept)
        elif len(body) > limits.max_bytes:
            refused = rejected(Reason.TOO_LARGE, body, **place, kept_bytes=kept)
        elif isinstance(error, json.JSONDecodeError | NotJsonError):
            refused = rejected(Reason.NOT_JSON, body, **place, kept_bytes=kept, detail=str(error))
        else:
            refused = rejection(error, body, **place, kept_bytes=kept)
        self._send("rejected", None, to_json(refused))

    def _add(self, found: Slice, event: RawEvent, at: int) -> None:
        kind = event.kind.value
        found.last_ms = at
        found.events += 1
        found.counts[kind] += 1
        if kind in self._urgent:
            found.urgent = True
        if event.dwell_ms:
            found.dwell_ms += event.dwell_ms
        if event.scroll:
            found.scroll_permille = max(found.scroll_permille, round(event.scroll * 1000))
        if kind == "click" and event.item:
            found.clicked = max(found.clicked, (at, event.item))
        elif kind == "exposure" and event.slot in self._lanes:
            found.seen[self._lanes[event.slot]] += 1

    def _close(self, partition: int) -> None:
        """Close the slices that the partition's clock has passed."""
        slices = self._open.setdefault(partition, {})
        for slice_end in sorted(slices):
            for user_id, found in slices.pop(slice_end).items():
                self._remember(user_id, slice_end, found)

    def _remember(self, user_id: str, slice_end: int, found: Slice) -> None:
        time_, refresh = self._settings.time, self._settings.decide.refresh
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = Person()
        prev_ms, prev_end = person.prev_ms, person.prev_end
        gap = found.first_ms - prev_ms if prev_end else None
        if gap is None or gap > time_.session_gap:
            person.session_start = found.first_ms
            person.session_slices = person.session_events = person.session_clicks = person.session_dwell_ms = 0
            person.shown = [0] * len(SHOWN)
        if gap is None or gap > time_.memory:
            person.life_slices = person.life_points = person.life_squares = 0
            person.clicked = ""
        points = self._engagement(found)
        person.session_slices += 1
        person.session_events += found.events
        person.session_clicks += found.counts["click"]
        person.session_dwell_ms += found.dwell_ms
        person.shown = [shown + seen for shown, seen in zip(person.shown, found.seen, strict=True)]
        person.life_slices += 1
        person.life_points += points
        person.life_squares += points * points
        person.clicked = found.clicked[1] or person.clicked
        self._fade(person, slice_end, points)
        person.prev_ms, person.prev_end = found.last_ms, slice_end
        if found.urgent or gap is None or (slice_end - 1) // refresh != (prev_end - 1) // refresh:
            self._due.append(_moment(user_id, slice_end, found, person, points=points, prev_ms=prev_ms))
            if not self._together:
                self._decide()

    def _engagement(self, found: Slice) -> int:
        points = self._settings.signals.points
        counted: int = sum(found.counts[kind] * worth for kind, worth in self._worth.items())
        return counted + int(found.dwell_ms * points.dwell_second) + int(found.scroll_permille * points.scroll_page)

    def _fade(self, person: Person, slice_end: int, points: int) -> None:
        time_, signals = self._settings.time, self._settings.signals
        start = person.session_start // time_.slice * time_.slice
        landmark = start + (slice_end - 1 - start) // time_.session_cap * time_.session_cap
        if landmark != person.landmark:
            person.landmark = landmark
            person.fading_fast = person.fading_mid = person.fading_slow = 0.0
        age, worth = slice_end - landmark, points / 1000
        person.fading_fast += worth * exp(age / signals.fast)
        person.fading_mid += worth * exp(age / signals.mid)
        person.fading_slow += worth * exp(age / signals.slow)

    def _decide(self) -> None:
        moments = _columns(self._due)
        verdicts = self._decider(moments, self._follower.at(moments["slice_end"]))
        for moment, verdict in zip(self._due, verdicts, strict=True):
            assert verdict is not None, "only pulses are not decided, and they are not due"
            expires = verdict.expires + self._settings.redis.grace
            key = self._cards.key(moment.user_id)
            self._entries.append(Entry(key, moment.slice_end, expires, verdict.card))
            self._send("decisions", moment.user_id, verdict.record, moment.slice_end)
        self._due.clear()

    def _write(self) -> None:
        if self._due:
            self._decide()
        self._cards.put(self._entries)
        self._entries.clear()
        if self._cards.trouble:
            raise RuntimeError(f"redis: {self._cards.trouble}")
        self._producer.poll(0)

    def _send(self, topic: str, key: str | None, value: bytes | str, at: int = 0) -> None:
        while True:
            try:
                self._producer.produce(TOPICS[topic], value, key=key, timestamp=at)
            except BufferError:
                self._producer.poll(_QUEUE_FULL_S)
                continue
            return


def _event_record(event: RawEvent, user_id: str, at: int) -> str:
    record: dict[str, Any] = {"v": 1, "user_id": user_id, "at": at}
    for name in _FIELDS:
        value = getattr(event, name)
        if value is not None:
            record[name] = value.value if isinstance(value, Enum) else value
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _moment(user_id: str, slice_end: int, found: Slice, person: Person, *, points: int, prev_ms: int) -> Moment:
    return Moment(
        user_id=user_id,
        slice_end=slice_end,
        first_ms=found.first_ms,
        last_ms=found.last_ms,
        events=found.events,
        **{name: found.counts[name.removeprefix("n_")] for name in MOMENT if name.startswith("n_")},
        dwell_ms=found.dwell_ms,
        scroll_permille=found.scroll_permille,
        points=points,
        prev_ms=prev_ms,
        session_start=person.session_start,
        session_slices=person.session_slices,
        session_events=person.session_events,
        session_clicks=person.session_clicks,
        session_dwell_ms=person.session_dwell_ms,
        life_slices=person.life_slices,
        life_points=person.life_points,
        life_squares=person.life_squares,
        landmark=person.landmark,
        fading_fast=person.fading_fast,
        fading_mid=person.fading_mid,
        fading_slow=person.fading_slow,
        clicked=person.clicked,
        **dict(zip(SHOWN, person.shown, strict=True)),
    )


def _columns(moments: list[Moment]) -> Columns:
    rows = zip(*map(astuple, moments), strict=True)
    return {name: np.array(column, _DTYPES[name]) for name, column in zip(MOMENT, rows, strict=True)}


def _refuse(name: str) -> None:
    raise NotJsonError(f"{name} is not JSON")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main(arguments: list[str]) -> int:
    """Run over all that the raw topic holds; `together` as an argument decides a poll at once."""
    consumer = PlainConsumer(load(Path.cwd(), "local", os.environ, ()).settings, together="together" in arguments)
    consumer.run()
    answer({})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
