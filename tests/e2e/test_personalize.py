"""The main job on real Kafka, Redis and Python workers, against the straightforward computation from the event list."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import fields
from redis import Redis

from jobs import explain, topics
from jobs.local.feed import collect
from jobs.local.stack import Stack
from jobs.local.world import CATALOGUE, Shelf, seeded
from jobs.wiring import Refusal, wire
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.events import Kind
from schemas.reader import Reader, pseudonym
from schemas.settings import Settings
from schemas.signals import Signals
from tests.claims.oracle import WITHOUT, Oracle
from tests.e2e import bounded

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = b"for-development-only"
SLICE, REFRESH, GAP, MEMORY, DAY = 1_000, 5_000, 120_000, 3_600_000, 86_400_000
SHELF = Shelf.stocked(seeded(1, CATALOGUE))
TOPICS = ("events", "rejected", "decisions", "segments")
NEUTRAL = {field.name: field.default for field in fields(Signals)}
URGENT = {"search", "cart", "purchase", "rate", "exposure"}

Event = dict[str, Any]


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
            event: Event = {"user_id": f"u{user}", "kind": kind, "item": f"i{rng.randrange(30):03d}", "at": at}
            if kind in ("rate", "sentiment"):
                event["value"] = rng.choice([-1, 0.25, 1, 2, 5])
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
def run(stack: Stack, scratch: Path) -> Run:
    home = {"kafka.bootstrap": stack.bootstrap, "redis.url": stack.redis_url}
    sets = [f"{path}={value}" for path, value in home.items()]
    store = Store(str(scratch / "store"))
    store.publish("catalogue", SHELF.catalogue_lines(), None, effective_at=0, reason="the pretend world")
    sets += ["time.session_gap=2min", "time.session_cap=10min", "time.memory=1h", "flink.rest_port=0"]
    sets += ["quiet.pause=20s", "quiet.gone=20min"]
    sets += ["topics.clicks.config={'message.timestamp.type'='CreateTime', 'retention.ms'='-1'}"]
    sets += ["slots.hero.guards.caps=[{shown=3}]", "flink.parallelism=2", "decide.valid=7d"]
    sets += [f"flink.checkpoint_dir={REPOSITORY}/.local/tests/checkpoints", f"releases.store={store.uri}"]
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

    bounded.run("personalize", sets)
    return Run(settings, events, junk, {name: read(stack.bootstrap, name) for name in TOPICS})


def read(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    return [json.loads(taken.body or b"") for taken in collect(bootstrap, topic)]


def test_every_record_is_an_event_or_a_rejection(run: Run) -> None:
    assert len(run.records["events"]) == len(run.events)
    assert len(run.records["rejected"]) == run.junk > 20
    assert {record["reason"] for record in run.records["rejected"]} == {"not_json"}


def of_users(run: Run) -> dict[str, list[Event]]:
    """Each one's events under their pseudonym, in order."""
    found = defaultdict(list)
    for event in run.events:
        found[pseudonym(event["user_id"], KEY, "k0")].append(event)
    return found


def test_every_signal_equals_the_plain_computation_from_the_event_list(run: Run) -> None:
    places = {item.id: run.settings.signals.interests.index(item.interest) for item in SHELF.items}
    oracle = Oracle(run.settings, places)
    moments = defaultdict(list)
    for record in run.records["decisions"]:
        moments[record["user_id"]].append(record)
    checked = silent = 0
    for user_id, events in of_users(run).items():
        _, forgotten = oracle.silences(events)
        for record in moments[user_id]:
            row = oracle.signals(events, record["seq"], forgotten)
            signals = {name: record["signals"].get(name, NEUTRAL[name]) for name in row}
            assert signals == pytest.approx(row, rel=1e-9, abs=1e-9), (user_id, record["seq"])
            checked, silent = checked + 1, silent + (row["events"] == 0)
    assert checked > 1000
    assert silent > 100
    assert row.keys() | WITHOUT == NEUTRAL.keys()


