"""Of several rules the one counts that a slot's way of resolving picks; a case that must hold for a while waits."""

from typing import Any

import numpy as np

from schemas.durations import Millis
from schemas.rules import Action, Case, Rule
from schemas.slots import Arm, Resolve, Variant
from tests.udfs.people import END, book, facts
from udfs.deciding.facts import Facts
from udfs.deciding.speaking import SILENT, Voices, voices

ARMS = {"a": Arm(), "b": Arm(), "c": Arm()}
HURRIED: Any = {"cases": {"fast": Case("rate_fast > 1", Action(arms=["a"]))}}
SHOPPING: Any = {
    "cases": {"full": Case("cart_items > 2", Action(arms=["b"])), "some": Case("cart_items > 0", Action(arms=["c"]))}
}


def spoken(rules: dict[str, Rule], about: Facts, resolve: Resolve = "priority") -> Voices:
    (place,) = book(slots={"hero": Variant(ARMS, "a", resolve=resolve)}, rules=rules).places
    return voices(place, about, heard=np.ones(len(about.users), dtype=bool))


def test_the_first_case_that_holds_speaks_and_else_where_none_does() -> None:
    rule = Rule("hero", otherwise=Action(arms=["a"]), **SHOPPING)
    found = spoken({"shopping": rule}, facts(3, cart_items=[3, 1, 0]))
    assert found.case.tolist() == [[0], [1], [2]]
    assert found.share.tolist() == [[1.0], [1.0], [1.0]]


def test_without_else_a_rule_is_silent_where_no_case_holds() -> None:
    found = spoken({"shopping": Rule("hero", **SHOPPING)}, facts(1))
    assert (found.case.tolist(), found.share.tolist()) == ([[SILENT]], [[0.0]])


def test_the_highest_priority_counts_and_of_equals_the_first() -> None:
    about = facts(2, rate_fast=[2.0, 2.0], cart_items=[1, 0])
    low_first = {"hurried": Rule("hero", priority=1, **HURRIED), "shopping": Rule("hero", priority=2, **SHOPPING)}
    equals = {"hurried": Rule("hero", **HURRIED), "shopping": Rule("hero", **SHOPPING)}
    assert spoken(low_first, about).share.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert spoken(equals, about).share.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_by_weight_all_who_speak_have_their_share() -> None:
    rules = {"hurried": Rule("hero", weight=1.0, **HURRIED), "shopping": Rule("hero", weight=3.0, **SHOPPING)}
    found = spoken(rules, facts(2, rate_fast=[2.0, 0.0], cart_items=[1, 1]), "weight")
    assert found.share.tolist() == [[0.25, 0.75], [0.0, 1.0]]


def test_by_recency_the_case_that_came_true_last_counts() -> None:
    rules = {"hurried": Rule("hero", **HURRIED), "shopping": Rule("hero", cases={"some": SHOPPING["cases"]["some"]})}
    held = {"hurried.fast": [END - 5_000, END - 50_000], "shopping.some": [END - 9_000, END - 9_000]}
    found = spoken(rules, facts(2, held=held, rate_fast=[2.0, 2.0], cart_items=[1, 1]), "recency")
    assert found.share.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_by_confidence_the_surest_counts() -> None:
    sure = Case("rate_fast > 1", Action(arms=["a"]), confidence="churn_risk")
    rules = {
        "hurried": Rule("hero", {"fast": sure}),
        "shopping": Rule("hero", {"some": Case("cart_items > 0", Action(arms=["b"]), confidence="0.5")}),
    }
    found = spoken(rules, facts(2, rate_fast=[2.0, 2.0], cart_items=[1, 1], churn_risk=[0.9, 0.1]), "confidence")
    assert found.share.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_case_with_a_for_waits_until_it_has_held_so_long() -> None:
    slow = Case("rate_fast > 1", Action(arms=["a"]), hold=Millis(10_000))
    held = {"hurried.fast": [END - 9_999, END - 10_000, 0]}
    found = spoken({"hurried": Rule("hero", {"fast": slow})}, facts(3, held=held, rate_fast=[2.0, 2.0, 2.0]))
    assert found.share.tolist() == [[0.0], [1.0], [0.0]]


def test_a_case_waits_for_its_events() -> None:
    late = Case("rate_fast > 1", Action(arms=["a"]), min_events=5)
    found = spoken({"hurried": Rule("hero", {"fast": late})}, facts(2, rate_fast=[2.0, 2.0], session_events=[4, 5]))
    assert found.share.tolist() == [[0.0], [1.0]]
