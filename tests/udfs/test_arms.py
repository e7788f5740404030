"""Which arm a person sees: drawn among what rules and experiments leave, held back by guards, one a session."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from schemas.decisions import Decision, Guard, Spoke, Why
from schemas.durations import Millis
from schemas.rules import Action, Case, Experiment, Holdout, Rule, Treatment
from schemas.slots import Arm, Cap, Guards, Trigger, Variant
from tests.udfs.people import END, SESSION, book, decisions, facts
from udfs.deciding.facts import Facts
from udfs.deciding.in_force import InForce
from udfs.deciding.switches import Switches
from udfs.draw import ticket

ARMS = {"plain": Arm(0.5, {"density": "high"}), "short": Arm(0.3), "story": Arm(0.2)}
ALWAYS = {"always": Case("events >= 0", Action(arms=["story"]))}


def hero(**said: Any) -> Variant:
    return Variant(ARMS, "plain", **said)


def decided(about: Facts, slot: Variant | Trigger | None = None, **said: Any) -> list[Decision]:
    return decisions(about, book(slots={"hero": slot or hero()}, **said))


def test_arms_are_drawn_as_often_as_they_weigh_and_the_record_says_how() -> None:
    found = decided(facts(20_000))
    drawn = Counter(each.slots["hero"].arm for each in found)
    assert [drawn[arm] / 20_000 for arm in ARMS] == pytest.approx([0.5, 0.3, 0.2], abs=0.015)
    first, draw = found[0].slots["hero"], found[0].trace["hero"].draw
    assert draw is not None
    assert (draw.arms, draw.p) == (["plain", "short", "story"], [0.5, 0.3, 0.2])
    assert (draw.key, draw.value) == (f"s|hero|k0:0|{SESSION}", ticket(f"s|hero|k0:0|{SESSION}"))
    assert (first.p, first.reason) == (dict(zip(draw.arms, draw.p, strict=True))[first.arm or ""], Why.SPLIT)


def test_a_rule_leaves_some_arms_and_the_draw_is_among_these() -> None:
    few = Rule("hero", {"fast": Case("rate_fast > 1", Action(arms=["plain", "story"]))})
    fast, slow = decided(facts(2, rate_fast=[2.0, 0.0]), rules={"few": few})
    assert fast.trace["hero"].draw is not None
    assert fast.trace["hero"].draw.p == pytest.approx([0.5 / 0.7, 0.0, 0.2 / 0.7])
    assert fast.trace["hero"].rules == [Spoke("few", "fast", won=True)]
    assert (fast.slots["hero"].reason, fast.slots["hero"].why) == (
        Why.RULE,
        ["rule:few", f"drawn with p = {fast.slots['hero'].p:.3g}"],
    )
    assert (slow.slots["hero"].reason, slow.trace["hero"].rules) == (Why.SPLIT, None)


def test_by_weight_the_probability_is_that_of_the_mixture() -> None:
    rules = {
        "one": Rule("hero", ALWAYS, weight=1.0),
        "other": Rule("hero", {"always": Case("events >= 0", Action(arms=["plain", "story"]))}, weight=3.0),
    }
    (found,) = decided(facts(1), hero(resolve="weight"), rules=rules)
    assert found.trace["hero"].draw is not None
    # A quarter of the draws is story's; of the others 5 in 7 are plain's.
    assert found.trace["hero"].draw.p == pytest.approx([0.75 * 5 / 7, 0.0, 0.25 + 0.75 * 2 / 7])


def test_a_nudge_shows_nothing_until_a_rule_asks_for_it() -> None:
    slot = Trigger({"help": Arm(params={"text": "help"}), "tip": Arm()})
    rule = Rule("hero", {"stuck": Case("n_rage > 0", Action(arms=["help"]))})
    stuck, calm = decided(facts(2, n_rage=[1, 0]), slot, rules={"care": rule})
    assert (stuck.slots["hero"].arm, stuck.slots["hero"].params, stuck.slots["hero"].p) == (
        "help",
        {"text": "help"},
        1.0,
    )
    assert (calm.slots["hero"].arm, calm.slots["hero"].reason) == ("none", Why.QUIET)
    assert calm.trace["hero"].draw is None


#           session day life last     what is held back, and by what
@pytest.mark.parametrize(
    ("guards", "shown", "reason", "states"),
    [
        (Guards(caps=[Cap(3)]), [2, 9, 9, 1], Why.SPLIT, [Guard("cap", 2, 3, held=False)]),
        (Guards(caps=[Cap(3)]), [3, 9, 9, 1], Why.CAPPED, [Guard("cap", 3, 3, held=True)]),
        (Guards(caps=[Cap(3, "day")]), [0, 3, 9, 1], Why.CAPPED, [Guard("cap", 3, 3, held=True)]),
        (Guards(caps=[Cap(9, "life")]), [0, 3, 9, 1], Why.CAPPED, [Guard("cap", 9, 9, held=True)]),
        (
            Guards(cooldown=Millis(5000)),
            [1, 1, 1, END - 4999],
            Why.COOLDOWN,
            [Guard("cooldown", 4999, 5000, held=True)],
        ),
        (Guards(cooldown=Millis(5000)), [1, 1, 1, END - 5000], Why.SPLIT, [Guard("cooldown", 5000, 5000, held=False)]),
        (Guards(cooldown=Millis(5000)), [0, 0, 0, 0], Why.SPLIT, [Guard("cooldown", -1, 5000, held=False)]),
        (Guards(quiet_when="rate_fast >= 0"), [0, 0, 0, 0], Why.PACED, [Guard("pacing", 1, 0, held=True)]),
        (Guards(min_events=1), [0, 0, 0, 0], Why.EARLY, [Guard("evidence", 0, 1, held=True)]),
        (Guards(confidence=0.6), [0, 0, 0, 0], Why.UNSURE, [Guard("confidence", 0.5, 0.6, held=True)]),
        (Guards(confidence=0.5), [0, 0, 0, 0], Why.SPLIT, [Guard("confidence", 0.5, 0.5, held=False)]),
    ],
)
def test_a_guard_holds_the_draw_back_and_its_state_is_in_the_record(
    guards: Guards, shown: list[int], reason: Why, states: list[Guard]
) -> None:
    (found,) = decided(facts(1, shown=[[shown]]), hero(guards=guards), counters=["hero"])
    card = found.slots["hero"]
    assert (card.reason, found.trace["hero"].guards) == (reason, states)
    assert found.trace["hero"].draw is not None
    if reason is not Why.SPLIT:
        assert (card.arm, card.p, card.params) == ("plain", 1.0, {"density": "high"})


@pytest.mark.parametrize(("of", "count"), [("hero/story", 2), ("*", 5)])
def test_a_cap_may_count_one_arm_or_all_slots(of: str, count: int) -> None:
    about = facts(1, shown=[[[1, 1, 1, 1], [4, 4, 4, 1], [2, 2, 2, 1]]])
    slots = {"hero": hero(guards=Guards(caps=[Cap(count, of=of)])), "feed": hero()}
    (found,) = decisions(about, book(slots=slots, counters=["feed", "hero", "hero/story"]))
    assert found.trace["hero"].guards == [Guard("cap", count, count, held=True)]


def test_a_refresh_draws_anew_within_a_session_but_not_too_often() -> None:
    about = facts(3)._replace(ends=np.array([SESSION + 1_000, SESSION + 61_000, SESSION + 500_000]))
    slot = hero(guards=Guards(refresh=Millis(60_000), changes=2))
    keys = [each.trace["hero"].draw.key for each in decided(about, slot) if each.trace["hero"].draw]
    assert keys == [f"s|hero|k0:0|{SESSION}", f"s|hero|k0:1|{SESSION}|1", f"s|hero|k0:2|{SESSION}|2"]
    assert decided(about, slot)[2].trace["hero"].guards == [Guard("changes", 8, 2, held=True)]


def test_an_experiments_control_group_gets_the_default_and_the_others_what_their_arm_says() -> None:
    arms = {"control": Treatment(control=True), "narrow": Treatment(arms=["short"])}
    found = decided(facts(1000), experiments={"density": Experiment("hero", arms)})
    kinds = Counter((each.slots["hero"].exp, each.slots["hero"].arm, each.slots["hero"].control) for each in found)
    assert set(kinds) == {("density:control", "plain", True), ("density:narrow", "short", False)}
    assert kinds["density:control", "plain", True] == pytest.approx(500, abs=60)
    part = found[0].trace["hero"].part
    assert part is not None
    assert (part.experiment, found[0].slots["hero"].exp) == ("density", f"density:{part.arm}")


def test_rules_do_not_count_where_an_experiment_says_so() -> None:
    arms = {"ruled": Treatment(), "free": Treatment(rules=False)}
    found = decided(facts(200), rules={"all": Rule("hero", ALWAYS)}, experiments={"rules": Experiment("hero", arms)})
    reasons = {(each.slots["hero"].exp, each.slots["hero"].reason) for each in found}
    assert reasons == {("rules:ruled", Why.RULE), ("rules:free", Why.SPLIT)}


def test_who_is_held_out_gets_the_default_in_every_slot() -> None:
    found = decided(facts(1000), holdout=Holdout(0.1))
    out = [each for each in found if each.slots["hero"].reason is Why.HOLDOUT]
    assert len(out) == pytest.approx(100, abs=30)
    assert {(each.slots["hero"].arm, each.slots["hero"].control) for each in out} == {("plain", True)}


def test_what_is_switched_off_shows_its_default() -> None:
    off = InForce(switches=Switches.parse("f1", b'{"slots":{"hero":false}}'))
    (found,) = decisions(facts(1), book(slots={"hero": hero()}), releases=off)
    assert (found.slots["hero"].reason, found.slots["hero"].arm, found.ver.flags) == (Why.OFF, "plain", "f1")


def test_a_person_gets_the_same_alone_and_among_others() -> None:
    rules = {"few": Rule("hero", {"fast": Case("rate_fast > 1", Action(arms=["plain", "story"]))})}
    many = decided(facts(50, rate_fast=[row / 10 for row in range(50)]), rules=rules)
    for row in (3, 30):
        about = facts(1, rate_fast=[row / 10])._replace(users=[f"k0:{row}"])
        (alone,) = decided(about, rules=rules)
        assert alone == many[row]


def test_two_caps_of_one_number_are_told_apart() -> None:
    caps = [Cap(3, "session"), Cap(3, "day")]
    (found,) = decided(facts(1, shown=[[[0, 3, 3, 1]]]), hero(guards=Guards(caps=caps)), counters=["hero"])
    assert found.slots["hero"].why == ["shown 3 times today, 3 allowed"]
