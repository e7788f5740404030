"""What a busy site's visitors do, made up: sessions of minutes, an event every few seconds, a seed for all of it."""

import heapq
import os
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from confluent_kafka import Producer
from msgspec import json
from numpy.typing import NDArray

from jobs.pulse import keep_alive
from jobs.wiring import wire
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.events import Kind
from schemas.norms import Population, Quartiles, Typical
from udfs.deciding.catalogue import Catalogue

SHARES: Final = {
    "view": 0.22,
    "click": 0.11,
    "scroll": 0.24,
    "hover": 0.125,
    "dwell": 0.16,
    "exposure": 0.08,
    "search": 0.02,
    "cart": 0.01,
    "purchase": 0.004,
    "rate": 0.008,
    "form": 0.01,
    "rage": 0.003,
    "error": 0.005,
    "identify": 0.002,
    "consent": 0.001,
    "ask": 0.002,
}
"""What share of the events each kind has."""

JUNK: Final = (
    b"junk",
    b'{"user_id":"u1","kind":"stare"}',
    b'{"kind":"view"}',
    b'{"user_id":"u1","kind":"view","scroll":7}',
)
"""Records that are no events: broken, of an unknown kind, without a user, out of range."""

NORMS: Final = Population(
    since=0,
    until=0,
    kinds={
        Kind.DWELL: Typical(dwell_ms=Quartiles(100_000, 1151, 2773, 5545)),
        Kind.PURCHASE: Typical(value=Quartiles(10_000, 2, 3, 4)),
        Kind.RATE: Typical(value=Quartiles(10_000, 2, 3, 4)),
    },
)
"""What is normal in such a stream; of the dwells about 1 % lie beyond their fence."""

GRANTED: Final = {"personalize": True, "learn": True, "measure": True}

_PARTLY: Final[tuple[dict[str, bool], ...]] = (
    {},
    {"measure": True},
    {"personalize": True},
    {"personalize": True, "measure": True},
)
"""What the few have agreed to who have not agreed to everything."""

_ONE_IN: Final = 1000
"""Of so many people, each of `_PARTLY` is said by one."""

_ENGINES: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.{} (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
)
AGENTS: Final = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    *(engine.format(version) for version in range(80, 130) for engine in _ENGINES),
)
"""What browsers say of themselves, and one robot; each person has one."""

_LANGUAGES: Final = ("en-GB", "de-DE", "fr", "es-ES", "pt-BR", "el-GR", "ja-JP")
_ZONES: Final = ("Europe/London", "Europe/Berlin", "Europe/Paris", "America/Sao_Paulo", "Europe/Athens", "Asia/Tokyo")

_JUNK_SHARE: Final = 0.002
_LATE_SHARE: Final = 0.001  # lay on a device for an hour
_COPY_SHARE: Final = 0.01
_COPY_MS: Final = 2_000.0  # mean time until a tracker that heard no answer sends once more
_WITH_ITEM: Final = frozenset({"view", "click", "hover", "dwell", "cart", "purchase", "rate"})
_SHOWN: Final = (
    *(("hero", arm) for arm in ("plain", "short_visual", "story")),
    *(("nudge", arm) for arm in ("welcome", "cart_reminder")),
)
_APART: Final = 40  # places in the catalogue, the items of a page's own list
_UNKNOWN: Final = "not in the catalogue"
_PAGES: Final = ("/", "/sport", "/travel", "/science", "/search")
_LEAD_IN_S: Final = 900.0  # sessions that began before the stream are in their middle when it starts
_QUANTUM_S: Final = 0.005
_PREPARE_MS: Final = 3_000  # making the stream takes a moment
_QUEUE_FULL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Shape:
    """How much happens.

    Attributes:
        events: records in all.
        rate: events per second of event time.
        people: from whom each session's visitor is drawn.
        session_s: median length of a session; the lengths are log-normal.
        pause_s: mean time between two events of a session.
        seed: of everything random.
    """

    events: int
    rate: float = 2000.0
    people: int = 200_000
    session_s: float = 60.0
    pause_s: float = 3.0
    seed: int = 1

    @property
    def length_s(self) -> float:
        """Event time from the first to the last event."""
        return self.events / self.rate


