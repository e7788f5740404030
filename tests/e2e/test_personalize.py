"""The main job on real Kafka, Redis and Python workers, against the straightforward computation from the event list."""

import json
import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import pytest
from redis import Redis

from jobs import topics
from jobs.local.feed import collect
from jobs.local.stack import Stack
from jobs.wiring import wire
from jobs.wiring.handover import JOB_ENVIRONMENT
from jobs.wiring.settings import load
from schemas.events import Kind
from schemas.reader import Reader, pseudonym
from schemas.settings import Settings
from schemas.signals import Signals

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = b"for-development-only"
SLICE, REFRESH, GAP, CAP, MEMORY = 1_000, 5_000, 120_000, 600_000, 3_600_000
TAUS = {"rate_fast": 15_000, "rate_mid": 120_000, "rate_slow": 900_000}
POINTS = {"view": 1, "click": 3, "hover": 0.2, "search": 1.5, "cart": 8, "purchase": 20, "rate": 4, "form": 2}
POINTS |= {"rage": -2, "error": -1}
URGENT = {"search", "cart", "purchase", "rate", "exposure"}

Event = dict[str, Any]

COUNTED = [kind for kind in Kind if f"n_{kind.value}" in Signals.__struct_fields__]


@dataclass
class Run:
    """What went in, and what came out."""

    settings: Settings
    events: list[Event]
    junk: int
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def history(start: int, seed: int) -> list[Event]:
    """Some users with bursts, pauses longer than a session gap, sessions longer than the cap, and long silences."""
    rng = Random(seed)
    events: list[Event] = []
    for user in range(12):
        at = start + rng.randrange(10_000)
        for _ in range(180):
            # Some pauses lie right at a slice's edge, some end a session, a few end the memory.
            at += rng.choice([0, 1, 250, 700, 2_000, 9_000, SLICE - at % SLICE, 30_000, rng.choice([GAP, GAP + 1])])
            at += rng.choice([0] * 60 + [MEMORY + 1])
            kind = rng.choice(sorted(set(Kind) - {Kind.CONSENT}, key=list(Kind).index)).value
            event: Event = {"user_id": f"u{user}", "kind": kind, "item": f"i{rng.randrange(30)}", "at": at}
            if kind == "dwell":
                event["dwell_ms"] = rng.randrange(20_000)
            if kind == "scroll":
                event["scroll"] = rng.randrange(1001) / 1000
            if kind == "exposure":
                event["slot"] = rng.choice(["hero", "home_feed"])
            events.append(event)
    # One who never stops: a session of more than two caps.
    events += [{"user_id": "robot", "kind": "view", "at": start + 1_500 * n} for n in range(900)]
    return sorted(events, key=lambda event: (event["at"], event["user_id"]))


@pytest.fixture(scope="module")
def stack(scratch: Path, jars: Path) -> Iterator[Stack]:
    """Of its own: what others wrote would be read as well."""
    with Stack(scratch / "personalize", jars=jars) as running:
        yield running


