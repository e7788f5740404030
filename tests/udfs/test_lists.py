"""A list is the model's order, bent by what rules ask for; a page that asks gets its own list back in order."""

from typing import Any

import lightgbm
import numpy as np

from schemas.decisions import Decision, Guard, Why
from schemas.rules import Action, Case, Rule
from schemas.signals import FEATURES
from schemas.slots import Cap, Guards, Rerank, Windows
from tests.udfs.people import END, book, decisions, facts
from udfs.cleaning.asking import Question
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.facts import Facts
from udfs.deciding.in_force import InForce
from udfs.scoring.models import Model, golden

#              prior by falling popularity: a1 0.9, b1 0.8, a2 0.7, b2 0.6, a3 0.5, vip 0.4 (for readers only), c1 0.3
SHELF = b"\n".join(
    b'{"id":"%s","interest":"%s","popularity":%.1f,"quality":1%s}' % line
    for line in (
        (b"a1", b"art", 0.9, b""),
        (b"b1", b"books", 0.8, b""),
        (b"a2", b"art", 0.7, b""),
        (b"b2", b"books", 0.6, b""),
        (b"a3", b"art", 0.5, b""),
        (b"vip", b"art", 0.4, b',"segments":["reader"]'),
        (b"c1", b"cars", 0.3, b""),
    )
)
HERE = InForce(Catalogue.parse("c1", SHELF))


def lists(about: Facts, slot: Rerank | None = None, **said: Any) -> list[Decision]:
    return decisions(about, book(slots={"feed": slot or Rerank(4, 7)}, **said), releases=HERE)


def always(action: Action) -> dict[str, Rule]:
    return {"it": Rule("feed", {"always": Case("events >= 0", action)})}


def items(found: Decision) -> list[str] | None:
    return found.slots["feed"].items


def test_without_rules_the_order_is_the_scores_own() -> None:
    (found,) = lists(facts(1), Rerank(7, 7))
    assert items(found) == ["a1", "b1", "a2", "b2", "a3", "c1"]
    assert (found.slots["feed"].p, found.slots["feed"].reason) == (1.0, Why.POPULAR)


def test_what_is_for_a_segment_is_shown_to_that_segment_only() -> None:
    reader, other = lists(facts(2, segment=["reader", "skimmer"]), Rerank(7, 7))
    assert items(reader) == ["a1", "b1", "a2", "b2", "a3", "vip", "c1"]
    assert "vip" not in (items(other) or [])


def test_rules_pin_bury_hide_and_boost() -> None:
    about = facts(1)
    assert items(lists(about, rules=always(Action(pin=["c1", "b2"])))[0]) == ["c1", "b2", "a1", "b1"]
    assert items(lists(about, Rerank(6, 7), rules=always(Action(bury=["a1"])))[0]) == [
        "b1",
        "a2",
        "b2",
        "a3",
        "c1",
        "a1",
    ]
    assert items(lists(about, rules=always(Action(hide=["art"])))[0]) == ["b1", "b2", "c1"]
    (boosted,) = lists(about, rules=always(Action(boost={"cars": 0.55})))
    assert items(boosted) == ["a1", "c1", "b1", "a2"]
    assert (boosted.slots["feed"].reason, boosted.slots["feed"].why) == (Why.RULE, ["rule:it", "nothing clicked yet"])


def test_a_pinned_item_need_not_be_among_the_candidates() -> None:
    (found,) = lists(facts(1), Rerank(2, 2), rules=always(Action(pin=["c1"])))
    assert items(found) == ["c1", "a1"]
    assert found.trace["feed"].scores == [0.3, 0.9]


def test_of_one_interest_there_are_only_so_many_close_together() -> None:
    (found,) = lists(facts(1), Rerank(4, 7, windows=Windows(most=1, window=2)))
    assert items(found) == ["a1", "b1", "a2", "b2"]
    (wider,) = lists(facts(1), Rerank(4, 7, windows=Windows(most=1, window=3)))
    assert items(wider) == ["a1", "b1", "c1", "a2"]


def test_explored_places_are_drawn_and_say_how_likely_they_were() -> None:
    found = lists(facts(300), Rerank(4, 7, explore=0.25))
    last = [(items(each) or [])[3] for each in found]
    assert set(last) == {"b2", "a3", "c1"}
    assert {tuple(each.trace["feed"].p or ()) for each in found} == {(1.0, 1.0, 1.0, 1 / 3)}
    assert {each.slots["feed"].p for each in found} == {1 / 3}
    assert [items(each) for each in lists(facts(300), Rerank(4, 7, explore=0.25))] == [items(each) for each in found]


