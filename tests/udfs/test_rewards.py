"""Rewards: which events of a person count for what they were shown, what those are worth, and who is left out."""

import pytest
from msgspec import json
from msgspec.structs import replace

from schemas.decisions import Decision, Draw, SlotCard, Trace, Unfit, Versions, Why
from schemas.durations import Millis
from schemas.events import Event, Kind, Purpose
from schemas.outcomes import Outcome
from schemas.signals import Signals
from schemas.slots import Reward
from udfs.learning.rewards import APART, counting, gains, heard, hits, outcome, trouble, worth
from udfs.learning.uncertainty import evenness

AT = 1_767_268_810_000
SEQ = AT - 4_000
MINUTE = Millis(60_000)
LIST = SlotCard("7Qm2k9wZ4tA1.feed", "rerank", 1.0, Why.SCORE, SEQ + 300_000, items=["i1", "i2", "i3"])
HERO = SlotCard("7Qm2k9wZ4tA1.hero", "variant", 0.3, Why.SPLIT, SEQ + 300_000, arm="story")
CLICK = Reward({Kind.CLICK: 1.0}, within=MINUTE)
DECISION = Decision(
    user_id="k0:ada",
    v=1,
    seq=SEQ,
    at=SEQ - 100,
    expires=SEQ + 300_000,
    slots={"feed": LIST, "hero": HERO},
    ver=Versions(rules="r3"),
    signals=Signals(session_clicks=2),
    session=SEQ - 50_000,
    clicked="i9",
    trace={"hero": Trace(draw=Draw("seed|hero", 0.6, ["plain", "story"], [0.7, 0.3]))},
    segment="reader",
    cluster=4,
)
EXPOSURE = Event("k0:ada", AT, Kind.EXPOSURE, slot="hero", decision_id=HERO.id, shown="story", position=1)


def click(after_ms: int, *, item: str = "i1", quotes: str = LIST.id, event_id: str | None = None) -> Event:
    return Event("k0:ada", AT + after_ms, Kind.CLICK, event_id, item=item, decision_id=quotes)


def came(events: list[Event], reward: Reward = CLICK, exposure: Event = EXPOSURE) -> Outcome:
    found = outcome(DECISION, exposure, AT, events, reward, 10 * MINUTE)
    assert found is not None
    return found


def test_an_event_counts_from_the_millisecond_of_the_exposure_to_that_in_which_its_time_is_up() -> None:
    #        -1   0 ............ 60000   60001
    #             ^ shown        ^ the last that counts
    times = (-1, 0, MINUTE, MINUTE + 1)
    found = counting(LIST, "", AT, [click(after) for after in times], CLICK)
    assert [event.at - AT for event in found] == [0, MINUTE]


def test_only_the_kinds_that_are_worth_something_count() -> None:
    events = [click(1), Event("k0:ada", AT + 2, Kind.PURCHASE, decision_id=LIST.id)]
    assert [event.kind for event in counting(LIST, "", AT, events, CLICK)] == [Kind.CLICK]


def test_what_is_late_or_a_robots_does_not_count() -> None:
    assert counting(LIST, "", AT, [replace(click(1), late=True), replace(click(2), robot=True)], CLICK) == []


@pytest.mark.parametrize(
    ("by", "counted"),
    [
        ("decision", [1, 2]),
        ("item", [1, 3]),
        ("person", [1, 2, 3, 4]),
    ],
)
def test_what_counts_quotes_the_decision_or_is_about_an_item_or_is_any(by: str, counted: list[int]) -> None:
    events = [
        click(1),
        click(2, item="i8"),
        click(3, quotes="7Qm2k9wZ4tA1.hero"),
        click(4, item="i8", quotes="7Qm2k9wZ4tA2.feed"),
    ]
    found = counting(LIST, "", AT, events, replace(CLICK, by=by))
    assert [event.at - AT for event in found] == counted


def test_a_slot_that_shows_no_list_shows_what_the_page_says_or_its_arm() -> None:
    events = [click(1, item="story"), click(2, item="i7")]
    by_item = replace(CLICK, by="item")
    assert [event.item for event in counting(HERO, "", AT, events, by_item)] == ["story"]
    assert [event.item for event in counting(HERO, "i7", AT, events, by_item)] == ["i7"]


def test_an_id_that_comes_again_counts_once_the_first_time() -> None:
    events = [click(1, event_id="a"), click(2, event_id="b"), click(3, event_id="a"), click(4), click(5)]
    assert [event.at - AT for event in counting(LIST, "", AT, events, CLICK)] == [1, 2, 4, 5]


def test_events_are_read_in_the_order_of_time_each_record_once_and_what_is_none_is_said() -> None:
    texts = [json.encode(click(after)).decode() for after in (5, 2, 5)]
    events, complaints = heard(APART.join([*texts, '{"v":1,"kind":"click"}', "{"]))
    assert [event.at - AT for event in events] == [2, 5]
    assert complaints == ["Input data was truncated", "Object missing required field `user_id`"]
    assert heard("") == ([], [])


