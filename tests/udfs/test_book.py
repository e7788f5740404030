"""Whatever does not fit together in what a team authored is told with its place, and what was probably meant."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.durations import Millis
from schemas.policies import LinUcb, Thompson
from schemas.rules import Action, Case, Experiment, Namespace, Rule, Rulebook, Schedule, Step, Treatment, encoded
from schemas.signals import Signals
from schemas.slots import Arm, Cap, Content, Guards, Knob, Rerank, Slot, Trigger, Variant
from udfs.deciding.book import Book
from udfs.deciding.faults import faults, strangers
from udfs.releases import RefusedRelease

ARMS = {"plain": Arm(), "story": Arm()}
SLOTS: dict[str, Slot] = {
    "feed": Rerank(length=4, candidates=8),
    "hero": Variant(ARMS, "plain"),
    "nudge": Trigger({"tip": Arm()}),
    "page": Content({"images": Knob("full", ["full", "none"]), "columns": Knob(2, least=1, most=4)}),
}
CALM = "rate_fast < 1"
NOON, EVENING = datetime(2026, 12, 1, 12, tzinfo=UTC), datetime(2026, 12, 1, 18, tzinfo=UTC)
STORY = Action(arms=["story"])
RECENT = Variant(ARMS, "plain", resolve="recency")
LIST = "this slot takes pin, bury, hide, boost"
FOR_NUMBERS = "is for numbers, and for options with `cuts` between them"
FOR = "a rule segment has a `for` of its own"


def rulebook(*, slots: dict[str, Slot] | None = None, **said: Any) -> Rulebook:
    """A slot of each kind, and what else is said; slots are added to these."""
    usual: dict[str, Any] = {"seed": "s", "valid": 1000, "counters": ["nudge"]}
    return Rulebook(slots=SLOTS | (slots or {}), **usual | said)


def hero(**said: Any) -> dict[str, Any]:
    return {"slots": {"hero": Variant(ARMS, "plain", **said)}}


def guarded(**guards: Any) -> dict[str, Any]:
    return hero(guards=Guards(**guards))


def page(**knobs: Knob) -> dict[str, Any]:
    return {"slots": {"page": Content(knobs)}}


def case(when: str = CALM, then: Action = STORY, slot: str = "hero", **said: Any) -> dict[str, Any]:
    """One rule of one case."""
    return {"rules": {"r": Rule(slot, {"c": Case(when, then, **said)})}}


def trial(slot: str = "hero", arm: Treatment | None = None, **said: Any) -> dict[str, Any]:
    """One experiment."""
    return {"experiments": {"e": Experiment(slot, {"a": arm or Treatment(), "b": Treatment()}, **said)}}


def waiting(count: int) -> dict[str, Any]:
    """Rules of one case each that has to hold for a while."""
    return {"rules": {f"r{n}": Rule("hero", {"c": Case(CALM, STORY, hold=Millis(1000))}) for n in range(count)}}


def spaced(*stretches: tuple[float, float]) -> dict[str, Any]:
    """Experiments of one namespace."""
    arms = {"a": Treatment(), "b": Treatment()}
    return {
        "experiments": {
            f"e{n}": Experiment("hero", arms, namespace=Namespace("all", *stretch))
            for n, stretch in enumerate(stretches)
        }
    }


FAULTS: list[tuple[dict[str, Any], str]] = [
    (
        {"slots": {"a/b": SLOTS["hero"]}},
        "slots.a/b: a name cannot hold . / :, which join names in records and counters",
    ),
    (
        {"rules": {"r.s": Rule("hero", {"c": Case(CALM, STORY)})}},
        "rules.r.s: a name cannot hold . / :, which join names in records and counters",
    ),
    # Counters.
    (
        {"counters": ["hero", "hero/plain", "hero/story", "nudge", "nudge/tip", "feed", "page"]},
        "exposures.counters: at most 6 counters",
    ),
    ({"counters": ["nudge", "nudge"]}, "exposures.counters: a counter stands there twice"),
    (
        {"counters": ["nudge", "hero", "feed", "nudge/tip"]},
        "exposures.counters: the counters of one slot must stand in the same three: the first three, or the last three",
    ),
    ({"counters": ["nudgee"]}, 'exposures.counters: there is no slot "nudgee"; did you mean nudge?'),
    ({"counters": ["nudge/tap"]}, 'exposures.counters: there is no arm "tap"; did you mean tip?'),
    ({"counters": ["feed/x"]}, 'exposures.counters: there is no arm "x"; there are: none'),
    # Guards.
    (
        guarded(quiet_when="rate_fst > 3"),
        "slots.hero.guards.quiet_when: column 1: unknown name rate_fst; did you mean rate_fast?",
    ),
    (
        guarded(caps=[Cap(3)]),
        'slots.hero.guards.caps: "hero" is not counted; append it to exposures.counters, and restart the job',
    ),
    (
        guarded(caps=[Cap(3, of="nudge/tip")]),
        'slots.hero.guards.caps: "nudge/tip" is not counted; append it to exposures.counters, and restart the job',
    ),
    (
        guarded(cooldown=Millis(5)),
        "slots.hero.guards.cooldown: the slot is not counted; append it to exposures.counters, and restart the job",
    ),
    (guarded(changes=2), "slots.hero.guards.changes: there are no changes to limit without `refresh`"),
    (
        {"slots": {"feed": Rerank(4, 8, guards=Guards(confidence=0.5))}},
        "slots.feed.guards.confidence: is for slots with arms: nothing is drawn here",
    ),
    (
        {"slots": {"page": Content({"x": Knob(1)}, guards=Guards(refresh=Millis(5)))}},
        "slots.page.guards.refresh: is for slots with arms: nothing is drawn here",
    ),
    # Slots.
    (
        {"slots": {"feed": Rerank(length=9, candidates=8)}},
        "slots.feed.candidates: a slot cannot show more items than it has candidates",
    ),
    ({"slots": {"hero": Variant(ARMS, "loud")}}, "slots.hero.default: expected one of its arms: plain, story"),
    (
        {"slots": {"nudge": Trigger({"none": Arm()})}},
        "slots.nudge.arms.none: this arm is there without being declared; it shows nothing",
    ),
    (
        page(images=Knob("half", ["full", "none"])),
        "slots.page.params.images.default: expected one of its options: ['full', 'none']",
    ),
    (page(columns=Knob(0, least=1)), "slots.page.params.columns.default: must be at least 1"),
    (page(columns=Knob(5.5, most=4.5)), "slots.page.params.columns.default: must be at most 4.5"),
    (page(images=Knob("full", least=1)), "slots.page.params.images: least and most are for numbers"),
    (page(x=Knob(1, cuts=[1.0])), "slots.page.params.x.cuts: is nothing without `predicted`"),
    (page(x=Knob(1.0, step=0.5)), "slots.page.params.x.step: is nothing without `predicted`"),
    (page(x=Knob("a", predicted="y")), f"slots.page.params.x.predicted: {FOR_NUMBERS}"),
    (page(x=Knob(default=True, predicted="y")), f"slots.page.params.x.predicted: {FOR_NUMBERS}"),
    (
        page(x=Knob(1.0, least=0, predicted="y")),
        "slots.page.params.x.predicted: needs `least` and `most`: a prediction may be any number",
    ),
    (
        page(x=Knob(1, least=0, most=4, predicted="y", cuts=[2.0])),
        "slots.page.params.x.cuts: are for options; a number needs `least` and `most`",
    ),
    (page(x=Knob(1, least=0, most=4.5, predicted="y")), "slots.page.params.x.most: must be whole, as the default is"),
    (
        page(x=Knob(1, least=0, most=4, predicted="y", step=0.5)),
        "slots.page.params.x.step: must be whole, as the default is",
    ),
    (
        page(x=Knob("b", ["a", "b", "c"], predicted="y", cuts=[2.0])),
        "slots.page.params.x.cuts: 3 options need 2 numbers between them",
    ),
    (
        page(x=Knob("b", ["a", "b", "c"], predicted="y", cuts=[2.0, 2.0])),
        "slots.page.params.x.cuts: must rise, as the options do",
    ),
    (
        page(x=Knob(1, [1, 2], predicted="y", cuts=[2.0], step=1.0)),
        "slots.page.params.x.step: is for numbers; here are options",
    ),
    # Policies.
    (
        hero(policies={"weights": Thompson()}),
        "slots.hero.policies.weights: this policy is there without being declared: the arms' weights",
    ),
    (
        hero(policy="learnd", policies={"learned": Thompson()}),
        'slots.hero.policy: there is no policy "learnd"; did you mean learned?',
    ),
    (hero(shadow=["x"]), 'slots.hero.shadow: there is no policy "x"; there are: weights'),
    (hero(policies={"learned": Thompson(floor=0.6)}), "slots.hero.policies.learned.floor: 2 arms cannot have 0.6 each"),
    (
        hero(policies={"lin": LinUcb(["gap"])}),
        'slots.hero.policies.lin.context: there is no signal "gap"; did you mean gap_s?',
    ),
    # Rules.
    (case(slot="heroo"), 'rules.r.slot: there is no slot "heroo"; did you mean hero?'),
    ({"rules": {"r": Rule("hero", {"else": Case(CALM, STORY)})}}, 'rules.r.cases.else: a case cannot be called "else"'),
    (case("rate_fst > 1"), "rules.r.cases.c.when: column 1: unknown name rate_fst; did you mean rate_fast?"),
    (
        case("rate_fast"),
        'rules.r.cases.c.when: column 1: a number comes out, expected a condition such as "rate_fast > 1"',
    ),
    (
        case('rate_fast > 1 and segment == "reader"', hold=Millis(5)),
        f"rules.r.cases.c.when: column 19: segment cannot be asked with a `for`, or by recency; {FOR}",
    ),
    (
        {"slots": {"hero": RECENT}, **case("cluster == 3")},
        f"rules.r.cases.c.when: column 1: cluster cannot be asked with a `for`, or by recency; {FOR}",
    ),
    (
        case(confidence="churn_rsk"),
        "rules.r.cases.c.confidence: column 1: unknown name churn_rsk; did you mean churn_risk?",
    ),
    (
        case(confidence="hour > 3"),
        'rules.r.cases.c.confidence: column 1: a truth comes out, expected a number such as "churn_risk"',
    ),
    (
        case(schedule=Schedule(hours=[8])),
        "rules.r.cases.c.schedule.hours: expected two hours, from and until, such as [8, 20]",
    ),
    (case(schedule=Schedule(EVENING, NOON)), "rules.r.cases.c.schedule.until: must be later than `since`"),
    (waiting(5), "rules.r4.cases.c: at most 4 cases may have a `for`, or stand in a slot that resolves by recency"),
    # What they do.
    (case(then=Action()), "rules.r.cases.c.then: says nothing; this slot takes arms"),
    (case(then=Action(), slot="feed"), f"rules.r.cases.c.then: says nothing; {LIST}"),
    (case(slot="feed"), "rules.r.cases.c.then.arms: is nothing for this slot, which takes pin, bury, hide, boost"),
    (
        case(then=Action(hide=["sport"]), slot="page"),
        "rules.r.cases.c.then.hide: is nothing for this slot, which takes set",
    ),
    (case(then=Action(arms=["stori"])), 'rules.r.cases.c.then.arms: there is no arm "stori"; did you mean story?'),
    (
        {"rules": {"r": Rule("hero", {"c": Case(CALM, STORY)}, otherwise=Action(arms=["stori"]))}},
        'rules.r.else.arms: there is no arm "stori"; did you mean story?',
    ),
    (
        case(then=Action(set={"image": "full"}), slot="page"),
        'rules.r.cases.c.then.set.image: there is no parameter "image"; did you mean images?',
    ),
    (
        case(then=Action(set={"images": "half"}), slot="page"),
        "rules.r.cases.c.then.set.images: expected one of its options: ['full', 'none']",
    ),
    (
        case(then=Action(set={"images": 1}), slot="page"),
        "rules.r.cases.c.then.set.images: expected a value like 'full'",
    ),
    (case(then=Action(set={"columns": 5}), slot="page"), "rules.r.cases.c.then.set.columns: must be at most 4"),
    # Experiments.
    (trial("heroo"), 'experiments.e.slot: there is no slot "heroo"; did you mean hero?'),
    (trial(when="sesions > 1"), "experiments.e.when: column 1: unknown name sesions; did you mean sessions?"),
    (
        trial(ramp=[Step(NOON, 0.5), Step(EVENING, 0.1)]),
        "experiments.e.ramp: its steps must follow one another, and never take people away again",
    ),
    (
        trial(ramp=[Step(EVENING, 0.1), Step(NOON, 0.5)]),
        "experiments.e.ramp: its steps must follow one another, and never take people away again",
    ),
    (trial("feed", Treatment(policy="x")), "experiments.e.arms.a: policy, arms and refresh are for slots with arms"),
    (
        trial("page", Treatment(refresh=Millis(5))),
        "experiments.e.arms.a: policy, arms and refresh are for slots with arms",
    ),
    (trial(arm=Treatment(policy="x")), 'experiments.e.arms.a.policy: there is no policy "x"; there are: weights'),
    (trial(arm=Treatment(arms=["stori"])), 'experiments.e.arms.a.arms: there is no arm "stori"; did you mean story?'),
    (spaced((0.5, 0.5)), "experiments.e0.namespace: `from` must be less than `until`"),
    (spaced((0.0, 0.5), (0.4, 1.0)), "experiments.e1.namespace: takes people that e0 has in the same namespace"),
]


@pytest.mark.parametrize(("said", "fault"), FAULTS)
def test_what_does_not_fit_is_told_once_with_its_place(said: dict[str, Any], fault: str) -> None:
    assert [f"{'.'.join(path)}: {sentence}" for path, sentence in faults(rulebook(**said))] == [fault]


@pytest.mark.parametrize(
    "said",
    [
        {},
        waiting(4),
        spaced((0.0, 0.5), (0.5, 1.0)),
        guarded(caps=[Cap(3, of="nudge"), Cap(9, of="*", per="day")], refresh=Millis(5), changes=2, confidence=0.5),
        case('segment == "reader" and cluster == 3 and hour > 8', confidence="1 - churn_risk"),
        case(schedule=Schedule(NOON, EVENING, [22, 6], ["mon"])),
        page(a=Knob("a", ["a", "b"], predicted="y", cuts=[2.0]), b=Knob(0.5, least=0, most=1, predicted="y", step=0.1)),
        case(then=Action(pin=["x"], bury=["y"], hide=["sport"], boost={"news": 1.0}), slot="feed"),
        case(then=Action(set={"images": "none", "columns": 4}), slot="page"),
        trial(arm=Treatment(policy="weights", arms=["story"], refresh=Millis(0)), ramp=[Step(NOON, 0.1)]),
        trial("feed", Treatment(control=True)),
    ],
)
def test_what_fits_is_ready_and_stays_the_same_when_it_is_published_and_read(said: dict[str, Any]) -> None:
    written = rulebook(**said)
    assert list(faults(written)) == []
    assert Book.parse("r1", encoded(written)).book == written


def test_the_order_of_tables_stays_for_it_is_their_priority() -> None:
    some = {name: Rule("hero", {key: Case(CALM, STORY) for key in "zya"}) for name in ("late", "early", "mid")}
    (hero_,) = (place for place in Book.parse("r1", encoded(rulebook(rules=some))).places if place.name == "hero")
    assert [rule.name for rule in hero_.rules] == ["late", "early", "mid"]
    assert [ready.name for ready in hero_.rules[0].cases] == ["late.z", "late.y", "late.a"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = rulebook(**case("rate_fst > 1", Action(arms=["stori"])), counters=["nudgee"])
    message = (
        'exposures.counters: there is no slot "nudgee"; did you mean nudge?\n'
        "rules.r.cases.c.when: column 1: unknown name rate_fst; did you mean rate_fast?\n"
        'rules.r.cases.c.then.arms: there is no arm "stori"; did you mean story?'
    )
    with pytest.raises(ValueError, match=r"^exposures") as caught:
        Book.of(None, wrong)
    assert str(caught.value) == message
    with pytest.raises(RefusedRelease) as refused:
        Book.parse("r7", encoded(wrong))
    assert str(refused.value) == f"rules r7: {message}"


def test_slots_stand_in_the_order_of_their_names_and_cases_that_wait_are_numbered_in_it() -> None:
    def waits(slot: str, **then: Any) -> Rule:
        return Rule(slot, {"c": Case(CALM, Action(**then), hold=Millis(1000)), "d": Case(CALM, Action(**then))})

    found = Book.of("r1", rulebook(rules={"p": waits("page", set={"columns": 1}), "h": waits("hero", arms=["story"])}))
    assert [place.name for place in found.places] == ["feed", "hero", "nudge", "page"]
    assert [watched.name for watched in found.watched] == ["h.c", "p.c"]
    assert [place.counter for place in found.places] == [-1, -1, 0, -1]


def test_a_cap_counts_its_own_slot_an_arm_or_all_slots_together() -> None:
    caps = [Cap(3), Cap(2, of="nudge/tip", per="day"), Cap(9, of="*", per="life")]
    counters = ["nudge", "nudge/tip", "feed", "hero"]
    found = Book.of(None, rulebook(counters=counters, **guarded(caps=caps)))
    assert [tuple(limit) for limit in found.places[1].limits] == [((3,), 0, 3), ((1,), 1, 2), ((0, 2, 3), 2, 9)]


def test_a_condition_may_ask_every_signal() -> None:
    asked = " and ".join(f"{name} == {name}" for name in Signals.__struct_fields__[:30])
    assert list(faults(rulebook(**case(asked)))) == []


STRANGERS: list[tuple[dict[str, Any], str]] = [
    (
        case('hour > 8 and segment == "reder"'),
        'rules.r.cases.c.when: column 25: there is no segment "reder"; did you mean reader?',
    ),
    (
        case('segment in ("reader", "skimer")'),
        'rules.r.cases.c.when: column 23: there is no segment "skimer"; did you mean skimmer?',
    ),
    (
        trial(when='"bot" != segment'),
        'experiments.e.when: column 1: there is no segment "bot"; there are: reader, skimmer',
    ),
    (
        guarded(quiet_when='not device == "moble"'),
        'slots.hero.guards.quiet_when: column 15: there is no device "moble"; did you mean mobile?',
    ),
    (
        case('device == "tv" and connection == "slowly"'),
        'rules.r.cases.c.when: column 34: there is no connection "slowly"; did you mean slow?',
    ),
]


@pytest.mark.parametrize(("said", "fault"), STRANGERS)
def test_a_condition_on_what_nobody_ever_is_is_told_with_its_place(said: dict[str, Any], fault: str) -> None:
    book = rulebook(**said)
    assert [f"{'.'.join(path)}: {sentence}" for path, sentence in strangers(book, ["reader", "skimmer"])] == [fault]
    # A release that decides already was held against the segments of its time.
    assert list(faults(book)) == []


@pytest.mark.parametrize(
    "when",
    ['segment == ""', 'segment != "reader"', 'device == "" or connection in ("slow", "fast")', 'country == "XX"'],
)
def test_who_is_in_no_segment_or_with_what_is_unknown_may_be_asked_for(when: str) -> None:
    assert list(strangers(rulebook(**case(when)), ["reader"])) == []
