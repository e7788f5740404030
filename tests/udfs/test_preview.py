"""What other rules would have done is counted by decisions and by people, and what nobody knows is said."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from schemas.decisions import Decision, Unfit
from schemas.durations import Millis
from schemas.rules import Action, Case, Rule
from schemas.slots import Arm, Cap, Content, Guards, Knob, Rerank, Trigger, Variant
from tests.udfs.people import END, book, decisions, facts
from udfs.deciding.book import Book
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.facts import Facts
from udfs.deciding.in_force import InForce
from udfs.explaining.preview import Preview

HERO = Variant({"plain": Arm(1.0, {"motion": "none"}), "story": Arm(1.0)}, "plain")
NUDGE = Trigger({"tip": Arm(), "help": Arm()})
PAGE = Content({"images": Knob("full"), "motion": Knob(default=True)})
CATALOGUE = Catalogue.parse(
    "c1",
    b"\n".join(b'{"id":"%c","interest":"%s","popularity":0.%d,"quality":1}' % item for item in (
        (b"a", b"sport", 9), (b"b", b"news", 8), (b"c", b"sport", 7), (b"d", b"news", 6)
    )),
)  # fmt: skip
LAST = "  what would have followed: each decision stands alone, with what had been shown and done until then"


def rule(slot: str, when: str, priority: int = 0, **then: Any) -> Rule:
    return Rule(slot, {"case": Case(when, Action(**then))}, priority=priority)


def previewed(
    records: Sequence[Decision], tried: Book, *names: str, releases: InForce | None = None, at_once: int = 1000
) -> list[str]:
    preview = Preview(tried, names)
    for start in range(0, len(records), at_once):
        preview.add(records[start : start + at_once], releases or InForce(), None)
    *lines, last = preview.lines()
    assert last == LAST
    return lines


def twice(about: Facts, rules: Book, releases: InForce | None = None) -> list[Decision]:
    """Two decisions of each person, a second apart."""
    later = about._replace(ends=about.ends + 1000)
    return [*decisions(about, rules, releases=releases), *decisions(later, rules, releases=releases)]


def test_the_same_rules_would_have_changed_nothing() -> None:
    rules = {"calm": rule("hero", "rate_fast < 1", arms=["plain"])}
    same = book(slots={"hero": HERO}, rules=rules)
    assert previewed(twice(facts(3, rate_fast=[0.0, 2.0, 2.0]), same), same) == [
        "rules",
        "  calm: would have spoken in 2 decisions of 1 people, its word would have counted in 2 of 1",
        "slots",
        "  hero: 0 of 6 decisions would have been another",
        "not known",
    ]


# nudge of        k0:0   k0:1   k0:2   k0:3
# before          none   none   none   none
# fast rate_fast          tip    tip
# stuck n_rage                   help
def test_a_rule_is_counted_where_it_spoke_where_its_word_counted_and_by_what_people_would_have_seen() -> None:
    records = twice(facts(4, rate_fast=[0.0, 2.0, 2.0, 0.0], n_rage=[0, 0, 1, 0]), book(slots={"nudge": NUDGE}))
    tried = book(
        slots={"nudge": NUDGE},
        rules={
            "fast": rule("nudge", "rate_fast > 1", arms=["tip"]),
            "stuck": rule("nudge", "n_rage > 0", priority=1, arms=["help"]),
            "odd": rule("nudge", "n_rage > 5", arms=["help"]),
        },
    )
    expected = [
        "rules",
        "  fast: would have spoken in 4 decisions of 2 people, its word would have counted in 2 of 1",
        "  stuck: would have spoken in 2 decisions of 1 people, its word would have counted in 2 of 1",
        "  odd: would never have spoken",
        "slots",
        "  nudge: 4 of 8 decisions would have been another",
        "    none -> tip: 2",
        "    none -> help: 2",
        "    none: 2 people would have had it, 2 fewer",
        "    help: 1 people would have had it, 1 more",
        "    tip: 1 people would have had it, 1 more",
        "not known",
    ]
    assert previewed(records, tried) == expected
    assert previewed(records, tried, at_once=3) == expected


def test_of_parameters_those_are_told_that_would_have_been_others() -> None:
    rules = {"slow": rule("page", 'connection == "slow"', set={"images": "none"})}
    records = decisions(facts(3), book(slots={"page": PAGE}))
    slow = [replace(each, context=replace(each.context, connection="slow")) for each in records[:2]]
    assert previewed([*slow, records[2]], book(slots={"page": PAGE}, rules=rules))[2:] == [
        "slots",
        "  page: 2 of 3 decisions would have been another",
        "    images=full -> images=none: 2",
        "    images=full: 1 people would have had it, 2 fewer",
        "    images=none: 2 people would have had it, 2 more",
        "not known",
    ]


def test_of_a_list_it_is_told_which_items_come_and_go() -> None:
    slots, releases = {"feed": Rerank(length=2, candidates=4)}, InForce(CATALOGUE)
    about = facts(3, rate_fast=[0.0, 2.0, 3.0])
    records = decisions(about, book(slots=slots), releases=releases)
    assert records[0].slots["feed"].items == ["a", "b"]
    rules = {
        "no_sport": rule("feed", "rate_fast == 2", hide=["sport"]),
        "b_first": rule("feed", "rate_fast == 3", pin=["b"]),
    }
    assert previewed(records, book(slots=slots, rules=rules), releases=releases)[3:] == [
        "slots",
        "  feed: 2 of 3 decisions would have been another",
        "    other items: 1",
        "    the same items in another order: 1",
        "    a: 2 people would have had it, 1 fewer",
        "    d: 1 people would have had it, 1 more",
        "not known",
    ]


def test_an_arm_with_other_parameters_is_another_arm() -> None:
    calm = {"all": rule("hero", "rate_fast >= 0", arms=["plain"])}
    records = decisions(facts(2), book(slots={"hero": HERO}, rules=calm))
    moving = Variant(HERO.arms | {"plain": Arm(1.0, {"motion": "soft"})}, "plain")
    assert previewed(records, book(slots={"hero": moving}, rules=calm))[2:] == [
        "slots",
        "  hero: 2 of 2 decisions would have been another",
        "    plain as it was -> plain: 2",
        "    plain as it was: 0 people would have had it, 2 fewer",
        "    plain: 2 people would have had it, 2 more",
        "not known",
    ]


def test_slots_that_come_and_go_are_told() -> None:
    records = decisions(facts(2), book(slots={"nudge": NUDGE}))
    assert previewed(records, book(slots={"page": PAGE}))[1:] == [
        "slots",
        "  page: 2 of 2 decisions would have been another",
        "    nothing -> images=full, motion=true: 2",
        "    images=full: 2 people would have had it, 2 more",
        "    motion=true: 2 people would have had it, 2 more",
        "  nudge: no such slot is declared, but it stood in 2 decisions",
        "not known",
    ]


def test_of_many_differences_the_most_frequent_are_shown() -> None:
    arms = {f"a{n}": Arm() for n in range(9)}
    records = decisions(facts(9), book(slots={"nudge": NUDGE}))
    rules = {f"r{n}": rule("nudge", f"n_view == {n}", arms=[f"a{n}"]) for n in range(9)}
    seen = [replace(each, signals=replace(each.signals, n_view=n)) for n, each in enumerate(records)]
    lines = previewed(seen, book(slots={"nudge": Trigger(arms)}, rules=rules))
    assert lines[11:18] == [
        "  nudge: 9 of 9 decisions would have been another",
        "    none -> a0: 1",
        "    none -> a1: 1",
        "    none -> a2: 1",
        "    none -> a3: 1",
        "    none -> a4: 1",
        "    and 4 more",
    ]
    assert lines[-2] == "    and 5 more"


def test_robots_are_left_out() -> None:
    rules = book(slots={"nudge": NUDGE}, rules={"all": rule("nudge", "rate_fast >= 0", arms=["tip"])})
    records = [replace(each, unfit=[Unfit.ROBOT]) for each in decisions(facts(3), book(slots={"nudge": NUDGE}))]
    preview = Preview(rules)
    preview.add(records[:2], InForce(), None)
    preview.add(records[2:], InForce(), None)
    assert (preview.decisions, preview.people, preview.robots) == (0, 0, 3)
    assert list(preview.lines())[1] == "  all: would never have spoken"


def test_one_may_ask_for_some_rules_and_gets_their_slots() -> None:
    rules = {
        "a": rule("nudge", "rate_fast >= 0", arms=["tip"]),
        "b": rule("page", "rate_fast >= 0", set={"images": "x"}),
    }
    records = decisions(facts(1), book(slots={"nudge": NUDGE}))
    assert previewed(records, book(slots={"nudge": NUDGE, "page": PAGE}, rules=rules), "a") == [
        "rules",
        "  a: would have spoken in 1 decisions of 1 people, its word would have counted in 1 of 1",
        "slots",
        "  nudge: 1 of 1 decisions would have been another",
        "    none -> tip: 1",
        "    none: 0 people would have had it, 1 fewer",
        "    tip: 1 people would have had it, 1 more",
        "not known",
    ]


def test_a_case_whose_beginning_nobody_kept_counts_as_not_holding_and_that_is_said() -> None:
    waits = Rule("nudge", {"case": Case("rate_fast > 1", Action(arms=["tip"]), hold=Millis(5_000))})
    about, tried = facts(2, rate_fast=[2.0, 2.0]), book(slots={"nudge": NUDGE}, rules={"waits": waits})
    unknown = "  since when waits.case has held, so it counts as not holding, in 2 decisions"
    never = "  waits: would never have spoken"

    without = decisions(about, book(slots={"nudge": NUDGE}))
    found = previewed(without, tried)
    assert (found[1], found[-1]) == (never, unknown)

    kept = decisions(about._replace(held={"waits.case": about.ends - 5_000}), tried)
    spoke = "  waits: would have spoken in 2 decisions of 2 people, its word would have counted in 2 of 2"
    found = previewed(kept, tried)
    assert (found[1], found[-1]) == (spoke, "not known")

    # Under the same name a release asked something else.
    other = Rule("nudge", {"case": Case("rate_slow > 1", Action(arms=["tip"]), hold=Millis(5_000))})
    before = InForce(book=book(slots={"nudge": NUDGE}, rules={"waits": other}))
    found = previewed(kept, tried, releases=before)
    assert (found[1], found[-1]) == (never, unknown)


def test_exposures_that_nobody_counted_count_as_none_and_that_is_said() -> None:
    capped = Trigger(NUDGE.arms, guards=Guards(caps=[Cap(1)], cooldown=Millis(1_000)))
    tried = book(
        counters=["nudge"], slots={"nudge": capped}, rules={"all": rule("nudge", "rate_fast >= 0", arms=["tip"])}
    )
    plain = book(slots={"nudge": NUDGE})
    records = decisions(facts(2), plain)
    lines = previewed(records, tried, releases=InForce(book=plain))
    assert lines[3:5] == ["  nudge: 2 of 2 decisions would have been another", "    none -> tip: 2"]
    assert lines[-1] == "  how often nudge was shown, so it counts as never, in 2 decisions"

    shown = [replace(records[0], shown={"nudge": [1, 1, 1, END - 60_000]}), records[1]]
    assert previewed(shown, tried, releases=InForce(book=tried))[3:5] == [
        "  nudge: 1 of 2 decisions would have been another",
        "    none -> tip: 1",
    ]
