"""Outcomes become plays: those that were drawn alone, each with what every other policy would have drawn."""

import random
from typing import Any

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace
from numpy.typing import NDArray

from schemas.decisions import Decision, Unfit, Why
from schemas.outcomes import Outcome
from schemas.policies import Learned, Linear, LinUcb, Plays, Posteriors, Thompson
from schemas.rules import Action, Case, Experiment, Rule, Treatment
from schemas.slots import Arm, Cap, Guards, Trigger, Variant
from tests.udfs.people import book, decisions, facts
from tests.udfs.played import outcomes
from udfs.deciding.book import Book
from udfs.deciding.learned import Learnt
from udfs.judging.recorded import Recorded, Targets
from udfs.judging.unasked import Candidate
from udfs.learning.drawn import Choice, choices, unusable

ARMS = {"a": Arm(2.0), "b": Arm(1.0), "c": Arm(1.0)}
HERO = Variant(ARMS, "a", {"learned": Thompson(), "by_line": LinUcb(["zscore"])}, shadow=["learned"])
PLAYS = {"a": Plays(90, 9, 9), "b": Plays(90, 20, 20), "c": Plays(9, 1, 1)}
LINES = {"a": Linear([[9.0, 0.0], [0.0, 40.0]], [3.0, 8.0]), "b": Linear([[9.0, 0.0], [0.0, 40.0]], [5.0, -8.0])}
KNOWN = Learnt.parse("p1", json.encode(Posteriors({"hero": Learned(PLAYS, context=["zscore"], linear=LINES)})))
RULES = {
    "two": Rule("hero", {"it": Case("rate_fast > 1", Action(arms=["b", "c"]))}),
    "one": Rule("hero", {"it": Case("rate_fast > 2", Action(arms=["c"]))}, priority=1),
}


def made(rules: Book, people: int = 60, **columns: Any) -> list[Decision]:
    return decisions(facts(people, **columns), rules, KNOWN)


def one(**said: Any) -> Outcome:
    (outcome,) = outcomes(made(book(slots={"hero": HERO}), people=1), "hero", [1.0])
    return replace(outcome, **said)


def gathered(records: list[Outcome], rules: Book, *names: str, tried: Book | None = None) -> Targets:
    place = (tried or rules).places[0]
    recorded = Recorded({name: Candidate(tried or rules, place, name) for name in names})
    recorded.add(records, rules.book, KNOWN)
    found = recorded.targets()
    assert found
    assert not recorded.left_out
    return found


def rows(column: NDArray[np.float64]) -> list[list[float]]:
    return [list(each) for each in dict.fromkeys(map(tuple, column.round(4).tolist()))]


def test_an_outcome_whose_arm_was_drawn_counts() -> None:
    assert unusable(one()) == ""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"unfit": [Unfit.ROBOT]}, "of robots"),
        ({"unmeasured": True}, "without consent to measure"),
        ({"trace": replace(one().trace, draw=None)}, "not drawn"),
        ({"card": replace(one().card, reason=Why.CAPPED)}, "not drawn"),
        ({"card": replace(one().card, reason=Why.HOLDOUT)}, "not drawn"),
        ({"card": replace(one().card, p=0.9)}, "whose chance is not that of the draw"),
        ({"card": replace(one().card, arm="z")}, "whose chance is not that of the draw"),
        ({"shown": "z"}, "where the page showed something else"),
    ],
    ids=str,
)
def test_what_was_not_drawn_or_not_shown_or_must_not_be_measured_is_left_out_and_counted(said: Any, why: str) -> None:
    assert unusable(one(**said)) == why
    recorded = Recorded({})
    recorded.add([one(**said)], book(slots={"hero": HERO}).book, None)
    assert (recorded.read, dict(recorded.left_out), recorded.targets()) == (1, {why: 1}, None)


