"""The same contract kept by the obvious program: one Python process, one event after the other."""

import heapq
import json
import logging
import os
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin
from zlib import crc32

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from msgspec import convert, to_builtins
from msgspec.json import encode as to_json
from msgspec.structs import astuple, fields, replace

from jobs.wiring import wire
from jobs.wiring.cards import Cards, Entry
from jobs.wiring.keys import key_ring
from jobs.wiring.releases import Follower, Loaded
from jobs.wiring.settings import load
from schemas.events import PULSE_BODY, Event, Kind, Purpose, RawEvent
from schemas.lanes import MAX_COUNTERS, MAX_INTERESTS
from schemas.norms import STRENGTHS
from schemas.rejects import Reason
from schemas.releases import DECIDING
from schemas.rules import MAX_WATCHED
from schemas.segments import MAX_RULES
from schemas.settings import Settings
from schemas.slices import LENGTHS, MOMENT, Moment
from tests.bench.children import answer
from udfs.cleaning import asking
from udfs.cleaning.canonical import Canonical
from udfs.cleaning.consent import Consents
from udfs.cleaning.context import written
from udfs.cleaning.marks import NO_MOOD
from udfs.cleaning.meeting import BETWEEN
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.cleaning.refusal import InadmissibleError, Place, rejection
from udfs.cleaning.surroundings import Surroundings
from udfs.deciding.book import Book, authored
from udfs.deciding.decide import Decider
from udfs.deciding.learned import known_since
from udfs.deciding.observe import Observer
from udfs.payloads.texts import check_texts
from udfs.signals.moments import Columns

TOPICS: Final = {name: f"plain-{name}" for name in ("events", "duplicates", "rejected", "decisions")}
"""Its topics, beside the job's, so that the two can be compared."""

PREFIX: Final = "plain"
"""Its prefix in Redis."""

WORTH: Final = ("view", "click", "hover", "search", "cart", "purchase", "rate", "form", "rage", "error")
ACTIONS: Final = ("click", "search", "cart", "purchase", "rate", "form")

_DAY_MS: Final = 86_400_000
_POLL: Final = 5000
_POLL_S: Final = 0.5
_QUEUE_FULL_S: Final = 0.05
_DTYPE: Final[dict[type, type[np.generic]]] = {str: np.object_, float: np.float64, bool: np.bool_}
_DTYPES: Final = {
    each.name: _DTYPE.get(get_args(each.type)[0] if get_origin(each.type) is Annotated else each.type, np.int64)
    for each in fields(Moment)
}


@dataclass(slots=True)
class Slice:
    """What one user did in one slice."""

    first_ms: int = 0
    last_ms: int = 0
    first_view_ms: int = 0
    last_view_ms: int = 0
    first_click_ms: int = 0
    first_back_ms: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    moods: int = 0
    mood: int = 0
    clipped: int = 0
    dwell_ms: int = 0
    scroll_permille: int = 0
    urgent: bool = False
    farewell: bool = False
    quiet: bool = False
    lapsed: bool = False
    robot: bool = False
    unlearned: bool = False
    unmeasured: bool = False
    account: tuple[int, str] = (0, "")
    clicked: tuple[int, str] = (0, "")
    met: list[str] = field(default_factory=list)
    context: str = ""
    asked: str = ""
    shown: list[int] = field(default_factory=lambda: [0] * MAX_COUNTERS)
    fields: list[int] = field(default_factory=lambda: [0] * LENGTHS["session_fields"])
    liking: list[int] = field(default_factory=lambda: [0] * MAX_INTERESTS)


@dataclass(slots=True)
class Session:
    """What is remembered of one user's session, or of a long one's stretch."""

    landmark: int = 0
    slices: int = 0
    events: int = 0
    actions: int = 0
    dwell_ms: int = 0
    mood: int = 0
    moods: int = 0
    response_ms: int = 0
    responses: int = 0
    backs: int = 0
    counts: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    met: list[str] = field(default_factory=list)
    shown: list[int] = field(default_factory=lambda: [0] * MAX_COUNTERS)
    tallies: list[int] = field(default_factory=lambda: [0] * LENGTHS["tallies"])
    depths: list[int] = field(default_factory=lambda: [0] * LENGTHS["depths"])
    fields: list[int] = field(default_factory=lambda: [0] * LENGTHS["session_fields"])
    liking: list[int] = field(default_factory=lambda: [0] * MAX_INTERESTS)
    fading_fast: float = 0.0
    fading_mid: float = 0.0
    fading_slow: float = 0.0
    fading_slices: float = 0.0
    fading_squares: float = 0.0
    fading_trouble: float = 0.0


