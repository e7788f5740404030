"""Writing to Redis when it is well, down, slow, full or read-only: scoring goes on, and writing heals by itself."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis import Redis

from jobs.local import processes
from jobs.local.cache import Cache
from jobs.wiring.cards import Cards, Entry, Fate
from jobs.wiring.settings import load

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