def test_what_a_guard_holds_back_is_left_out_though_the_default_was_as_likely() -> None:
    capped = Variant({"a": Arm()}, "a", guards=Guards(caps=[Cap(1)]))
    rules = book(slots={"hero": capped}, counters=["hero"])
    (held,) = outcomes(decisions(facts(1, shown=[[[1, 1, 1, 0]]]), rules), "hero", [0.0])
    assert held.card.p == 1.0
    assert unusable(held) == "not drawn"


# rate_fast   0          1.5   2.5
# left        a b c      b c   c
def test_what_rules_left_is_read_from_the_record() -> None:
    rules = book(slots={"hero": HERO}, rules=RULES)
    records = outcomes(made(rules, 3, rate_fast=[0.0, 1.5, 2.5]), "hero", [0.0])
    assert [choices(each, rules.book) for each in records] == [
        [Choice(frozenset("abc"), whole=True)],
        [Choice(frozenset("bc"), whole=False)],
        [Choice(frozenset("c"), whole=False)],
    ]


def test_rules_that_are_weighed_share_the_draw() -> None:
    slot = replace(HERO, resolve="weight")
    weighed = {"two": replace(RULES["two"], weight=3.0), "one": replace(RULES["one"], weight=1.0)}
    rules = book(slots={"hero": slot}, rules=weighed)
    (record,) = outcomes(made(rules, 1, rate_fast=[2.5]), "hero", [0.0])
    assert choices(record, rules.book) == [
        Choice(frozenset("bc"), whole=False, share=0.75),
        Choice(frozenset("c"), whole=False, share=0.25),
    ]


def test_rules_that_are_not_those_of_the_record_are_said() -> None:
    rules = book(slots={"hero": HERO}, rules=RULES)
    recorded = Recorded({})
    recorded.add(outcomes(made(rules, 2, rate_fast=[0.0, 1.5]), "hero", [0.0]), book(slots={"hero": HERO}).book, None)
    assert (recorded.read, dict(recorded.left_out)) == (2, {"decided by rules that are not known": 1})


WEIGHED = {"two": replace(RULES["two"], weight=3.0), "one": replace(RULES["one"], weight=1.0)}
TWO_ARMS = {"x": Experiment("hero", {"all": Treatment(), "ac": Treatment(arms=["a", "c"])})}


@pytest.mark.parametrize("policy", ["weights", "learned", "by_line"])
@pytest.mark.parametrize(
    "said",
    [
        {"slots": {"hero": HERO}},
        {"slots": {"hero": HERO}, "rules": RULES},
        {"slots": {"hero": replace(HERO, resolve="weight")}, "rules": WEIGHED},
        {"slots": {"hero": HERO}, "rules": RULES, "experiments": TWO_ARMS},
    ],
    ids=["no rules", "rules", "weighed", "experiment"],
)
def test_a_candidate_that_is_the_live_policy_would_have_drawn_what_was_drawn(policy: str, said: Any) -> None:
    rules = book(**said | {"slots": {"hero": replace(said["slots"]["hero"], policy=policy)}})
    records = outcomes(made(rules, rate_fast=[0.0, 1.5, 2.5] * 20, zscore=list(range(60))), "hero", [0.0, 1.0])
    found = gathered(records, rules, policy)
    assert found.policies[f"candidate {policy}"].tolist() == found.log.p.tolist()


def test_a_trigger_is_judged_within_what_its_rules_ask_for() -> None:
    nudge = Trigger({"tip": Arm(3.0), "help": Arm(1.0)}, {"learned": Thompson()})
    rules = book(
        slots={"nudge": nudge},
        rules={
            "one": Rule("nudge", {"it": Case("rate_fast > 1", Action(arms=["help"]))}, priority=1),
            "any": Rule("nudge", {"it": Case("rate_fast > 0", Action(arms=["tip", "help"]))}),
        },
    )
    records = outcomes(decisions(facts(2, rate_fast=[0.5, 1.5]), rules), "nudge", [0.0])
    found = gathered(records, rules, "weights")
    assert found.arms == ["help", "tip"]
    assert sorted(rows(found.policies["uniform"])) == [[0.5, 0.5], [1.0, 0.0]]
    assert sorted(rows(found.policies["candidate weights"])) == [[0.25, 0.75], [1.0, 0.0]]
    assert sorted(rows(found.policies["always tip"])) == [[0.0, 1.0], [1.0, 0.0]]


