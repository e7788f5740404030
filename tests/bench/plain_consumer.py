"""The same contract kept by the obvious program: one Python process, one event after the other."""

import json
import logging
import os
import sys
import time
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any, Final

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from msgspec import convert, to_builtins
from msgspec.json import encode as to_json
from msgspec.structs import astuple, replace

from jobs.wiring import wire
from jobs.wiring.cards import Cards, Entry
from jobs.wiring.keys import key_ring
from jobs.wiring.releases import Follower
from jobs.wiring.settings import load
from schemas.derive import columns
from schemas.events import PULSE_BODY, Event, Kind, Purpose, RawEvent
from schemas.norms import STRENGTHS
from schemas.rejects import Reason
from schemas.settings import Settings
from schemas.slices import MOMENT, SHOWN, TALLIES, Moment
from schemas.slots import capped
from tests.bench.children import answer
from udfs.canonical import Canonical
from udfs.consent import Consents
from udfs.decide import Columns, Decider
from udfs.noise import Norms
from udfs.pseudonym import pseudonymiser
from udfs.refusal import InadmissibleError, Place, rejection
from udfs.surroundings import Surroundings
from udfs.texts import check_texts

TOPICS: Final = {name: f"plain-{name}" for name in ("events", "duplicates", "rejected", "decisions")}
"""Its topics, beside the job's, so that the two can be compared."""

PREFIX: Final = "plain"
"""Its prefix in Redis."""

WORTH: Final = ("view", "click", "hover", "search", "cart", "purchase", "rate", "form", "rage", "error")
ACTIONS: Final = ("click", "search", "cart", "purchase", "rate", "form")

_POLL: Final = 5000
_POLL_S: Final = 0.5
_QUEUE_FULL_S: Final = 0.05
_DTYPE: Final = {"STRING": np.object_, "BIGINT": np.int64, "DOUBLE": np.float64, "BOOLEAN": np.bool_}
_DTYPES: Final = {column.name: _DTYPE[column.sql_type] for column in columns(Moment)}


@dataclass(slots=True)
class Slice:
    """What one user did in one slice."""

    first_ms: int
    last_ms: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    urgent: bool = False
    farewell: bool = False
    robot: bool = False
    unlearned: bool = False
    unmeasured: bool = False
    clipped: bool = False
    account: str = ""
    dwell_ms: int = 0
    scroll_permille: int = 0
    clicked: tuple[int, str] = (0, "")
    seen: list[int] = field(default_factory=lambda: [0] * len(SHOWN))


@dataclass(slots=True)
class Session:
    """What is remembered of one user's session, or of a long one's stretch."""

    landmark: int = 0
    slices: int = 0
    events: int = 0
    clicks: int = 0
    actions: int = 0
    dwell_ms: int = 0
    shown: list[int] = field(default_factory=lambda: [0] * len(SHOWN))
    tallies: list[int] = field(default_factory=lambda: [0] * len(TALLIES))
    fading_fast: float = 0.0
    fading_mid: float = 0.0
    fading_slow: float = 0.0


@dataclass(slots=True)
class Person:
    """What is remembered of one user."""

    prev_ms: int = 0
    parted: int = 0
    betrayed: int = 0
    began: int = 0
    clicked: str = ""
    account: str = ""
    life_slices: int = 0
    life_points: int = 0
    life_squares: int = 0
    session: Session = field(default_factory=Session)


