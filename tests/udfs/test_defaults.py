"""What a pulse decides for those of whom nothing is known: by segment, and as chances that pages draw from."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import json

from jobs.wiring.settings import load
from schemas.decisions import Card, Decision, HeldOut, PolicyTable, SlotTable, Versions, Why
from schemas.policies import Epsilon, Learned, LinUcb, Plays, Posteriors
from schemas.rules import Action, Case, Experiment, Holdout, Rule, Rulebook, Schedule, Treatment
from schemas.segments import RuleSegment
from schemas.signals import Signals
from schemas.slots import Arm, Content, Guards, Knob, Rerank, Trigger, Variant
from tests.udfs.goods import shelf
from udfs.deciding import defaults
from udfs.deciding.book import Book
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.decide import Decider, Verdict, again
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt
from udfs.deciding.switches import Switches

SETTINGS = load(Path(), "local", {}, []).settings
END = 1_767_225_600_000
SEGMENTS = {"reader": RuleSegment("", "session_views > 5"), "skimmer": RuleSegment("", "session_views > 9")}
FEED = Rerank(length=3, candidates=6)
HERO = Variant({"plain": Arm(0.3), "story": Arm(0.7, params={"motion": "soft"})}, default="plain")
NUDGE = Trigger({"help": Arm(params={"text": "help"})})
PAGE = Content({"length": Knob("normal", options=["short", "normal", "long"])})
SLOTS = {"feed": FEED, "hero": HERO, "nudge": NUDGE, "page": PAGE}
CATALOGUE = shelf(4)


def of_readers(**action: Any) -> Case:
    return Case('segment == "reader"', Action(**action))


RULES = {
    "feed": Rule("feed", {"reader": of_readers(pin=["travel3"], hide=["sport"])}),
    "hero": Rule("hero", {"reader": of_readers(arms=["plain"])}),
    "nudge": Rule("nudge", {"reader": of_readers(arms=["help"])}),
    "page": Rule("page", {"reader": of_readers(set={"length": "long"})}),
}


def pulse(
    said: Rulebook | None = None, releases: InForce | None = None, learnt: Learnt | None = None, end: int = END
) -> Verdict:
    """Decide for a pulse."""
    decider = Decider(book(said), SETTINGS.signals, SETTINGS.noise, SEGMENTS)
    row = {"user_id": np.array([""], dtype=object), "slice_end": np.array([end]), "farewell": np.array([False])}
    (verdict,) = decider(row, [(np.arange(1), releases or InForce(CATALOGUE))], [learnt])
    return verdict


def rulebook(**said: Any) -> Rulebook:
    usual: dict[str, Any] = {"seed": "s", "valid": 300_000, "counters": [], "slots": SLOTS, "rules": RULES}
    return Rulebook(**usual | said)


def book(said: Rulebook | None = None) -> Book:
    return Book.of(None, said or rulebook())


def cards(verdict: Verdict) -> dict[str, Card]:
    return {segment: json.decode(card, type=Card) for segment, card in verdict.defaults}


def table(verdict: Verdict) -> PolicyTable:
    return json.decode(verdict.table or "", type=PolicyTable)


def learned(**segments: dict[str, Plays]) -> Learnt:
    """A policy release that knows 2000 plays of each arm, half of them rewarded, and those of segments."""
    of_all = {name: Plays(2000, 1000) for name in HERO.arms}
    return Learnt.parse("p1", json.encode(Posteriors({"hero": Learned(arms=of_all, segments=segments)})))


def test_in_a_segments_card_its_rules_speak_and_in_everybodys_none() -> None:
    verdict = pulse()
    found = cards(verdict) | {"": json.decode(verdict.card or "", type=Card)}
    told = {
        segment: (
            card.segment,
            card.slots["feed"].items,
            card.slots["hero"].arm,
            card.slots["nudge"].arm,
            card.slots["page"].params,
        )
        for segment, card in found.items()
    }
    assert told == {
        "reader": ("reader", ["travel3", "travel0", "travel1"], "plain", "help", {"length": "long"}),
        "skimmer": ("skimmer", ["sport0", "travel0", "sport1"], "story", "none", {"length": "normal"}),
        "": ("", ["sport0", "travel0", "sport1"], "plain", "none", {"length": "normal"}),
    }


def test_a_default_is_no_draw_it_is_certain_has_an_id_and_an_expiry_of_its_own_and_no_record() -> None:
    verdict = pulse()
    found = [json.decode(verdict.card or "", type=Card), *cards(verdict).values()]
    slots = [(name, slot) for card in found for name, slot in card.slots.items()]
    assert {(slot.p, slot.reason, slot.expires) for _, slot in slots} == {(1.0, Why.DEFAULT, END + 300_000)}
    assert {card.expires for card in found} == {verdict.expires} == {END + 300_000}
    assert len({slot.id for _, slot in slots}) == len(slots) == 12
    assert all(slot.id.endswith(f".{name}") for name, slot in slots)
    assert verdict.record is None
    assert found[1].slots["hero"].why == ["rule:hero"]
    assert found[2].slots["hero"].params == {"motion": "soft"}


def test_a_segments_default_is_what_a_person_in_it_gets_of_whom_nothing_else_is_known() -> None:
    certain = rulebook(slots=SLOTS | {"hero": Variant({"plain": Arm()}, default="plain")})
    person = Decision("k0:ada", 1, END, END, END, {}, Versions(), Signals(), session=END, segment="reader")
    (record,) = again([person], InForce(CATALOGUE), book(certain), [None])
    decided = json.decode(record, type=Decision).slots
    default = cards(pulse(certain))["reader"].slots
    assert {name: (slot.items, slot.arm, slot.params) for name, slot in default.items()} == {
        name: (slot.items, slot.arm, slot.params) for name, slot in decided.items()
    }


def test_guards_hold_as_for_somebody_who_has_just_come() -> None:
    early = rulebook(slots=SLOTS | {"hero": Variant(HERO.arms, default="plain", guards=Guards(min_events=3))}, rules={})
    assert cards(pulse(early))["skimmer"].slots["hero"].arm == "plain"
    assert cards(pulse(rulebook(rules={})))["skimmer"].slots["hero"].arm == "story"


def test_a_schedule_that_opens_changes_the_default_in_its_slice() -> None:
    opens = datetime.fromtimestamp(END / 1000, UTC)
    case = Case('segment == "reader"', Action(set={"length": "long"}), schedule=Schedule(since=opens))
    said = rulebook(rules={"page": Rule("page", {"reader": case})})
    decider = Decider(book(said), SETTINGS.signals, SETTINGS.noise, SEGMENTS)
    rows: dict[str, Any] = {"user_id": [""] * 3, "slice_end": [END - 1000, END, END + 1000], "farewell": [False] * 3}
    verdicts = decider({name: np.array(column) for name, column in rows.items()}, [(np.arange(3), InForce(CATALOGUE))])
    lengths = [cards(verdict)["reader"].slots["page"].params for verdict in verdicts]
    assert lengths == [{"length": "normal"}, {"length": "long"}, {"length": "long"}]


def test_what_is_worked_out_once_serves_every_pulse_until_something_changes_that_counts() -> None:
    usual, other = book(), Catalogue.parse("c2", b'{"id":"a","interest":"","popularity":1,"quality":1}')
    grounds = [
        defaults.ground(("reader",), end, InForce(catalogue), usual, None)
        for end, catalogue in ((END, CATALOGUE), (END + 1000, CATALOGUE), (END + 2000, other))
    ]
    first, again_, changed = (defaults.segment_cards(each) for each in grounds)
    assert first is again_
    assert changed[0]["feed"].items == ["a"]


def test_a_slot_that_is_switched_off_is_off_in_every_card_and_not_in_the_table() -> None:
    off = Switches.parse("f1", b'{"slots":{"hero":false}}')
    verdict = pulse(releases=InForce(CATALOGUE, switches=off))
    heroes = [json.decode(verdict.card or "", type=Card), *cards(verdict).values()]
    assert {(card.slots["hero"].arm, card.slots["hero"].reason) for card in heroes} == {("plain", Why.OFF)}
    assert table(verdict).slots == {}


def test_a_list_without_a_catalogue_is_not_there() -> None:
    assert "feed" not in cards(pulse(releases=InForce()))["reader"].slots


def test_experiments_and_explored_places_are_for_persons_and_change_no_default() -> None:
    trial = Experiment("hero", {"a": Treatment(arms=["plain"]), "b": Treatment(control=True)})
    slots = SLOTS | {"feed": Rerank(length=3, candidates=6, explore=1.0)}
    tried = pulse(rulebook(slots=slots, experiments={"trial": trial}))
    assert {segment: card.slots for segment, card in cards(tried).items()} == {
        segment: card.slots for segment, card in cards(pulse()).items()
    }


def test_the_table_says_how_the_weights_share_an_arm_out_whatever_the_rules_say() -> None:
    assert table(pulse()) == PolicyTable(
        v=1,
        seq=END,
        expires=END + 300_000,
        seed="s",
        slots={
            "hero": SlotTable(
                Why.SPLIT, ["plain", "story"], {"plain": {}, "story": {"motion": "soft"}}, {"": [0.3, 0.7]}
            )
        },
        ver=Versions(catalogue="c1"),
    )


def test_who_is_held_out_stands_in_the_table() -> None:
    assert table(pulse(rulebook(holdout=Holdout(share=0.05, salt="h1")))).holdout == HeldOut(0.05, "h1")


@pytest.mark.parametrize(
    "said",
    [
        rulebook(experiments={"trial": Experiment("hero", {"a": Treatment(), "b": Treatment()})}),
        rulebook(
            slots={
                "hero": Variant(
                    HERO.arms, default="plain", policies={"mine": LinUcb(context=["rate_fast"])}, policy="mine"
                )
            },
            rules={},
        ),
    ],
    ids=["an experiment", "a policy that asks about the person"],
)
def test_a_slot_that_asks_who_somebody_is_is_not_in_the_table(said: Rulebook) -> None:
    assert table(pulse(said)).slots == {}


def test_what_was_learned_of_a_segment_stands_under_its_name_and_names_its_release() -> None:
    best = Variant(HERO.arms, default="plain", policies={"mine": Epsilon(0.2, by="segment")}, policy="mine")
    known = learned(
        reader={"plain": Plays(1000, 900), "story": Plays(1000, 100)},
        skimmer={"plain": Plays(1000, 100), "story": Plays(1000, 900)},
    )
    verdict = pulse(rulebook(slots={"hero": best}, rules={}), learnt=known)
    found = table(verdict)
    assert found.ver == Versions(catalogue="c1", policy="p1")
    assert found.slots["hero"].reason is Why.LEARNED
    p = {segment: pytest.approx(each) for segment, each in found.slots["hero"].segments.items()}
    assert p == {"": [0.5, 0.5], "reader": [0.9, 0.1], "skimmer": [0.1, 0.9]}
    assert {name: card.slots["hero"].arm for name, card in cards(verdict).items()} == {
        "reader": "plain",
        "skimmer": "story",
    }


def test_without_segments_there_is_a_table_all_the_same() -> None:
    decider = Decider(book(), SETTINGS.signals, SETTINGS.noise, {})
    row = {"user_id": np.array([""], dtype=object), "slice_end": np.array([END]), "farewell": np.array([False])}
    (verdict,) = decider(row, [(np.arange(1), InForce(CATALOGUE))])
    assert (list(verdict.defaults), list(table(verdict).slots)) == ([], ["hero"])