def test_of_each_kind_as_many_count_as_the_reward_says_and_never_more_than_1_in_all() -> None:
    reward = Reward({Kind.CLICK: 0.3, Kind.PURCHASE: 0.6}, within=MINUTE, most={Kind.CLICK: 2})
    clicks = [click(after) for after in range(3)]
    bought = Event("k0:ada", AT + 9, Kind.PURCHASE)
    assert hits(clicks, reward) == {Kind.CLICK: 2}
    assert worth(hits(clicks, reward), reward) == 0.6
    assert worth(hits([*clicks, bought, bought], reward), reward) == 1.0


def test_each_item_of_a_list_gains_what_it_would_have_by_itself() -> None:
    reward = Reward({Kind.CLICK: 0.4, Kind.CART: 1.0}, within=MINUTE)
    cart = Event("k0:ada", AT + 4, Kind.CART, item="i3")
    events = [click(1), click(2), click(3, item="i3"), cart, click(5, item="x")]
    assert gains(["i1", "i2", "i3"], events, reward) == {"i1": 0.4, "i3": 1.0}
    found = came(events, replace(reward, by="item"), replace(EXPOSURE, decision_id=LIST.id))
    assert (found.reward, found.hits, found.gains) == (1.0, {Kind.CLICK: 1, Kind.CART: 1}, {"i1": 0.4, "i3": 1.0})


def test_an_outcome_holds_all_that_can_be_learned_from_it() -> None:
    assert came([click(1)], replace(CLICK, by="person")) == Outcome(
        id="7Qm2k9wZ4tA1.hero",
        user_id="k0:ada",
        v=1,
        slot="hero",
        at=AT,
        due=AT + 600_000,
        reward=1.0,
        seq=SEQ,
        session=SEQ - 50_000,
        card=HERO,
        ver=Versions(rules="r3"),
        signals=Signals(session_clicks=2),
        trace=Trace(draw=Draw("seed|hero", 0.6, ["plain", "story"], [0.7, 0.3])),
        uncertainty=evenness([0.7, 0.3]),
        hits={Kind.CLICK: 1},
        gains={},
        shown="story",
        position=1,
        clicked="i9",
        segment="reader",
        cluster=4,
    )


def test_nothing_that_counts_is_a_reward_of_0() -> None:
    found = came([])
    assert (found.reward, found.hits, found.gains, found.unfit, found.unmeasured) == (0.0, {}, {}, [], False)


@pytest.mark.parametrize("denies", ["decision", "exposure", "event", "event that does not count"])
@pytest.mark.parametrize("purpose", [Purpose.LEARN, Purpose.MEASURE])
def test_a_purpose_is_denied_by_the_decision_its_exposure_or_an_event_that_counts(
    denies: str, purpose: Purpose
) -> None:
    decision, exposure, event = DECISION, EXPOSURE, click(1, quotes=HERO.id)
    if denies == "decision" and purpose is Purpose.LEARN:
        decision = replace(decision, unfit=[Unfit.CONSENT, Unfit.OUTLIER])
    elif denies == "decision":
        decision = replace(decision, unmeasured=True, unfit=[Unfit.OUTLIER])
    else:
        decision = replace(decision, unfit=[Unfit.OUTLIER])
    if denies == "exposure":
        exposure = replace(exposure, denied=[purpose])
    if denies.startswith("event"):
        event = replace(event, denied=[purpose], at=event.at if denies == "event" else AT + MINUTE + 1)
    found = outcome(decision, exposure, AT, [event], CLICK, 10 * MINUTE)
    assert found is not None
    counts = denies != "event that does not count"
    learned_from = not counts or purpose is not Purpose.LEARN
    assert found.unfit == ([Unfit.OUTLIER] if learned_from else [Unfit.CONSENT, Unfit.OUTLIER])
    assert found.unmeasured == (counts and purpose is Purpose.MEASURE)


def test_what_may_neither_be_learned_from_nor_measured_has_no_outcome() -> None:
    decision = replace(DECISION, unfit=[Unfit.CONSENT])
    assert outcome(decision, replace(EXPOSURE, denied=[Purpose.MEASURE]), AT, [], CLICK, 10 * MINUTE) is None


def test_a_reward_that_asks_for_more_than_is_collected_is_named() -> None:
    reward = Reward({Kind.CLICK: 1.0, Kind.RATE: 0.5}, within=MINUTE)
    assert trouble(reward, [Kind.CLICK, Kind.RATE], MINUTE) == ""
    assert trouble(reward, [Kind.CLICK], MINUTE) == "no slot of conf names rate"
    assert trouble(reward, [Kind.CLICK, Kind.RATE], MINUTE - 1) == "within is longer than learn.window"


def test_the_first_id_in_a_record_is_that_of_its_first_slot_whatever_it_holds() -> None:
    # The views find a decision's moment so, without reading the record.
    tricky = replace(
        DECISION,
        user_id="k1:id",
        slots={"id": replace(HERO, id="7Qm2k9wZ4tA1.id", why=['"id":"no']), "feed": LIST},
        clicked='"id":"no',
        asked=["id", '"id":"no'],
    )
    text = json.encode(tricky).decode()
    start = text.index('"id":"') + 6
    assert text[start : start + 12] == "7Qm2k9wZ4tA1"


def test_the_first_kind_in_a_record_is_the_events_own_whatever_it_holds() -> None:
    tricky = Event("k1:kind", AT, Kind.VIEW, '"kind":"click"', properties={"kind": "click"})
    text = json.encode(tricky).decode()
    start = text.index('"kind":"') + 8
    assert text[start:].partition('"')[0] == "view"
