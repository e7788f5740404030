"""Claim: when the processes that decide are killed, nothing is lost or changed, and nobody sees an older decision."""

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

from msgspec import json

from jobs.local import feed
from jobs.pulse import repeat
from jobs.replay import decide
from jobs.train import publish_demo
from jobs.wiring import wire
from schemas.events import PULSE_BODY
from schemas.settings import Settings
from tests.claims.claim import Claim, Result, folder, settings
from tests.claims.live import Live, live

RECOVERY_S: Final = 15.0

CLAIM: Final = Claim(
    name="worker-kill",
    sentence="A kill -9 of all Python workers loses no event, changes no decision and never shows an older one.",
    bar=f"0 events lost; 0 decisions missing or different; 0 cards older; decisions again within {RECOVERY_S:g} s",
)

FEED_S: Final = 60.0
KILLS_AT_S: Final = (20.0, 41.0)
"""Twice, because a kill right at a checkpoint has nothing to repeat; they fall into different phases of it."""

RATE: Final = 100
USERS: Final = 200
SETTLE_S: Final = 120.0
CHECKPOINT: Final = "2s"
KINDS: Final = ("view", "view", "view", "click", "scroll", "hover", "dwell", "search", "cart", "purchase", "exposure")


@dataclass
class Watch:
    """What a page would have seen in Redis, moment by moment.

    Attributes:
        newest: user's key -> greatest `seq` seen.
        regressed: keys that went back to an older decision.
        looks: how often all cards were read.
    """

    newest: dict[bytes, int] = field(default_factory=dict)
    regressed: list[str] = field(default_factory=list)
    looks: int = 0

    def look(self, running: Live) -> None:
        """Read all cards once."""
        self.looks += 1
        for key, seq in _cards(running).items():
            if seq < self.newest.get(key, 0):
                self.regressed.append(f"{key.decode()}: {seq} after {self.newest[key]}")
            self.newest[key] = max(seq, self.newest.get(key, 0))


@dataclass
class Death:
    """One kill -9 of all workers.

    Attributes:
        at: when, seconds since 1970.
        workers: how many there were.
        lasted_s: how long until a slice that ended after it had gone through the whole pipeline.
    """

    at: float
    workers: int
    lasted_s: float = float("inf")

    def look(self, running: Live) -> None:
        """See whether decisions come again."""
        if self.lasted_s == float("inf") and running.heartbeat() > self.at * 1000:
            self.lasted_s = round(time.time() - self.at, 1)


def run() -> Result:
    """Feed the live job for a minute, kill its workers on the way, and compare with an undisturbed replay."""
    place = folder(CLAIM.name)
    overrides = (f"releases.store={place / 'store'}", f"flink.checkpoint={CHECKPOINT}")
    publish_demo(settings(*overrides), seed=1)
    with live(place / "live", *overrides) as running:
        facts = _disturbed(running)
        raw, events, decisions = (running.taken(topic) for topic in ("clicks", "events", "decisions"))
        held = {key.decode(): seq for key, seq in _cards(running).items()}
        keys = running.cards
    past = [feed.Record(each.at, each.partition, each.key, each.body) for each in raw]
    undisturbed = decide(settings(*overrides), past, place / "replay").decisions
    facts |= _compared(raw, events, [each.body or b"" for each in decisions], undisturbed)
    newest: dict[str, int] = defaultdict(int)
    for user, seq in map(_place, undisturbed):
        newest[keys.key(user)] = max(newest[keys.key(user)], seq)
    facts["cards_not_newest"] = sum(held.get(key) != seq for key, seq in newest.items())
    nothing = ("lost", "missing", "different", "unknown", "regressed", "cards_not_newest")
    return Result(
        figure=(
            f"{facts['events_fed']:,} events fed, {facts['lost']} lost; of {facts['decisions_undisturbed']:,} decisions"
            f" {facts['missing']} missing, {facts['unknown']} unknown, {facts['different']} different,"
            f" {facts['repeated']} repeated; {len(facts['regressed'])} cards older in {facts['looks']} looks,"
            f" {facts['cards_not_newest']} not the newest at the end; decisions again after {facts['recovery_s']} s"
        ),
        passed=not any(facts[name] for name in nothing)
        and facts["recovery_s"] <= RECOVERY_S
        and facts["restarts"] == len(KILLS_AT_S)
        and all(facts["killed"]),
        details=facts,
    )


