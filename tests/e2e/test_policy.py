"""Sums of plays on a real broker become releases: each period once, whoever is killed, and again the same."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from jobs import policy
from jobs.local.stack import Stack
from jobs.wiring import Refusal, wire
from jobs.wiring.publishing import published
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.plays import Period
from schemas.policies import Learned, Plays, Posteriors
from schemas.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
MINUTE = 60_000
NOON = 1_767_268_800_000


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.setattr(policy, "TOPIC", own_topic("plays", 1))
    loaded = load(REPOSITORY, "local", stack.environment(), [f"kafka.group={policy.TOPIC}"]).settings
    learn = replace(loaded.learn, half_life=type(loaded.learn.half_life)(MINUTE), news=0.0)
    return replace(loaded, learn=learn, releases=replace(loaded.releases, store=str(tmp_path / "store")))


def write(settings: Settings, *periods: Period | bytes) -> None:
    producer = wire.producer(settings.kafka.bootstrap)
    for each in periods:
        producer.produce(policy.TOPIC, json.encode(each) if isinstance(each, Period) else each)
    assert producer.flush(20) == 0


def period(minute: int, n: float, total: float) -> Period:
    return Period(1, NOON + minute * MINUTE, int(n), {"hero": Learned({"story": Plays(n, total, total)})})


def once(settings: Settings) -> int:
    return policy.follow(settings, threading.Event(), lambda _line: None, once=True)


def known(settings: Settings) -> list[tuple[float, float]]:
    store = Store(settings.releases.store)
    read = [json.decode(store.read(each), type=Posteriors) for each in store.index("policy")]
    return [(each.slots["hero"].arms["story"].n, each.slots["hero"].arms["story"].total) for each in read]


def test_each_period_makes_a_release_in_which_older_ones_count_less(settings: Settings) -> None:
    write(settings, period(1, 8, 4), period(2, 2, 2), period(4, 1, 0))
    assert once(settings) == 3
    assert known(settings) == [(8.0, 4.0), (6.0, 4.0), (2.5, 1.0)]


def test_a_period_that_lies_in_the_topic_twice_counts_once_and_a_second_run_goes_on(settings: Settings) -> None:
    write(settings, period(1, 8, 4), period(1, 8, 4))
    assert once(settings) == 1
    assert once(settings) == 0
    write(settings, period(1, 8, 4), period(2, 2, 2))
    assert once(settings) == 1
    assert known(settings) == [(8.0, 4.0), (6.0, 4.0)]


def test_the_same_topic_gives_the_same_releases_to_the_byte(settings: Settings, tmp_path: Path) -> None:
    write(settings, *(period(minute, 3 + minute / 7, minute / 3) for minute in range(1, 9)))
    again = replace(
        settings,
        kafka=replace(settings.kafka, group=settings.kafka.group + "-again"),
        releases=replace(settings.releases, store=str(tmp_path / "again")),
    )
    assert once(settings) == once(again) == 8
    first, second = ([each.sha256 for each in Store(each.releases.store).index("policy")] for each in (settings, again))
    assert first == second


def test_little_news_waits_for_more_and_is_not_lost_by_a_restart(settings: Settings) -> None:
    slow = replace(settings, learn=replace(settings.learn, news=0.5))
    write(slow, period(1, 8, 4), period(2, 2, 2))
    assert once(slow) == 1
    assert once(slow) == 0
    write(slow, period(3, 3, 3))
    assert once(slow) == 1
    assert known(slow) == [(8.0, 4.0), (6.0, 5.0)]


def test_after_a_rollback_it_goes_on_from_what_was_rolled_back_to(settings: Settings) -> None:
    write(settings, period(1, 8, 4), period(2, 100, 100))
    once(settings)
    store = Store(settings.releases.store)
    published(settings.releases, "policy", store.read(store.index("policy")[0]), "rollback")
    write(settings, period(3, 2, 0))
    once(settings)
    assert known(settings)[-1] == (4.0, 1.0)


def test_where_the_store_takes_nothing_the_period_is_tried_again_and_nothing_is_lost(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "_AGAIN_S", 0.2)
    (tmp_path / "store").write_text("in the way")
    write(settings, period(1, 8, 4))
    said: list[str] = []
    stop = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "trying again" in line and len(said) == 2:
            (tmp_path / "store").unlink()
        if "trying again" not in line:
            stop.set()

    assert policy.follow(settings, stop, say) == 1
    assert len(said) >= 3
    assert known(settings) == [(8.0, 4.0)]


def test_what_is_no_period_is_refused_with_its_place(settings: Settings) -> None:
    write(settings, b"{}")
    with pytest.raises(Refusal, match=rf"^{policy.TOPIC}, offset 0: no sums of a period: .*missing required field `v`"):
        once(settings)
