"""A decision follows from its own record and the releases that the record names: anyone can make it again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import json

from jobs.wiring.settings import load
from schemas.decisions import Card, Decision, Unfit, Why
from schemas.durations import Millis
from schemas.rules import MAX_WATCHED, Rulebook
from schemas.segments import MAX_RULES, RuleSegment
from schemas.signals import FEATURES
from schemas.slices import LENGTHS, MOMENT
from schemas.slots import Arm, Cap, Guards, Rerank, Variant
from tests.udfs.goods import GROUPS, shelf, trained
from udfs.deciding.book import Book
from udfs.deciding.decide import Decider, Verdict
from udfs.deciding.in_force import InForce
from udfs.deciding.rank import People, features
from udfs.detectors.isolation import IsolationForest
from udfs.draw import pick, ticket
from udfs.scoring.models import Model, golden
from udfs.segments.clusters import Clusters
from udfs.signals.moments import Columns

SETTINGS = load(Path(), "local", {}, []).settings
END = 1_767_225_600_000
RULES = {
    "lively": RuleSegment("", "rate_fast > 1", "rate_fast < 0.5", hold=Millis(10_000)),
    "shopper": RuleSegment("", "cart_items > 0"),
}
FEED = Rerank(length=4, candidates=6)
HERO = Variant(
    {"plain": Arm(0.5), "story": Arm(0.5, params={"motion": "soft"})},
    default="plain",
    guards=Guards(caps=[Cap(shown=3)]),
)


def book(**said: Any) -> Book:
    """A list and a block with two arms, and what else is said."""
    usual: dict[str, Any] = {"seed": "s", "valid": 300_000, "counters": ["hero"], "slots": {"feed": FEED, "hero": HERO}}
    return Book.of(None, Rulebook(**usual | said))


CATALOGUE = shelf(8)


@pytest.fixture(scope="module")
def model() -> Model:
    text, rows = trained(), np.random.default_rng(8).normal(size=(20, len(FEATURES)))
    return Model.parse("m1", text, golden(text, rows))


def moments(people: int, **columns: Any) -> Columns:
    """People in one slice, who did this and that; what is given replaces it."""
    rng = np.random.default_rng(3)
    found: dict[str, Any] = {name: np.zeros(people, dtype=np.int64) for name in MOMENT}
    found |= {name: np.zeros((people, length), dtype=np.int64) for name, length in LENGTHS.items()}
    found |= {name: np.zeros((people, MAX_RULES), dtype=np.int64) for name in ("entered", "left")}
    found["unheld"] = np.zeros((people, MAX_WATCHED), dtype=np.int64)
    found |= {name: np.zeros(people, dtype=bool) for name in ("farewell", "robot", "unlearned", "unmeasured")}
    found |= {
        "user_id": np.array([f"k0:{row}" for row in range(people)], dtype=object),
        "slice_end": np.full(people, END),
        "first_ms": np.full(people, END - 900),
        "last_ms": END - rng.integers(1, 800, people),
        "points": rng.integers(0, 5000, people),
        "session_start": END - rng.integers(1000, 90_000, people),
        "session_slices": rng.integers(1, 30, people),
        "landmark": np.full(people, END - 91_000),
        "life_slices": rng.integers(1, 30, people),
        "clicked": np.array([("", "sport1", "travel7", "gone")[row % 4] for row in range(people)], dtype=object),
        "account": np.full(people, "", dtype=object),
        "asked": np.full(people, "", dtype=object),
        "context": np.full(people, "", dtype=object),
        "events": np.ones(people, dtype=np.int64),
        "born": np.full(people, END - 91_000),
    }
    found["shown"][:, 0] = rng.integers(0, 5, people)
    found["shown_life"] = found["shown"] + 1
    found["tallies"][:, 0] = found["session_slices"]
    found |= {f"fading_{pace}": rng.random(people) * 50 for pace in ("fast", "mid", "slow")}
    return found | {name: np.array(column) for name, column in columns.items()}


def decided(model: Model | None, columns: Columns) -> list[Verdict]:
    decider = Decider(book(), SETTINGS.signals, SETTINGS.noise, RULES)
    return decider(columns, [(np.arange(len(columns["user_id"])), InForce(CATALOGUE, model))])


def test_a_list_can_be_made_again_from_its_record_and_the_releases(model: Model) -> None:
    for verdict in decided(model, moments(40)):
        record = json.decode(verdict.record or "", type=Decision)
        interest = CATALOGUE.codes[CATALOGUE.rows[record.clicked]] if record.clicked in CATALOGUE.rows else -1
        candidates = CATALOGUE.candidates(FEED.candidates)[[interest]]
        scores = model.forest.score(
            features(People.one(record.signals, record.clicked, record.opened), CATALOGUE, candidates)[0]
        )
        order = np.argsort(-scores, kind="stable")[: FEED.length]
        assert record.slots["feed"].items == CATALOGUE.ids[candidates[0][order]].tolist()
        assert (record.trace["feed"].candidates, record.trace["feed"].scores) == (6, scores[order].tolist())


def test_a_draw_can_be_held_again_from_its_record() -> None:
    for verdict in decided(None, moments(40)):
        record = json.decode(verdict.record or "", type=Decision)
        trace, card = record.trace["hero"], record.slots["hero"]
        assert trace.draw is not None
        assert trace.guards is not None
        key = f"s|hero|{record.user_id}|{record.session}"
        assert (trace.draw.key, trace.draw.value) == (key, ticket(key))
        drawn = trace.draw.arms[pick(ticket(key), (0.5, 1.0))]
        assert card.arm == ("plain" if trace.guards[0].count >= 3 else drawn)


def test_the_card_is_what_the_record_says_of_it(model: Model) -> None:
    for verdict in decided(model, moments(40)):
        card, record = json.decode(verdict.card or ""), json.decode(verdict.record or "")
        assert card == {name: record[name] for name in Card.__struct_fields__ if name in record}
        assert verdict.expires == card["expires"] == END + 300_000


def test_a_robot_a_pulse_and_a_farewell_among_people_change_nothing_for_them(model: Model) -> None:
    alone = decided(model, moments(6))
    odd = moments(
        6,
        user_id=["k0:0", "", "k0:2", "k0:3", "k0:4", "k0:5"],
        farewell=[False, False, True, False, False, False],
        robot=[False, False, False, True, False, False],
    )
    among = decided(model, odd)
    assert [among[row] for row in (0, 4, 5)] == [alone[row] for row in (0, 4, 5)]
    assert (among[1].record, among[2].card, among[2].record) == (None, None, None)
    everybody, robot = json.decode(among[1].card or "", type=Card), json.decode(among[3].record or "", type=Decision)
    assert {slot.reason for slot in everybody.slots.values()} == {Why.DEFAULT}
    assert {slot.reason for slot in robot.slots.values()} == {Why.ROBOT}
    assert robot.slots["feed"].items == everybody.slots["feed"].items
    assert (robot.trace, robot.unfit) == ({}, [Unfit.ROBOT])


def test_every_reason_why_learning_leaves_a_row_out_is_said_in_its_own_record_only(model: Model) -> None:
    odd = moments(3, unlearned=[True, False, True], n_clipped=[1, 0, 0])
    records = [json.decode(verdict.record or "", type=Decision) for verdict in decided(model, odd)]
    assert [record.unfit for record in records] == [[Unfit.CONSENT, Unfit.CLIPPED], [], [Unfit.CONSENT]]


def test_without_any_slot_there_is_a_record_all_the_same() -> None:
    decider = Decider(book(slots={}, counters=[]), SETTINGS.signals, SETTINGS.noise, {})
    (verdict,) = decider(moments(1), [(np.arange(1), InForce(None, None))])
    assert json.decode(verdict.card or "", type=Card).slots == {}


def test_a_person_is_in_the_first_segment_that_has_been_spoken_for_long_enough_since_memory_began(model: Model) -> None:
    times = moments(4)
    times["entered"][:, :2] = [[END, 0], [END, END], [END - 90_500, END], [END - 91_500, 0]]
    times["left"][:, :2] = [[END - 10_000, END], [END - 9_000, 0], [0, END], [0, 0]]
    records = [json.decode(verdict.record or "", type=Decision) for verdict in decided(model, times)]
    # In; too early for the one, in the other; too early since memory began and then spoken against; before memory.
    assert [record.segment for record in records] == ["lively", "shopper", "", ""]
    assert records[1].spoken == {"lively": [END, END - 9_000], "shopper": [END, END - 91_000]}
    assert json.decode(decided(model, times)[0].card or "", type=Card).segment == "lively"


def test_a_moment_is_scored_and_grouped_by_the_releases_in_force_and_names_them(model: Model) -> None:
    rng = np.random.default_rng(9)
    forest = IsolationForest.fit(rng.normal(1.0, 0.1, (600, 1)), rng, features=["session_depth"])
    forest = IsolationForest.parse("a1", forest.encode())
    groups = Clusters.parse("s1", json.encode(GROUPS))
    decider = Decider(book(slots={}, counters=[]), SETTINGS.signals, SETTINGS.noise, RULES)
    in_force = [(np.arange(2), InForce(CATALOGUE, model, clusters=groups, anomalies=forest))]
    verdicts = decider(moments(2, session_slices=[1, 40]), in_force)
    records = [json.decode(verdict.record or "", type=Decision) for verdict in verdicts]
    assert [record.cluster for record in records] == [verdict.cluster for verdict in verdicts] == [3, 8]
    assert records[0].signals.anomaly < 0.6 < records[1].signals.anomaly
    assert (records[0].ver.segments, records[0].ver.anomalies) == ("s1", "a1")
    assert json.decode(verdicts[1].card or "", type=Card).cluster == 8
