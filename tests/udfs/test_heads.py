"""A parameter follows what a model predicts of the person, unless a rule says otherwise or something holds it back."""

import re
from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from schemas.decisions import Decision, Unfit, Versions, Why
from schemas.flags import Flags
from schemas.heads import Head, Regressions
from schemas.releases import Golden
from schemas.rules import Action, Case, Experiment, Holdout, Rule, Treatment
from schemas.signals import USER_FEATURES
from schemas.slots import Cap, Content, Guards, Knob
from tests.udfs.people import END, book, decisions, facts
from udfs.deciding.content import tuned
from udfs.deciding.decide import again, decided, decision_ids
from udfs.deciding.defaults import ground, segment_cards
from udfs.deciding.facts import Facts
from udfs.deciding.in_force import InForce
from udfs.deciding.switches import Switches
from udfs.explaining.sentences import sentence
from udfs.explaining.telling import told
from udfs.releases import RefusedRelease
from udfs.scoring.heads import Heads
from udfs.scoring.models import golden

LENGTH = Knob("normal", ["short", "normal", "long"], predicted="read_s", cuts=[10.0, 40.0])
PAGE = Content(
    {"images": Knob("full", ["full", "none"]), "length": LENGTH, "columns": Knob(2, least=1, most=4, predicted="wide")}
)
NONE = Rule("page", {"slow": Case('connection == "slow"', Action(set={"images": "none"}))})
SHORT = Rule("page", {"new": Case("sessions == 1", Action(set={"length": "short"}))})
GAPS = [0.0, 5.0, 16.0, 45.0, 90.0, 200.0]
"""Seconds since each person was here last; who comes back late reads long."""


@pytest.fixture(scope="module")
def text() -> str:
    """A model that has seen people read for half as long as they were away."""
    rows = np.random.default_rng(7).exponential(50.0, size=(4000, len(USER_FEATURES)))
    data = lightgbm.Dataset(rows, rows[:, USER_FEATURES.index("gap_s")] / 2, feature_name=list(USER_FEATURES))
    params = {"objective": "regression", "num_leaves": 8, "num_threads": 1, "verbosity": -1}
    found: str = lightgbm.train(params, data, 30).model_to_string()
    return found


@pytest.fixture(scope="module")
def head(text: str) -> Head:
    return Head("read_s", text, golden(text, asked(people())).golden)


@pytest.fixture(scope="module")
def heads(head: Head) -> Heads:
    return Heads.parse("h1", json.encode(Regressions({"page": {"length": head}})))


def people(**columns: Any) -> Facts:
    return facts(len(GAPS), **{"gap_s": GAPS} | columns)


def asked(about: Facts) -> np.ndarray[Any, Any]:
    return np.column_stack([about.columns[name] for name in USER_FEATURES]).astype(np.float64)


def by_lightgbm(text: str) -> list[float]:
    found: list[float] = np.asarray(lightgbm.Booster(model_str=text).predict(asked(people()), num_threads=1)).tolist()
    return found


def shown(heads: Heads | None, about: Facts | None = None, slot: Content = PAGE, **said: Any) -> list[Decision]:
    releases = said.pop("releases", None) or InForce(heads=heads)
    return decisions(about or people(), book(slots={"page": slot}, **said), releases=releases)


def of(records: list[Decision], param: str = "length") -> list[Any]:
    return [(record.slots["page"].params or {})[param] for record in records]


def reasons(records: list[Decision]) -> list[Why]:
    return [record.slots["page"].reason for record in records]


def test_each_person_gets_the_option_between_whose_cuts_the_prediction_lies(text: str, heads: Heads) -> None:
    found, predicted = shown(heads), by_lightgbm(text)
    assert of(found) == ["short", "short", "short", "normal", "long", "long"]
    assert of(found) == ["short" if each <= 10 else "normal" if each <= 40 else "long" for each in predicted]
    assert reasons(found) == [Why.HEAD] * 6
    assert {(card.p, *(card.why or [])) for card in (each.slots["page"] for each in found)} == {(1.0, "head:length")}
    assert {record.ver for record in found} == {Versions(heads="h1")}
    for record, expected in zip(found, predicted, strict=True):
        assert record.slots["page"].params == {"images": "full", "length": of([record])[0], "columns": 2}
        assert list(record.trace["page"].heads or {}) == ["length"]
        assert by_head(record) == pytest.approx(expected, rel=0, abs=1e-12)


