"""A sample of the lists says in its records what made the first score, and a replay draws the same sample."""

import re
from typing import Any

import lightgbm
import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from schemas.decisions import Decision, Unfit, Versions, Why
from schemas.flags import Flags
from schemas.rules import Action, Case, Rule, Rulebook
from schemas.signals import FEATURES, Signals
from schemas.slots import Rerank
from tests.udfs.goods import shelf, trained
from udfs.deciding.book import Book
from udfs.deciding.decide import again
from udfs.deciding.in_force import InForce
from udfs.deciding.rank import People, features
from udfs.deciding.switches import Switches
from udfs.releases import RefusedRelease
from udfs.scoring.models import Model, golden

END = 1_767_225_600_000
CATALOGUE = shelf(8)


@pytest.fixture(scope="module")
def text() -> str:
    return trained()


@pytest.fixture(scope="module")
def model(text: str) -> Model:
    return Model.parse("m1", text, golden(text, np.random.default_rng(8).normal(size=(20, len(FEATURES)))))


def book(explain: float, **rules: Rule) -> Book:
    return Book.of(None, Rulebook("s", 300_000, [], {"feed": Rerank(4, 6)}, rules, explain=explain))


def people(count: int, unfit: tuple[Unfit, ...] = ()) -> list[Decision]:
    """What is known of some people before anything is decided for them."""
    rng = np.random.default_rng(3)
    return [
        Decision(
            user_id=f"k0:{row}",
            v=1,
            seq=END,
            at=END - 1,
            expires=END,
            slots={},
            ver=Versions(),
            signals=Signals(rate_fast=float(rng.random() * 3), session_depth=row % 40, gap_s=float(rng.random() * 90)),
            session=END - 90_000,
            clicked=("", "sport1", "travel7")[row % 3],
            unfit=list(unfit),
        )
        for row in range(count)
    ]


def decided(records: list[Decision], releases: InForce, rules: Book) -> list[Decision]:
    return [json.decode(text, type=Decision) for text in again(records, releases, rules, [None] * len(records))]


def sampled(records: list[Decision]) -> list[Decision]:
    return [record for record in records if record.trace["feed"].contributions]


def of_lightgbm(text: str, record: Decision, item: str) -> dict[str, float]:
    person = People.one(record.signals, record.clicked, record.opened)
    rows = features(person, CATALOGUE, np.array([[CATALOGUE.rows[item]]]))[0]
    found: Any = lightgbm.Booster(model_str=text).predict(rows, pred_contrib=True, num_threads=1)
    by_size = sorted(zip(FEATURES, found[0, :-1].tolist(), strict=True), key=lambda each: -abs(each[1]))
    return {name: round(value, 6) for name, value in by_size[:5]}


def test_a_record_says_what_adds_most_to_the_first_items_score_the_largest_first(text: str, model: Model) -> None:
    for record in decided(people(30), InForce(CATALOGUE, model), book(1.0)):
        found, (first, *_) = record.trace["feed"].contributions or {}, record.slots["feed"].items or []
        assert list(found.items()) == list(of_lightgbm(text, record, first).items())


def test_where_a_rule_pins_an_item_its_own_score_is_told(text: str, model: Model) -> None:
    pinned = Rule("feed", {"all": Case("session_depth >= 0", Action(pin=["travel7"]))})
    for record in decided(people(5), InForce(CATALOGUE, model), book(1.0, pinned=pinned)):
        assert (record.slots["feed"].reason, (record.slots["feed"].items or [])[0]) == (Why.RULE, "travel7")
        assert record.trace["feed"].contributions == of_lightgbm(text, record, "travel7")


def test_the_share_that_is_asked_for_is_drawn_by_the_decisions_ids_whoever_stands_beside(model: Model) -> None:
    crowd, releases, rules = people(1000), InForce(CATALOGUE, model), book(0.1)
    found = sampled(decided(crowd, releases, rules))
    assert 70 <= len(found) <= 130
    alone = [each for record in crowd for each in sampled(decided([record], releases, rules))]
    assert alone == found


def test_made_again_from_the_records_it_is_the_same_bytes(model: Model) -> None:
    releases, rules = InForce(CATALOGUE, model), book(0.3)
    texts = again(people(200), releases, rules, [None] * 200)
    records = [json.decode(text, type=Decision) for text in texts]
    assert len(sampled(records)) > 30
    assert again(records[::-1], releases, rules, [None] * 200) == texts[::-1]


def test_a_model_that_is_too_old_has_a_say_in_no_score_also_not_in_that_of_a_pinned_item(model: Model) -> None:
    pinned = Rule("feed", {"all": Case("session_depth >= 0", Action(pin=["travel7"]))})
    old = InForce(CATALOGUE, model, effective={"model": END - 60_000})
    about, by_prior = people(20), InForce(CATALOGUE)
    for stale, allowed, same in ((30_000, 0, True), (90_000, 20, False)):
        rules = Book.of(None, replace(book(1.0, pinned=pinned).book, stale=stale))
        found, unscored = decided(about, old, rules), decided(about, by_prior, rules)
        assert len(sampled(found)) == allowed
        scores = [[record.trace["feed"].scores for record in records] for records in (found, unscored)]
        assert (scores[0] == scores[1]) is same


def test_nothing_is_told_without_a_model_of_a_robot_where_the_list_is_off_and_where_nobody_asks(model: Model) -> None:
    off = Switches("f1", Flags(kill=True))
    for releases, rules in (
        (InForce(CATALOGUE), book(1.0)),
        (InForce(CATALOGUE, model, switches=off), book(1.0)),
        (InForce(CATALOGUE, model), book(0.0)),
    ):
        assert sampled(decided(people(20), releases, rules)) == []
    (robot,) = decided(people(1, (Unfit.ROBOT,)), InForce(CATALOGUE, model), book(1.0))
    assert robot.trace == {}


def test_contributions_add_up_to_the_score_in_the_same_bits_alone_and_in_company(model: Model) -> None:
    rows = np.random.default_rng(9).normal(size=(100, len(FEATURES)))
    found = model.contributions(rows)
    np.testing.assert_allclose(model.forest.scale(found.sum(axis=1)), model.forest.score(rows), rtol=0, atol=1e-12)
    alone = np.vstack([model.contributions(row[np.newaxis]) for row in rows])
    assert found.tolist() == alone.tolist()


def test_a_model_whose_contributions_are_no_numbers_is_refused(text: str) -> None:
    manifest = golden(text, np.random.default_rng(8).normal(size=(20, len(FEATURES))))
    uncounted = re.sub(r"(?m)^leaf_count=.*$", lambda line: re.sub("[0-9]", "0", line[0]), text)
    with pytest.raises(RefusedRelease, match=r"^model m2: golden row 0 scores nan off its manifest"):
        Model.parse("m2", uncounted, manifest)