@pytest.fixture(scope="module")
def run(stack: Stack) -> Run:
    home = {"kafka.bootstrap": stack.bootstrap, "redis.url": stack.redis_url}
    sets = [f"{path}={value}" for path, value in home.items()]
    sets += ["time.session_gap=2min", "time.session_cap=10min", "time.memory=1h", "flink.rest_port=0"]
    sets += ["topics.clicks.config={'message.timestamp.type'='CreateTime', 'retention.ms'='-1'}"]
    sets += ["slots.hero.cap.shown=3", "flink.parallelism=2", "decide.valid=7d"]
    sets += [f"flink.checkpoint_dir={REPOSITORY}/.local/tests/checkpoints", "releases.store=.local/tests/no-store"]
    settings = load(REPOSITORY, "local", {}, sets).settings
    admin = wire.admin(settings.kafka.bootstrap, 10_000)
    topics.apply(admin, topics.difference(settings.topics, {}))

    events = history((int(time.time() * 1000) - 86_400_000) // SLICE * SLICE, seed=7)
    producer = wire.producer(stack.bootstrap)
    junk = batches = 0
    for (at, user), group in groupby(events, key=lambda event: (event["at"], event["user_id"])):
        # What happened in the same millisecond comes as one record.
        bodies = [{name: value for name, value in event.items() if name != "at"} for event in group]
        batches += len(bodies) > 1
        record = {"batch": bodies} if len(bodies) > 1 else bodies[0]
        producer.produce("clicks", json.dumps(record).encode(), user, timestamp=at)
        if at % 50 == 0:
            producer.produce("clicks", b"junk", user, timestamp=at)
            junk += 1
    assert batches > 50
    assert producer.flush(30) == 0

    words = [word for each in sets for word in ("--set", each)]
    command = [sys.executable, "-m", "jobs", *words, "personalize", "--bounded"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | JOB_ENVIRONMENT, capture_output=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return Run(
        settings, events, junk, {name: read(stack.bootstrap, name) for name in ("events", "rejected", "decisions")}
    )


def read(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    return [json.loads(taken.body or b"") for taken in collect(bootstrap, topic)]


def slices(events: Sequence[Event]) -> Iterator[tuple[int, list[Event]]]:
    """One user's events by slice end, in order."""
    grouped = defaultdict(list)
    for event in events:
        grouped[(event["at"] // SLICE + 1) * SLICE].append(event)
    yield from sorted(grouped.items())


def milli_points(events: Sequence[Event]) -> int:
    """Engagement of one slice, thousandths of a point, by conf/base.toml."""
    counted = sum(round(POINTS.get(event["kind"], 0) * 1000) for event in events)
    dwell = math.trunc(sum(event.get("dwell_ms", 0) for event in events) * 0.05)
    deepest: int = max(round(event.get("scroll", 0) * 1000) for event in events)
    total: int = counted + dwell + deepest
    return total


def oracle(events: Sequence[Event]) -> dict[int, dict[str, Any]]:
    """Every signal of one user at each slice that is due, from the raw list, with nothing clever."""
    rows: dict[int, dict[str, Any]] = {}
    life: list[tuple[int, int]] = []  # (slice end, milli-points) since memory began
    stretch: list[tuple[int, list[Event]]] = []  # since the last long pause
    previous_ms: int | None = None
    previous_end: int | None = None
    clicked = ""
    for end, now in slices(events):
        first, last = now[0]["at"], now[-1]["at"]
        silence = None if previous_ms is None else first - previous_ms
        if silence is None or silence > GAP:
            stretch = []
        if silence is None or silence > MEMORY:
            life, clicked = [], ""
        stretch.append((end, now))
        # A stretch longer than the cap is cut into sessions.
        began = stretch[0][1][0]["at"]
        landmark = began // SLICE * SLICE + (end - 1 - began // SLICE * SLICE) // CAP * CAP
        session = [(at, part) for at, part in stretch if at > landmark]
        life.append((end, milli_points(now)))
        clicks = [(event["at"], event["item"]) for event in now if event["kind"] == "click"]
        clicked = max(clicks)[1] if clicks else clicked
        start = max(began, landmark)
        of_session = [event for _, part in session for event in part]
        due = (
            previous_end is None
            or (end - 1) // REFRESH != (previous_end - 1) // REFRESH
            or any(event["kind"] in URGENT for event in now)
        )
        if due:
            row: dict[str, Any] = {f"n_{kind.value}": sum(e["kind"] == kind.value for e in now) for kind in COUNTED}
            row |= {
                "events": len(now),
                "dwell_s": sum(event.get("dwell_ms", 0) for event in now) / 1000,
                "scroll": max(event.get("scroll", 0) for event in now),
                "engagement": milli_points(now) / 1000,
                "gap_s": 0 if silence is None or silence > MEMORY else silence / 1000,
                "session_age_s": (end - start) / 1000,
                "session_depth": len(session),
                "session_events": len(of_session),
                "session_clicks": sum(event["kind"] == "click" for event in of_session),
                "session_dwell_s": sum(event.get("dwell_ms", 0) for event in of_session) / 1000,
            }
            row |= fading(session, end, landmark) | baseline([points / 1000 for _, points in life])
            row |= {"clicked": clicked, "session": start}
            row["shown"] = sum(event.get("slot") == "hero" for event in of_session)
            rows[end] = row
        previous_ms, previous_end = last, end
    return rows


def fading(session: Sequence[tuple[int, list[Event]]], end: int, landmark: int) -> dict[str, float]:
    """Bias-corrected exponential averages since the landmark: weights 1 for now, 1/e for one tau ago."""
    recent = [(at, milli_points(part) / 1000) for at, part in session]
    rates = {
        name: sum(points * math.exp((at - end) / tau) for at, points in recent)
        / (tau / 1000 * (1 - math.exp((landmark - end) / tau)))
        for name, tau in TAUS.items()
    }
    fast, mid, slow = rates["rate_fast"], rates["rate_mid"], rates["rate_slow"]
    return rates | {"velocity": fast - slow, "acceleration": (fast - mid) - (mid - slow)}


def baseline(engagements: Sequence[float]) -> dict[str, float]:
    """Mean and deviation of the slices before this one, once there are five."""
    *before, now = engagements
    if len(before) < 5:
        return {"baseline": 0, "spread": 0, "zscore": 0}
    mean = sum(before) / len(before)
    spread = math.sqrt(sum((each - mean) ** 2 for each in before) / (len(before) - 1))
    return {"baseline": mean, "spread": spread, "zscore": (now - mean) / spread if spread > 1e-9 else 0}


def test_every_record_is_an_event_or_a_rejection(run: Run) -> None:
    assert len(run.records["events"]) == len(run.events)
    assert len(run.records["rejected"]) == run.junk > 20
    assert {record["reason"] for record in run.records["rejected"]} == {"not_json"}


def test_every_signal_equals_the_plain_computation_from_the_event_list(run: Run) -> None:
    decided = {(record["user_id"], record["seq"]): record for record in run.records["decisions"]}
    assert len(decided) == len(run.records["decisions"])
    expected: dict[tuple[str, int], dict[str, Any]] = {}
    for user in {event["user_id"] for event in run.events}:
        of_user = [event for event in run.events if event["user_id"] == user]
        expected |= {(pseudonym(user, KEY, "k0"), end): row for end, row in oracle(of_user).items()}
    assert decided.keys() == expected.keys()
    assert len(expected) > 1000
    for place, row in expected.items():
        record = decided[place]
        assert (record.get("clicked", ""), record["session"]) == (row.pop("clicked"), row.pop("session")), place
        shown = row.pop("shown")
        cap = {"name": "cap", "count": shown, "limit": 3, "held": shown >= 3}
        assert record["trace"]["hero"]["guards"] == [cap], place
        signals = {name: record["signals"].get(name, 0) for name in row}
        assert signals == pytest.approx(row, rel=1e-9, abs=1e-9), place


def test_a_capped_slot_shows_its_default_and_says_what_was_withheld(run: Run) -> None:
    heroes = [record["slots"]["hero"] | record["trace"]["hero"] for record in run.records["decisions"]]
    capped = [hero for hero in heroes if hero["guards"][0]["held"]]
    drawn = [hero for hero in heroes if not hero["guards"][0]["held"]]
    assert {(hero["arm"], hero["p"], hero["reason"]) for hero in capped} == {("plain", 1.0, "CAPPED")}
    assert {(hero["arm"], hero["p"]) for hero in drawn} == {("plain", 0.5), ("short_visual", 0.3), ("story", 0.2)}


def test_one_session_keeps_its_arm(run: Run) -> None:
    draws = defaultdict(set)
    for record in run.records["decisions"]:
        draws[record["user_id"], record["session"]].add(record["trace"]["hero"]["draw"]["value"])
    assert {len(values) for values in draws.values()} == {1}


def test_redis_holds_each_users_newest_decision_and_the_reader_finds_it(run: Run, stack: Stack) -> None:
    newest: dict[str, dict[str, Any]] = {}
    for record in sorted(run.records["decisions"], key=lambda record: record["seq"]):
        newest[record["user_id"]] = record
    redis: Any = Redis.from_url(stack.redis_url)
    for user_id, record in newest.items():
        card = json.loads(redis.get(f"tt:{{{user_id}}}:d") or b"")
        assert (card["seq"], card["slots"]) == (record["seq"], record["slots"])
        assert redis.pttl(f"tt:{{{user_id}}}:d") > 0
    last = max(record["seq"] for record in newest.values())
    redis.set("tt:meta", json.dumps({"v": 1, "seq": last, "acked": last}))
    clock: Callable[[], int] = lambda: last + 100  # noqa: E731
    read_ = Reader(redis, now=clock, fresh_ms=1000).read(next(iter(newest)), default={})
    assert read_.source == "user"
    redis.delete("tt:meta")


def test_no_raw_user_id_leaves_the_job(run: Run) -> None:
    users = {event["user_id"] for event in run.events}
    for topic in ("events", "decisions"):
        assert not users & {record["user_id"] for record in run.records[topic]}
        assert "robot" not in json.dumps(run.records[topic])