def test_a_number_is_cut_to_its_bounds_and_whole_where_its_default_is(head: Head) -> None:
    two = {"length": head, "columns": Head("wide", head.trees, head.golden)}
    found = shown(Heads.parse("h1", json.encode(Regressions({"page": two}))))
    assert of(found, "columns") == [2, 4, 4, 4, 4, 4]
    assert all(type(value) is int for value in of(found, "columns"))
    assert found[3].slots["page"].why == ["head:length", "head:columns"]


@pytest.mark.parametrize(
    ("knob", "values"),
    [
        (Knob(1.0, least=0.0, most=1.0, predicted="x"), [0.0, 0.0, 0.34, 0.5, 1.0]),
        (Knob(1.0, least=0.0, most=1.0, predicted="x", step=0.25), [0.0, 0.0, 0.25, 0.5, 1.0]),
        (Knob(1.0, least=0.1, most=1.0, predicted="x", step=0.4), [0.1, 0.1, 0.5, 0.5, 0.9]),
        (Knob(6, least=-4, most=9, predicted="x", step=5), [-4, 1, 1, 1, 6]),
        (Knob(default=True, options=[False, True], predicted="x", cuts=[0.34]), [False, False, False, True, True]),
    ],
)
def test_a_number_moves_in_steps_from_its_least_on(knob: Knob, values: list[Any]) -> None:
    assert tuned(knob, np.array([-2.0, 0.0, 0.34, 0.5, 7.0])) == values


def test_a_rule_comes_before_what_is_predicted_of_the_parameters_that_it_sets(heads: Heads) -> None:
    about = people(sessions=[1, 2, 2, 2, 2, 1], connection=np.array(["", "", "", "", "slow", "slow"], dtype=object))
    found = shown(heads, about, rules={"short": SHORT, "none": NONE})
    assert of(found) == ["short", "short", "short", "normal", "long", "short"]
    assert of(found, "images") == ["full", "full", "full", "full", "none", "full"]
    assert reasons(found) == [Why.RULE, Why.HEAD, Why.HEAD, Why.HEAD, Why.RULE, Why.RULE]
    assert [record.slots["page"].why for record in found[3:]] == [
        ["head:length"],
        ["rule:none", "head:length"],
        ["rule:short"],
    ]
    # What it overrules stands in the record.
    predicted, spoke = found[5].trace["page"].heads, found[5].trace["page"].rules
    assert (predicted or {})["length"] > 40
    assert [(each.rule, each.won) for each in spoke or []] == [("short", True), ("none", False)]


def test_explain_says_what_is_predicted_and_whether_it_counts(heads: Heads) -> None:
    about = people(sessions=[1, 2, 2, 2, 2, 1], connection=np.array([""] * 4 + ["slow"] * 2, dtype=object))
    found = shown(heads, about, rules={"none": NONE, "short": SHORT})
    lines = [list(told(each.slots["page"], each.trace["page"])) for each in found]
    said = [sentence("page", each.slots["page"], each.trace["page"]) for each in found]
    assert lines[0][0] == "reason      RULE: A rule asked for it; where it leaves several arms, a draw among them."
    assert [[line for line in each if line.startswith("head")] for each in (lines[0], lines[3])] == [
        [f"head        length, {by_head(found[0]):.6g}: not heard"],
        [f"head        length, {by_head(found[3]):.6g}: its word counted"],
    ]
    assert said[0].endswith("because the rule short sets it so")
    assert said[3].endswith(f"because length follows what a model predicts of the person ({by_head(found[3]):.3g})")
    assert said[4].endswith("because the rule none sets it so, and length follows a model")