class Record(NamedTuple):
    """One record of the raw topic."""

    at_ms: int
    key: str
    body: bytes


def moments(shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Say when somebody does something, and who: ms since the stream's start, ascending, and numbers of people.

    A longer stream is not the continuation of a shorter one, but of the same kind.
    """
    rng = np.random.default_rng((shape.seed, shape.events))
    spread = 0.8
    mean_events = shape.session_s * np.exp(spread**2 / 2) / shape.pause_s + 1
    length_s = shape.length_s * 1.1 + 5
    sessions = int(shape.rate / mean_events * (length_s + _LEAD_IN_S))
    starts = rng.uniform(-_LEAD_IN_S, length_s, sessions)
    counts = 1 + rng.poisson(shape.session_s * rng.lognormal(0.0, spread, sessions) / shape.pause_s)
    who = np.repeat(rng.integers(0, shape.people, sessions), counts)
    pauses = rng.exponential(shape.pause_s, len(who))
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    pauses[first] = 0.0
    elapsed = pauses.cumsum()
    at_s = np.repeat(starts - elapsed[first], counts) + elapsed
    within = np.flatnonzero(at_s >= 0)
    chosen = within[np.argsort(at_s[within], kind="stable")][: shape.events]
    assert len(chosen) == shape.events, "the stream came out too short"
    return (at_s[chosen] * 1000).astype(np.int64), who[chosen]


def records(shape: Shape, items: Sequence[str], start_ms: int) -> Iterator[Record]:
    """Write the stream down as trackers would, in the order of time, with what they send twice.

    Args:
        shape: how much happens.
        items: ids of the catalogue.
        start_ms: when the stream starts, ms since 1970.
    """
    return islice(_repeated(_said(shape, items, start_ms), shape), shape.events)


def _repeated(stream: Iterator[Record], shape: Shape) -> Iterator[Record]:
    """Send some records once more, a moment later."""
    rng = np.random.default_rng((shape.seed, shape.events, 2))
    copied = (rng.random(shape.events) < _COPY_SHARE).tolist()
    after_ms = rng.exponential(_COPY_MS, shape.events).astype(np.int64).tolist()
    waiting: list[Record] = []
    for row, record in enumerate(stream):
        while waiting and waiting[0].at_ms < record.at_ms:
            yield heapq.heappop(waiting)
        yield record
        if copied[row]:
            heapq.heappush(waiting, record._replace(at_ms=record.at_ms + after_ms[row]))
    yield from sorted(waiting)


def _said(shape: Shape, items: Sequence[str], start_ms: int) -> Iterator[Record]:
    rng = np.random.default_rng((shape.seed, shape.events, 1))
    offsets, who = moments(shape)
    n = shape.events
    kinds = rng.choice(list(SHARES), n, p=list(SHARES.values())).tolist()
    # Squared, so that some items are far more popular than others.
    item = (rng.random(n) ** 2 * len(items)).astype(np.int64).tolist()
    page, shown = rng.integers(0, len(_PAGES), n).tolist(), rng.integers(0, len(_SHOWN), n).tolist()
    dwell_ms, scroll = rng.exponential(4000.0, n).astype(np.int64).tolist(), rng.random(n).round(3).tolist()
    ids, junk = rng.integers(0, 2**63, n).tolist(), (rng.random(n) < _JUNK_SHARE).tolist()
    delay_ms = (rng.exponential(80.0, n) + 3_600_000 * (rng.random(n) < _LATE_SHARE)).astype(np.int64).tolist()
    encode = json.Encoder().encode
    for row, (offset, person) in enumerate(zip(offsets.tolist(), who.tolist(), strict=True)):
        at_ms, key = start_ms + offset, f"u{person:06d}"
        if junk[row]:
            yield Record(at_ms, key, JUNK[row % len(JUNK)])
            continue
        kind = kinds[row]
        event: dict[str, Any] = {
            "user_id": key,
            "kind": kind,
            "event_id": f"{ids[row]:016x}",
            "occurred_at": at_ms - delay_ms[row],
            "page": _PAGES[page[row]],
            "consent": _PARTLY[person % _ONE_IN] if person % _ONE_IN < len(_PARTLY) else GRANTED,
        }
        if kind in _WITH_ITEM:
            event["item"] = items[item[row]]
        if kind == "dwell":
            event["dwell_ms"] = dwell_ms[row]
        elif kind == "scroll":
            event["scroll"] = scroll[row]
        elif kind == "exposure":
            slot, arm = _SHOWN[shown[row]]
            event |= {"slot": slot, "decision_id": f"{ids[row] % 2**48:012x}.{slot}", "shown": arm}
        elif kind == "ask":
            event |= {"slot": "home_feed", "items": [_UNKNOWN, *items[item[row] :: _APART]]}
        elif kind in ("purchase", "rate"):
            event["value"] = float(1 + ids[row] % 5)
        else:
            event |= _of_the_person(kind, person, ids[row])
        yield Record(at_ms, key, encode(event))


def _of_the_person(kind: str, person: int, number: int) -> dict[str, Any]:
    """Say what some kinds of event tell of their person."""
    if kind == "view":
        return {
            "user_agent": AGENTS[person % len(AGENTS)],
            "language": _LANGUAGES[person % len(_LANGUAGES)],
            "time_zone": _ZONES[person % len(_ZONES)],
        }
    if kind == "identify":
        return {"account_id": f"member{person}"}
    return {"consent": GRANTED | {"personalize": number % 2 == 0}} if kind == "consent" else {}


def catalogue_items(store: str) -> list[str]:
    """List the items of the newest catalogue in a store."""
    found = Store(store)
    newest = found.index("catalogue")[-1]
    items: list[str] = Catalogue.parse(newest.version, found.read(newest)).ids.tolist()
    return items


def feed(producer: Producer, topic: str, stream: Iterator[Record]) -> None:
    """Send records as fast as the broker takes them, with their own times."""
    for at_ms, key, body in stream:
        _produce(producer, topic, key, body, timestamp=at_ms)
    producer.flush()


def pace(producer: Producer, topic: str, stream: Iterator[Record], stop: threading.Event) -> None:
    """Send records when their time comes, until `stop` is set or they end."""
    waiting = next(stream, None)
    while waiting and not stop.wait(_QUANTUM_S):
        now = time.time_ns() // 1_000_000
        while waiting and waiting.at_ms <= now:
            _produce(producer, topic, waiting.key, waiting.body)
            waiting = next(stream, None)
        producer.poll(0)
    producer.flush()


def _produce(producer: Producer, topic: str, key: str, body: bytes, timestamp: int = 0) -> None:
    while True:
        try:
            producer.produce(topic, body, key=key, timestamp=timestamp)
        except BufferError:
            producer.poll(_QUEUE_FULL_S)
            continue
        return


def main(arguments: Sequence[str]) -> int:
    """Send a stream in real time, with pulses beside it, for so many seconds."""
    parser = ArgumentParser(prog="python -m tests.bench.stream", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument("--seconds", type=float, required=True, help="how long")
    asked = parser.parse_args(arguments)
    settings = load(Path.cwd(), "local", os.environ, ()).settings
    shape = Shape(events=int(asked.rate * asked.seconds), rate=asked.rate)
    start_ms = time.time_ns() // 1_000_000 + _PREPARE_MS
    stream = records(shape, catalogue_items(settings.releases.store), start_ms)
    over = threading.Event()
    beat = threading.Thread(target=keep_alive, args=(settings, over))
    beat.start()
    try:
        pace(wire.producer(settings.kafka.bootstrap), "clicks", stream, over)
    finally:
        over.set()
        beat.join()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