@dataclass(slots=True)
class Life:
    """What is remembered of one user since memory began."""

    prev_ms: int = 0
    seen_ms: int = 0
    began: int = 0
    born: int = 0
    sessions: int = 0
    recency_ms: int = 0
    gaps_ms: int = 0
    slices: int = 0
    points: int = 0
    squares: int = 0
    moods: int = 0
    mood: int = 0
    liking: list[int] = field(default_factory=lambda: [0] * MAX_INTERESTS)
    carts: int = 0
    cart_ms: int = 0
    search_ms: int = 0
    click_ms: int = 0
    purchase_ms: int = 0
    shown: list[int] = field(default_factory=lambda: [0] * MAX_COUNTERS)
    shown_day: list[int] = field(default_factory=lambda: [0] * MAX_COUNTERS)
    shown_ms: list[int] = field(default_factory=lambda: [0] * MAX_COUNTERS)
    unlearned: bool = False
    unmeasured: bool = False
    clicked: str = ""
    context: str = ""
    session: Session = field(default_factory=Session)


@dataclass(slots=True)
class Person:
    """What is known of one user, whatever they forgot or we did."""

    betrayed: int = 0
    memory: int = 0
    account: tuple[int, str] = (0, "")
    bits: int = 0
    entered: list[int] = field(default_factory=lambda: [0] * MAX_RULES)
    left: list[int] = field(default_factory=lambda: [0] * MAX_RULES)
    unheld: list[int] = field(default_factory=lambda: [0] * MAX_WATCHED)
    life: Life = field(default_factory=Life)