def _disturbed(running: Live) -> dict[str, Any]:
    """Feed, kill, watch, until everything that was fed has been decided."""
    watch = Watch()
    over = threading.Event()
    deaths: list[Death] = []
    with ThreadPoolExecutor(1) as pool:
        fed = pool.submit(_feed, running.settings, over)
        try:
            began = time.time()
            while not fed.done():
                watch.look(running)
                if len(deaths) < len(KILLS_AT_S) and time.time() > began + KILLS_AT_S[len(deaths)]:
                    deaths.append(_kill(running))
                for death in deaths:
                    death.look(running)
                time.sleep(0.1)
        finally:
            over.set()
        events = fed.result()
    # Decided is what lies before the heartbeat's slice end; the pulses go on.
    settled = time.time() * 1000 + 2 * running.settings.time.slice
    running.wait(lambda: running.heartbeat() > settled, SETTLE_S, "the last decisions")
    watch.look(running)
    for death in deaths:
        death.look(running)
    return {
        "events_fed": events,
        "killed": [death.workers for death in deaths],
        "restarts": running.restarts(),
        "failures": running.failures(),
        "recovery_s": max(death.lasted_s for death in deaths),
        "recoveries_s": [death.lasted_s for death in deaths],
        "looks": watch.looks,
        "regressed": watch.regressed,
    }


def _kill(running: Live) -> Death:
    workers = running.workers()
    death = Death(time.time(), len(workers))
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return death


def _feed(settings: Settings, over: threading.Event) -> int:
    """Send events at a steady pace, as a website would; returns how many."""
    rng = Random(7)
    producer = wire.producer(settings.kafka.bootstrap)
    numbers = count()
    ends = time.monotonic() + FEED_S

    def act() -> None:
        for _ in range(RATE // 10):
            event = _event(rng, next(numbers))
            producer.produce("clicks", json.encode(event), key=event["user_id"])
        producer.poll(0)

    repeat(act, 0.1, lambda: over.is_set() or time.monotonic() > ends, over.wait)
    producer.flush()
    return next(numbers)


def _event(rng: Random, number: int) -> dict[str, Any]:
    kind = rng.choice(KINDS)
    event: dict[str, Any] = {
        "user_id": f"user-{rng.randrange(USERS)}",
        "kind": kind,
        "event_id": f"e{number}",
        "item": f"i{rng.randrange(200):03d}",
        "page": "/",
    }
    more = {"dwell_ms": rng.randrange(9000), "scroll": rng.random(), "slot": "hero"}
    wanted = {"dwell": "dwell_ms", "scroll": "scroll", "exposure": "slot"}.get(kind)
    return event | ({wanted: more[wanted]} if wanted else {})


def _compared(
    raw: list[feed.Taken], events: list[feed.Taken], decisions: list[bytes], undisturbed: Sequence[bytes]
) -> dict[str, Any]:
    """Hold the disturbed run's topics against what was fed, and against an undisturbed replay."""
    sent = {json.decode(each.body or b"")["event_id"] for each in raw if each.body != PULSE_BODY}
    arrived = [json.decode(each.body or b"")["event_id"] for each in events]
    made: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for decision in decisions:
        made[_place(decision)].add(decision)
    expected = {_place(decision): decision for decision in undisturbed}
    return {
        "lost": len(sent - set(arrived)),
        "events_repeated": len(arrived) - len(set(arrived)),
        "decisions_undisturbed": len(expected),
        "missing": len(expected.keys() - made.keys()),
        "unknown": len(made.keys() - expected.keys()),
        "different": sum(made[place] != {expected[place]} for place in made.keys() & expected.keys()),
        "repeated": len(decisions) - len(made),
    }


def _place(decision: bytes) -> tuple[str, int]:
    record = json.decode(decision)
    return record["user_id"], record["seq"]


def _cards(running: Live) -> dict[bytes, int]:
    """Every user's key in Redis and the `seq` it holds."""
    keys = list(running.redis.scan_iter(running.cards.key("*"), count=1000))
    values = running.redis.mget(keys) if keys else []
    return {key: int(json.decode(value)["seq"]) for key, value in zip(keys, values, strict=True) if value}