def by_head(record: Decision) -> float:
    return (record.trace["page"].heads or {})["length"]


@pytest.mark.parametrize(
    ("slot", "said", "reason"),
    [
        (replace(PAGE, guards=Guards(min_events=1)), {}, Why.EARLY),
        (replace(PAGE, guards=Guards(quiet_when="gap_s >= 0")), {}, Why.PACED),
        (replace(PAGE, guards=Guards(caps=[Cap(1)])), {"counters": ["page"]}, Why.CAPPED),
        (PAGE, {"holdout": Holdout(1.0)}, Why.HOLDOUT),
        (
            PAGE,
            {"experiments": {"e": Experiment("page", {name: Treatment(control=True) for name in ("a", "b")})}},
            Why.CONTROL,
        ),
    ],
)
def test_what_holds_a_choice_back_holds_a_prediction_back_and_it_stays_in_the_record(
    heads: Heads, slot: Content, said: Mapping[str, Any], reason: Why
) -> None:
    about = people()
    if "counters" in said:
        about = facts(len(GAPS), shown=[[[1, 1, 1, END - 1000]]] * len(GAPS), gap_s=GAPS)
    found = shown(heads, about, slot, **said)
    assert reasons(found) == [reason] * 6
    assert of(found) == ["normal"] * 6
    assert {record.slots["page"].why is None for record in found} == {True}
    assert [by_head(record) > 10 for record in found] == [False, False, False, True, True, True]


def test_a_slot_that_is_off_and_a_robot_get_the_usual(heads: Heads) -> None:
    off = shown(None, releases=InForce(heads=heads, switches=Switches("f1", Flags(slots={"page": False}))))
    assert (reasons(off), of(off)) == ([Why.OFF] * 6, ["normal"] * 6)
    robots = shown(heads, people()._replace(unfit=[[Unfit.ROBOT]] * 6))
    assert (reasons(robots), of(robots)) == ([Why.ROBOT] * 6, ["normal"] * 6)
    assert [record.trace for record in robots] == [{}] * 6


def test_where_an_experiment_hears_no_rule_the_model_is_heard(heads: Heads) -> None:
    deaf = Experiment("page", {"a": Treatment(rules=False), "b": Treatment(rules=False)})
    found = shown(heads, people(sessions=[1] * 6), rules={"short": SHORT}, experiments={"e": deaf})
    assert of(found) == ["short", "short", "short", "normal", "long", "long"]


@pytest.mark.parametrize(
    "content",
    [
        {"page": {"length": "read_min"}},
        {"page": {"images": "read_s"}},
        {"page": {"gone": "read_s"}},
        {"elsewhere": {"length": "read_s"}},
    ],
)
def test_a_head_that_the_slot_does_not_ask_for_has_no_say(head: Head, content: dict[str, dict[str, str]]) -> None:
    slots = {
        slot: {name: replace(head, predicts=target) for name, target in each.items()} for slot, each in content.items()
    }
    found = shown(Heads.parse("h1", json.encode(Regressions(slots))))
    assert (reasons(found), of(found)) == ([Why.USUAL] * 6, ["normal"] * 6)
    assert {record.trace["page"].heads for record in found} == {None}


def test_heads_that_are_too_old_are_not_asked_and_the_record_says_how_old(heads: Heads) -> None:
    old = InForce(heads=heads, effective={"heads": END - 90_000})
    found = shown(None, releases=old, stale=60_000)
    assert (reasons(found), of(found)) == ([Why.USUAL] * 6, ["normal"] * 6)
    (guard,) = found[0].trace["page"].guards or []
    assert (guard.name, guard.count, guard.limit, guard.held) == ("stale", 90_000, 60_000, True)
    assert found[0].trace["page"].heads is None
    fresh = shown(None, releases=old, stale=100_000)
    assert of(fresh) == of(shown(heads))


