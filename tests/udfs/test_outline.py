"""What may speak for a slot is told in the order in which it counts."""

import pytest

from schemas.durations import Millis
from schemas.rules import Action, Case, Experiment, Rule, Treatment
from schemas.slots import Arm, Cap, Content, Guards, Knob, Rerank, Resolve, Trigger, Variant
from tests.udfs.people import book
from udfs.explaining.outline import outline

ARMS = {"b": Arm(), "a": Arm(3.0)}


@pytest.mark.parametrize(
    ("resolve", "told"),
    [
        (
            "priority",
            [
                "  where rules speak, the highest priority counts, of equals the first",
                "  rule mid, priority 1",
                "  rule last, priority 1",
                "  rule first, priority 0",
            ],
        ),
        (
            "weight",
            [
                "  where rules speak, each has its share",
                "  rule first, weight 5",
                "  rule last, weight 2.5",
                "  rule mid, weight 1",
            ],
        ),
        (
            "recency",
            [
                "  where rules speak, the one whose case came true last counts",
                "  rule first",
                "  rule mid",
                "  rule last",
            ],
        ),
        ("confidence", ["  where rules speak, the surest counts", "  rule first", "  rule mid", "  rule last"]),
    ],
)
def test_rules_stand_in_the_order_in_which_they_count(resolve: Resolve, told: list[str]) -> None:
    case = {"c": Case("rate_fast > 1", Action(arms=["a"]))}
    rules = {
        "first": Rule("hero", case, weight=5.0),
        "mid": Rule("hero", case, priority=1),
        "last": Rule("hero", case, priority=1, weight=2.5),
    }
    lines = list(outline(book(slots={"hero": Variant(ARMS, "a", resolve=resolve)}, rules=rules)))
    assert lines[0] == "hero: one of a (75 %), b (25 %); the default is a"
    assert [line for line in lines if line.startswith(("  rule", "  where"))] == told


def test_a_slot_for_which_nothing_speaks_says_so() -> None:
    assert list(outline(book(slots={"feed": Rerank(3, 9, relevance=0.7)}))) == [
        "feed: a list of 3, out of 9 candidates, relevance 0.7 against sameness",
        "  no rule and no experiment speaks for it",
    ]


def test_a_parameter_says_by_what_it_is_set_and_within_what() -> None:
    knobs = {
        "length": Knob("short", ["short", "long"], predicted="read_s", cuts=[30.0]),
        "density": Knob(0.5, least=0, most=1, predicted="crowded", step=0.25),
    }
    assert next(outline(book(slots={"page": Content(knobs)}))) == (
        "page: length = short (short, long, by a model's read_s, cut at 30), "
        "density = 0.5 (>= 0, <= 1, in steps of 0.25, by a model's crowded)"
    )


def test_caps_say_of_what_and_in_which_stretch_and_arms_of_an_experiment_how_they_differ() -> None:
    caps = [Cap(1), Cap(2, of="nudge/a", per="day"), Cap(3, of="*", per="life")]
    slot = Trigger(ARMS, guards=Guards(caps=caps, cooldown=Millis(90_000)))
    arms = {"usual": Treatment(), "calm": Treatment(arms=["b"], refresh=Millis(0)), "none": Treatment(control=True)}
    told = book(counters=["nudge", "nudge/a"], slots={"nudge": slot}, experiments={"e": Experiment("nudge", arms)})
    assert list(outline(told)) == [
        "nudge: nothing until a rule asks for one of a, b",
        "  guard cap: at most 1 in a session",
        "  guard cap: at most 2 in a day of nudge/a",
        "  guard cap: at most 3 ever, all slots together",
        "  guard cooldown: at least 90s since it was shown",
        "  experiment e: everybody",
        "    arm usual (33.3 %): as usual",
        "    arm calm (33.3 %): arms b, drawn anew every 0ms",
        "    arm none (33.3 %): the default, and nothing else",
    ]
