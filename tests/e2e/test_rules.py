"""Rules are tried on decisions as they lie on a broker, with the releases that made them, before anybody sees them."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from jobs import rules
from jobs.local.stack import Stack
from jobs.wiring import wire
from jobs.wiring.publishing import published, shown
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.decisions import Decision, Unfit, Versions
from schemas.rules import Action, Case, Rule, encoded
from schemas.settings import Settings
from schemas.slots import Arm, Rerank, Trigger, Variant
from tests.udfs.people import decisions, facts
from udfs.deciding.book import Book, authored
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.facts import Facts
from udfs.deciding.in_force import InForce

REPOSITORY = Path(__file__).resolve().parents[2]
PARTITIONS = 3
ITEMS = b"\n".join(b'{"id":"i%d","interest":"sport","popularity":0.%d,"quality":1}' % (n, 9 - n) for n in range(6))
SLOTS = {
    "feed": Rerank(length=2, candidates=4),
    "hero": Variant({"plain": Arm(), "story": Arm()}, "plain"),
    "nudge": Trigger({"tip": Arm(), "help": Arm()}),
}
STUCK = Rule("nudge", {"rage": Case("n_rage > 0", Action(arms=["help"]))})


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A topic of its own for each test, three slots, and one rule."""
    monkeypatch.setattr(rules, "TOPIC", own_topic("previewed", PARTITIONS))
    loaded = load(REPOSITORY, "local", stack.environment(), []).settings
    return replace(
        loaded,
        releases=replace(loaded.releases, store=str(tmp_path / "store")),
        exposures=replace(loaded.exposures, counters=["nudge"]),
        slots=SLOTS,
        rules={"stuck": STUCK},
        experiments={},
    )


def write(settings: Settings, records: Iterable[Decision | bytes | None]) -> None:
    producer = wire.producer(settings.kafka.bootstrap)
    for number, record in enumerate(records):
        body = json.encode(record) if isinstance(record, Decision) else record
        at = record.seq if isinstance(record, Decision) else time.time_ns() // 1_000_000
        producer.produce(rules.TOPIC, body, partition=number % PARTITIONS, timestamp=at)
    assert producer.flush(20) == 0


def people(at: int) -> Facts:
    """Forty people: ten in rage, twenty fast."""
    about = facts(40, n_rage=[1] * 10 + [0] * 30, rate_fast=[2.0] * 20 + [0.0] * 20)
    return about._replace(ends=np.full(40, at), sessions=np.full(40, at - 90_000), shown=np.zeros((40, 1, 4), np.int64))


def test_a_rule_is_tried_on_the_decisions_of_a_day_and_then_published(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time_ns() // 1_000_000
    published(settings.releases, "catalogue", ITEMS, "", at="start")
    assert rules.main(settings, ["publish", "--effective-at", "start", "--reason", "stuck people"]) == 0
    assert capsys.readouterr().out == "published r1, in force from 1970-01-01T00:00:00+00:00 on\n"
    before = Book.parse("r1", encoded(authored(settings)))
    made_by = InForce(catalogue=Catalogue.parse("c1", ITEMS), book=before)
    records = [
        record
        for hours in (30, 3, 2)
        for record in decisions(people(now - hours * 3_600_000), before, releases=made_by)
    ]
    robots = [replace(record, unfit=[Unfit.ROBOT]) for record in records[80:83]]
    lost = [replace(record, ver=Versions(catalogue="c9", rules="r1")) for record in records[80:82]]
    write(settings, [*records, *robots, *lost, None, b"{"])

    fast = Rule("nudge", {"fast": Case("rate_fast > 1", Action(arms=["tip"]))}, priority=-1)
    first = Rule("feed", {"stuck": Case("n_rage > 0", Action(pin=["i5"]))})
    tried = replace(settings, rules={"stuck": STUCK, "fast": fast, "first": first})
    assert rules.main(tried, ["preview"]) == 0
    headline, *lines = capsys.readouterr().out.splitlines()
    assert headline.startswith("80 decisions of 40 people since ")
    store = Store(settings.releases.store).uri
    assert headline.partition("; ")[2] == (
        f"2 left out, made by a release that is gone (catalogue c9: {store} has no such release, so what it decided is "
        "lost); 1 left out, not readable; 3 left out, of robots"
    )
    assert lines == [
        "rules",
        "  first: would have spoken in 20 decisions of 10 people, its word would have counted in 20 of 10",
        "  stuck: would have spoken in 20 decisions of 10 people, its word would have counted in 20 of 10",
        "  fast: would have spoken in 40 decisions of 20 people, its word would have counted in 20 of 10",
        "slots",
        "  feed: 20 of 80 decisions would have been another",
        "    other items: 20",
        "    i1: 30 people would have had it, 10 fewer",
        "    i5: 10 people would have had it, 10 more",
        "  hero: 0 of 80 decisions would have been another",
        "  nudge: 20 of 80 decisions would have been another",
        "    none -> tip: 20",
        "    none: 20 people would have had it, 10 fewer",
        "    tip: 10 people would have had it, 10 more",
        "not known",
        "  what would have followed: each decision stands alone, with what had been shown and done until then",
    ]

    assert rules.main(tried, ["preview", "--rule", "fast", "--since", "150min"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("40 decisions of 40 people since ")
    assert printed[1:6] == [
        "rules",
        "  fast: would have spoken in 20 decisions of 20 people, its word would have counted in 10 of 10",
        "slots",
        "  nudge: 10 of 40 decisions would have been another",
        "    none -> tip: 10",
    ]

    assert rules.main(tried, ["publish"]) == 0
    (_, release) = Store(settings.releases.store).index("rules")
    assert capsys.readouterr().out == f"published r2, in force from {shown(release.effective_at)} on\n"


def test_where_nothing_was_decided_nothing_would_have_been_another(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rules.main(settings, ["preview", "--rule", "stuck"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("0 decisions of 0 people since ")
    assert printed[1:5] == [
        "rules",
        "  stuck: would never have spoken",
        "slots",
        "  nudge: 0 of 0 decisions would have been another",
    ]
