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
from schemas.events import PULSE_USER
from schemas.rejects import Reason, Rejected
from udfs.clusters import Clusters
from udfs.decide import Verdict

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
