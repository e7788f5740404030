"""Claim: nothing is shown more often than its caps allow, nor sooner than its cooldown, whatever falls over."""

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate
from random import Random
from typing import Any, Final, NamedTuple

from msgspec import json
from msgspec.structs import replace

from jobs.local import feed
from jobs.local.feed import Record
from jobs.replay import decide
from jobs.wiring.keys import key_ring
from jobs.wiring.publishing import published
from schemas.decisions import Decision, Guard, Why
from schemas.durations import Millis
from schemas.events import PULSE_BODY
from schemas.reader import pseudonym
from schemas.rules import Action, Case, Rule, Rulebook, encoded
from schemas.settings import Settings
from schemas.slots import Cap, Guards, Trigger, Variant
from tests.claims.claim import Claim, Result, folder, settings
from tests.claims.live import Live, live
from udfs.deciding.book import authored

EVENTS: Final = 1_000_000
KILLS: Final = 2

CLAIM: Final = Claim(
    name="caps",
    sentence=(
        f"Caps by session, by day, for life and by arm, and a cooldown, hold in every decision of {EVENTS:,} events,"
        f" though all Python workers are killed {KILLS} times meanwhile; a replay decides the same, byte for byte."
    ),
    bar=f"0 slots shown or held against a plain count; 0 decisions missing or different; {KILLS} restarts survived",
)

TEN: Final = 1_767_261_600_000
"""Ten in the morning of a day; the stream lasts until the afternoon of the next."""

PEOPLE: Final = 2_000
BURST: Final = 4
"""Events that come right after one another, then a pause."""

IN_SESSION: Final = 48
_LONG: Final = 10  # of so many sessions one has pauses so long that the session is cut
_COPIED: Final = 50  # of so many exposures one is sent twice

DAY: Final = 86_400_000
HOUR: Final = 3_600_000
SHOWN: Final = (*["hero/story"] * 6, "nudge/cart_reminder", "nudge/welcome", "nudge/welcome", "page/short")
NUDGES: Final = ("cart_reminder", "welcome")
CAPS: Final = {
    "hero": (Cap(5, "session"), Cap(20, "day")),
    "nudge": (Cap(2, "day", "nudge/cart_reminder"), Cap(16, "life")),
}
COOLDOWN: Final = Millis(600_000)

_PULSE_EVERY: Final = 300_000
_BEAT_S: Final = 0.25
_SETTLE_S: Final = 3_000.0
_PATIENT: Final = ("flink.checkpoint=5s", "time.idle=1h")
"""Of a past that is read at once no partition is idle, however long workers take to come back."""


class Event(NamedTuple):
    """What somebody does.

    Attributes:
        at: when, ms since 1970.
        person: their number.
        kind: of event.
        shown: of an exposure, `slot/arm`; empty for others.
        number: of the event; a copy has that of the first.
    """

    at: int
    person: int
    kind: str
    shown: str
    number: int


def run(events: int = EVENTS) -> Result:
    """Let people be shown things over two days before a job that is killed, count, and replay the same."""
    place = folder(CLAIM.name)
    store = f"releases.store={place / 'store'}"
    conf = settings(store)
    published(conf.releases, "rules", encoded(rulebook(conf)), "the claim", at="start")
    fed = list(stream(events, seed=3))
    past = Past(records(fed, conf.topics["clicks"].partitions))
    with live(place / "live", store, *_PATIENT, past=past.feed) as running:
        killed = _killed(running, past, fed)
        decisions = [each.body or b"" for each in running.taken("decisions")]
        rejected = len(running.taken("rejected"))
        restarts = running.restarts()
    replayed = decide(settings(store, "flink.parallelism=2"), past.all(), place / "replay").decisions
    facts = held(replayed, fed, conf) | compared(decisions, replayed)
    nothing = ("violations", "undecided", "missing", "unknown", "different")
    stretches = {name: facts["held_by"].get(name, 0) for name in (*_names("hero"), *_names("nudge"), "nudge cooldown")}
    return Result(
        figure=(
            f"{len(fed):,} events, {facts['exposures']:,} exposures; in {facts['decisions']:,} decisions"
            f" {facts['held']:,} slots held, {facts['open']:,} shown, {facts['violations']} against the count;"
            f" {restarts} restarts after {sum(killed)} workers were killed: {facts['repeated']:,} decisions repeated,"
            f" {facts['missing'] + facts['unknown']} missing, {facts['different']} different from a replay at"
            f" parallelism 2"
        ),
        passed=not any(facts[name] for name in nothing)
        and rejected == 0
        and restarts == KILLS == len(killed)
        and min(stretches.values()) > 0,
        details=facts | {"killed": killed, "restarts": restarts, "rejected": rejected, "stretches": stretches},
    )