def test_what_is_due_is_decided_once_and_nothing_else_but_where_a_segment_may_change(run: Run) -> None:
    decided: defaultdict[str, set[int]] = defaultdict(set)
    for record in run.records["decisions"]:
        assert record["seq"] not in decided[record["user_id"]]
        decided[record["user_id"]].add(record["seq"])
    oracle = Oracle(run.settings, {})
    for user_id, events in of_users(run).items():
        quiet, _ = oracle.silences(events, run.events[-1]["at"])
        slices = dict(oracle.slices(events))
        expected, previous = set(), None
        for end, now in sorted(slices.items()):
            fresh = previous is None or (end - 1) // REFRESH != (previous - 1) // REFRESH
            if fresh or any(event["kind"] in URGENT for event in now):
                expected.add(end)
            previous = end
        assert expected <= decided[user_id]
        silences = {end for end in decided[user_id] if end not in slices}
        assert silences == quiet.keys() - slices.keys()


def test_a_decision_carries_what_it_was_made_from(run: Run) -> None:
    for user_id, events in of_users(run).items():
        for record in (each for each in run.records["decisions"] if each["user_id"] == user_id):
            past = [event for event in events if event["at"] < record["seq"]]
            session = [event for event in past if event["at"] >= record["session"]]
            shown = sum(event.get("slot") == "hero" for event in session)
            cap = {"name": "cap", "count": shown, "limit": 3, "held": shown >= 3}
            if record["seq"] - past[-1]["at"] < GAP:  # of who is gone, the session is over
                assert record["trace"]["hero"]["guards"] == [cap], (user_id, record["seq"])


def test_exposures_are_counted_by_session_by_day_and_within_memory(run: Run) -> None:
    oracle, checked = Oracle(run.settings, {}), 0
    for user_id, events in of_users(run).items():
        _, forgotten = oracle.silences(events)
        for record in (each for each in run.records["decisions"] if each["user_id"] == user_id):
            end = record["seq"]
            memory = max((moment for moment in forgotten if moment <= end), default=0)
            shown = [event["at"] for event in events if memory <= event["at"] < end and event.get("slot") == "hero"]
            today = (end - 1) // DAY * DAY
            in_session = sum(at >= record["session"] for at in shown)
            said = record.get("shown", {}).get("hero", [0, 0, 0, 0])
            expected = [in_session, sum(at >= today for at in shown), len(shown)]
            assert said[:3] == expected, (user_id, end)
            if shown:
                last = shown[-1] // SLICE * SLICE
                assert said[3] == max(event["at"] for event in events if last <= event["at"] < last + SLICE)
                checked += 1
    assert checked > 100


def test_a_capped_slot_shows_its_default_and_says_what_was_withheld(run: Run) -> None:
    heroes = [record["slots"]["hero"] | record["trace"]["hero"] for record in run.records["decisions"]]
    capped = [hero for hero in heroes if hero["guards"][0]["held"]]
    drawn = [hero for hero in heroes if not hero["guards"][0]["held"] and hero["reason"] != "RULE"]
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


def test_every_change_of_segment_is_told_once_by_the_topic(run: Run) -> None:
    told = defaultdict(list)
    for record in run.records["segments"]:
        assert record["by"] == "rules"
        told[record["user_id"]].append((record["seq"], record.get("prev", ""), record.get("segment", "")))
    changes = 0
    for user_id in of_users(run):
        before, expected = "", []
        records = [record for record in run.records["decisions"] if record["user_id"] == user_id]
        for record in sorted(records, key=lambda each: each["seq"]):
            now = record.get("segment", "")
            if now != before:
                expected.append((record["seq"], before, now))
            before = now
        assert sorted(told[user_id]) == expected
        changes += len(expected)
    assert changes > 100


def test_a_person_is_explained_against_everybody(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main(run.settings, ["u3", "--since", "3d"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{pseudonym('u3', KEY, 'k0')} at ")
    assert re.search(r"^  sessions +[0-9]+ sessions +above +[0-9]+% of all  Sessions remembered", said, re.MULTILINE)
    assert re.search(r"^  [0-9T:+-]+ rules: \w+ -> \w+$", said, re.MULTILINE)
    assert "  decided by catalogue c1\n" in said
    assert "u3 " not in said
    with pytest.raises(Refusal, match=r"explain: no decision for k0:.* look further back with --since"):
        explain.main(run.settings, ["nobody", "--since", "3d"])
    with pytest.raises(Refusal, match="explain: give the person's id"):
        explain.named("", run.settings)


def test_no_raw_user_id_leaves_the_job(run: Run) -> None:
    users = {event["user_id"] for event in run.events}
    for topic in ("events", "decisions"):
        assert not users & {record["user_id"] for record in run.records[topic]}
        assert "robot" not in json.dumps(run.records[topic])