class PlainConsumer:
    """Reads clicks in our own JSON, one a record, keeps dictionaries, decides after each poll who is due, writes.

    Args:
        settings: the job's own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        key, consents = key_ring(settings.pseudonyms, os.environ)[0], Consents(settings.consent)
        self._pseudonym = pseudonymiser(key.secret, key.id)
        self._canonical = Canonical(self._pseudonym, consents, Surroundings(), settings.clean, settings.noise)
        self._producer = wire.producer(settings.kafka.bootstrap)
        self._cards = Cards(replace(settings.redis, prefix=PREFIX), time.monotonic)
        rules = settings.segments.rules
        self._book = Book.of(None, authored(settings))
        self._decider = Decider(self._book, settings.signals, settings.noise, rules)
        self._observer = Observer(rules, settings.signals, settings.noise)
        self._holds = [int(rule.hold) for rule in rules.values()]
        releases = settings.releases
        self._follower = Follower(
            releases.store,
            releases.poll,
            releases.load_timeout,
            _now_ms,
            logging.getLogger("trimtab"),
            channels=(*DECIDING, "norms"),
        )
        self._counters = {counter: place for place, counter in enumerate(settings.exposures.counters)}
        self._urgent = {kind.value for kind in settings.decide.urgent}
        self._worth = {kind: round(getattr(settings.signals.points, kind) * 1000) for kind in WORTH}
        self._people: dict[str, Person] = {}
        # Per partition: its records are in the order of time, and all of one user's records are in it.
        self._open: dict[int, dict[int, dict[str, Slice]]] = {}
        self._ids: dict[int, OrderedDict[tuple[str, str], int]] = {}
        self._quiets = {partition: Quiets(settings) for partition in range(settings.topics["clicks"].partitions)}
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
        self._newest = wire.newest(wire.admin(self._settings.kafka.bootstrap, self._settings.kafka.wait), "clicks")
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
                    self._take(message, releases)
                elif error.code() == KafkaError._PARTITION_EOF:
                    reading.discard(message.partition() or 0)
                    self._close(message.partition() or 0, self._newest + 1)
                else:
                    raise RuntimeError(f"clicks: the broker answers: {error.str()}")
            self._write()
        consumer.close()
        self._producer.flush()

    def _take(self, message: Message, releases: Loaded) -> None:
        body, partition, at = message.value(), message.partition() or 0, message.timestamp()[1]
        slice_ms = self._settings.time.slice
        slice_end = (at // slice_ms + 1) * slice_ms
        slices = self._open.setdefault(partition, {})
        if slice_end not in slices:
            self._close(partition, slice_end - slice_ms)
            slices[slice_end] = {}
        if body == PULSE_BODY:
            return
        try:
            raw = self._read(body)
            user_id = self._pseudonym(raw.user_id)
            event = self._canonical(raw, at, user_id, releases.norms)
            record = json.dumps(to_builtins(event), ensure_ascii=False, separators=(",", ":"))
        except (ValueError, RecursionError) as error:
            place = Place(at, partition, message.offset() or 0)
            refused = rejection(error, body or b"", place, self._settings.clean.kept_bytes)
            self._send("rejected", None, to_json(refused))
            return
        withdrawn = event.kind is Kind.CONSENT and Purpose.PERSONALIZE in event.denied
        counts = withdrawn or not (event.late or Purpose.PERSONALIZE in event.denied)
        if counts and not withdrawn:
            self._quiets[partition].there(user_id, at)
        if raw.event_id and self._came_before((user_id, raw.event_id), partition, at):
            self._send("duplicates", event.user_id, record, at)
            return
        self._send("events", event.user_id, record, at)
        if counts:
            found = slices[slice_end].setdefault(user_id, Slice())
            places = releases.catalogue.interest_places(self._settings.signals.interests) if releases.catalogue else {}
            self._add(found, event, places, withdrawn=withdrawn)

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

    def _add(  # noqa: C901 - the obvious way: one thing after the other
        self, found: Slice, event: Event, places: Mapping[str, int], *, withdrawn: bool
    ) -> None:
        kind, at = event.kind.value, event.at
        found.first_ms = found.first_ms or at
        found.last_ms = at
        found.events += 1
        if withdrawn:
            found.farewell = True
        else:
            found.counts[kind] += 1
            found.urgent |= kind in self._urgent
        if kind == "view":
            found.first_view_ms, found.last_view_ms = found.first_view_ms or at, at
        elif kind == "click":
            found.first_click_ms = found.first_click_ms or at
        elif kind == "back":
            found.first_back_ms = found.first_back_ms or at
        found.robot |= event.robot
        found.unlearned |= Purpose.LEARN in event.denied
        found.unmeasured |= Purpose.MEASURE in event.denied
        found.clipped += bool(event.clipped)
        found.account = max(found.account, (at, event.account or "")) if event.account else found.account
        found.context = max(found.context, written(at, event) or "")
        found.asked = max(found.asked, asking.written(at, event) or "")
        found.dwell_ms += event.dwell_ms or 0
        if event.scroll:
            found.scroll_permille = max(found.scroll_permille, round(event.scroll * 1000))
        if kind == "click" and event.item:
            found.clicked = max(found.clicked, (at, event.item))
            found.met.append(f"+{event.item}")
        if kind == "exposure":
            self._count(found.shown, event)
        mood = self._mood(kind, event.value)
        if mood != NO_MOOD:
            found.moods, found.mood = found.moods + 1, found.mood + mood
        if event.item and (mood >= 0 or mood == NO_MOOD):
            if kind == "form":
                found.fields[crc32(event.item.encode()) % len(found.fields)] += 1
            elif kind != "exposure" and event.item in places:
                found.liking[places[event.item]] += getattr(self._settings.signals.liking, kind, 0)

    def _count(self, shown: list[int], event: Event) -> None:
        """Count an exposure for its slot and for its arm, where these are counted."""
        for counter in (event.slot or "", f"{event.slot}/{event.shown}"):
            if counter in self._counters:
                shown[self._counters[counter]] += 1

    def _mood(self, kind: str, value: float | None) -> int:
        if value is None or kind not in ("rate", "sentiment"):
            return NO_MOOD
        lowest, highest = self._settings.signals.rating
        said = 2.0 * (value - lowest) / (highest - lowest) - 1.0 if kind == "rate" else value
        return round(1000.0 * min(max(said, -1.0), 1.0))

    def _close(self, partition: int, until: int) -> None:
        """Close the slices that the partition's clock has passed, silences included."""
        slices, slice_ms = self._open.setdefault(partition, {}), self._settings.time.slice
        for at, user_id, lapsed in self._quiets[partition].until(until):
            found = slices.setdefault((at // slice_ms + 1) * slice_ms, {}).setdefault(user_id, Slice())
            found.lapsed |= lapsed
            found.quiet |= not lapsed
        for slice_end in sorted(slices):
            moments = [
                moment
                for user_id, found in slices.pop(slice_end).items()
                if (moment := self._remember(user_id, slice_end, found))
            ]
            self._observe(slice_end, moments)

    def _observe(self, slice_end: int, moments: list[tuple[Moment, bool, int]]) -> None:
        """See what moments speak for and against, and keep those in which something is to be decided."""
        if not moments:
            return
        ((_, releases),) = self._follower.at(np.array([slice_end]))
        columns = _columns([moment for moment, _, _ in moments])
        bits = self._observer.bits(columns, releases.anomalies, releases.book or self._book).tolist()
        for (moment, due, prev_end), found in zip(moments, bits, strict=True):
            person = self._people[moment.user_id]
            turns = self._speaks(person, slice_end, prev_end, found)
            person.bits = found
            if due or turns:
                told = {"entered": list(person.entered), "left": list(person.left), "unheld": list(person.unheld)}
                self._due.append(replace(moment, bits=found, **told))

    def _speaks(self, person: Person, slice_end: int, prev_end: int, bits: int) -> bool:
        """Note when each rule segment was spoken for and against; say whether one may have been entered or left.

        Note as well when cases of rules did not hold.
        """
        for place in range(MAX_WATCHED):
            if bits >> (2 * MAX_RULES + place) & 1:
                person.unheld[place] = slice_end
        turned = bits & ~person.bits
        changes = False
        for place, hold in enumerate(self._holds):
            enters, leaves = bits >> 2 * place & 1, bits >> (2 * place + 1) & 1
            person.entered[place] = slice_end if enters else person.entered[place]
            person.left[place] = slice_end if leaves else person.left[place]
            left = max(person.left[place], person.life.born)
            crossed = slice_end - left >= hold > prev_end - left
            changes |= bool(turned >> 2 * place & 3) or bool(enters and crossed)
        return changes

    def _remember(self, user_id: str, slice_end: int, found: Slice) -> tuple[Moment, bool, int] | None:
        """Add a slice to what is known of its user: the moment, whether it is due, and the slice end before it."""
        time_, refresh, robots = self._settings.time, self._settings.decide.refresh, self._settings.robots
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = Person()
        if found.robot or found.events > robots.slice_events:
            person.betrayed = slice_end
        person.account = max(person.account, found.account)
        if found.farewell or found.lapsed:
            person.life, person.memory = Life(), slice_end
        life = person.life
        if not found.events and not (found.quiet and life.prev_ms):
            return None
        prev_ms, points = life.prev_ms, self._engagement(found)
        new_session = (
            bool(found.events) and not found.farewell and (not prev_ms or found.first_ms - prev_ms > time_.session_gap)
        )
        if new_session:
            life.began = found.first_ms
            life.sessions += 1
            life.recency_ms = found.first_ms - prev_ms if prev_ms else 0
            life.gaps_ms += life.recency_ms
        began = life.began or found.first_ms or slice_end - 1
        self._grow(life, found, points)
        self._show(life, slice_end, found)
        response_ms, back = self._reaction(life, found)
        start = began // time_.slice * time_.slice
        landmark = start + (slice_end - 1 - start) // time_.session_cap * time_.session_cap
        if not found.events and slice_end - prev_ms > time_.session_gap + 2 * self._settings.quiet.pause:
            landmark = slice_end - time_.slice
        self._go_on(life, slice_end, found, landmark=landmark, points=points, response_ms=response_ms, back=back)
        if found.farewell:
            person.life = Life()
        elif person.memory < slice_end:  # else it all lies before the memory that begins now
            life.prev_ms = found.last_ms or prev_ms
            life.seen_ms = max(life.seen_ms, found.last_view_ms)
        prev_end = (prev_ms // time_.slice + 1) * time_.slice if prev_ms else 0
        robot = bool(person.betrayed) and slice_end - person.betrayed <= robots.remembered
        since, account = person.account
        moment = _moment(
            user_id,
            slice_end,
            found,
            life,
            account=account if found.farewell or since >= person.memory else "",  # at a farewell its card goes too
            points=points,
            prev_ms=prev_ms,
            session_start=max(began, landmark),
            robot=robot or life.session.actions > robots.session_actions,
            response_ms=response_ms,
            back=back,
        )
        due = found.urgent or found.farewell or not found.events or not prev_ms
        return moment, due or (slice_end - 1) // refresh != (prev_end - 1) // refresh, prev_end

    @staticmethod
    def _grow(life: Life, found: Slice, points: int) -> None:
        """Add a slice to what is remembered since memory began."""
        life.born = life.born or found.first_ms
        life.slices += bool(found.events)
        life.points += points
        life.squares += points * points
        life.moods, life.mood = life.moods + found.moods, life.mood + found.mood
        life.liking = [sum(pair) for pair in zip(life.liking, found.liking, strict=True)]
        # What is bought together with being put into the cart is bought.
        life.carts = 0 if found.counts["purchase"] else life.carts + found.counts["cart"]
        life.cart_ms = found.last_ms if found.counts["cart"] else life.cart_ms
        life.search_ms = found.last_ms if found.counts["search"] else life.search_ms
        life.click_ms = found.last_ms if found.counts["click"] else life.click_ms
        life.purchase_ms = found.last_ms if found.counts["purchase"] else life.purchase_ms
        life.clicked = found.clicked[1] or life.clicked
        life.context = found.context[14:] if found.context else life.context
        if found.events:
            life.unlearned, life.unmeasured = found.unlearned, found.unmeasured

    @staticmethod
    def _show(life: Life, slice_end: int, found: Slice) -> None:
        """Count what was shown, since memory began and in this day of UTC."""
        if life.prev_ms // _DAY_MS < (slice_end - 1) // _DAY_MS:
            life.shown_day = [0] * MAX_COUNTERS
        for place, shown in enumerate(found.shown):
            life.shown[place] += shown
            life.shown_day[place] += shown
            life.shown_ms[place] = found.last_ms if shown else life.shown_ms[place]

    def _reaction(self, life: Life, found: Slice) -> tuple[int, bool]:
        """Say how long the person took to click, -1 for no click or page, and whether they turned back at once."""

        def since_page(at: int) -> int | None:
            page = found.first_view_ms if 0 < found.first_view_ms <= at else life.seen_ms
            return at - page if at and page else None

        clicked, back = since_page(found.first_click_ms), since_page(found.first_back_ms)
        return -1 if clicked is None else clicked, back is not None and back <= self._settings.signals.quick_back

    def _engagement(self, found: Slice) -> int:
        points = self._settings.signals.points
        counted: int = sum(found.counts[kind] * worth for kind, worth in self._worth.items())
        return counted + int(found.dwell_ms * points.dwell_second) + int(found.scroll_permille * points.scroll_page)

    def _go_on(
        self, life: Life, slice_end: int, found: Slice, *, landmark: int, points: int, response_ms: int, back: bool
    ) -> None:
        """Add a slice to its session; one that began elsewhere, or has grown too long, starts afresh."""
        signals, session = self._settings.signals, life.session
        if landmark != session.landmark:
            session = life.session = Session(landmark)
        session.slices += bool(found.events)
        session.events += found.events
        session.actions += sum(found.counts[kind] for kind in ACTIONS)
        session.dwell_ms += found.dwell_ms
        session.moods, session.mood = session.moods + found.moods, session.mood + found.mood
        session.response_ms += max(response_ms, 0)
        session.responses += response_ms >= 0
        session.backs += back
        for kind, count in found.counts.items():
            session.counts[kind] += count
        session.met += found.met
        session.shown = [sum(pair) for pair in zip(session.shown, found.shown, strict=True)]
        session.fields = [sum(pair) for pair in zip(session.fields, found.fields, strict=True)]
        session.liking = [sum(pair) for pair in zip(session.liking, found.liking, strict=True)]
        if found.events:
            session.tallies[bisect_left(STRENGTHS, points)] += 1
        if found.scroll_permille:
            width = -(-1000 // len(session.depths))
            session.depths[min((found.scroll_permille - 1) // width, len(session.depths) - 1)] += 1
        age, worth = slice_end - landmark, points / 1000
        session.fading_fast += worth * exp(age / signals.fast)
        session.fading_mid += worth * exp(age / signals.mid)
        session.fading_slow += worth * exp(age / signals.slow)
        if found.events:
            session.fading_slices += exp(age / signals.mid)
            session.fading_squares += exp(age * 2.0 / signals.mid)
        trouble = found.counts["rage"] + found.counts["error"] + back
        session.fading_trouble += trouble * exp(age / signals.mid)

    def _decide(self) -> None:
        moments = _columns(self._due)
        ends = moments["slice_end"]
        since = known_since(moments["session_start"], ends, self._settings.decide.relearn)
        in_force, learnt = self._follower.at(ends), self._follower.learnt(since)
        verdicts = self._decider(moments, in_force, learnt)
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


class Quiets:
    """Who falls silent in one partition, and when; the views `strides` to `lapsed`, with a clock for each."""

    def __init__(self, settings: Settings) -> None:
        self._stride_ms = settings.quiet.pause // 2
        quiet, time_ = settings.quiet, settings.time
        self._gaps = {"paused": quiet.pause, "departed": time_.session_gap, "gone": quiet.gone, "lapsed": time_.memory}
        self._last: dict[str, int] = {}
        self._alarms: list[tuple[int, str, str, int]] = []

    def there(self, user_id: str, at: int) -> None:
        """Note that somebody is there."""
        stride = (at // self._stride_ms + 1) * self._stride_ms - 1
        if self._last.get(user_id) != stride:
            self._last[user_id] = stride
            for sort, gap in self._gaps.items():
                heapq.heappush(self._alarms, (stride + gap - 1, user_id, sort, stride))

    def until(self, until: int) -> Iterator[tuple[int, str, bool]]:
        """Give who has fallen silent before a moment: when, who, and whether they are forgotten now."""
        while self._alarms and self._alarms[0][0] < until:
            at, user_id, sort, since = heapq.heappop(self._alarms)
            if self._last[user_id] == since:  # else they were there again
                yield at, user_id, sort == "lapsed"


def _moment(
    user_id: str,
    slice_end: int,
    found: Slice,
    life: Life,
    *,
    account: str,
    points: int,
    prev_ms: int,
    session_start: int,
    robot: bool,
    response_ms: int,
    back: bool,
) -> Moment:
    session = life.session
    counted: dict[str, Any] = {
        name: found.counts[name.removeprefix("n_")] for name in MOMENT if name.startswith("n_") and name != "n_clipped"
    }
    plural = {"views": "view", "clicks": "click", "searches": "search", "carts": "cart", "purchases": "purchase"}
    plural |= {"forms": "form", "rages": "rage", "errors": "error", "hovers": "hover"}
    counted |= {f"session_{name}": session.counts[kind] for name, kind in plural.items()}
    return Moment(
        user_id=user_id,
        clicked=life.clicked,
        context=life.context,
        account=account,
        asked=found.asked[14:],
        met=BETWEEN.join(session.met),
        farewell=found.farewell,
        robot=robot,
        unlearned=life.unlearned,
        unmeasured=life.unmeasured,
        events=found.events,
        moods=found.moods,
        mood=found.mood,
        dwell_ms=found.dwell_ms,
        scroll_permille=found.scroll_permille,
        n_clipped=found.clipped,
        slice_end=slice_end,
        first_ms=found.first_ms or slice_end - 1,
        last_ms=found.last_ms or prev_ms or slice_end - 1,
        points=points,
        prev_ms=prev_ms,
        session_start=session_start,
        landmark=session.landmark,
        session_slices=session.slices,
        session_events=session.events,
        session_dwell_ms=session.dwell_ms,
        session_mood=session.mood,
        session_response_ms=session.response_ms,
        session_backs=session.backs,
        session_responses=session.responses,
        session_moods=session.moods,
        shown=list(session.shown),
        shown_day=list(life.shown_day),
        shown_life=list(life.shown),
        shown_ms=list(life.shown_ms),
        tallies=list(session.tallies),
        depths=list(session.depths),
        session_fields=list(session.fields),
        session_liking=list(session.liking),
        born=life.born or slice_end - 1,
        sessions=life.sessions,
        recency_ms=life.recency_ms,
        gaps_ms=life.gaps_ms,
        life_slices=life.slices,
        life_points=life.points,
        life_squares=life.squares,
        life_moods=life.moods,
        life_mood=life.mood,
        life_liking=list(life.liking),
        carts=life.carts,
        cart_ms=life.cart_ms,
        search_ms=life.search_ms,
        click_ms=life.click_ms,
        purchase_ms=life.purchase_ms,
        response_ms=response_ms,
        quick_back=int(back),
        fading_fast=session.fading_fast,
        fading_mid=session.fading_mid,
        fading_slow=session.fading_slow,
        fading_slices=session.fading_slices,
        fading_squares=session.fading_squares,
        fading_trouble=session.fading_trouble,
        bits=0,
        entered=[],
        left=[],
        unheld=[],
        **counted,
    )


def _columns(moments: list[Moment]) -> Columns:
    rows = zip(*map(astuple, moments), strict=True)
    return {name: np.array(column, _DTYPES[name]) for name, column in zip(MOMENT, rows, strict=True)}


def _refuse(name: str) -> None:
    raise InadmissibleError(Reason.NOT_JSON, f"{name} is not JSON")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> int:
    """Run over all that the raw topic holds."""
    PlainConsumer(load(Path.cwd(), "local", os.environ, ()).settings).run()
    answer({})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