def test_shadows_all_alike_and_each_arm_stand_beside_the_draw_within_what_rules_left() -> None:
    rules = book(slots={"hero": HERO}, rules={"two": RULES["two"]})
    found = gathered(outcomes(made(rules, 2, rate_fast=[0.0, 1.5]), "hero", [0.0]), rules)
    assert list(found.policies) == ["shadow learned", "uniform", "always a", "always b", "always c"]
    free, ruled = sorted(found.policies["shadow learned"].tolist(), key=lambda row: row[0] == 0.0)
    assert ruled == pytest.approx([0.0, free[1] / (free[1] + free[2]), free[2] / (free[1] + free[2])])
    assert sorted(rows(found.policies["uniform"])) == [[0.0, 0.5, 0.5], [0.3333, 0.3333, 0.3333]]
    # Where a rule leaves it out, as it was drawn.
    assert sorted(rows(found.policies["always a"])) == [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]


def test_of_a_policy_or_an_arm_that_was_not_there_yet_those_plays_say_nothing() -> None:
    early = book(slots={"hero": Variant({"a": Arm(), "b": Arm()}, "a")})
    late = book(slots={"hero": HERO})
    recorded = Recorded({})
    recorded.add(outcomes(made(early, 3), "hero", [1.0]), early.book, None)
    recorded.add(
        [replace(each, id=f"late-{each.id}") for each in outcomes(made(late, 2), "hero", [1.0])], late.book, None
    )
    found = recorded.targets()
    assert found
    known = {name: int((~np.isnan(chances).any(axis=1)).sum()) for name, chances in found.policies.items()}
    assert known == {"shadow learned": 2, "uniform": 5, "always a": 5, "always b": 5, "always c": 2}
    assert sorted(rows(found.log.p)) == [[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]
    assert len(found.log.person) == 5
    assert found.log.person.max() == 2


def test_what_a_candidate_gives_to_an_arm_that_was_not_there_yet_is_missing() -> None:
    early = book(slots={"hero": Variant({"a": Arm(), "b": Arm()}, "a")})
    found = gathered(outcomes(made(early, 3), "hero", [1.0]), early, "weights", tried=book(slots={"hero": HERO}))
    assert rows(found.policies["candidate weights"]) == [[0.5, 0.25]]


def test_an_arm_that_the_slot_has_no_more_is_a_play_all_the_same() -> None:
    early = book(slots={"hero": HERO})
    late = book(slots={"hero": Variant({"a": Arm(), "b": Arm()}, "a")})
    found = gathered(outcomes(made(early), "hero", [1.0]), early, "weights", tried=late)
    assert found.arms == ["a", "b", "c"]
    assert set(found.log.arm.tolist()) == {0, 1, 2}
    assert rows(found.policies["candidate weights"]) == [[0.5, 0.5, 0.0]]


def test_whatever_order_they_come_in_and_however_often_the_plays_are_the_same_to_the_bit() -> None:
    rules = book(slots={"hero": HERO}, rules=RULES)
    records = outcomes(made(rules, rate_fast=[0.0, 1.5, 2.5] * 20), "hero", [0.0, 1.0, 0.25])
    first = gathered(records, rules, "learned")
    shuffled = [*records, *records[:20]]
    random.Random(3).shuffle(shuffled)
    recorded = Recorded({"learned": Candidate(rules, rules.places[0], "learned")})
    for start in range(0, len(shuffled), 7):
        recorded.add(shuffled[start : start + 7], rules.book, KNOWN)
    again = recorded.targets()
    assert again
    assert recorded.read == 60
    assert [each.tobytes() for each in first.log] == [each.tobytes() for each in again.log]
    assert {name: p.tobytes() for name, p in first.policies.items()} == {
        name: p.tobytes() for name, p in again.policies.items()
    }