def test_a_page_that_asks_is_answered_with_its_own_list_and_others_with_the_catalogues() -> None:
    about = facts(2)._replace(asked=[Question("feed", ["c1", "new", "b1", "a3"]), Question("", [])])
    asking, other = lists(about, Rerank(2, 7))
    assert items(asking) == ["b1", "a3", "c1", "new"]
    assert (asking.trace["feed"].scores, asking.asked) == ([0.8, 0.5, 0.3], ["feed", "c1", "new", "b1", "a3"])
    assert (items(other), other.asked) == (["a1", "b1"], [])


def test_where_a_guard_holds_a_page_that_asks_keeps_its_own_order() -> None:
    about = facts(1, shown=[[[2, 2, 2, 1]]])._replace(asked=[Question("feed", ["c1", "b1"])])
    (found,) = lists(about, Rerank(2, 7, guards=Guards(caps=[Cap(2)])), counters=["feed"])
    assert (items(found), found.slots["feed"].reason) == (["c1", "b1"], Why.CAPPED)


def test_rules_bend_the_list_of_a_page_too() -> None:
    about = facts(1)._replace(asked=[Question("feed", ["c1", "a1", "b1", "a2"])])
    (found,) = lists(about, rules=always(Action(hide=["art"], pin=["c1"])))
    assert items(found) == ["c1", "b1"]


def test_a_pages_list_does_not_depend_on_the_lists_beside_it() -> None:
    short, long = Question("feed", ["b1", "c1"]), Question("feed", ["a2", "c1", "b2", "a3"])
    rules = always(Action(pin=["a1"]))
    together = lists(facts(2)._replace(asked=[short, long]), Rerank(2, 7, explore=0.5), rules=rules)
    alone = lists(facts(1)._replace(asked=[short]), Rerank(2, 7, explore=0.5), rules=rules)
    assert (items(together[0]), together[0].trace["feed"]) == (items(alone[0]), alone[0].trace["feed"])
    assert (together[0].trace["feed"].candidates, together[1].trace["feed"].candidates) == (3, 5)


def test_a_model_that_is_too_old_is_not_asked_and_the_record_says_so() -> None:
    rows = np.random.default_rng(5).random((3000, len(FEATURES)))
    rarest = rows[:, FEATURES.index("popularity")] < 0.55
    data = lightgbm.Dataset(rows, rarest, feature_name=list(FEATURES))
    text = lightgbm.train({"objective": "binary", "num_threads": 1, "verbosity": -1}, data, 5).model_to_string()
    model = Model.parse("m1", text, golden(text, rows[:9]))
    releases = InForce(HERE.catalogue, model, effective={"model": END - 5_000})
    rules = book(slots={"feed": Rerank(2, 7)}, stale=6_000)
    about = facts(2)._replace(ends=np.array([END, END + 2_000]))
    young, old = decisions(about, rules, releases=releases)
    assert (young.slots["feed"].reason, sorted(items(young) or [])) == (Why.SCORE, ["a3", "c1"])
    assert young.trace["feed"].guards == [Guard("stale", 5_000, 6_000, held=False)]
    assert (old.slots["feed"].reason, items(old)) == (Why.POPULAR, ["a1", "b1"])
    assert old.trace["feed"].guards == [Guard("stale", 7_000, 6_000, held=True)]


def test_what_somebody_has_opened_goes_last_or_out_where_the_slot_says_so() -> None:
    about = facts(1, opened=["a1", "gone", "b2"])
    assert items(lists(about)[0]) == ["a1", "b1", "a2", "b2"]
    assert items(lists(about, Rerank(6, 7, opened="last"))[0]) == ["b1", "a2", "a3", "c1", "a1", "b2"]
    (out,) = lists(about, Rerank(6, 7, opened="out"))
    assert items(out) == ["b1", "a2", "a3", "c1"]
    assert out.opened == ["a1", "gone", "b2"]


def test_what_lists_have_shown_often_enough_is_left_out_and_the_record_says_how_often_it_was() -> None:
    (found,) = lists(facts(1, often={"a1": 2, "a2": 1}), Rerank(4, 7, most_shown=2), lists=["feed"])
    assert items(found) == ["b1", "a2", "b2", "a3"]
    assert found.seen == {"a1": 2, "a2": 1}


def test_what_a_rule_pins_is_shown_however_often_it_was_seen() -> None:
    slot, about = Rerank(3, 7, opened="out", most_shown=1), facts(1, opened=["a1"], often={"a1": 5, "b1": 5})
    (found,) = lists(about, slot, lists=["feed"], rules=always(Action(pin=["a1"])))
    assert items(found) == ["a1", "a2", "b2"]


def test_a_page_that_asks_loses_what_its_reader_has_opened_where_the_slot_says_so() -> None:
    about = facts(1, opened=["b2"])._replace(asked=[Question("feed", ["c1", "b2", "a1"])])
    assert items(lists(about, Rerank(4, 7, opened="out"))[0]) == ["a1", "c1"]