def rulebook(conf: Settings) -> Rulebook:
    """Take two slots of what conf says, with other guards; a rule asks for a nudge at every moment."""
    book = authored(conf)
    hero, nudge = book.slots["hero"], book.slots["nudge"]
    assert isinstance(hero, Variant)
    assert isinstance(nudge, Trigger)
    return replace(
        book,
        slots={
            "hero": replace(hero, shadow=[], guards=Guards(caps=list(CAPS["hero"]))),
            "nudge": replace(nudge, guards=Guards(caps=list(CAPS["nudge"]), cooldown=COOLDOWN)),
        },
        rules={"always": Rule("nudge", {"now": Case("session_depth >= 0", Action(arms=list(NUDGES)))})},
        experiments={},
    )


def stream(events: int, seed: int) -> Iterator[Event]:
    """Make up what people do in the order of time: visits of some minutes or some hours, hours apart."""
    each = -(-events // PEOPLE)
    rng = Random(seed)
    found = sorted(event for person in range(PEOPLE) for event in _of(person, each, rng))[:events]
    copies: list[Event] = []
    for event in found:
        while copies and copies[0].at < event.at:
            yield heappop(copies)
        yield event
        if event.shown and event.number % _COPIED == 0:
            heappush(copies, event._replace(at=event.at + 1 + event.number % 5_000))
    yield from sorted(copies)


def _of(person: int, count: int, rng: Random) -> Iterator[Event]:
    at = TEN + rng.randrange(4 * HOUR)
    done = 0
    while done < count:
        long = rng.randrange(_LONG) == 0
        for step in range(min(IN_SESSION // 4 if long else IN_SESSION, count - done)):
            if long:
                at += rng.randrange(300_000, 1_500_000)
            elif step % BURST == 0:
                at += 500 + int(rng.expovariate(1 / 45_000))
            else:
                at += rng.choice((0, 1, 90, 400))
            kind = rng.choice(("view", "view", "click", "scroll", "exposure"))
            shown = rng.choice(SHOWN) if kind == "exposure" else ""
            yield Event(at, person, kind, shown, person * count + done)
            done += 1
        at += rng.randrange(int(0.6 * HOUR), int(3.6 * HOUR))


def records(events: Iterable[Event], partitions: int) -> Iterator[Record]:
    """Write events down as a tracker would, with a pulse of every partition now and then."""
    due = 0
    for event in events:
        if event.at >= due:
            due = event.at + _PULSE_EVERY
            yield from pulses(event.at, partitions)
        body: dict[str, Any] = {"user_id": name(event.person), "kind": event.kind}
        if event.shown:
            slot, _, arm = event.shown.partition("/")
            body |= {"slot": slot, "shown": arm, "event_id": f"e{event.number}"}
        key = name(event.person).encode()
        yield Record(event.at, feed.partition_of(key, partitions), key, json.encode(body))


def name(person: int) -> str:
    """Say under which id the tracker knows a person."""
    return f"shown-{person}"


def pulses(at: int, partitions: int) -> list[Record]:
    """Write a pulse for every partition."""
    return [Record(at, partition, None, PULSE_BODY) for partition in range(partitions)]


class Past:
    """Two days that are fed when they are asked for; before and after them, pulses keep time where it is."""

    def __init__(self, stream: Iterable[Record]) -> None:
        """Take the stream, to be fed as often as it is asked for."""
        self._stream = list(stream)
        self._partitions = 1 + max(record.partition for record in self._stream)
        self.go = threading.Event()
        first, last = self._stream[0].at, self._stream[-1].at
        self.ends = last + HOUR
        self._before = [first - HOUR, first - HOUR // 2]
        self._after = [self.ends, self.ends + HOUR]

    def feed(self, conf: Settings, over: threading.Event) -> None:
        """Feed the topic until `over` is set; the stream, once `go` is."""
        self._keep(conf, self._before, lambda: over.is_set() or self.go.is_set())
        if not over.is_set():
            feed.produce(conf.kafka.bootstrap, "clicks", self._stream)
        self._keep(conf, self._after, over.is_set)

    def all(self) -> Iterator[Record]:
        """Give the same as it lies in the topic, but for pulses that tell no other time."""
        for at in self._before:
            yield from pulses(at, self._partitions)
        yield from self._stream
        for at in self._after:
            yield from pulses(at, self._partitions)

    def _keep(self, conf: Settings, moments: Sequence[int], until: Any) -> None:
        first, then = moments
        at = first
        while not until():
            feed.produce(conf.kafka.bootstrap, "clicks", pulses(at, self._partitions))
            # Nobody asks for anything there: it is ahead of all that is fed, and holds nothing up.
            feed.produce(conf.kafka.bootstrap, "control", pulses(self._after[-1], conf.topics["control"].partitions))
            at = then
            self.go.wait(_BEAT_S)


def _killed(running: Live, past: Past, fed: Sequence[Event]) -> list[int]:
    """Feed, kill all workers now and then, wait until everything is decided; how many were killed each time."""
    past.go.set()
    first, last = fed[0].at, fed[-1].at
    killed = []
    for number in range(1, KILLS + 1):
        due = first + (last - first) * number // (KILLS + 1)
        running.wait(lambda due=due: running.heartbeat() > due, _SETTLE_S, "decisions to disturb")  # type: ignore[misc]
        killed.append(running.kill_workers())
    running.wait(lambda: running.heartbeat() > past.ends, _SETTLE_S, "the last decisions")
    # The heartbeat may overtake the records of its own bundle; a checkpoint that begins after it does not.
    done = running.checkpoints() + 2
    running.wait(lambda: running.checkpoints() >= done, _SETTLE_S, "a checkpoint after them")
    return killed


@dataclass
class Plain:
    """What somebody did, and the straightforward count of what they were shown.

    Attributes:
        conf: lengths of slices and sessions.
        times: of all their events, ascending.
        shown: `slot` and `slot/arm` -> when it was shown, ascending.
    """

    conf: Settings
    times: list[int] = field(default_factory=list)
    shown: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.times.append(event.at)
        if event.shown:
            self.shown[event.shown].append(event.at)
            self.shown[event.shown.partition("/")[0]].append(event.at)

    def session(self, end: int) -> int:
        """Say when the session of a slice began; a long one is cut, one that is long over is empty."""
        time, slice_ms = self.conf.time, self.conf.time.slice
        place = bisect_left(self.times, end) - 1
        last = self.times[place]
        if last < end - slice_ms and end - last > time.session_gap + 2 * self.conf.quiet.pause:
            return end - slice_ms
        while place and self.times[place] - self.times[place - 1] <= time.session_gap:
            place -= 1
        began = self.times[place]
        grid = began // slice_ms * slice_ms
        return max(began, grid + (end - 1 - grid) // time.session_cap * time.session_cap)

    def count(self, counter: str, since: int, end: int) -> int:
        """Count what was shown within a stretch."""
        shown = self.shown[counter]
        return bisect_left(shown, end) - bisect_left(shown, since)

    def ago(self, counter: str, end: int) -> int:
        """Say how long ago it was last shown, from the last event of that slice on, ms; -1 never."""
        place, slice_ms = bisect_left(self.shown[counter], end), self.conf.time.slice
        if not place:
            return -1
        after = (self.shown[counter][place - 1] // slice_ms + 1) * slice_ms
        return end - self.times[bisect_left(self.times, after) - 1]

    def guards(self, slot: str, end: int, session: int) -> list[Guard]:
        """Say what the guards of a slot must find at the end of a slice."""
        since = {"session": session, "day": (end - 1) // DAY * DAY, "life": 0}
        counts = [(self.count(cap.of or slot, since[cap.per], end), cap.shown) for cap in CAPS[slot]]
        found = [Guard("cap", count, most, count >= most) for count, most in counts]
        if slot == "nudge":
            ago = self.ago(slot, end)
            found.append(Guard("cooldown", ago, int(COOLDOWN), 0 <= ago < COOLDOWN))
        return found


def held(decisions: Sequence[bytes], fed: Sequence[Event], conf: Settings) -> dict[str, Any]:
    """Hold decisions against the plain count, and see that there is one after every exposure."""
    key = key_ring(conf.pseudonyms, {})[0]
    people = [pseudonym(name(person), key.secret, key.id) for person in range(PEOPLE)]
    known = {person: Plain(conf) for person in people}
    seen: set[tuple[int, int]] = set()
    due: set[tuple[str, int]] = set()
    for event in fed:
        if (event.person, event.number) in seen:
            continue  # a copy
        seen.add((event.person, event.number))
        known[people[event.person]].add(event)
        if event.shown:
            due.add((people[event.person], (event.at // conf.time.slice + 1) * conf.time.slice))
    off: list[str] = []
    by: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    count = shut = 0
    for line in decisions:
        record = _decode(line)
        due.discard((record.user_id, record.seq))
        plain = known[record.user_id]
        session = plain.session(record.seq)
        if session != record.session:
            off.append(f"{record.user_id} at {record.seq}: session since {record.session} instead of {session}")
        for slot in CAPS:
            expected = plain.guards(slot, record.seq, session)
            off += [f"{record.user_id} at {record.seq}: {slot}: {each}" for each in unlike(record, slot, expected)]
            by.update(each for each, guard in zip(_asked(slot), expected, strict=True) if guard.held)
            reasons[f"{slot} {record.slots[slot].reason.value}"] += 1
            shut += any(guard.held for guard in expected)
        count += 1
    return {
        "decisions": count,
        "held": shut,
        "open": len(CAPS) * count - shut,
        "held_by": dict(by),
        "reasons": dict(reasons.most_common()),
        "exposures": sum(len(plain.shown["hero"]) + len(plain.shown["nudge"]) for plain in known.values()),
        "undecided": len(due),
        "violations": len(off),
        "first_violations": off[:5],
    }


def unlike(record: Decision, slot: str, expected: Sequence[Guard]) -> Iterator[str]:
    """Say in what a decision does not follow from what its guards must have found."""
    card, trace = record.slots[slot], record.trace[slot]
    if trace.guards != expected:
        yield f"guards {trace.guards} instead of {expected}"
    first = next((guard for guard in expected if guard.held), None)
    if first:
        default = "plain" if slot == "hero" else "none"
        said = (default, 1.0, Why.CAPPED if first.name == "cap" else Why.COOLDOWN)
    else:
        assert trace.draw is not None
        place = sum(trace.draw.value >= until for until in list(accumulate(trace.draw.p))[:-1])
        said = (trace.draw.arms[place], trace.draw.p[place], Why.SPLIT if slot == "hero" else Why.RULE)
    if (card.arm, card.p, card.reason) != said:
        yield f"shows {(card.arm, card.p, card.reason)} instead of {said}"


def compared(disturbed: Iterable[bytes], replayed: Sequence[bytes]) -> dict[str, int]:
    """Hold the decisions of the disturbed job against those of a replay."""
    made: defaultdict[tuple[str, int], set[bytes]] = defaultdict(set)
    count = 0
    for line in disturbed:
        made[_place(line)].add(line)
        count += 1
    expected: Mapping[tuple[str, int], bytes] = {_place(line): line for line in replayed}
    return {
        "made": count,
        "repeated": count - len(made),
        "missing": len(expected.keys() - made.keys()),
        "unknown": len(made.keys() - expected.keys()),
        "different": sum(made[place] != {expected[place]} for place in made.keys() & expected.keys()),
    }


def _names(slot: str) -> list[str]:
    return [f"{cap.of or slot} {cap.per}" for cap in CAPS[slot]]


def _asked(slot: str) -> list[str]:
    return [*_names(slot), "nudge cooldown"] if slot == "nudge" else _names(slot)


def _place(line: bytes) -> tuple[str, int]:
    record = _decode_place(line)
    return record["user_id"], record["seq"]


_decode: Final = json.Decoder(Decision).decode
_decode_place: Final = json.Decoder(dict[str, Any]).decode
