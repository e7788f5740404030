"""Rows to learn from are what a model saw at that moment, and no person and no moment is on both sides."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from msgspec.structs import replace

from schemas.decisions import SlotCard, Trace, Unfit, Versions, Why
from schemas.outcomes import Outcome
from schemas.signals import FEATURES, USER_FEATURES, Signals
from tests.claims.claim import settings
from tests.udfs.goods import shelf
from udfs.deciding.rank import People, features
from udfs.training.examples import Examples, examples, parted

CATALOGUE = shelf(4)
SHELVES = {"c1": CATALOGUE}
NOON = 1_767_265_200_000
SIGNALS = Signals(rate_fast=1.5, session_depth=7, gap_s=3.0)


def outcome(number: int = 0, **changed: object) -> Outcome:
    """One list of three items, the second of which was clicked."""
    items = ["travel0", "sport1", "sport0"]
    card = SlotCard(f"d{number}.home_feed", "rerank", 0.25, Why.SCORE, NOON, items=items)
    made = Outcome(
        id=card.id,
        user_id=f"k0:u{number}",
        v=1,
        slot="home_feed",
        at=NOON + number,
        due=NOON + number + 60_000,
        reward=1.0,
        seq=NOON,
        session=NOON,
        card=card,
        ver=Versions(catalogue="c1", model="m3"),
        signals=SIGNALS,
        trace=Trace(scores=[0.9, 0.5, 0.4], p=[1.0, 0.25, 1.0]),
        gains={"sport1": 0.5},
        shown="travel0",
        clicked="sport0",
        opened=["sport0"],
        segment="reader",
    )
    return replace(made, **changed)


def told(*outcomes: Outcome) -> tuple[Examples, Counter[str]]:
    left_out = Counter[str]()
    return examples(outcomes, SHELVES, left_out), left_out


def left(changed: Outcome) -> list[str]:
    found, left_out = told(changed)
    assert not len(found.gains)
    return list(left_out)


def test_every_item_of_a_list_is_a_row_with_what_it_earned_where_it_stood_and_how_likely() -> None:
    found, left_out = told(outcome())
    assert left_out == {}
    assert found.sizes.tolist() == [3]
    assert found.gains.tolist() == [0.0, 0.5, 0.0]
    assert found.earned.tolist() == [False, True, False]
    assert found.places.tolist() == [0, 1, 2]
    assert found.p.tolist() == [1.0, 0.25, 1.0]
    assert found.scores.tolist() == [0.9, 0.5, 0.4]
    assert (found.segments.tolist(), found.by.tolist()) == (["reader"], ["m3 c1"])


def test_features_are_those_that_a_model_would_have_seen() -> None:
    found, _ = told(outcome())
    items = np.array([[CATALOGUE.rows[name] for name in ("travel0", "sport1", "sport0")]])
    expected = features(People.one(SIGNALS, "sport0", ["sport0"]), CATALOGUE, items)[0]
    assert found.features.tolist() == expected.tolist()
    row = dict(zip(FEATURES, found.features[2].tolist(), strict=True))
    assert (row["rate_fast"], row["session_depth"], row["same_item"], row["opened"]) == (1.5, 7.0, 1.0, 1.0)
    assert {name: row[name] for name in USER_FEATURES} == {name: getattr(SIGNALS, name) for name in USER_FEATURES}


def test_of_a_pages_own_list_the_place_on_the_page_is_a_feature() -> None:
    found, _ = told(outcome(asked=["home_feed", "sport0", "sport1", "travel0"]))
    assert found.features[:, FEATURES.index("position")].tolist() == [2.0, 1.0, 0.0]
    other, _ = told(outcome(asked=["shelf", "sport0", "sport1", "travel0"]))
    assert other.features[:, FEATURES.index("position")].tolist() == [0.0, 0.0, 0.0]


def test_an_item_that_the_catalogue_does_not_hold_is_no_row_and_the_others_keep_their_places() -> None:
    card = replace(outcome().card, items=["travel0", "gone", "sport0", "new"])
    trace = Trace(scores=[0.9, 0.8], p=[1.0, 0.5])
    found, _ = told(outcome(card=card, trace=trace, gains={"new": 1.0, "sport0": 1.0}))
    assert (found.places.tolist(), found.gains.tolist(), found.p.tolist()) == ([0, 2], [0.0, 1.0], [1.0, 1.0])
    assert found.scores[0] == 0.9
    assert np.isnan(found.scores[1])


@pytest.mark.parametrize("reason", [Why.RULE, Why.CONTROL, Why.HOLDOUT])
def test_a_list_that_scores_alone_did_not_order_teaches_but_tells_nothing_of_places(reason: Why) -> None:
    found, _ = told(outcome(card=replace(outcome().card, reason=reason)))
    assert (len(found.gains), found.by.tolist()) == (3, [""])


def test_what_must_not_be_learned_from_is_left_out_with_its_reason() -> None:
    assert left(outcome(unfit=[Unfit.ROBOT])) == ["of robots"]
    assert left(outcome(unfit=[Unfit.CONSENT, Unfit.CLIPPED])) == ["without consent to learn"]
    assert left(outcome(card=SlotCard("d.hero", "variant", 1.0, Why.SPLIT, 0, arm="plain"))) == ["of no list"]
    assert left(outcome(shown="sport0")) == ["not shown as decided"]
    assert left(outcome(shown="sport1", position=7)) == ["not shown as decided"]
    assert left(outcome(ver=Versions(catalogue="c9"))) == ["of a catalogue that is gone"]
    assert left(outcome(card=replace(outcome().card, items=["gone"]), shown="")) == [
        "of items that their catalogue does not hold"
    ]


def test_lists_come_in_one_order_and_each_once_whatever_order_they_were_read_in() -> None:
    some = [outcome(number, user_id=f"k0:{number % 3}") for number in range(9)]
    one, _ = told(*some)
    parts = [told(each)[0] for each in reversed([*some, *some[:4]])]
    other = Examples.joined(parts)
    assert one.ids.tolist() == other.ids.tolist() == [f"d{number}.home_feed" for number in range(9)]
    assert np.array_equal(one.features, other.features)
    assert np.array_equal(one.gains, other.gains)


def test_some_of_the_lists_keep_their_rows() -> None:
    long = outcome(1, card=replace(outcome().card, items=["sport0", "sport1", "travel0", "travel1"]), shown="")
    both, _ = told(outcome(), replace(long, id="d1.home_feed"), outcome(2))
    last_two = both.taken(np.array([False, True, True]))
    assert (last_two.sizes.tolist(), last_two.places.tolist()) == ([4, 3], [0, 1, 2, 3, 0, 1, 2])
    assert both.newest(7).sizes.tolist() == [4, 3]
    assert both.newest(6).sizes.tolist() == [3]
    assert both.newest(10).sizes.tolist() == [3, 4, 3]


def test_judged_are_people_held_out_in_a_time_after_all_that_was_learned() -> None:
    conf = settings().train
    many = [
        outcome(number, user_id=f"k0:{number % 50}", at=NOON + 1000 * number, due=NOON + 1000 * number + 40_000)
        for number in range(1000)
    ]
    parts = parted(told(*many)[0], conf)
    people = [set(part.users.tolist()) for part in (parts.learn, parts.watch, parts.judge)]
    assert not any(one & other for one, other in pairwise([*people, people[0]]))
    assert [len(each) for each in people] == [25, 5, 20]
    # A quarter of the lists is judged, and what was learned from was known before the first of them.
    assert parts.judge.at.min() >= NOON + 750_000
    assert max(parts.learn.due.max(), parts.watch.due.max()) <= NOON + 750_000
    assert 300 < len(parts.learn.at) < 750 * 25 / 50
    earlier = parted(told(*many)[0], conf, until=NOON + 100_000)
    assert earlier.judge.ids.tolist() == parts.judge.ids.tolist()
    assert earlier.learn.at.max() < NOON + 100_000


def test_nothing_at_all_is_no_list() -> None:
    parts = parted(Examples.none(), settings().train)
    assert [len(part.gains) for part in (parts.learn, parts.watch, parts.judge)] == [0, 0, 0]
    assert parts.learn.features.shape == (0, len(FEATURES))