class PlainConsumer:
    """Reads clicks in our own JSON, one a record, keeps dictionaries, decides who is due, writes.

    Args:
        settings: the job's own.
        together: decide all who came due in a poll with one call, instead of each alone.
    """

    def __init__(self, settings: Settings, *, together: bool) -> None:
        self._settings = settings
        self._together = together
        key, consents = key_ring(settings.pseudonyms, os.environ)[0], Consents(settings.consent)
        self._pseudonym = pseudonymiser(key.secret, key.id)
        self._canonical = Canonical(self._pseudonym, consents, Surroundings(), settings.clean, settings.noise)
        self._producer = wire.producer(settings.kafka.bootstrap)
        self._cards = Cards(replace(settings.redis, prefix=PREFIX), time.monotonic)
        self._decider = Decider(settings.slots, settings.decide, settings.signals, settings.noise)
        releases = settings.releases
        self._follower = Follower(
            releases.store,
            releases.poll,
            releases.load_timeout,
            _now_ms,
            logging.getLogger("trimtab"),
            channels=("catalogue", "model", "norms"),
        )
        self._lanes = {name: lane for lane, name in enumerate(capped(settings.slots))}
        self._urgent = {kind.value for kind in settings.decide.urgent}
        self._worth = {kind: round(getattr(settings.signals.points, kind) * 1000) for kind in WORTH}
        self._people: dict[str, Person] = {}
        # Per partition: its records are in the order of time, and all of one user's records are in it.
        self._open: dict[int, dict[int, dict[str, Slice]]] = {}
        self._ids: dict[int, OrderedDict[tuple[str, str], int]] = {}
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
            messages = consumer.consume(_POLL, _POLL_S)
            in_force = self._follower.each(np.array([message.timestamp()[1] for message in messages], np.int64))
            for message, releases in zip(messages, in_force, strict=True):
                error = message.error()
                if error is None:
                    self._take(message, releases.norms)
                elif error.code() == KafkaError._PARTITION_EOF:
                    reading.discard(message.partition() or 0)
                    self._close(message.partition() or 0)
                else:
                    raise RuntimeError(f"clicks: the broker answers: {error.str()}")
            self._write()
        consumer.close()
        self._producer.flush()

    def _take(self, message: Message, norms: Norms | None) -> None:
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
            raw = self._read(body)
            user_id = self._pseudonym(raw.user_id)
            event = self._canonical(raw, at, user_id, norms)
            record = json.dumps(to_builtins(event), ensure_ascii=False, separators=(",", ":"))
        except (ValueError, RecursionError) as error:
            place = Place(at, partition, message.offset() or 0)
            refused = rejection(error, body or b"", place, self._settings.clean.kept_bytes)
            self._send("rejected", None, to_json(refused))
            return
        if raw.event_id and self._came_before((user_id, raw.event_id), partition, at):
            self._send("duplicates", event.user_id, record, at)
            return
        self._send("events", event.user_id, record, at)
        withdrawn = event.kind is Kind.CONSENT and Purpose.PERSONALIZE in event.denied
        if withdrawn or not (event.late or Purpose.PERSONALIZE in event.denied):
            found = slices[slice_end].get(user_id)
            if found is None:
                found = slices[slice_end][user_id] = Slice(first_ms=at)
            self._add(found, event, withdrawn=withdrawn)

    def _read(self, body: bytes | None) -> RawEvent:
        longest = self._settings.clean.max_bytes
        if not body:
            raise InadmissibleError(Reason.EMPTY)
        if len(body) > longest:
            raise InadmissibleError(Reason.TOO_LARGE, f"Expected at most {longest} bytes, got {len(body)}")
        try:
            said = json.loads(body, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            raise InadmissibleError(Reason.NOT_JSON, str(error)) from error
        event = convert(said, RawEvent)
        check_texts(event, body)
        return event

    def _came_before(self, name: tuple[str, str], partition: int, at: int) -> bool:
        """Say whether an event came a moment ago; ids that came earlier are forgotten."""
        horizon = self._settings.clean.duplicates
        if not horizon:
            return False
        ids = self._ids.setdefault(partition, OrderedDict())
        while ids and at - next(iter(ids.values())) > horizon:
            ids.popitem(last=False)
        known = name in ids
        ids[name] = at
        ids.move_to_end(name)
        return known

    def _add(self, found: Slice, event: Event, *, withdrawn: bool) -> None:
        kind = event.kind.value
        found.last_ms = event.at
        found.events += 1
        found.counts[kind] += 1
        if withdrawn:
            found.farewell = True
        elif kind in self._urgent:
            found.urgent = True
        found.robot |= event.robot
        found.unlearned |= Purpose.LEARN in event.denied
        found.unmeasured |= Purpose.MEASURE in event.denied
        found.clipped |= bool(event.clipped)
        found.account = max(found.account, event.account or "")
        found.dwell_ms += event.dwell_ms or 0
        if event.scroll:
            found.scroll_permille = max(found.scroll_permille, round(event.scroll * 1000))
        if kind == "click" and event.item:
            found.clicked = max(found.clicked, (event.at, event.item))
        elif kind == "exposure" and event.slot in self._lanes:
            found.seen[self._lanes[event.slot]] += 1

    def _close(self, partition: int) -> None:
        """Close the slices that the partition's clock has passed."""
        slices = self._open.setdefault(partition, {})
        for slice_end in sorted(slices):
            for user_id, found in slices.pop(slice_end).items():
                self._remember(user_id, slice_end, found)

    def _remember(self, user_id: str, slice_end: int, found: Slice) -> None:
        time_, refresh, robots = self._settings.time, self._settings.decide.refresh, self._settings.robots
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = Person()
        prev_ms, gap = person.prev_ms, found.first_ms - person.prev_ms
        if found.farewell:
            person.parted = slice_end
        if found.robot or found.events > robots.slice_events:
            person.betrayed = slice_end
        new = not prev_ms or gap > time_.memory or person.parted > prev_ms
        if new:
            self._forget(person, found)
        if (new and not found.farewell) or (prev_ms and gap > time_.session_gap):
            person.began = found.first_ms
        began = person.began or found.first_ms
        points = self._engagement(found)
        person.life_slices += 1
        person.life_points += points
        person.life_squares += points * points
        person.clicked = found.clicked[1] or person.clicked
        person.account = found.account or person.account
        self._go_on(person, slice_end, found, began=began, points=points)
        person.prev_ms = found.last_ms
        prev_end = (prev_ms // time_.slice + 1) * time_.slice
        if found.urgent or found.farewell or new or (slice_end - 1) // refresh != (prev_end - 1) // refresh:
            robot = bool(person.betrayed) and slice_end - person.betrayed <= robots.remembered
            self._due.append(
                _moment(
                    user_id,
                    slice_end,
                    found,
                    person,
                    points=points,
                    prev_ms=0 if new else prev_ms,
                    session_start=max(began, person.session.landmark),
                    robot=robot or person.session.actions > robots.session_actions,
                )
            )
            if not self._together:
                self._decide()

    @staticmethod
    def _forget(person: Person, found: Slice) -> None:
        person.life_slices = person.life_points = person.life_squares = 0
        person.clicked = ""
        if not found.farewell:  # the account's card goes too
            person.account = ""

    def _engagement(self, found: Slice) -> int:
        points = self._settings.signals.points
        counted: int = sum(found.counts[kind] * worth for kind, worth in self._worth.items())
        return counted + int(found.dwell_ms * points.dwell_second) + int(found.scroll_permille * points.scroll_page)

    def _go_on(self, person: Person, slice_end: int, found: Slice, *, began: int, points: int) -> None:
        """Add a slice to its session; one that began elsewhere, or has grown too long, starts afresh."""
        time_, signals = self._settings.time, self._settings.signals
        start = began // time_.slice * time_.slice
        landmark = start + (slice_end - 1 - start) // time_.session_cap * time_.session_cap
        session = person.session
        if landmark != session.landmark:
            session = person.session = Session(landmark)
        session.slices += 1
        session.events += found.events
        session.clicks += found.counts["click"]
        session.actions += sum(found.counts[kind] for kind in ACTIONS)
        session.dwell_ms += found.dwell_ms
        session.shown = [shown + seen for shown, seen in zip(session.shown, found.seen, strict=True)]
        session.tallies[bisect_left(STRENGTHS, points)] += 1
        age, worth = slice_end - landmark, points / 1000
        session.fading_fast += worth * exp(age / signals.fast)
        session.fading_mid += worth * exp(age / signals.mid)
        session.fading_slow += worth * exp(age / signals.slow)

    def _decide(self) -> None:
        moments = _columns(self._due)
        verdicts = self._decider(moments, self._follower.at(moments["slice_end"]))
        for moment, verdict in zip(self._due, verdicts, strict=True):
            assert verdict is not None, "only pulses are not decided, and they are not due"
            expires = verdict.expires + self._settings.redis.grace
            for name in filter(None, (moment.user_id, moment.account)):
                self._entries.append(Entry(self._cards.key(name), moment.slice_end, expires, verdict.card))
            if verdict.record is not None:
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


def _moment(
    user_id: str,
    slice_end: int,
    found: Slice,
    person: Person,
    *,
    points: int,
    prev_ms: int,
    session_start: int,
    robot: bool,
) -> Moment:
    session = person.session
    numbered: dict[str, Any] = {
        **{name: found.counts[name.removeprefix("n_")] for name in MOMENT if name.startswith("n_")},
        **dict(zip(TALLIES, session.tallies, strict=True)),
        **dict(zip(SHOWN, session.shown, strict=True)),
    }
    return Moment(
        user_id=user_id,
        slice_end=slice_end,
        first_ms=found.first_ms,
        last_ms=found.last_ms,
        farewell=found.farewell,
        robot=robot,
        unlearned=found.unlearned,
        unmeasured=found.unmeasured,
        clipped=found.clipped,
        events=found.events,
        dwell_ms=found.dwell_ms,
        scroll_permille=found.scroll_permille,
        points=points,
        prev_ms=prev_ms,
        session_start=session_start,
        session_slices=session.slices,
        session_events=session.events,
        session_clicks=session.clicks,
        session_dwell_ms=session.dwell_ms,
        life_slices=person.life_slices,
        life_points=person.life_points,
        life_squares=person.life_squares,
        landmark=session.landmark,
        fading_fast=session.fading_fast,
        fading_mid=session.fading_mid,
        fading_slow=session.fading_slow,
        clicked=person.clicked,
        account=person.account,
        **numbered,
    )


def _columns(moments: list[Moment]) -> Columns:
    rows = zip(*map(astuple, moments), strict=True)
    return {name: np.array(column, _DTYPES[name]) for name, column in zip(MOMENT, rows, strict=True)}


def _refuse(name: str) -> None:
    raise InadmissibleError(Reason.NOT_JSON, f"{name} is not JSON")


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