def test_decisions_by_heads_are_made_again_to_the_byte_in_any_company(heads: Heads) -> None:
    rules = book(slots={"page": PAGE}, rules={"short": SHORT})
    about = people(sessions=[1, 2, 2, 2, 2, 1])
    texts = [each.record or "" for each in decided(about, InForce(heads=heads), rules, [None] * 6)]
    records = [json.decode(each, type=Decision) for each in texts]
    assert again(records[::-1], InForce(heads=heads), rules, [None] * 6) == texts[::-1]
    assert [again([each], InForce(heads=heads), rules, [None])[0] for each in records] == texts


def test_where_no_heads_are_in_force_decisions_bear_the_names_they_always_had() -> None:
    before = Versions("c1", "m1", rules="r1", flags="f2")
    ids = decision_ids(["k0:ada"] * 2, [END] * 2, [before, replace(before, heads="h1")])
    assert ids[0] == "PUwoiZc_uA1g"
    assert ids[1] != ids[0]
    found = shown(None)
    assert (reasons(found), of(found)) == ([Why.USUAL] * 6, ["normal"] * 6)
    assert b"heads" not in json.encode(found)


def test_what_segments_get_ahead_asks_no_model(heads: Heads) -> None:
    rules = book(slots={"page": PAGE})
    (card,) = segment_cards(ground(("reader",), END, InForce(heads=heads), rules, None))
    assert (card["page"].params or {})["length"] == "normal"


def payload(**changed: Any) -> bytes:
    return json.encode({"slots": {"page": {"length": changed}}})


def test_what_is_no_release_of_heads_is_refused_in_a_line(head: Head, text: str) -> None:
    sound = {"predicts": "read_s", "trees": text, "golden": json.decode(json.encode(head.golden))}
    rows, scores = head.golden.rows, head.golden.scores
    torn = text.replace("gap_s", "gap_m")
    unlike = re.sub(r"left_child=-?\d+", "left_child=0", text, count=1)
    for changed, complaint in (
        ({"more": 1}, "Object contains unknown field `more` - at `$.slots[...][...]`"),
        ({"trees": text[:900]}, 'model page.length: the text is cut or not a model: no line "end of trees"'),
        ({"trees": unlike}, "model page.length: tree 0: its branches form no tree"),
        ({"trees": torn}, "model page.length: it asks other features than schemas.signals.USER_FEATURES, in order"),
        ({"golden": Golden([], [])}, "model page.length: it needs golden rows, of 10 numbers and a score each"),
        ({"golden": Golden(rows, scores[1:])}, "model page.length: it needs golden rows, of 10 numbers and a score"),
        ({"golden": Golden([row[1:] for row in rows], scores)}, "model page.length: it needs golden rows, of 10"),
        ({"golden": Golden(rows, [scores[0] + 0.5, *scores[1:]])}, "model page.length: golden row 0 scores 0.5 off,"),
    ):
        with pytest.raises(RefusedRelease, match=f"^heads h2: {re.escape(complaint)}[^\n]*$"):
            Heads.parse("h2", payload(**sound | changed))


def test_a_head_with_too_many_leaves_is_refused(head: Head) -> None:
    rows = np.random.default_rng(7).normal(size=(2000, len(USER_FEATURES)))
    data = lightgbm.Dataset(rows, rows[:, 0], feature_name=list(USER_FEATURES))
    params = {"objective": "regression", "num_leaves": 42, "min_data_in_leaf": 1, "num_threads": 1, "verbosity": -1}
    large = replace(head, trees=lightgbm.train(params, data, 98).model_to_string())
    with pytest.raises(RefusedRelease, match=r"^heads h2: model page\.length: 4116 leaves, at most 4096: train fewer"):
        Heads.parse("h2", json.encode(Regressions({"page": {"length": large}})))


def test_lightgbm_reads_them_as_we_do_or_they_are_refused(heads: Heads, head: Head) -> None:
    heads.rehearse()
    odd = replace(head, trees=head.trees.replace("objective=regression", "objective=regresion"))
    read = Heads.parse("h2", json.encode(Regressions({"page": {"length": odd}})))
    with pytest.raises(
        RefusedRelease, match=r"^heads h2: model page\.length: .*Unknown objective type name: regresion"
    ):
        read.rehearse()
