"""Every reason has a sentence that a product person understands, with the numbers that belong to it."""

import pytest

from schemas.decisions import Draw, Guard, Part, SlotCard, Spoke, Trace, Why
from udfs.explaining.sentences import drawn, sentence

ARMS = ["plain", "short_visual", "story"]
DRAW = Draw("s|hero|k0:ada|0", 0.85, ARMS, [0.5, 0.3, 0.2])


def hero(arm: str, reason: Why, p: float = 1.0) -> SlotCard:
    return SlotCard("d.hero", "variant", p, reason, 0, arm=arm)


def nudge(arm: str, reason: Why) -> SlotCard:
    return SlotCard("d.nudge", "trigger", 1.0, reason, 0, arm=arm)


def feed(reason: Why) -> SlotCard:
    return SlotCard("d.feed", "rerank", 1.0, reason, 0, items=["i7", "i2", "i9"])


def page(reason: Why, **params: str | bool) -> SlotCard:
    return SlotCard("d.page", "params", 1.0, reason, 0, params=dict(params))


def won(*rules: str) -> list[Spoke]:
    return [Spoke(rule, "some", won=True) for rule in rules]


SAID = [
    (
        feed(Why.SCORE),
        Trace(candidates=20, scores=[0.9, 0.8, 0.7]),
        "feed shows i7 first of 3 items because it comes first in the model's order of 20",
    ),
    (
        feed(Why.SCORE),
        Trace(candidates=9, scores=[0.1, 0.8, 0.7], p=[0.05, 0.9, 0.9]),
        "feed shows i7 first of 3 items because it comes first in the model's order of 9, with a chance of 5 %",
    ),
    (
        feed(Why.POPULAR),
        Trace(candidates=20),
        "feed shows i7 first of 3 items because no model is in force, and this is the most popular",
    ),
    (
        feed(Why.POPULAR),
        Trace(candidates=20, guards=[Guard("stale", 90_000, 60_000, held=True)]),
        "feed shows i7 first of 3 items because the model is too old, and this is the most popular",
    ),
    (
        feed(Why.RULE),
        Trace(candidates=20, rules=won("fresh", "local")),
        "feed shows i7 first of 3 items because the rules fresh and local bend the order",
    ),
    (
        hero("story", Why.SPLIT, 0.2),
        Trace(draw=DRAW, policy="weights"),
        "hero shows story because the draw fell on it, with a chance of 20 %",
    ),
    (
        hero("story", Why.LEARNED, 0.2),
        Trace(draw=DRAW, policy="learned"),
        "hero shows story because the policy learned gives it a chance of 20 %, and the draw fell on it",
    ),
    (
        hero("plain", Why.RULE),
        Trace(draw=Draw("", 0.85, ARMS, [1.0, 0.0, 0.0]), rules=[Spoke("calm", "else"), *won("frustrated_hero")]),
        "hero shows plain because the rule frustrated_hero asks for it",
    ),
    (
        hero("story", Why.RULE, 0.04),
        Trace(draw=Draw("", 0.85, ARMS, [0.96, 0.0, 0.04]), rules=won("calm")),
        "hero shows story because the rule calm asks for plain or story, and the draw fell on it, with a chance of 4 %",
    ),
    (
        hero("plain", Why.CAPPED),
        Trace(draw=DRAW, guards=[Guard("cap", 1, 3, held=False), Guard("cap", 12, 12, held=True)]),
        "hero shows plain because it has been shown often enough (12 times, 12 allowed); story was drawn and held back",
    ),
    (
        nudge("none", Why.COOLDOWN),
        Trace(draw=Draw("", 0.0, ["help"], [1.0]), guards=[Guard("cooldown", 90_000, 600_000, held=True)]),
        "nudge shows nothing because it was shown a moment ago (90 s, 600 s needed); help was drawn and held back",
    ),
    (
        nudge("none", Why.PACED),
        Trace(guards=[Guard("pacing", 1, 0, held=True)]),
        "nudge shows nothing because this is no moment to disturb",
    ),
    (
        hero("plain", Why.EARLY),
        Trace(guards=[Guard("evidence", 3, 10, held=True)]),
        "hero shows plain because too little is known of the session (3 events, 10 needed)",
    ),
    (
        hero("plain", Why.UNSURE),
        Trace(guards=[Guard("confidence", 0.41, 0.6, held=True)]),
        "hero shows plain because no arm is likely enough to be the best (41 % at most, 60 % needed)",
    ),
    (nudge("none", Why.QUIET), Trace(), "nudge shows nothing because no rule asks for a nudge"),
    (
        page(Why.USUAL, images="full", motion=True),
        Trace(),
        "page has images full, motion on because no rule sets anything",
    ),
    (
        page(Why.RULE, images="none", motion=False),
        Trace(rules=won("low_bandwidth")),
        "page has images none, motion off because the rule low_bandwidth sets it so",
    ),
    (
        SlotCard("d.page", "params", 1.0, Why.RULE, 0, params={"length": "long"}, why=["rule:slow", "head:length"]),
        Trace(rules=won("slow"), heads={"length": 41.56, "images": 3.0}),
        "page has length long because the rule slow sets it so, and length follows a model",
    ),
    (
        SlotCard("d.page", "params", 1.0, Why.HEAD, 0, params={"length": "long"}, why=["head:length"]),
        Trace(heads={"length": 41.56}),
        "page has length long because length follows what a model predicts of the person (41.6)",
    ),
    (
        hero("plain", Why.HOLDOUT),
        Trace(),
        "hero shows plain because the person is held out of everything, so that the whole can be measured",
    ),
    (
        hero("plain", Why.CONTROL),
        Trace(part=Part("heroes", "control", 0.1)),
        "hero shows plain because the person is in a control group (experiment heroes, arm control)",
    ),
    (hero("plain", Why.OFF), Trace(), "hero shows plain because it is switched off"),
    (hero("plain", Why.ROBOT), Trace(), "hero shows plain because a robot gets what everybody gets"),
    (hero("plain", Why.DEFAULT), Trace(), "hero shows plain because nothing is known of the person"),
]


@pytest.mark.parametrize(("card", "trace", "said"), SAID)
def test_a_choice_is_told_in_one_sentence(card: SlotCard, trace: Trace, said: str) -> None:
    assert sentence(card.id.removeprefix("d."), card, trace) == said


def test_every_reason_there_is_has_its_sentence() -> None:
    assert {card.reason for card, _, _ in SAID} == set(Why)


def test_an_empty_list_and_a_list_of_one_are_told_as_they_are() -> None:
    empty = SlotCard("d.feed", "rerank", 1.0, Why.RULE, 0, items=[])
    assert sentence("feed", empty, Trace(rules=won("hide"))).startswith("feed shows no item because the rule hide")
    one = SlotCard("d.feed", "rerank", 1.0, Why.OFF, 0, items=["i1"])
    assert sentence("feed", one) == "feed shows i1 because it is switched off"


def test_a_draw_that_rounding_leaves_above_the_sum_falls_on_the_last_arm_with_a_chance() -> None:
    assert drawn(Draw("", 0.9999999999999999, ARMS, [0.5, 0.4999999999999998, 0.0])) == "short_visual"
