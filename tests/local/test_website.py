"""Visitors come at the asked rate, see what was decided for them, and say so as a tracker would."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from jobs.local import website
from jobs.local.website import Group, Score, Website
from jobs.local.world import ARMS, CATALOGUE, Shelf, seeded
from jobs.wiring import Refusal
from jobs.wiring.settings import load
from schemas.events import Kind, RawEvent
from schemas.reader import Read, SlotCard, pseudonym
from schemas.settings import Settings
from udfs.cleaning.clean import Cleaner
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.learning.rates import Rate, rate

START = 1_767_225_600_000
DECIDED = ["i100", "i101", "i102", "i103", "i104", "i105", "i106", "i107"]


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(Path(__file__).parents[2], "local", {}, []).settings


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.ms = float(START)

    def now(self) -> int:
        return round(self.ms)

    def sleep(self, seconds: float) -> None:
        self.ms += 1000 * seconds


class Broker:
    """Keeps what it is given, with the moment at which it came."""

    def __init__(self, clock: Clock, *, refuses: int = 0, loses: bool = False, takes_s: float = 0.0) -> None:
        self.clock = clock
        self.records: list[tuple[str, bytes, bytes, int]] = []
        self.refuses = refuses
        self.loses = loses
        self.takes_s = takes_s
        self.flushed = False

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[[Any, Any], None]) -> None:
        if self.refuses:
            self.refuses -= 1
            raise BufferError
        self.clock.sleep(self.takes_s)
        self.records.append((topic, value, key, self.clock.now()))
        on_delivery("timed out" if self.loses else None, None)

    def poll(self, timeout: float) -> int:
        self.clock.ms += 1000 * timeout
        return 0

    def flush(self, timeout: float) -> int:
        self.flushed = timeout > 0
        return 0

    def events(self) -> list[RawEvent]:
        return [msgspec.json.decode(value, type=RawEvent) for value in self.bodies()]

    def bodies(self) -> list[bytes]:
        return [value for _, value, _, _ in self.records]


class Decided:
    """A Redis that decided the same for everybody."""

    def __init__(self, items: list[str] = DECIDED) -> None:
        self.asked: set[str] = set()
        self.slots: dict[str, SlotCard] = {
            "home_feed": {"id": "d1.home_feed", "kind": "rerank", "items": items},
            "hero": {"id": "d1.hero", "kind": "variant", "arm": "story", "params": {}, "reason": "LEARNED"},
        }

    def read(self, user_id: str, *, default: Mapping[str, SlotCard]) -> Read:
        assert default["hero"]["arm"] == "plain"
        self.asked.add(user_id)
        return Read(self.slots, "user", None, 800, START)


class Nothing:
    """A Redis that knows nobody."""

    def read(self, user_id: str, *, default: Mapping[str, SlotCard]) -> Read:  # noqa: ARG002 - as the reader's
        return Read(dict(default), "caller", "missing", None, None)


class Played:
    """A website after some virtual seconds."""

    def __init__(
        self,
        settings: Settings,
        reader: website.Cards,
        *,
        seconds: float = 60,
        broker: Broker | None = None,
        **asked: Any,
    ) -> None:
        self.broker = broker or Broker(Clock())
        clock = self.broker.clock
        self.site = Website(
            settings,
            producer=self.broker,
            reader=reader,
            now=clock.now,
            sleep=clock.sleep,
            **{"seed": 1, "rate": 100.0, "control_share": 0.2} | asked,
        )
        self.site.run(seconds, threading.Event())
        self.score = self.site.score()
        self.events = self.broker.events()


@pytest.fixture(scope="module")
def played(settings: Settings) -> Played:
    return Played(settings, Decided(), seconds=120)


def test_events_come_at_the_asked_rate(played: Played) -> None:
    assert len(played.events) / 120 == pytest.approx(100, rel=0.1)
    assert played.score.events == len(played.events)
    assert played.broker.flushed


def test_events_are_spread_over_time_and_in_its_order(played: Played) -> None:
    seconds = Counter((event.occurred_at or 0) // 1000 for event in played.events)
    assert max(seconds.values()) < 2 * 100
    delays = [
        at - (event.occurred_at or 0) for event, (*_, at) in zip(played.events, played.broker.records, strict=True)
    ]
    assert min(delays) >= 0
    assert max(delays) <= 51


def test_every_event_passes_the_suites_own_cleaning(played: Played, settings: Settings) -> None:
    cleaner = Cleaner.of(settings, pseudonymiser(b"for-development-only", "k0"))
    refused = [value for _, value, _, at in played.broker.records if cleaner.row(value, at, 0, 0).code < 1]
    assert refused == []


def test_every_kind_occurs_that_its_pages_have(played: Played) -> None:
    absent = {Kind.FORM, Kind.IDENTIFY, Kind.CONSENT, Kind.BACK, Kind.SENTIMENT, Kind.ASK}
    assert {event.kind for event in played.events} == set(Kind) - absent


def test_records_go_to_the_raw_topic_keyed_by_user(played: Played) -> None:
    assert {topic for topic, *_ in played.broker.records} == {"clicks"}
    for event, (_, _, key, _) in zip(played.events, played.broker.records, strict=True):
        assert key.decode() == event.user_id


def test_every_event_has_an_id_of_its_own(played: Played) -> None:
    assert len({event.event_id for event in played.events}) == len(played.events)


def test_about_three_seconds_worth_of_users_are_active_at_once(played: Played) -> None:
    minute = {event.user_id for event in played.events if (event.occurred_at or 0) // 20_000 == START // 20_000 + 5}
    assert 200 < len(minute) < 400


def test_redis_is_asked_for_pseudonyms_and_never_about_the_control_group(settings: Settings) -> None:
    redis = Decided()
    played = Played(settings, redis)
    exposed = {event.user_id for event in played.events if event.kind is Kind.EXPOSURE}
    key = b"for-development-only"
    # Whoever's page was read in the last moments has not reported it yet.
    assert {pseudonym(user, key, "k0") for user in exposed} <= redis.asked
    everybody = {event.user_id for event in played.events}
    assert 0.12 < len(everybody - exposed) / len(everybody) < 0.28


def test_a_decided_page_view_exposes_its_slots_with_the_decisions_ids(played: Played) -> None:
    shown = Counter(
        (event.slot, event.decision_id, event.shown, event.position, event.page)
        for event in played.events
        if event.kind is Kind.EXPOSURE
    )
    assert set(shown) == {
        ("home_feed", "d1.home_feed", "i100", 0, "/"),
        ("hero", "d1.hero", "story", 0, "/"),
    }
    assert len(set(shown.values())) == 1


def test_clicks_on_a_decided_feed_name_item_position_and_decision(played: Played) -> None:
    clicks = [event for event in played.events if event.kind is Kind.CLICK and event.decision_id]
    assert clicks
    for click in clicks:
        assert click.position is not None
        assert click.item == DECIDED[click.position]
        assert (click.slot, click.decision_id, click.page) == ("home_feed", "d1.home_feed", "/")


def test_the_control_group_sees_the_popular_items(settings: Settings) -> None:
    played = Played(settings, Decided(), control_share=1.0)
    popular = [f"i{row:03d}" for row in Shelf.stocked(seeded(1, CATALOGUE)).most_popular(8)]
    assert played.score.treated == Group()
    assert not any(event.kind is Kind.EXPOSURE for event in played.events)
    clicks = [event for event in played.events if event.kind is Kind.CLICK and event.page == "/"]
    assert clicks
    assert all(click.item == popular[click.position or 0] for click in clicks)


def test_items_that_the_shelf_lacks_make_room_for_pinned_ones(settings: Settings) -> None:
    played = Played(settings, Decided(["gone", "i100"]), control_share=0.0)
    popular = [f"i{row:03d}" for row in Shelf.stocked(seeded(1, CATALOGUE)).most_popular(7)]
    hovered = {event.position: event.item for event in played.events if event.kind is Kind.HOVER}
    assert hovered == dict(enumerate(["i100", *popular]))


def test_a_user_who_clicks_opens_the_item_next(played: Played) -> None:
    of_user: dict[str, list[RawEvent]] = defaultdict(list)
    for event in played.events:
        of_user[event.user_id].append(event)
    pairs = [
        (event, following)
        for events in of_user.values()
        for event, following in pairwise(events)
        if event.kind is Kind.CLICK
    ]
    assert pairs
    for click, view in pairs:
        assert (view.kind, view.item, view.page) == (Kind.VIEW, click.item, f"/items/{click.item}")


def test_most_users_come_back(settings: Settings) -> None:
    played = Played(settings, Nothing(), seconds=1200, rate=20.0)
    moments: dict[str, list[int]] = defaultdict(list)
    for event in played.events:
        moments[event.user_id].append(event.occurred_at or 0)
    away = [max(b - a for a, b in pairwise(each)) > 60_000 for each in moments.values() if each[1:]]
    assert sum(away) / len(moments) > 0.6


def test_the_score_counts_what_was_really_personalised(played: Played, settings: Settings) -> None:
    assert played.score.personalised_share == 1.0
    unknown = Played(settings, Nothing())
    assert unknown.score.personalised == 0
    assert unknown.score.treated.views > 0
    assert not any(event.kind is Kind.EXPOSURE for event in unknown.events)


def test_with_nothing_decided_both_groups_do_alike(settings: Settings) -> None:
    score = Played(settings, Nothing(), seconds=300, control_share=0.5).score
    assert score.p > 0.05
    assert score.treated.rate.interval[0] < score.control.rate.value < score.treated.rate.interval[1]


def test_the_score_agrees_with_the_events(settings: Settings) -> None:
    played = Played(settings, Nothing(), seconds=300, control_share=0.5)
    views = sum(event.kind is Kind.VIEW and event.page == "/" for event in played.events)
    clicks = sum(event.kind is Kind.CLICK and event.page == "/" for event in played.events)
    purchases = sum(event.kind is Kind.PURCHASE for event in played.events)
    assert played.score.treated.views + played.score.control.views == views
    # What will happen on a page is counted when it opens; at the end some pages are still open.
    assert played.score.treated.clicks + played.score.control.clicks == pytest.approx(clicks, abs=50)
    assert played.score.purchases == pytest.approx(purchases, abs=10)


def test_the_same_seed_and_the_same_answers_give_the_same_events(settings: Settings) -> None:
    one, two, other = (Played(settings, Decided(), seconds=20, seed=seed) for seed in (1, 1, 2))
    assert one.broker.records == two.broker.records
    assert one.broker.records != other.broker.records


def test_a_slow_machine_or_a_full_queue_delays_events_and_loses_none(settings: Settings) -> None:
    prompt = Played(settings, Decided(), seconds=20)
    slow = Played(settings, Decided(), seconds=20, broker=Broker(Clock(), takes_s=0.015))
    full = Played(settings, Decided(), seconds=20, broker=Broker(Clock(), refuses=5))
    assert slow.broker.bodies() == prompt.broker.bodies()
    assert full.broker.bodies() == prompt.broker.bodies()


def test_records_that_the_broker_did_not_take_are_counted_as_lost(settings: Settings) -> None:
    score = Played(settings, Decided(), seconds=5, broker=Broker(Clock(), loses=True)).score
    assert score.lost == score.events > 0


def test_a_second_run_goes_on_where_the_first_ended(settings: Settings) -> None:
    whole, halves = Played(settings, Decided(), seconds=20), Played(settings, Decided(), seconds=10)
    halves.site.run(10, threading.Event())
    assert halves.broker.records == whole.broker.records


def test_it_stops_when_told(settings: Settings) -> None:
    played, stop = Played(settings, Decided(), seconds=5), threading.Event()
    stop.set()
    played.site.run(float("inf"), stop)
    assert played.broker.clock.now() == START + 5000
    assert played.site.score() == played.score


def test_too_few_users_for_the_rate_are_refused(settings: Settings) -> None:
    with pytest.raises(Refusal, match="100 events/s need about 375 users, got 50"):
        Played(settings, Nothing(), users=50)


def test_page_views_of_one_person_are_taken_together() -> None:
    alone = rate(np.tile([1, 0], 50), np.ones(100))
    alike = rate(np.tile([5, 0], 10), np.full(20, 5))
    assert (alone.value, alike.value) == (0.5, 0.5)
    assert (round(alone.error, 4), round(alike.error, 4)) == (0.0503, 0.1147)


def test_the_groups_differ_beyond_chance_only_with_enough_people() -> None:
    assert Score(treated=Group(rate=Rate(0.17, 0.008)), control=Group(rate=Rate(0.10, 0.013))).p < 1e-5
    assert Score(treated=Group(rate=Rate(0.17, 0.027)), control=Group(rate=Rate(0.10, 0.042))).p > 0.1


def test_the_score_says_which_arms_each_hidden_segment_saw(settings: Settings) -> None:
    score = Played(settings, Decided(), seconds=60).score
    assert [sum(arms) for arms in score.arms] == [arms[ARMS.index("story")] for arms in score.arms]
    assert sum(map(sum, score.arms)) == score.personalised


def test_tastes_can_be_turned_round(settings: Settings) -> None:
    site = Played(settings, Nothing(), seconds=1).site
    assert site.best == (1, 2, 0)
    site.flip()
    assert site.best == (2, 1, 0)


@pytest.mark.parametrize("wrong", [["--rate", "0"], ["--control", "1.5"], ["--seconds", "-1"]])
def test_arguments_out_of_range_are_refused(settings: Settings, wrong: list[str]) -> None:
    with pytest.raises(Refusal, match="--rate and --seconds must be above 0"):
        website.main(settings, ["--rate", "10", "--seconds", "1", *wrong])


def test_without_a_broker_it_is_refused_and_says_where_it_looked() -> None:
    nobody = load(Path(__file__).parents[2], "local", {}, ["kafka.bootstrap=127.0.0.1:1", "kafka.wait=100ms"]).settings
    with pytest.raises(Refusal, match=r"no broker answers at 127\.0\.0\.1:1"):
        website.main(nobody, ["--rate", "10", "--seconds", "1"])
