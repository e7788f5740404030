"""The yardstick of the benchmark: its stream is the same for everybody, and holds what trackers really send."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from msgspec import json

from schemas.slices import MOMENT
from tests.bench.clean import CleanCost, Plan, decoding
from tests.bench.decide import PARTS, charged
from tests.bench.people import people
from tests.bench.stream import AGENTS, GRANTED, JUNK, NORMS, Record, Shape, records
from tests.claims.claim import settings
from udfs.cleaning.devices import device_reader
from udfs.cleaning.noise import Norms
from udfs.deciding.book import Book, authored
from udfs.deciding.decide import Decider
from udfs.deciding.in_force import InForce

START = 1_767_225_600_000
ITEMS = [f"i{number}" for number in range(400)]
SHAPE = Shape(events=20_000)


@pytest.fixture(scope="module")
def stream() -> list[Record]:
    return list(records(SHAPE, ITEMS, START))


@pytest.fixture(scope="module")
def events(stream: list[Record]) -> list[dict[str, Any]]:
    return [json.decode(record.body) for record in stream if record.body not in JUNK]


def test_the_same_seed_gives_the_same_stream_and_another_one_another(stream: list[Record]) -> None:
    assert len(stream) == SHAPE.events
    assert list(records(SHAPE, ITEMS, START)) == stream
    assert list(records(Shape(events=SHAPE.events, seed=2), ITEMS, START)) != stream


def test_records_come_in_the_order_of_time(stream: list[Record]) -> None:
    times = [record.at_ms for record in stream]
    assert times == sorted(times)


def test_about_one_record_in_a_hundred_comes_again_within_moments(stream: list[Record]) -> None:
    first: dict[bytes, int] = {}
    after = [record.at_ms - first.setdefault(record.body, record.at_ms) for record in stream if record.body not in JUNK]
    again = [ms for ms in after if ms]
    assert 0.006 < len(again) / SHAPE.events < 0.012
    assert max(again) < 60_000


def test_every_event_has_an_id_and_says_what_its_person_agreed_to(events: list[dict[str, Any]]) -> None:
    assert all(event["event_id"] for event in events)
    agreed = sum(event["consent"] == GRANTED for event in events)
    assert 0.99 < agreed / len(events) < 0.999


def test_what_happened_lies_shortly_before_its_record_but_for_one_in_a_thousand(
    stream: list[Record], events: list[dict[str, Any]]
) -> None:
    times = (record.at_ms for record in stream if record.body not in JUNK)
    lateness = [at - event["occurred_at"] for at, event in zip(times, events, strict=True)]
    assert min(lateness) >= 0
    assert 0 < sum(ms > 1_800_000 for ms in lateness) < 0.003 * len(events)


def test_views_bring_two_hundred_browsers_and_a_robot(events: list[dict[str, Any]]) -> None:
    said = Counter(event["user_agent"] for event in events if event["kind"] == "view")
    assert len(said) == len(AGENTS) == 201
    read = device_reader()
    assert [agent for agent in said if read(agent)[1]] == [AGENTS[0]]


def test_its_norms_are_such_as_are_published() -> None:
    assert set(Norms.parse("n1", json.encode(NORMS)).dwell_ms) == {"dwell"}


def test_the_steps_of_reading_add_up_to_the_whole(stream: list[Record]) -> None:
    bodies = [record.body for record in stream[:1000] if record.body not in JUNK]
    steps = decoding(bodies, settings())
    assert next(iter(steps)) == "the JSON walked through"
    assert 0 < sum(steps.values()) < 100


def test_the_parts_of_cleaning_are_summed() -> None:
    assert CleanCost(Plan(1, None), {"consent": 0.5, "time": 0.25}, {}, None, 0.0).python_s == 0.75


def test_made_up_people_are_moments_of_which_each_is_decided() -> None:
    here = settings()
    moments = people(200, ITEMS, np.random.default_rng(1))
    assert moments.keys() == set(MOMENT)
    decider = Decider(Book.of(None, authored(here)), here.signals, here.noise, here.segments.rules)
    verdicts = decider(moments, [(np.arange(200), InForce())])
    reasons = Counter(json.decode(verdict.record or "")["slots"]["nudge"]["reason"] for verdict in verdicts)
    assert reasons.keys() >= {"RULE", "QUIET", "CAPPED"}


def test_every_part_of_a_decision_is_charged_with_its_own_steps_and_the_last_with_the_rest() -> None:
    steps = {"all": 9.0, "all but contributions": 8.0, "rules": 1.0, "experiments": 0.5, "guards": 0.25}
    book = Book.of(None, authored(settings()))
    us = {f"{place.name}: {step}": taken for place in book.places for step, taken in steps.items()}
    found = charged(book, us | {"whole": 50.0, "facts": 5.0, "held out": 1.0, "scored": 4.0})
    assert [place.name for place in book.places] == ["hero", "home_feed", "nudge", "page"]
    assert found == dict(zip(PARTS, (5.0, 4.0, 3.0, 12.5, 4.0, 2.25, 1.0, 1.0, 6.25, 11.0), strict=True))
