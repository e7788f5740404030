"""Writing to Redis when it is well, down, slow, full or read-only: scoring goes on, and writing heals by itself."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace
from redis import Redis

from jobs.local import processes
from jobs.local.cache import Cache
from jobs.wiring.cards import Cards, Entry, Fate
from jobs.wiring.serving import Memberships, Move, Serving, Told
from jobs.wiring.settings import load
from schemas.clusters import Cluster, Clustering, Feature
from schemas.decisions import Card, Decision, SlotCard, Versions, Why
from schemas.events import PULSE_USER
from schemas.reader import Reader
from schemas.rejects import Reason, Rejected
from schemas.rules import Action, Case, Rule, Rulebook
from schemas.segments import RuleSegment
from schemas.signals import Signals
from schemas.slots import Arm, Content, Knob, Variant
from udfs.deciding.book import Book
from udfs.deciding.decide import Decider, Verdict, again
from udfs.deciding.in_force import InForce
from udfs.segments.clusters import Clusters

REPOSITORY = Path(__file__).resolve().parents[2]
LATER = int(time.time() * 1000) + 3_600_000


class Clock:
    """A clock that is pushed by hand, seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def cache(scratch: Path) -> Iterator[Cache]:
    root = scratch / "cards"
    (port,) = processes.free_ports(1)
    server = Cache(root, root / "data", port)
    server.launch()
    server.await_ready(10_000)
    yield server
    server.stop(1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cards(cache: Cache, clock: Clock) -> Cards:
    settings = load(REPOSITORY, "local", {}, []).settings.redis
    return Cards(replace(settings, url=cache.url), clock)


def entry(user: str, seq: int) -> Entry:
    return Entry(f"tt:{{{user}}}:d", seq, LATER, f'{{"v":1,"seq":{seq},"slots":{{}}}}')


def test_a_newer_decision_replaces_an_older_one_and_never_the_reverse(cards: Cards, cache: Cache) -> None:
    assert cards.put([entry("ada", 2000), entry("bob", 2000)]) == [Fate.WRITTEN, Fate.WRITTEN]
    assert cards.put([entry("ada", 1000), entry("bob", 3000)]) == [Fate.OLDER, Fate.WRITTEN]
    with Redis.from_url(cache.url) as redis:
        assert redis.mget(["tt:{ada}:d", "tt:{bob}:d"]) == [
            b'{"v":1,"seq":2000,"slots":{}}',
            b'{"v":1,"seq":3000,"slots":{}}',
        ]


def test_the_same_decision_written_again_changes_nothing(cards: Cards) -> None:
    assert cards.put([entry("eve", 2000)]) == [Fate.WRITTEN]
    assert cards.put([entry("eve", 2000)]) == [Fate.WRITTEN]


def test_every_key_expires_with_its_decision(cards: Cards, cache: Cache) -> None:
    cards.put([entry("ivy", 2000)])
    with Redis.from_url(cache.url) as redis:
        assert redis.pexpiretime("tt:{ivy}:d") == LATER


def test_a_value_that_is_no_card_of_ours_is_replaced(cards: Cards, cache: Cache) -> None:
    with Redis.from_url(cache.url) as redis:
        redis.set("tt:{odd}:d", "something else")
    assert cards.put([entry("odd", 1)]) == [Fate.WRITTEN]


def test_after_a_failure_writes_are_skipped_for_a_while_and_then_resume(
    cards: Cards, cache: Cache, clock: Clock
) -> None:
    cache.stop(0)
    assert cards.put([entry("a", 1)]) == [Fate.FAILED]
    assert "Connection refused" in cards.trouble
    assert cards.put([entry("a", 1), entry("b", 1)]) == [Fate.SKIPPED, Fate.SKIPPED]
    clock.now += 2.0
    assert cards.put([entry("a", 1)]) == [Fate.FAILED]
    cache.launch()
    cache.await_ready(10_000)
    clock.now += 2.0
    assert cards.put([entry("a", 1)]) == [Fate.WRITTEN]
    assert cards.trouble == ""


def test_a_decision_that_does_not_reach_redis_is_a_rejection_with_its_reason_and_a_pulse_is_none(cache: Cache) -> None:
    conf = load(REPOSITORY, "local", {}, []).settings.redis

    def served(*users: str) -> list[tuple[str, Reason, str] | None]:
        """Write a decision for each, as a worker that has just started does."""
        cards = Cards(replace(conf, url=cache.url, keys_per_call=1), time.monotonic)
        serving = Serving(cards, conf.grace, lambda: LATER, {}, logging.getLogger("served"))
        seqs = np.full(len(users), LATER)
        columns = {"user_id": np.array(users, dtype=object), "account": np.full(len(users), "", dtype=object)}
        verdict = Verdict(f'{{"v":1,"seq":{LATER}}}', None, LATER)
        said = serving.serve({**columns, "slice_end": seqs, "first_ms": seqs}, [verdict] * len(users))
        found = [json.decode(each, type=Rejected) if each else None for each in said]
        return [(each.user_id, each.reason, each.detail[:15]) if each else None for each in found]

    assert served(PULSE_USER, "k0:a", "k0:b") == [None, None, None]
    cache.stop(0)
    assert served("k0:a", "k0:b") == [
        ("k0:a", Reason.WRITE_FAILED, "ConnectionError"),
        ("k0:b", Reason.WRITE_SKIPPED, "ConnectionError"),
    ]
    assert served(PULSE_USER, "k0:a") == [None, ("k0:a", Reason.WRITE_SKIPPED, "ConnectionError")]
    cache.launch()
    cache.await_ready(10_000)


def test_how_long_people_waited_is_sent_once_a_second_and_at_the_end(cards: Cards, cache: Cache, clock: Clock) -> None:
    def counted() -> dict[bytes, bytes]:
        with Redis.from_url(cache.url) as redis:
            found: Any = redis.hgetall("tt:lag:8")  # typed as if it might be awaited
            return dict(found)

    cards.put([entry("a", 1)])
    for _ in range(3):
        cards.count_lags(8, {110: 2})
    assert counted() == {b"110": b"2"}
    clock.now += 1.0
    cards.count_lags(8, {7: 1})
    assert counted() == {b"110": b"6", b"7": b"1"}
    cards.count_lags(8, {7: 1})
    cards.close()
    assert counted() == {b"110": b"6", b"7": b"2"}


def test_a_restarted_server_that_forgot_the_script_is_taught_it_again(cards: Cards, cache: Cache) -> None:
    assert cards.put([entry("a", 1)]) == [Fate.WRITTEN]
    with Redis.from_url(cache.url) as redis:
        redis.script_flush()
    assert cards.put([entry("a", 2)]) == [Fate.WRITTEN]


def test_a_slow_server_costs_one_timeout_and_then_nothing(cards: Cards, cache: Cache, clock: Clock) -> None:
    assert cards.put([entry("a", 10)]) == [Fate.WRITTEN]
    cache.pause(1_500)
    started = time.monotonic()
    assert cards.put([entry("a", 11)] * 3) == [Fate.FAILED] * 3
    assert cards.put([entry("a", 11)] * 1000) == [Fate.SKIPPED] * 1000
    assert time.monotonic() - started < 1.4
    time.sleep(1.6)
    clock.now += 2.0
    assert cards.put([entry("a", 12)]) == [Fate.WRITTEN]


def test_a_full_server_is_a_failed_write_that_heals_with_room(cards: Cards, cache: Cache, clock: Clock) -> None:
    with Redis.from_url(cache.url) as redis:
        redis.config_set("maxmemory", "1mb")
        assert cards.put([entry("a", 20)]) == [Fate.FAILED]
        assert "OutOfMemory" in cards.trouble
        redis.config_set("maxmemory", "0")
    clock.now += 2.0
    assert cards.put([entry("a", 20)]) == [Fate.WRITTEN]


def test_a_read_only_server_is_a_failed_write_that_heals_when_it_leads_again(
    cards: Cards, cache: Cache, clock: Clock
) -> None:
    with Redis.from_url(cache.url) as redis:
        redis.replicaof("127.0.0.1", 1)
        assert cards.put([entry("a", 30)]) == [Fate.FAILED]
        assert "ReadOnly" in cards.trouble
        redis.replicaof("NO", "ONE")
    clock.now += 2.0
    assert cards.put([entry("a", 30)]) == [Fate.WRITTEN]


def test_a_cluster_takes_the_same_writes_one_key_a_call(scratch: Path, clock: Clock) -> None:
    root = scratch / "cluster"
    (port,) = processes.free_ports(1)
    server = Cache(root, root / "data", port)
    server.launch(cluster=True)
    try:
        server.await_ready(10_000)
        with Redis.from_url(server.url) as redis:
            redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while redis.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                time.sleep(0.05)
        settings = load(REPOSITORY, "local", {}, []).settings.redis
        cards = Cards(replace(settings, url=server.url), clock)
        assert cards.put([entry("ada", 2000), entry("bob", 2000)]) == [Fate.WRITTEN, Fate.WRITTEN]
        assert cards.put([entry("ada", 1000), entry("bob", 3000)]) == [Fate.OLDER, Fate.WRITTEN]
        cards.count_lags(7, {110: 2})
        with Redis.from_url(server.url) as redis:
            assert redis.hgetall("tt:lag:7") == {b"110": b"2"}
    finally:
        server.stop(0)


GROUPS = Clusters.parse(
    "s3",
    json.encode(
        Clustering(
            features=[Feature(signal="session_depth", transform="none", unit=1.0, centre=0.0, scale=1.0)],
            cuts=[1],
            clusters=[
                Cluster(id=2, name="short", mass=5.0, centroid=[1.0], layers=[2]),
                Cluster(id=5, name="long", mass=1.0, centroid=[9.0], layers=[2]),
            ],
            parent="",
            rows=100,
            since=1_000,
            until=2_000,
            inertia=0.5,
            next_id=6,
        )
    ),
)


def told(memberships: Memberships, cache: Cache, *moves: Move) -> tuple[list[Told], dict[str, Any]]:
    """Tell of moves; give the records, and what Redis holds of the person afterwards."""
    records = memberships.tell(list(moves), [GROUPS] * len(moves))
    redis: Any = Redis.from_url(cache.url)
    values = {sort: redis.get(f"tt:{{k0:mover}}:s:{sort}") for sort in ("rules", "clusters")}
    return records, {sort: value and json.decode(value) for sort, value in values.items()}


def test_who_changes_segments_is_told_by_sort_with_the_one_before_and_who_leaves_is_told_of_no_more(
    cache: Cache, cards: Cards
) -> None:
    memberships = Memberships(cards, 60_000, logging.getLogger("test"))
    first, kept = told(memberships, cache, Move("k0:mover", LATER, False, "reader", "", 2, 0))
    rules = {"v": 1, "seq": LATER, "user_id": "k0:mover", "by": "rules", "segment": "reader"}
    clusters = {"v": 1, "seq": LATER, "user_id": "k0:mover", "by": "clusters", "segment": "short", "layers": [2]}
    assert kept == {"rules": rules, "clusters": clusters | {"ver": "s3"}}
    assert [json.decode(record or "") for record in first[0][:2]] == list(kept.values())

    second, kept = told(memberships, cache, Move("k0:mover", LATER + 1, False, "", "reader", 2, 2))
    assert kept["rules"] == {"v": 1, "seq": LATER + 1, "user_id": "k0:mover", "by": "rules", "prev": "reader"}
    assert (kept["clusters"]["seq"], second[0].clusters) == (LATER, None)

    third, kept = told(memberships, cache, Move("k0:mover", LATER + 2, True, "", "", 0, 2))
    assert kept == {"rules": None, "clusters": None}
    assert third == [Told(None, None, None)]


def test_a_membership_that_redis_does_not_take_is_a_record_and_without_redis_there_is_none(
    cache: Cache, cards: Cards, clock: Clock
) -> None:
    del clock
    redis: Any = Redis.from_url(cache.url)
    memberships = Memberships(cards, 60_000, logging.getLogger("test"))
    redis.config_set("maxmemory", 1)
    try:
        records, _ = told(memberships, cache, Move("k0:mover", LATER, False, "reader", "", 0, 0))
    finally:
        redis.config_set("maxmemory", 0)
    failed = json.decode(records[0].failure or "", type=Rejected)
    assert (failed.reason, failed.user_id, failed.at) == (Reason.WRITE_FAILED, "k0:mover", LATER)
    unserved = Memberships(None, 60_000, logging.getLogger("test"))
    assert unserved.tell([Move("k0:mover", LATER, False, "reader", "", 0, 0)], [None])[0].failure is None


VALID_MS = 300_000
BOOK = Book.of(
    None,
    Rulebook(
        seed="s",
        valid=VALID_MS,
        counters=[],
        slots={
            "hero": Variant({"plain": Arm(0.4), "story": Arm(0.6, params={"motion": "soft"})}, default="plain"),
            "page": Content({"length": Knob("normal")}),
        },
        rules={"reading": Rule("page", {"long": Case('segment == "reader"', Action(set={"length": "long"}))})},
    ),
)
CONSTANTS: dict[str, dict[str, Any]] = {
    "hero": {"kind": "variant", "arm": "plain"},
    "page": {"kind": "params", "params": {"length": "normal"}},
}


class Beating:
    """What a job does at every pulse: it decides for those of whom nothing is known, and serves that."""

    def __init__(self, cards: Cards) -> None:
        settings = load(REPOSITORY, "local", {}, []).settings
        segments = {"reader": RuleSegment("", "session_views > 5"), "skimmer": RuleSegment("", "session_views > 9")}
        self._decider = Decider(BOOK, settings.signals, settings.noise, segments)
        self._serving = Serving(cards, settings.redis.grace, lambda: LATER, {}, logging.getLogger("beating"))

    def __call__(self, end: int) -> None:
        row: dict[str, list[Any]] = {"user_id": [PULSE_USER], "account": [""], "slice_end": [end], "first_ms": [end]}
        moments = {name: np.array(column) for name, column in row.items()} | {"farewell": np.array([False])}
        self._serving.serve(moments, self._decider(moments, [(np.arange(1), InForce())]))


def test_pulses_fill_segments_and_table_and_a_person_without_a_card_is_served_from_their_segment(
    cards: Cards, cache: Cache
) -> None:
    end = time.time_ns() // 1_000_000
    beat = Beating(cards)
    beat(end - 1000)
    beat(end)
    with Redis.from_url(cache.url) as redis:
        keys = ["tt:default:d", "tt:policy", "tt:seg:reader:d", "tt:seg:skimmer:d"]
        assert [redis.pexpiretime(key) for key in keys] == [end + VALID_MS + 60_000] * 4

    reader = Reader.connect(cache.url)
    read = reader.read("k0:nobody", segment="reader", default=CONSTANTS)
    assert (read.source, read.reason, read.seq) == ("segment", "missing", end)
    assert (read.slots["page"]["params"], read.slots["hero"]["arm"]) == ({"length": "long"}, "story")
    unknown = reader.read("k0:nobody", default=CONSTANTS)
    assert (unknown.source, unknown.slots["page"]["params"], unknown.slots["hero"]["arm"]) == (
        "default",
        {"length": "normal"},
        "plain",
    )


def test_a_page_draws_from_the_table_what_the_job_draws_in_the_same_session(cards: Cards, cache: Cache) -> None:
    end = time.time_ns() // 1_000_000
    Beating(cards)(end)
    reader = Reader.connect(cache.url)
    for person in range(50):
        who = Decision(f"k0:{person}", 1, end, end, end, {}, Versions(), Signals(), session=end - 7000)
        (record,) = again([who], InForce(), BOOK, [None])
        decided = json.decode(record, type=Decision).slots["hero"]
        drawn = reader.draw("hero", f"k0:{person}", end - 7000) or {}
        assert (drawn["arm"], drawn["p"], drawn["reason"], drawn.get("params"), drawn["source"]) == (
            decided.arm,
            decided.p,
            decided.reason.value,
            decided.params,
            "table",
        )
        assert drawn["id"].startswith("cold:")


def test_what_a_stopped_job_left_behind_expires_and_the_next_pulse_renews_it(cards: Cards, cache: Cache) -> None:
    end = time.time_ns() // 1_000_000
    beat = Beating(cards)
    beat(end)
    expires = end + VALID_MS
    own = Card(
        1, end, end, expires, {"hero": SlotCard("a.hero", "variant", 0.6, Why.SPLIT, expires, arm="story")}, Versions()
    )
    cards.put([Entry("tt:{k0:ada}:d", end, expires + 60_000, json.encode(own).decode())])

    def seen(now: int, user_id: str) -> tuple[str, str | None, str, bool]:
        """Say where a page finds its slots at some time, and whether it may draw."""
        with Redis.from_url(cache.url) as redis:
            reader = Reader(redis, fresh_ms=VALID_MS, now=lambda: now)
            read = reader.read(user_id, segment="skimmer", default=CONSTANTS)
            return read.source, read.reason, read.slots["hero"]["arm"], reader.draw("hero", user_id, 7) is not None

    assert seen(expires - 1, "k0:ada") == ("user", None, "story", True)
    assert seen(expires - 1, "k0:bob") == ("segment", "missing", "story", True)
    assert seen(expires, "k0:ada") == ("caller", "expired", "plain", False)
    assert seen(expires, "k0:bob") == ("caller", "missing", "plain", False)
    beat(end + 1000)
    assert seen(expires, "k0:ada") == ("segment", "expired", "story", True)
    assert seen(expires + 999, "k0:bob") == ("segment", "missing", "story", True)
