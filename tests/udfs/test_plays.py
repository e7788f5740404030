"""Outcomes become sums by arm, segment and cluster, whatever their order, and what is old counts less."""

import random
from typing import Any

import pytest

from schemas.decisions import Draw, SlotCard, Trace, Unfit, Versions, Why
from schemas.outcomes import Outcome
from schemas.plays import Period, Play
from schemas.policies import Learned, Linear, LinThompson, LinUcb, Plays, Posteriors
from schemas.signals import Signals
from schemas.slots import Arm, Content, Knob, Trigger, Variant
from udfs.learning.plays import grown, play, summed

HERO = Variant({"plain": Arm(), "story": Arm()}, "plain")
MINUTE = 60_000


def outcome(**said: Any) -> Outcome:
    card = SlotCard("abc.hero", "variant", 0.5, said.pop("reason", Why.SPLIT), 0, arm=said.pop("arm", "story"))
    drawn = Trace(draw=Draw("k", 0.1, ["plain", "story"], [0.5, 0.5])) if said.pop("drawn", True) else Trace()
    usual: dict[str, Any] = {
        "id": "abc.hero",
        "user_id": "k0:a",
        "v": 1,
        "slot": "hero",
        "at": 1,
        "due": 2,
        "reward": 1.0,
        "seq": 1,
        "session": 1,
        "card": card,
        "ver": Versions(),
        "signals": Signals(),
        "trace": drawn,
        "segment": "reader",
    }
    return Outcome(**usual | said)


def test_an_arm_that_was_drawn_and_shown_is_a_play_with_its_reward() -> None:
    assert play(outcome(cluster=3, shown="story"), HERO) == Play("abc.hero", "hero", "story", "reader", 3, 1.0, {})


@pytest.mark.parametrize(
    "said",
    [
        {"unfit": [Unfit.CONSENT]},
        {"reason": Why.CAPPED},
        {"reason": Why.HOLDOUT},
        {"reason": Why.CONTROL},
        {"drawn": False},
        {"shown": "plain"},
        {"arm": "gone"},
    ],
    ids=str,
)
def test_nothing_is_learned_from_what_was_not_drawn_or_not_shown_or_must_not_be_learned_from(said: Any) -> None:
    assert play(outcome(**said), HERO) is None


def test_a_slot_without_arms_or_that_is_gone_teaches_nothing() -> None:
    assert play(outcome(), Content({"density": Knob("low")})) is None
    assert play(outcome(), None) is None


def test_a_linear_policys_play_carries_what_it_asks_about_the_person() -> None:
    slot = Trigger({"story": Arm()}, {"l": LinUcb(["session_clicks", "zscore"]), "t": LinThompson(["velocity"])})
    (found,) = [play(outcome(signals=Signals(session_clicks=0, zscore=-1.0)), slot)]
    assert found is not None
    assert found.x == {"session_clicks": 0.0, "zscore": -1.0}
    (sums,) = summed([found], MINUTE, {"hero": ["session_clicks", "zscore"]}).slots["hero"].linear.values()
    assert [round(each, 6) for each in sums.weighted] == [1.0, 0.0, -0.693147]


def plays() -> list[Play]:
    rng = random.Random(5)
    return [
        Play(
            f"{n:04d}.hero",
            "hero",
            rng.choice("ab"),
            rng.choice(["", "x"]),
            n % 3,
            rng.random(),
            {"zscore": rng.random()},
        )
        for n in range(300)
    ]


def test_the_sums_do_not_depend_on_the_order_or_on_repetitions_to_the_bit() -> None:
    told = plays()
    shuffled = random.Random(1).sample([*told, *told[:50]], 350)
    assert summed(shuffled, MINUTE, {"hero": ["zscore"]}) == summed(told, MINUTE, {"hero": ["zscore"]})


def test_everybody_each_segment_and_each_cluster_have_sums_of_their_own() -> None:
    found = summed(plays(), MINUTE, {"hero": ["zscore"]})
    hero = found.slots["hero"]
    assert (found.until, found.plays, list(hero.segments), list(hero.clusters)) == (MINUTE, 300, ["", "x"], ["1", "2"])
    assert sum(each.n for each in hero.arms.values()) == 300
    assert sum(each.n for arms in hero.segments.values() for each in arms.values()) == 300
    assert hero.linear["a"].precision[0][0] == hero.arms["a"].n
    assert hero.linear["a"].weighted[0] == pytest.approx(hero.arms["a"].total, rel=1e-12)


def known(until: int, **said: Any) -> Posteriors:
    return Posteriors({"hero": Learned(**said)}, until)


def brought(until: int, **said: Any) -> Period:
    return Period(1, until, 1, {"hero": Learned(**said)})


def test_after_its_half_life_a_play_counts_half_and_the_identity_does_not_fade() -> None:
    old, new = Linear([[5.0, 0.0], [0.0, 1.0]], [2.0, 0.0]), Linear([[1.0, 0.5], [0.5, 0.25]], [1.0, 0.5])
    before = known(MINUTE, arms={"a": Plays(4.0, 2.0, 2.0)}, context=["zscore"], linear={"a": old})
    more = brought(2 * MINUTE, arms={"a": Plays(1.0, 1.0, 1.0)}, context=["zscore"], linear={"a": new})
    found = grown(before, more, half_life=MINUTE)
    assert found.until == 2 * MINUTE
    assert found.slots["hero"].arms == {"a": Plays(3.0, 2.0, 2.0)}
    assert found.slots["hero"].linear == {"a": Linear([[4.0, 0.5], [0.5, 1.25]], [2.0, 0.5])}


def test_the_first_period_counts_whole_and_a_slot_nobody_played_fades_too() -> None:
    first = grown(Posteriors({}), brought(MINUTE, arms={"a": Plays(2.0, 1.0, 1.0)}), half_life=MINUTE)
    assert first.slots["hero"].arms == {"a": Plays(2.0, 1.0, 1.0)}
    later = grown(first, Period(1, 2 * MINUTE, 0, {}), half_life=MINUTE)
    assert later.slots["hero"].arms == {"a": Plays(1.0, 0.5, 0.5)}


def test_what_has_faded_away_is_left_out() -> None:
    once = {"a": Plays(2.0, 1.0, 1.0)}
    found = grown(known(1, arms=once, segments={"old": once}), brought(1 + 12 * MINUTE, arms={"b": Plays(1.0)}), MINUTE)
    assert (found.slots["hero"].arms, found.slots["hero"].segments) == ({"b": Plays(1.0)}, {})


def test_sums_about_other_signals_are_begun_anew() -> None:
    before = known(1, context=["pace"], linear={"a": Linear([[5.0, 0.0], [0.0, 1.0]], [2.0, 0.0])})
    sums = brought(MINUTE, context=["zscore"], linear={"a": Linear([[1.0, 0.0], [0.0, 0.0]], [1.0, 0.0])})
    assert grown(before, sums, half_life=MINUTE).slots["hero"].linear == {
        "a": Linear([[2.0, 0.0], [0.0, 1.0]], [1.0, 0.0])
    }


def test_a_period_that_is_counted_already_is_refused() -> None:
    with pytest.raises(ValueError, match="the plays until 60000 are not later than what counts those until 60000"):
        grown(Posteriors({}, MINUTE), Period(1, MINUTE, 0, {}), half_life=MINUTE)
